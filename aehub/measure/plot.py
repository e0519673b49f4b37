"""Figure of a comparison: a panel of rate-distortion curves per clip, and BD-rates below."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

from aehub.errors import InputError
from aehub.files import open_output, refuse_overwriting
from aehub.measure.points import METRICS, Curves, Metric

_COLUMNS = 4
_MAX_PANELS = 12
_RC_PARAMS: Any = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.linewidth": 0.6,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}
_AXIS_LABELS: dict[Metric, str] = {
    "psnr": "PSNR 6:1:1 (dB)",
    "ms_ssim": r"MS-SSIM, $-10\,\log_{10}(1-x)$",
}

# Colours of Okabe and Ito, distinguishable by the colour-blind, then similar ones.
_MODEL_COLOURS = ("#D55E00", "#A01F5B")
_CODEC_COLOURS = ("#0072B2", "#009E73", "#56B4E9", "#CC79A7", "#B8860B", "#5D5D9E", "#7A5C3E")
_ANCHOR_COLOUR = "#444444"
# Ratios for ticks, by decreasing priority.
_TICKS = (1, 0.5, 2, 0.25, 4, 0.75, 1.5, 8, 0.125, 0.9, 1.1, 0.8, 1.2, 0.7, 0.6, 3, 6, 16)
_MARKERS = "sD^vPXh"


class _Style(NamedTuple):
    """Style of one codec in all panels."""

    colour: str
    marker: str
    size: float
    width: float
    order: int
    weight: str = "normal"


def check_plot(path: Path, *, force: bool) -> None:
    """Check before the measurement that a figure can be written.

    Raises:
        InputError: matplotlib is missing, the suffix is unknown, or the folder is not writable.
        ExistsError: `path` exists and `force` is not set.
    """
    try:
        import matplotlib.figure
    except ImportError as error:
        raise InputError(
            "a plot needs matplotlib, which is not installed; pip install 'aehub[plot]'."
        ) from error
    suffixes = matplotlib.figure.Figure().canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in suffixes:
        raise InputError(
            f"a plot cannot be written as '{path.name}'; end the name in .png, .svg or .pdf."
        )
    refuse_overwriting(path, force)


def draw(comparison: Curves, path: Path) -> Path:
    """Write the figure atomically; the suffix chooses the format.

    Raises:
        InputError: as `check_plot`.
    """
    check_plot(path, force=True)
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_RC_PARAMS):
        figure = Figure(layout="constrained")
        _draw_figure(figure, comparison)
        with open_output(path, force=True) as file:
            figure.savefig(file, format=path.suffix[1:].lower(), dpi=200)
    return path


def _draw_figure(figure: Any, comparison: Curves) -> None:
    """Draw a panel per clip (of a single clip PSNR and MS-SSIM), and BD-rates below."""
    panels = _panels(comparison)
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    others = [codec for codec in comparison.codecs if codec != comparison.anchor]
    height, foot = (3.2 if columns < 3 else 2.2) * rows + 0.2, 0.75 + 0.2 * len(others)
    figure.set_size_inches((3.6 if columns < 3 else 2.5) * columns + 1, height + foot)
    top, bottom = figure.subfigures(2, 1, height_ratios=[height, foot])
    styles = _styles(comparison)
    for index, axes in enumerate(top.subplots(rows, columns, squeeze=False).flat):
        if index >= len(panels):
            axes.set_axis_off()
            continue
        clip, metric = panels[index]
        _draw_curves(axes, comparison, clip, metric, styles)
        if index % columns == 0 or len(comparison.clips) == 1:
            axes.set_ylabel(_AXIS_LABELS[metric])
        if index % columns == columns - 1:
            _label_curves(axes, styles, spacing=0.17 * rows / height)
    top.supxlabel(_rate_name(comparison), fontsize=8)
    if others:
        _draw_differences(bottom, comparison, others, styles)


def _panels(comparison: Curves) -> list[tuple[str, Metric]]:
    names = [clip.name for clip in comparison.clips]
    if len(names) > 1:
        return [(name, "psnr") for name in names[:_MAX_PANELS]]
    if any(point.ms_ssim is None for point in comparison.points):
        return [(names[0], "psnr")]
    return [(names[0], metric) for metric in METRICS]


def _styles(comparison: Curves) -> dict[str, _Style]:
    styles: dict[str, _Style] = {}
    models = others = 0
    for codec in comparison.codecs:
        if codec in comparison.ours:
            colour = _MODEL_COLOURS[models % len(_MODEL_COLOURS)]
            styles[codec] = _Style(colour, "o", 4.5, 2.2, 4, "bold")
            models += 1
        elif codec == comparison.anchor:
            styles[codec] = _Style(_ANCHOR_COLOUR, ".", 3.2, 1.2, 3)
        else:
            colour = _CODEC_COLOURS[others % len(_CODEC_COLOURS)]
            styles[codec] = _Style(colour, _MARKERS[others % len(_MARKERS)], 3.2, 1.1, 2)
            others += 1
    return styles


def _draw_curves(
    axes: Any, comparison: Curves, clip: str, metric: Metric, styles: dict[str, _Style]
) -> None:
    per_pixel = _is_per_pixel(comparison)
    for codec, style in styles.items():
        if curve := comparison.curve(clip, codec):
            rates = [point.bits_per_pixel if per_pixel else point.kbps for point in curve]
            axes.plot(rates, [point.decibels(metric) for point in curve], color=style.colour,
                      linewidth=style.width, marker=style.marker, markersize=style.size,
                      zorder=style.order, label=codec)
    axes.set_xscale("log")
    axes.set_title(clip, loc="left")
    axes.grid(color="#E4E4E4", linewidth=0.5)
    axes.set_axisbelow(True)
    _plain_ticks(axes)


def _plain_ticks(axes: Any) -> None:
    """Label rates as 50, 100, 200 instead of powers of ten, without overlaps."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_xlim()
    multiples = (1.0, 2.0, 5.0) if high / low < 30 else (1.0, 3.0) if high / low < 300 else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=multiples))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _label_curves(axes: Any, styles: dict[str, _Style], *, spacing: float) -> None:
    """Write names right of the axes at the ends of the curves, without overlaps."""
    low, high = axes.get_ylim()
    ends = sorted((line.get_ydata()[-1], line.get_label()) for line in axes.get_lines())
    heights = spread([(end - low) / (high - low) for end, _ in ends], spacing)
    for (_, codec), height in zip(ends, heights, strict=True):
        _annotate(axes, codec, (1.03, height), "axes fraction", styles[codec])


