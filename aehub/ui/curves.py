"""Curves of rate and quality as SVG, in the page's own colours; names stand at the curves."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aehub.compare import Comparison

_WIDTH, _HEIGHT = 720, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 112, 14, 40
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


def rate_and_quality(comparison: Comparison) -> str:
    """PSNR over bits per pixel, on a scale of ratios."""
    clip = comparison.clips[0].name
    lines = {codec: [(p.bits_per_pixel, p.psnr) for p in comparison.curve(clip, codec)]
             for codec in comparison.codecs if comparison.curve(clip, codec)}
    rates = [rate for line in lines.values() for rate, _ in line]
    quality = [psnr for line in lines.values() for _, psnr in line]
    across = _scale(math.log(min(rates)), math.log(max(rates)), _LEFT, _WIDTH - _RIGHT)
    up = _scale(math.floor(min(quality)), math.ceil(max(quality)), _HEIGHT - _BOTTOM, _TOP)
    drawn = _grid(rates, quality, across, up)
    ends = _spread([(up(line[-1][1]), codec) for codec, line in lines.items()])
    for number, (codec, line) in enumerate(lines.items()):
        kind = "ours" if codec in comparison.ours else f"rival r{number % 4}"
        points = [(across(math.log(rate)), up(psnr)) for rate, psnr in line]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in points)
        drawn += (f'<g class="{kind}"><path class="line" d="{path}"/>{dots}<text '
                  f'x="{points[-1][0] + 12:.1f}" y="{ends[codec] + 4:.1f}">{codec}</text></g>')
    said = "; ".join(f"{codec} {line[0][1]:.1f} dB at {line[0][0]:.2f} to {line[-1][1]:.1f} dB at "
                     f"{line[-1][0]:.2f}" for codec, line in lines.items())
    return (f'<figure class="ae-chart ae-curves" role="img" aria-label="PSNR over bits a pixel: '
            f'{said}."><div class="ae-panel"><p>PSNR, dB, over bits a pixel</p>'
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-hidden="true">{drawn}</svg></div>'
            "</figure>")


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = (high - low) or 1.0
    return lambda value: start + (end - start) * (value - low) / span


def _grid(
    rates: list[float], quality: list[float], across: Callable[[float], float],
    up: Callable[[float], float],
) -> str:
    drawn = ""
    low, high = math.floor(min(quality)), math.ceil(max(quality))
    for value in range(low, high + 1):
        if value % 5 == 0:
            y = up(value)
            drawn += (f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" '
                      f'y2="{y:.1f}"/><text x="{_LEFT - 8}" y="{y + 4:.1f}" '
                      f'text-anchor="end">{value}</text>')
    for tick in _TICKS:
        if min(rates) <= tick <= max(rates):
            x = across(math.log(tick))
            drawn += (f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" '
                      f'y2="{_HEIGHT - _BOTTOM}"/><text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 20}" '
                      f'text-anchor="middle">{tick:g}</text>')
    return drawn


def _spread(ends: list[tuple[float, str]], apart: float = 18) -> dict[str, float]:
    """Where names stand so that they do not cover each other."""
    placed: dict[str, float] = {}
    last = -math.inf
    for y, name in sorted(ends):
        last = max(y, last + apart)
        placed[name] = last
    return placed
