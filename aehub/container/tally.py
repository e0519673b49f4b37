"""What a file holds and what it lost, counted while it is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from aehub.container.chunk import AUDIO, FOOTER, METADATA, Gap, Place
from aehub.container.grouphead import GroupHead
from aehub.container.index import Footer
from aehub.errors import DamagedError


@dataclass
class Tally:
    """Running counts; sizes in bytes. `complete`: the footer came; `ended`: nothing more comes."""

    groups: int = 0
    frames: int = 0
    coded_frames: int = 0
    ticks: int = 0
    payload_bytes: int = 0
    audio_bytes: int = 0
    metadata_bytes: int = 0
    chunk_bytes: int = 0
    lost_bytes: int = 0
    complete: bool = False
    ended: bool = False

    def add_group(self, head: GroupHead, step: int, payload_bytes: int) -> None:
        """Count an intact group."""
        self.groups += 1
        self.frames += head.n_shown
        self.coded_frames += head.n_frames
        self.ticks += head.ticks(step)
        self.payload_bytes += payload_bytes

    def add_chunk(self, place: Place) -> None:
        """Count any chunk."""
        self.chunk_bytes += place.size
        self.audio_bytes += place.length if place.kind == AUDIO else 0
        self.metadata_bytes += place.length if place.kind == METADATA else 0
        self.complete |= place.kind == FOOTER

    def summary(self, head_bytes: int, time_base: Fraction) -> dict[str, Any]:
        """Return the counts under the names of `Reader.summary`."""
        content = self.payload_bytes + self.audio_bytes + self.metadata_bytes
        return {
            "groups": self.groups,
            "frames": self.frames,
            "coded_frames": self.coded_frames,
            "seconds": float(self.ticks * time_base),
            "bytes": head_bytes + self.chunk_bytes + self.lost_bytes,
            "payload_bytes": self.payload_bytes,
            "audio_bytes": self.audio_bytes,
            "metadata_bytes": self.metadata_bytes,
            "lost_bytes": self.lost_bytes,
            "overhead_bytes": head_bytes + self.chunk_bytes - content,
            "complete": self.complete,
        }


@dataclass
class Losses:
    """What could not be read of the file called `name`; `stopped` at the first damage."""

    name: str
    gaps: list[Gap] = field(default_factory=list)
    reason: str = ""
    footer: Footer | None = None
    stopped: bool = False

    def conclude(self, tally: Tally) -> None:
        """Raise `DamagedError`, with one sentence, if anything was lost."""
        whole = tally.complete and self.footer and self.footer.n_groups == tally.groups
        if whole and not self.gaps:
            return
        facts = self._facts(tally)
        given = f"{count(tally.groups, 'intact group')} could be read"
        raise DamagedError(f"{self.name} is damaged: {', '.join(facts)}; {given}.")

    def _facts(self, tally: Tally) -> list[str]:
        facts = []
        damaged = [gap for gap in self.gaps if not gap.cut]
        if damaged:
            size = count(sum(gap.size for gap in damaged), "byte")
            where = f"at byte {damaged[0].offset}"
            if len(damaged) > 1:
                where = f"in {len(damaged)} places, the first {where},"
            facts.append(f"{size} {where} cannot be read")
        if self.reason:
            facts.append(self.reason.rstrip("."))
        if self.stopped:
            facts.append("reading stopped there")
        elif not tally.complete:
            cut = f" after byte {self.gaps[-1].offset}" if self.gaps and self.gaps[-1].cut else ""
            facts.append(f"its end is missing{cut}")
        if self.footer:
            lost, total = self.footer.n_groups - tally.groups, self.footer.n_groups
            facts.append(f"{lost} of {total} groups are lost" if lost else "no group is lost")
        return facts


def count(number: int, noun: str) -> str:
    """Return e.g. "1 group" or "2 groups"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