def _annotate(
    axes: Any, text: str, position: tuple[float, float], coordinates: Any, style: _Style
) -> None:
    """Write text right of the axes in a codec's style."""
    axes.annotate(text, position, xycoords=coordinates, color=style.colour, fontweight=style.weight,
                  verticalalignment="center", annotation_clip=False)


def spread(heights: list[float], spacing: float, ceiling: float = 1.0) -> list[float]:
    """Move increasing heights at least `spacing` apart, up to `ceiling`."""
    spread = list(heights)
    for i in range(1, len(spread)):
        spread[i] = max(spread[i], spread[i - 1] + spacing)
    for i in reversed(range(len(spread))):
        spread[i] = min(spread[i], ceiling)
        ceiling = spread[i] - spacing
    return spread


def _draw_differences(
    figure: Any, comparison: Curves, codecs: list[str], styles: dict[str, _Style]
) -> None:
    """Draw a dot per clip and a bar for the mean: bits at equal quality, as ratios."""
    both = figure.subplots(1, len(METRICS), sharex=True, sharey=True)
    for axes, metric in zip(both, METRICS, strict=True):
        for row, codec in enumerate(codecs):
            _draw_difference(axes, comparison, codec, metric, row, styles[codec])
        axes.axvline(1, color=_ANCHOR_COLOUR, linewidth=0.8, zorder=1)
        axes.set_xscale("log")
        axes.set_yticks(range(len(codecs)), codecs)
        axes.set_ylim(len(codecs) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        name = "PSNR" if metric == "psnr" else "MS-SSIM"
        axes.set_title(f"Bits at equal {name}, against {comparison.anchor}", loc="left")
    for axes in both:
        _percent_ticks(axes)
    for label, codec in zip(both[0].get_yticklabels(), codecs, strict=True):
        label.set(color=styles[codec].colour, fontweight=styles[codec].weight)


def _draw_difference(
    axes: Any, comparison: Curves, codec: str, metric: Metric, row: int, style: _Style
) -> None:
    percents = [comparison.difference(clip.name, codec, metric).percent
                for clip in comparison.clips]
    ratios = [1 + percent / 100 for percent in percents if percent is not None]
    mean = comparison.mean_difference(codec, metric)
    if mean is None:
        axes.text(1, row, " no common quality", verticalalignment="center", color="#888888")
        return
    if len(ratios) > 1:
        axes.plot(ratios, [row] * len(ratios), "o", color=style.colour, alpha=0.3, ms=4, mew=0)
    axes.plot([1 + mean / 100], [row], "|", color=style.colour, markersize=11, mew=2.4)
    _annotate(axes, _percent(mean), (1.02, row), ("axes fraction", "data"), style)


def _percent_ticks(axes: Any) -> None:
    """Set ticks at round percentages; 0 % is always visible."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = axes.get_xlim()
    low, high = min(low, 0.88), max(high, 1.12)
    axes.set_xlim(low, high)
    ticks: list[float] = []
    for ratio in _TICKS:
        gaps = (abs(math.log(ratio / tick)) for tick in ticks)
        if low <= ratio <= high and all(gap > 0.16 * math.log(high / low) for gap in gaps):
            ticks.append(ratio)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: _percent(100 * ratio - 100)))
    axes.grid(axis="x", color="#E4E4E4", linewidth=0.5)
    axes.set_axisbelow(True)


def _percent(value: float) -> str:
    rounded = round(value)
    return f"{rounded:+d} %".replace("-", "\N{MINUS SIGN}") if rounded else "0 %"


def _is_per_pixel(comparison: Curves) -> bool:
    return all(clip.n_frames == 1 for clip in comparison.clips)


def _rate_name(comparison: Curves) -> str:
    return "bits per pixel" if _is_per_pixel(comparison) else "kbit/s"
