"""The outcome: points, curves, and the difference in bits against an anchor."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple

from aehub.compare.codec import Source
from aehub.errors import AEHubError
from aehub.metrics import RateDifference, bd_rate, ms_ssim_db
from aehub.words import count_text

Metric = Literal["psnr", "ms_ssim"]


class ClipShape(NamedTuple):
    """What a table says of a clip."""

    name: str
    width: int
    height: int
    n_frames: int
    fps: Fraction

    @classmethod
    def of(cls, source: Source) -> ClipShape:
        """The shape of a clip in memory."""
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


class Failure(NamedTuple):
    """What could not be measured; `codec` is None where the clip itself cannot be read."""

    clip: str
    codec: str | None
    error: Exception

    @property
    def reason(self) -> str:
        """Why, on one line."""
        return " ".join(str(self.error).split()) or type(self.error).__name__

    def to_dict(self) -> dict[str, Any]:
        """Clip, codec and reason."""
        return {"clip": self.clip, "codec": self.codec, "reason": self.reason}


@dataclass(frozen=True)
class Comparison:
    """Codecs side by side on the same clips.

    Attributes:
        anchor: the codec that differences are measured against.
        clips: shapes, in the order given.
        settings: codec name -> encoder and options, in the order given.
        points: every measurement.
        ours: names of the codecs that are models of the zoo, drawn to stand out.
        failures: what could not be measured; points measured before stand among `points`.
        notes: sentences about what was left out of folders.
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
        """Points of one codec on one clip, from few bits to many."""
        found = [p for p in self.points if p.clip == clip and p.codec == codec]
        return sorted(found, key=lambda point: point.bytes)

    def difference(self, clip: str, codec: str, metric: Metric = "psnr") -> RateDifference:
        """Bjøntegaard rate difference of `codec` against the anchor on one clip."""
        curves = [self.curve(clip, name) for name in (self.anchor, codec)]
        if metric == "psnr":
            return bd_rate(*([(p.bytes, p.psnr) for p in curve] for curve in curves))
        if any(p.ms_ssim is None for curve in curves for p in curve):
            return RateDifference(None, reason="pictures below 176 px have no MS-SSIM")
        return bd_rate(
            *([(p.bytes, ms_ssim_db(p.ms_ssim or 0)) for p in curve] for curve in curves)
        )

    def mean_difference(self, codec: str, metric: Metric = "psnr") -> float | None:
        """Mean of `difference` in percent over the clips that have one."""
        found = [self.difference(clip.name, codec, metric).percent for clip in self.clips]
        known = [percent for percent in found if percent is not None]
        return statistics.fmean(known) if known else None

    def speed(self, codec: str) -> tuple[float, float] | None:
        """(encoding, decoding) frames per second over all clips and qualities, if there are any."""
        n_frames = {clip.name: clip.n_frames for clip in self.clips}
        mine = [point for point in self.points if point.codec == codec]
        if not mine:
            return None
        total = sum(n_frames[point.clip] for point in mine)
        encode = sum(point.encode_seconds for point in mine)
        decode = sum(point.decode_seconds for point in mine)
        return total / encode, total / decode

    def table(self) -> str:
        """Everything as text for a terminal."""
        from aehub.compare.table import render

        return render(self)

    def check(self) -> None:
        """Refuse what is not complete.

        Raises:
            AEHubError: something could not be measured; the first such is named.
        """
        if not self.failures:
            return
        first, count = self.failures[0], len(self.failures)
        what = first.clip if first.codec is None else f"{first.clip} with {first.codec}"
        others = ", the first" if count > 1 else ""
        raise AEHubError(f"{count_text(count, 'measurement')} failed{others}: {what}: "
                         f"{first.reason}")

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data with stable keys."""
        clips = [{**clip._asdict(), "fps": str(clip.fps)} for clip in self.clips]
        return {
            "anchor": self.anchor,
            "clips": clips,
            "codecs": [self._codec_dict(codec) for codec in self.codecs],
            "points": [asdict(point) for point in self.points],
            "failures": [failure.to_dict() for failure in self.failures],
        }

    def to_json(self) -> str:
        """`to_dict` as one JSON object."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def plot(self, path: str | Path) -> Path:
        """Draw the curves; the suffix of `path` chooses PNG, SVG or PDF.

        Raises:
            InputError: matplotlib is not installed, or the suffix is unknown.
        """
        from aehub.compare.plot import draw

        return draw(self, Path(path))

    def _codec_dict(self, codec: str) -> dict[str, Any]:
        encode, decode = self.speed(codec) or (None, None)
        entry: dict[str, Any] = {"name": codec, "settings": self.settings[codec]}
        metrics: tuple[Metric, Metric] = ("psnr", "ms_ssim")
        for metric in metrics:
            entry[f"bd_rate_{metric}"] = self.mean_difference(codec, metric)
            entry[f"bd_rate_{metric}_clips"] = {
                clip.name: self.difference(clip.name, codec, metric).percent for clip in self.clips
            }
        return {**entry, "encode_fps": encode, "decode_fps": decode}
