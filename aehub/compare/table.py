"""A comparison as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aehub.words import count_text

if TYPE_CHECKING:
    from aehub.compare.comparison import ClipShape, Comparison, Point


def render(comparison: Comparison) -> str:
    """Points of every clip, then the differences against the anchor, then the settings."""
    blocks = [_points(comparison, clip) for clip in comparison.clips]
    blocks += [_differences(comparison), _settings(comparison)]
    if comparison.failures:
        rows = [(failure.clip, failure.codec or "-", failure.reason)
                for failure in comparison.failures]
        blocks.append("not measured\n" + _grid(rows, left=3))
    return "\n\n".join(blocks)


def _points(comparison: Comparison, clip: ClipShape) -> str:
    header = ("codec", "quality", "bytes", "kbps", "bpp", "PSNR", "MS-SSIM")
    rows = [
        _point_row(point)
        for codec in comparison.codecs
        for point in comparison.curve(clip.name, codec)
    ]
    frames = count_text(clip.n_frames, "frame")
    title = f"{clip.name}: {clip.width}x{clip.height}, {frames}, {float(clip.fps):.4g} fps"
    return f"{title}\n{_grid([header, *rows])}"


def _point_row(point: Point) -> tuple[str, ...]:
    return (
        point.codec,
        f"{point.quality:g}",
        str(point.bytes),
        f"{point.kbps:.1f}",
        f"{point.bits_per_pixel:.4f}",
        f"{point.psnr:.2f}",
        "-" if point.ms_ssim is None else f"{point.ms_ssim:.4f}",
    )


def _differences(comparison: Comparison) -> str:
    names = [codec for codec in comparison.codecs if codec != comparison.anchor]
    header = ("bits at equal PSNR / MS-SSIM", *names)
    rows = [
        (clip.name, *(_pair(comparison, clip.name, codec) for codec in names))
        for clip in comparison.clips
    ]
    mean = (
        "mean",
        *(
            f"{_percent(comparison.mean_difference(codec))} / "
            f"{_percent(comparison.mean_difference(codec, 'ms_ssim'))}"
            for codec in names
        ),
    )
    speeds = ("speed, encode / decode", *(_speed(comparison, codec) for codec in names))
    title = f"against {comparison.anchor} (negative: fewer bits)"
    return f"{title}\n{_grid([header, *rows, mean, speeds])}"


def _speed(comparison: Comparison, codec: str) -> str:
    own, others = comparison.speed(comparison.anchor), comparison.speed(codec)
    if own is None or others is None:
        return "-"
    return " / ".join(f"{other / one:.2g}x" for other, one in zip(others, own, strict=True))


def _pair(comparison: Comparison, clip: str, codec: str) -> str:
    psnr = comparison.difference(clip, codec, "psnr").percent
    ms_ssim = comparison.difference(clip, codec, "ms_ssim").percent
    return f"{_percent(psnr)} / {_percent(ms_ssim)}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1f} %"


def _settings(comparison: Comparison) -> str:
    return "settings\n" + _grid(list(comparison.settings.items()), left=2)


def _grid(rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Rows in columns: the first `left` flush left, numbers flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join("  " + line.rstrip() for line in lines)
