"""Result of a comparison: as text, as plain data, and as a figure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aehub.errors import AEHubError, count_text
from aehub.measure.plot import draw
from aehub.measure.points import METRICS, ClipShape, Curves, Point


class Comparison(Curves):
    """Codecs side by side on the same clips; see `Curves` for the attributes."""

    def table(self) -> str:
        """Points of every clip, BD-rates and settings, as text."""
        blocks = [_points(self, clip) for clip in self.clips]
        blocks += [_differences(self), "settings\n" + _columns(list(self.settings.items()), left=2)]
        if self.failures:
            rows = [(failure.clip, failure.codec or "-", failure.reason)
                    for failure in self.failures]
            blocks.append("not measured\n" + _columns(rows, left=3))
        return "\n\n".join(blocks)

    def check(self) -> None:
        """Raise an error if the comparison is incomplete.

        Raises:
            AEHubError: a measurement failed; the first one is named.
        """
        if not self.failures:
            return
        first, count = self.failures[0], len(self.failures)
        name = first.clip if first.codec is None else f"{first.clip} with {first.codec}"
        others = ", the first" if count > 1 else ""
        raise AEHubError(f"{count_text(count, 'measurement')} failed{others}: {name}: "
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
        return draw(self, Path(path))

    def _codec_dict(self, codec: str) -> dict[str, Any]:
        encode, decode = self.speed(codec) or (None, None)
        entry: dict[str, Any] = {"name": codec, "settings": self.settings[codec]}
        for metric in METRICS:
            entry[f"bd_rate_{metric}"] = self.mean_difference(codec, metric)
            entry[f"bd_rate_{metric}_clips"] = {
                clip.name: self.difference(clip.name, codec, metric).percent for clip in self.clips
            }
        return {**entry, "encode_fps": encode, "decode_fps": decode}


def _points(comparison: Curves, clip: ClipShape) -> str:
    header = ("codec", "quality", "bytes", "kbps", "bpp", "PSNR", "MS-SSIM")
    rows = [_point_row(point) for codec in comparison.codecs
            for point in comparison.curve(clip.name, codec)]
    frames = count_text(clip.n_frames, "frame")
    title = f"{clip.name}: {clip.width}x{clip.height}, {frames}, {float(clip.fps):.4g} fps"
    return f"{title}\n{_columns([header, *rows])}"


def _point_row(point: Point) -> tuple[str, ...]:
    similarity = "-" if point.ms_ssim is None else f"{point.ms_ssim:.4f}"
    return (point.codec, f"{point.quality:g}", str(point.bytes), f"{point.kbps:.1f}",
            f"{point.bits_per_pixel:.4f}", f"{point.psnr:.2f}", similarity)


def _differences(comparison: Curves) -> str:
    names = [codec for codec in comparison.codecs if codec != comparison.anchor]
    rows: list[tuple[str, ...]] = [("bits at equal PSNR / MS-SSIM", *names)]
    rows += [(clip.name, *(_percent_pair(comparison.difference(clip.name, codec, metric).percent
                                         for metric in METRICS) for codec in names))
             for clip in comparison.clips]
    rows += [("mean", *(_percent_pair(comparison.mean_difference(codec, metric)
                                      for metric in METRICS) for codec in names)),
             ("speed, encode / decode", *(_speed(comparison, codec) for codec in names))]
    return f"against {comparison.anchor} (negative: fewer bits)\n{_columns(rows)}"


def _percent_pair(percents: Iterable[float | None]) -> str:
    return " / ".join("-" if value is None else f"{value:+.1f} %" for value in percents)


def _speed(comparison: Curves, codec: str) -> str:
    anchor, codec_speed = comparison.speed(comparison.anchor), comparison.speed(codec)
    if anchor is None or codec_speed is None:
        return "-"
    return " / ".join(f"{fps / reference:.2g}x"
                      for fps, reference in zip(codec_speed, anchor, strict=True))


def _columns(rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Align rows in columns: the first `left` to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) if i < left else cell.rjust(width)
                       for i, (cell, width) in enumerate(zip(row, widths, strict=True)))
             for row in rows)
    return "\n".join("  " + line.rstrip() for line in lines)
