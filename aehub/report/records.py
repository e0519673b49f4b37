"""The record of a report of one compression: its numbers and its files. Needs no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aehub.results import Compressed


@dataclass(frozen=True)
class Baseline:
    """A rival on the same frames, as near to the same bytes as its settings reach.

    Attributes:
        codec: e.g. "x264-medium".
        crf: its constant rate factor.
        bytes: of the bare stream, without container and sound.
        psnr: (6Y + U + V)/8 in dB over the clip.
        ms_ssim: of luma; None for small pictures.
        seconds: of all encodes that were tried.
        encodes: how many those were.
    """

    codec: str
    crf: float
    bytes: int
    psnr: float
    ms_ssim: float | None
    seconds: float
    encodes: int


@dataclass(frozen=True)
class Playback:
    """A decoded file beside its original.

    Attributes:
        width: of one half, in pixels.
        height: of one half, in pixels.
        half: first row of the reconstruction in the stacked video.
        times: when each frame is shown, in seconds.
        seconds: duration.
        has_sound: whether the videos carry sound.
        psnr: (6Y + U + V)/8 in dB over the clip.
        ms_ssim: of luma; None below 176 pixels on the short side.
        frame_psnrs: `psnr` of every frame.
        groups: (first frame, frames, bytes) of what is coded together: single frames where they
            are predicted.
    """

    width: int
    height: int
    half: int
    times: tuple[float, ...]
    seconds: float
    has_sound: bool
    psnr: float
    ms_ssim: float | None
    frame_psnrs: tuple[float, ...]
    groups: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class CompressionReport:
    """A compression laid open.

    Attributes:
        source_bytes: size of the file that was given.
        trimmed: whether only a part of it was used.
        prepared: the working copy: what the model saw, without loss.
        stacked: mp4 with the original above the reconstruction; see `Playback.half`.
        decoded: mp4 of the reconstruction.
        compressed: the file that was made; its `ratio` is None for a trimmed clip.
        playback: what came back, measured.
        baselines: other codecs at the same bytes; empty if not asked for.
        seconds: time each stage took.
        notes: what was changed on the way in, or left out.
    """

    source_bytes: int
    trimmed: bool
    prepared: Path
    stacked: Path
    decoded: Path
    compressed: Compressed
    playback: Playback
    baselines: tuple[Baseline, ...]
    seconds: dict[str, float]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The numbers, with stable keys; files are named, not placed."""
        facts = self.compressed.named()
        facts.update(
            source_bytes=self.source_bytes,
            ratio=None if self.trimmed else round(self.source_bytes / facts["bytes"], 3),
            psnr=round(self.playback.psnr, 3),
            ms_ssim=None if self.playback.ms_ssim is None else round(self.playback.ms_ssim, 6),
            elapsed=round(sum(self.seconds.values()), 3),
            stages={name: round(value, 3) for name, value in self.seconds.items()},
            neighbours=[asdict(baseline) for baseline in self.baselines],
            notes=list(self.notes),
        )
        return facts

    def record(self) -> dict[str, Any]:
        """All of it as JSON, files by their names: what `from_record` takes."""
        return asdict(self, dict_factory=_with_names)

    @classmethod
    def from_record(cls, record: dict[str, Any], folder: Path) -> CompressionReport:
        """The report that was recorded, its files in `folder`."""
        compressed, playback = record["compressed"], record["playback"]
        compressed = {**compressed, "path": str(folder / compressed["path"])}
        files = {name: folder / record[name] for name in ("prepared", "stacked", "decoded")}
        return cls(**{
            **record, **files, "compressed": Compressed(**_tuples(compressed)),
            "playback": Playback(**_tuples(playback)), "notes": tuple(record["notes"]),
            "baselines": tuple(Baseline(**baseline) for baseline in record["baselines"]),
        })


def _with_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    facts = {name: value.name if isinstance(value, Path) else value for name, value in pairs}
    return {**facts, "path": Path(facts["path"]).name} if "path" in facts else facts


def _tuples(facts: dict[str, Any]) -> dict[str, Any]:
    """Lists as the tuples that they were before they were JSON."""
    return {name: tuple(map(tuple, value)) if name == "groups" else
            tuple(value) if isinstance(value, list) else value for name, value in facts.items()}
