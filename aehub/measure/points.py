"""Records of the benchmark: codecs, measured points, rate-distortion curves and BD-rates."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from aehub.media.metrics import RateDifference, bd_rate, ms_ssim_db
from aehub.media.picture import ClipInfo, Picture


class Encoded(NamedTuple):
    """A coded clip.

    Attributes:
        n_bytes: size of what a decoder needs.
        seconds: wall time of encoding.
        decoded: frames in display order; they are decoded while they are read, which can be
            timed.
    """

    n_bytes: int
    seconds: float
    decoded: Iterable[Picture]


@dataclass(frozen=True)
class SourceClip:
    """A decoded clip, as every codec reads it at every quality."""

    name: str
    frames: Sequence[Picture]
    info: ClipInfo


class BenchmarkCodec(Protocol):
    """A codec in the benchmark."""

    @property
    def name(self) -> str:
        """Name in arguments, tables and figures."""

    @property
    def settings(self) -> str:
        """Encoder and options in one line, without which a comparison means nothing."""

    @property
    def qualities(self) -> Sequence[float]:
        """Quality numbers of the codec, one for each point of its curve."""

    def encode(self, frames: Sequence[Picture], info: ClipInfo, quality: float) -> Encoded:
        """Encode the frames; the decoded planes have the same size and number."""


def joined_qualities(qualities: Sequence[float]) -> str:
    """Comma-separated quality numbers."""
    return ",".join(f"{quality:g}" for quality in qualities)


Metric = Literal["psnr", "ms_ssim"]
METRICS: tuple[Metric, Metric] = ("psnr", "ms_ssim")


class ClipShape(NamedTuple):
    """Name and format of a clip, for tables."""

    name: str
    width: int
    height: int
    n_frames: int
    fps: Fraction

    @classmethod
    def of(cls, source: SourceClip) -> ClipShape:
        """Describe a decoded clip."""
        width, height = source.frames[0].size if source.frames else (0, 0)
        return cls(source.name, width, height, len(source.frames), source.info.fps)


@dataclass(frozen=True)
class Point:
    """One clip through one codec at one quality.

    `quality` is the codec's own number; `psnr` (6Y + U + V) / 8 in dB over the clip; `ms_ssim`
    of luma, None for small pictures; seconds are wall time.
    """

    clip: str
    codec: str
    quality: float
    bytes: int
    bits_per_pixel: float
    kbps: float
    psnr: float
    ms_ssim: float | None
    encode_seconds: float
    decode_seconds: float

    def decibels(self, metric: Metric) -> float:
        """PSNR, or MS-SSIM on a scale like it, in dB."""
        return self.psnr if metric == "psnr" else ms_ssim_db(self.ms_ssim or 0)


class Failure(NamedTuple):
    """A measurement that failed; `codec` is None if the clip itself cannot be read."""

    clip: str
    codec: str | None
    error: Exception

    @property
    def reason(self) -> str:
        """The error on one line."""
        return " ".join(str(self.error).split()) or type(self.error).__name__

    def to_dict(self) -> dict[str, Any]:
        """Clip, codec and reason."""
        return {"clip": self.clip, "codec": self.codec, "reason": self.reason}


class Measured(NamedTuple):
    """Points and failures of one clip.

    Attributes:
        shape: of the clip; None if it cannot be read.
        results: in the order of codecs.
    """

    shape: ClipShape | None
    results: tuple[Point | Failure, ...]


ClipMeasurer = Callable[[Sequence[Path], int | None], Iterable[int | tuple[int, Measured]]]
"""Measures clips, or their first frames; gives the number of points done whenever it has grown, and
each clip by its place in the list when it is done."""


@dataclass(frozen=True)
class Curves:
    """Points of codecs side by side on the same clips.

    Attributes:
        anchor: the codec that BD-rates are relative to.
        clips: formats, in the order given.
        settings: codec name -> encoder and options, in the order given.
        points: every measurement.
        ours: names of the codecs that are models of the zoo, which figures emphasise.
        failures: failed measurements; points measured before them are in `points`.
        notes: sentences about files of folders that were left out.
    """

    anchor: str
    clips: tuple[ClipShape, ...]
    settings: dict[str, str]
    points: tuple[Point, ...]
    ours: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def codecs(self) -> tuple[str, ...]:
        """Names in the order given."""
        return tuple(self.settings)

    def curve(self, clip: str, codec: str) -> list[Point]:
        """Points of one codec on one clip, by increasing size."""
        points = [p for p in self.points if p.clip == clip and p.codec == codec]
        return sorted(points, key=lambda point: point.bytes)

    def difference(self, clip: str, codec: str, metric: Metric = "psnr") -> RateDifference:
        """BD-rate of `codec` relative to the anchor on one clip."""
        curves = [self.curve(clip, name) for name in (self.anchor, codec)]
        if metric == "ms_ssim" and any(p.ms_ssim is None for curve in curves for p in curve):
            return RateDifference(None, reason="pictures below 176 px have no MS-SSIM")
        return bd_rate(*([(p.bytes, p.decibels(metric)) for p in curve] for curve in curves))

    def mean_difference(self, codec: str, metric: Metric = "psnr") -> float | None:
        """Mean of `difference` in percent over the clips that have one."""
        all_clips = [self.difference(clip.name, codec, metric).percent for clip in self.clips]
        percents = [percent for percent in all_clips if percent is not None]
        return statistics.fmean(percents) if percents else None

    def speed(self, codec: str) -> tuple[float, float] | None:
        """(encoding, decoding) frames per second over all points; None without a point."""
        n_frames = {clip.name: clip.n_frames for clip in self.clips}
        points = [point for point in self.points if point.codec == codec]
        if not points:
            return None
        total = sum(n_frames[point.clip] for point in points)
        encode = sum(point.encode_seconds for point in points)
        decode = sum(point.decode_seconds for point in points)
        return total / encode, total / decode
