"""Curves as SVG in the page's own colours: over time, and quality over rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from aehub.compare import Comparison
from aehub.compare.plot import spread
from aehub.review.records import Replay

_WIDTH, _LEFT = 720, 52
# Of a panel over time; of the panel of quality over rate, with room for names on its right.
_TOP, _HEIGHT = 8, 92
_NAMES, _HIGH, _FOOT = 112, 340, 32
_RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_APART = 18.0


def over_time(replay: Replay) -> str:
    """Bits of every frame or group as steps, PSNR of every frame as a line, a line for "now"."""
    n = len(replay.times)
    kilobits: list[float] = []
    for _, frames, size in replay.groups:
        kilobits += [8 * size / frames / 1000] * frames
    group = max((frames for _, frames, _ in replay.groups), default=1)
    title = "kilobits of each frame" if group == 1 else (
        f"kilobits a frame, mean of each group of {group}")
    spans = [f"{min(values):.1f} to {max(values):.1f} {unit}" for values, unit in
             ((kilobits, "kilobits a frame"), (replay.frame_psnrs, "dB"))]
    return (f'<figure class="ae-chart" data-ae-frames="{n}" role="img" '
            f'aria-label="Over {n} frames: {"; ".join(spans)}.">{_steps(kilobits, title)}'
            f'{_line(replay.frame_psnrs, "PSNR of each frame, dB")}</figure>')


def rate_and_quality(comparison: Comparison) -> str:
    """PSNR over bits per pixel, on a scale of ratios; names stand at the curves."""
    clip = comparison.clips[0].name
    lines = {codec: [(p.bits_per_pixel, p.psnr) for p in curve] for codec in comparison.codecs
             if (curve := comparison.curve(clip, codec))}
    rates, quality = zip(*(point for line in lines.values() for point in line), strict=True)
    low, high, right = math.floor(min(quality)), math.ceil(max(quality)), _WIDTH - _NAMES
    across = _scale(math.log(min(rates)), math.log(max(rates)), _LEFT, right)
    up = _scale(low, high, _TOP + _HIGH, _TOP)
    drawn = "".join(_level(up(value), f"{value}", right) for value in range(low, high + 1)
                    if value % 5 == 0)
    drawn += "".join(_upright(across(math.log(rate)), f"{rate:g}") for rate in _RATES
                     if min(rates) <= rate <= max(rates))
    ends = sorted((-up(line[-1][1]), codec) for codec, line in lines.items())
    heights = spread([end for end, _ in ends], _APART, -_TOP)
    names = {codec: -height for (_, codec), height in zip(ends, heights, strict=True)}
    for number, (codec, line) in enumerate(lines.items()):
        kind = "ours" if codec in comparison.ours else f"rival r{number % 4}"
        points = [(across(math.log(rate)), up(psnr)) for rate, psnr in line]
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in points)
        drawn += (f'<g class="{kind}"><path class="line" d="{_path(points)}"/>{dots}<text '
                  f'x="{points[-1][0] + 12:.1f}" y="{names[codec] + 4:.1f}">{codec}</text></g>')
    said = "; ".join(f"{codec} {line[0][1]:.1f} dB at {line[0][0]:.2f} to {line[-1][1]:.1f} dB at "
                     f"{line[-1][0]:.2f}" for codec, line in lines.items())
    return (f'<figure class="ae-chart ae-curves" role="img" aria-label="PSNR over bits a pixel: '
            f'{said}.">{_panel("PSNR, dB, over bits a pixel", _HIGH + _FOOT, drawn)}</figure>')


def _steps(values: Sequence[float], title: str) -> str:
    up = _scale(0, 1.08 * max(values), _TOP + _HEIGHT, _TOP)
    ends = [(_time(index + end, values), up(value)) for index, value in enumerate(values)
            for end in (0, 1)]
    fill = f'<path class="fill" d="{_path(ends)}V{_TOP + _HEIGHT}H{_LEFT}Z"/>'
    return _curve(title, (0.0, max(values)), up, fill, ends)


def _line(values: Sequence[float], title: str) -> str:
    low, high = min(values), max(values)
    # A flat curve is drawn in the middle of its panel, not blown up to noise.
    if high - low < 2:
        low, high = (low + high) / 2 - 1, (low + high) / 2 + 1
    up = _scale(low, high, _TOP + _HEIGHT, _TOP)
    middles = [(_time(index + 0.5, values), up(value)) for index, value in enumerate(values)]
    return _curve(title, (low, high), up, "", middles)


def _time(place: float, values: Sequence[float]) -> float:
    return _LEFT + (_WIDTH - _LEFT) * place / len(values)


def _curve(title: str, ticks: Iterable[float], up: Callable[[float], float], below: str,
           points: Iterable[tuple[float, float]]) -> str:
    height = _HEIGHT + 2 * _TOP
    levels = "".join(_level(up(value), f"{value:.3g}", _WIDTH) for value in ticks)
    return _panel(title, height, f'{levels}{below}<path class="curve" d="{_path(points)}"/>'
                  f'<line class="now" x1="{_LEFT}" x2="{_LEFT}" y1="0" y2="{height}" '
                  f'data-left="{_LEFT}" data-wide="{_WIDTH - _LEFT}"/>')


def _panel(title: str, height: float, drawn: str) -> str:
    return (f'<div class="ae-panel"><p>{title}</p><svg viewBox="0 0 {_WIDTH} {height}" '
            f'aria-hidden="true">{drawn}</svg></div>')


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (end - start) * (value - low) / ((high - low) or 1.0)


def _path(points: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _level(y: float, label: str, right: float) -> str:
    return (f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text><line '
            f'class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')


def _upright(x: float, label: str) -> str:
    return (f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_TOP + _HIGH}"/><text '
            f'x="{x:.1f}" y="{_TOP + _HIGH + 20}" text-anchor="middle">{label}</text>')
