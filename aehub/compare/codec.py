"""What a codec must offer to be compared, and what it is given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from aehub.clips.frames import ClipInfo, Planes


class Encoded(NamedTuple):
    """A clip as one codec coded it.

    Attributes:
        n_bytes: what a decoder needs, and nothing else.
        seconds: wall time of encoding.
        decoded: the frames in the order they are shown; decoding happens while they are read,
            so whoever reads them can time it.
    """

    n_bytes: int
    seconds: float
    decoded: Iterable[Planes]


@dataclass(frozen=True)
class Source:
    """A clip held in memory, because every codec at every quality reads it again."""

    name: str
    frames: Sequence[Planes]
    info: ClipInfo


class Codec(Protocol):
    """Anything that turns frames into bytes and back."""

    @property
    def name(self) -> str:
        """The name it is asked for by, and shown under."""

    @property
    def settings(self) -> str:
        """Encoder and options in one line: a comparison without them means nothing."""

    @property
    def qualities(self) -> Sequence[float]:
        """The codec's own quality numbers, one for each point of its curve."""

    def encode(self, frames: Sequence[Planes], info: ClipInfo, quality: float) -> Encoded:
        """Code the frames; planes in are planes out, of the same size and number."""


def listed(qualities: Sequence[float]) -> str:
    """Quality numbers with commas between."""
    return ",".join(f"{quality:g}" for quality in qualities)
