"""Two small curves over time, as SVG in the page's own colours: bits above, PSNR below."""

from __future__ import annotations

from collections.abc import Sequence

from aehub.review.records import Replay

_WIDTH, _HEIGHT, _LEFT, _TOP = 720, 92, 52, 8


def over_time(replay: Replay) -> str:
    """Bits of every frame or group as steps, PSNR of every frame as a line, a line for "now"."""
    n = len(replay.times)
    kilobits: list[float] = []
    for _, frames, size in replay.groups:
        kilobits += [8 * size / frames / 1000] * frames
    group = max((frames for _, frames, _ in replay.groups), default=1)
    title = "kilobits of each frame" if group == 1 else (
        f"kilobits a frame, mean of each group of {group}")
    steps = _panel("steps", kilobits, title, low=0.0, stepped=True)
    line = _panel("line", replay.frame_psnrs, "PSNR of each frame, dB")
    return (f'<figure class="ae-chart" data-ae-frames="{n}" role="img" '
            f'aria-label="Over {n} frames: {_words(kilobits, "kilobits a frame")}; '
            f'{_words(replay.frame_psnrs, "dB")}.">{steps}{line}</figure>')


def _words(values: Sequence[float], unit: str) -> str:
    return f"{min(values):.1f} to {max(values):.1f} {unit}"


def _panel(
    kind: str, values: Sequence[float], title: str, *, low: float | None = None,
    stepped: bool = False,
) -> str:
    bottom = min(values) if low is None else low
    top = max(values)
    # A flat curve is drawn in the middle of its panel, not blown up to noise.
    if low is None and top - bottom < 2:
        middle = (top + bottom) / 2
        bottom, top = middle - 1, middle + 1
    span = (top * 1.08 if low is not None else top) - bottom or 1.0
    wide = _WIDTH - _LEFT
    points = []
    for index, value in enumerate(values):
        y = _TOP + _HEIGHT * (1 - (value - bottom) / span)
        left, right = (_LEFT + wide * (index + end) / len(values) for end in (0, 1))
        points += [(left, y), (right, y)] if stepped else [((left + right) / 2, y)]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    fill = (f'<path class="fill" d="{path}V{_TOP + _HEIGHT}H{_LEFT}Z"/>' if stepped else "")
    ticks = "".join(
        f'<text x="{_LEFT - 8}" y="{_TOP + _HEIGHT * (1 - (v - bottom) / span) + 4:.1f}" '
        f'text-anchor="end">{v:.3g}</text>'
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH}" '
        f'y1="{_TOP + _HEIGHT * (1 - (v - bottom) / span):.1f}" '
        f'y2="{_TOP + _HEIGHT * (1 - (v - bottom) / span):.1f}"/>'
        for v in (bottom, max(values) if low is not None else top))
    return (f'<div class="ae-panel"><p>{title}</p>'
            f'<svg class="{kind}" viewBox="0 0 {_WIDTH} {_HEIGHT + 2 * _TOP}" aria-hidden="true">'
            f'{ticks}{fill}<path class="curve" d="{path}"/>'
            f'<line class="now" x1="{_LEFT}" x2="{_LEFT}" y1="0" y2="{_HEIGHT + 2 * _TOP}" '
            f'data-left="{_LEFT}" data-wide="{wide}"/></svg></div>')
