"""Results as HTML: the wipe player, numbers, curves as SVG, and the verdict on other codecs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from aehub.errors import count_text
from aehub.measure import Comparison
from aehub.measure.plot import spread
from aehub.media.metrics import ms_ssim_db
from aehub.report.records import Baseline, CompressionReport, Playback
from aehub.ui.formatting import bytes_text, notes, rate_text, table, tiles

NEGLIGIBLE_DB = 0.1
"""Differences below this are called level; nobody sees them."""
SAME_SIZE_SHARE = 0.05
"""Files whose sizes differ by less than this share are called equally large."""
_EDITS = "can be turned, flipped, trimmed, joined, reversed and walked through without loss."
REASON = f"One reason to use this file all the same: it {_EDITS}"
REASON_FOR_FILES = f"One reason to use its files all the same: they {_EDITS}"
_AV1 = "svtav1-"
"""Beginning of the names of AV1, before the preset."""
# Of all charts, in units of their SVG: width, and margin on the left.
_WIDTH, _LEFT = 720, 52
# Of curves over time.
_TOP, _HEIGHT = 8, 92
# Of rate-distortion curves: room for names on the right, height, foot, distance of names.
_CODEC_NAMES, _RD_HEIGHT, _FOOT, _NAME_DISTANCE = 112, 340, 32, 18.0
_RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Bits per pixel with a grid line."""


def overview(report: CompressionReport, url: str, elapsed: float) -> str:
    """Return the player, the verdict at equal bytes, and the main numbers.

    Args:
        report: the finished report.
        url: of its files, relative to the page.
        elapsed: seconds from the click to the result.
    """
    speed = report.compressed.frames / report.compressed.elapsed
    time = ("Time", f"{elapsed:.1f} s", f"{speed:.0f} frames/s to compress")
    return report_html(report, wipe_player(report, url), time)


def report_html(
    report: CompressionReport, above: str, last: tuple[str, str, str], *, kind: str = ""
) -> str:
    """Return the parts that every finished report has.

    Args:
        report: the finished report.
        above: HTML of the player.
        last: label, value and note of the last tile.
        kind: remark on the original.
    """
    numbers = tiles([*_tiles(report, kind), last])
    return f'<div class="ae-results">{above}{verdict(report)}{numbers}{notes(report.notes)}</div>'


def figures(report: CompressionReport) -> str:
    """Return the table of other codecs at the same size, and the curves over time."""
    return (f'<div class="ae-results">{_baselines_table(report)}'
            f"<section><h3>Over time</h3>{time_curves(report.playback)}</section></div>")


def wipe_player(report: CompressionReport, url: str, *, more: str = "") -> str:
    """Return the wipe player of a report; `more` are further HTML attributes."""
    playback = report.playback
    more += " sound" if playback.has_sound else ""
    label = escape(f"AEHub, {bytes_text(report.compressed.bytes)}")
    more += f' half="{playback.half}" stills="{url}" label="{label}"'
    return player(f"{url}/{report.stacked.name}", (playback.width, playback.height),
                  playback.times, more)


def player(src: str, size: tuple[int, int], times: Sequence[float], more: str) -> str:
    """Return the wipe player of a video of stacked pictures.

    Args:
        src: URL of the video.
        size: (width, height) of one picture.
        times: of the frames, in seconds.
        more: further HTML attributes; see `wipe.js`.
    """
    return (f'<aehub-wipe src="{escape(src)}" width="{size[0]}" height="{size[1]}" '
            f'times="{escape(json.dumps(times))}" {more}></aehub-wipe>')


def _tiles(report: CompressionReport, kind: str) -> list[tuple[str, str, str]]:
    made, facts = report.compressed, report.to_json()
    ratio = ("–", "only a part was used") if facts["ratio"] is None else (
        f"{facts['ratio']:.1f}×", "smaller" if facts["ratio"] >= 1 else "it grew")
    similar = "–" if facts["ms_ssim"] is None else f"{facts['ms_ssim']:.4f}"
    sound = f"{bytes_text(made.audio_bytes)} of it sound" if made.audio_bytes else "all of it"
    raw = made.width * made.height * 1.5 * made.frames
    return [
        ("Original", bytes_text(report.source_bytes), f"{kind} raw {bytes_text(raw)}".strip()),
        (".aev file", bytes_text(made.bytes), sound),
        ("Ratio", *ratio),
        ("Rate", f"{made.kbps:.0f} kbit/s", f"{made.bits_per_pixel:.3f} bits a pixel"),
        ("PSNR", f"{facts['psnr']:.2f} dB", f"quality {made.quality:g}"),
        ("MS-SSIM", similar, "below 176 px" if facts["ms_ssim"] is None else "1 is identical"),
        ("Picture", f"{made.width}×{made.height}",
         f"{count_text(made.frames, 'frame')}, {rate_text(made.fps)}/s"),
    ]


def _baselines_table(report: CompressionReport) -> str:
    if not report.baselines:
        return ""
    made, playback = report.compressed, report.playback
    pictures = made.bytes - made.audio_bytes
    rows = [_row(f"AEHub ({made.model})", f"quality {made.quality:g}", pictures, playback.psnr,
                 playback.ms_ssim, "")]
    rows += [_baseline_row(report, baseline) for baseline in report.baselines]
    caption = ("Bytes without sound: the whole .aev against bare streams. The setting of each "
               "codec was searched for the same number of bytes.")
    head = ["Codec", "Setting", "Bytes", "PSNR", "MS-SSIM", "Against AEHub"]
    return ("<section><h3>Other codecs at the same size</h3>"
            f"{table(head, rows, caption=caption, mark=0)}</section>")


def _baseline_row(report: CompressionReport, baseline: Baseline) -> list[str]:
    inside = ", as inside the .aev" if baseline.codec == report.standard else ""
    return _row(_full_name(baseline.codec, inside), f"crf {baseline.crf:g}",
                baseline.bytes, baseline.psnr, baseline.ms_ssim, psnr_gap(report, baseline))


def _row(name: str, setting: str, size: int, psnr: float, similar: Any, words: str) -> list[str]:
    return [name, setting, bytes_text(size), f"{psnr:.2f} dB",
            "–" if similar is None else f"{similar:.4f}", words]


def _codec_name(codec: str) -> str:
    return "AV1" if codec.startswith(_AV1) else codec.removesuffix("-medium")


def _full_name(codec: str, more: str = "") -> str:
    if codec.startswith(_AV1):
        return f"AV1 (SVT-AV1 preset {codec.removeprefix(_AV1)}{more})"
    return f"H.264 (x264 {codec.removeprefix('x264-')})" if codec.startswith("x264-") else codec


def verdict(report: CompressionReport) -> str:
    """Return in words which codec is better at these bytes; if another is, a reason for `.aev`."""
    if not report.baselines:
        return ""
    sentences = [_sentence(report, baseline) for baseline in report.baselines]
    behind = any(max(_quality_leads(report, baseline)) > 0 for baseline in report.baselines)
    return _paragraph(sentences, REASON if behind and report.is_editable else "")


def psnr_gap(report: CompressionReport, baseline: Baseline) -> str:
    """Return the quality of a baseline: "3.6 dB better", "0.4 dB worse", "level"."""
    lead, _ = _quality_leads(report, baseline)
    return f"{abs(lead):.1f} dB {'better' if lead > 0 else 'worse'}" if lead else "level"


def comparison_verdict(comparison: Comparison) -> str:
    """Return in words which codecs need fewer bits than this package's models; HTML."""
    percents = {codec: 0.0 if codec == comparison.anchor else comparison.mean_difference(codec)
                for codec in comparison.codecs}
    measured = {codec: percent for codec, percent in percents.items() if percent is not None}
    sentences, reason = [], ""
    for model in [codec for codec in comparison.ours if codec in measured]:
        fewer = [codec for codec, percent in measured.items() if percent < measured[model]]
        more = [codec for codec, percent in measured.items() if percent > measured[model]]
        if fewer:
            need = "need" if fewer[1:] else "needs"
            sentences.append(f"{_join_names(fewer)} {need} fewer bits than {model} for the same "
                             "PSNR.")
            reason = REASON_FOR_FILES
        if more:
            sentences.append(f"{model} needs fewer bits than {_join_names(more)} for the same "
                             "PSNR.")
    return _paragraph(sentences, reason) if sentences else ""


def _sentence(report: CompressionReport, baseline: Baseline) -> str:
    name, size = _codec_name(baseline.codec), _size_phrase(report, baseline)
    lead, similar = _quality_leads(report, baseline)
    if not lead:
        words = f"{name} and AEHub are level {size}"
    elif lead > 0:
        words = f"{name} is {lead:.1f} dB better {size}"
    else:
        words = f"AEHub is {-lead:.1f} dB better than {name} {size}"
    if similar and similar * lead <= 0:
        words += f"; by MS-SSIM {name if similar > 0 else 'AEHub'} is closer"
    return words + "."


def _size_phrase(report: CompressionReport, baseline: Baseline) -> str:
    """Return the size of a baseline in words; CRF values do not reach every size."""
    more = baseline.bytes / (report.compressed.bytes - report.compressed.audio_bytes) - 1
    if abs(more) < SAME_SIZE_SHARE:
        return "at these bytes"
    return f"where its file is {100 * abs(more):.0f} % {'larger' if more > 0 else 'smaller'}"


def _quality_leads(report: CompressionReport, baseline: Baseline) -> tuple[float, float]:
    """Return the dB by which a baseline leads in PSNR and in -10 lg(1 - MS-SSIM), 0 if level."""
    model = report.playback
    leads = [baseline.psnr - model.psnr, 0.0]
    if baseline.ms_ssim is not None and model.ms_ssim is not None:
        leads[1] = ms_ssim_db(baseline.ms_ssim) - ms_ssim_db(model.ms_ssim)
    psnr, similar = (lead if abs(lead) >= NEGLIGIBLE_DB else 0.0 for lead in leads)
    return psnr, similar


def _join_names(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _paragraph(sentences: Iterable[str], reason: str) -> str:
    first = escape(" ".join(sentences))
    return f'<p class="ae-verdict"><b>{first}</b> {escape(reason)}</p>'


def time_curves(playback: Playback) -> str:
    """Draw the bits and the PSNR of every frame, and the current time."""
    n = len(playback.times)
    kilobits = [8 * size / 1000 for size in playback.frame_bytes]
    spans = [f"{min(values):.1f} to {max(values):.1f} {unit}" for values, unit in
             ((kilobits, "kilobits a frame"), (playback.frame_psnrs, "dB"))]
    return (f'<figure class="ae-chart" data-ae-frames="{n}" role="img" '
            f'aria-label="Over {n} frames: {"; ".join(spans)}.">'
            f'{_step_plot(kilobits, "kilobits of each frame")}'
            f'{_line_plot(playback.frame_psnrs, "PSNR of each frame, dB")}</figure>')


def rd_curves(comparison: Comparison) -> str:
    """Draw PSNR over bits per pixel on a logarithmic scale; names stand at the curves."""
    clip = comparison.clips[0].name
    lines = {codec: [(math.log(p.bits_per_pixel), p.psnr) for p in curve]
             for codec in comparison.codecs if (curve := comparison.curve(clip, codec))}
    ends = {codec: (math.exp(line[0][0]), line[0][1], math.exp(line[-1][0]), line[-1][1])
            for codec, line in lines.items()}
    spoken = "; ".join(f"{codec} {low:.1f} dB at {few:.2f} to {high:.1f} dB at {many:.2f}"
                       for codec, (few, low, many, high) in ends.items())
    return line_chart(lines, comparison.ours, "PSNR, dB, over bits a pixel",
                      [(math.log(rate), f"{rate:g}") for rate in _RATES], spoken)


def line_chart(lines: Mapping[str, Sequence[tuple[float, float]]], strong: Collection[str],
               title: str, ticks: Iterable[tuple[float, str]], spoken: str) -> str:
    """Draw curves of decibels; names stand at their ends.

    Args:
        lines: name -> points (x, dB), in the order of x.
        strong: names to emphasise.
        title: of the chart.
        ticks: x and text of grid lines; those outside the curves are left out.
        spoken: the curves in words.
    """
    xs, decibels = zip(*(point for line in lines.values() for point in line), strict=True)
    low, high, right = math.floor(min(decibels)), math.ceil(max(decibels)), _WIDTH - _CODEC_NAMES
    across = _scale(min(xs), max(xs), _LEFT, right)
    up, spacing = _scale(low, high, _TOP + _RD_HEIGHT, _TOP), 5 if high - low > 8 else 1
    drawn = "".join(_y_grid_line(up(value), f"{value}", right) for value in range(low, high + 1)
                    if value % spacing == 0)
    drawn += "".join(_x_grid_line(across(x), text) for x, text in ticks if min(xs) <= x <= max(xs))
    ends = sorted((-up(line[-1][1]), name) for name, line in lines.items())
    heights = spread([end for end, _ in ends], _NAME_DISTANCE, -_TOP)
    names = {name: -height for (_, name), height in zip(ends, heights, strict=True)}
    for number, (name, line) in enumerate(lines.items()):
        kind = "model" if name in strong else f"baseline r{number % 4}"
        points = [(across(x), up(value)) for x, value in line]
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in points)
        drawn += (f'<g class="{kind}"><path class="line" d="{_path(points)}"/>{dots}<text '
                  f'x="{points[-1][0] + 12:.1f}" y="{names[name] + 4:.1f}">{escape(name)}</text>'
                  "</g>")
    return (f'<figure class="ae-chart ae-curves" role="img" aria-label="{escape(title)}: '
            f'{escape(spoken)}.">{_panel(title, _RD_HEIGHT + _FOOT, drawn)}</figure>')


def _step_plot(values: Sequence[float], title: str) -> str:
    up = _scale(0, 1.08 * max(values), _TOP + _HEIGHT, _TOP)
    ends = [(_time(index + end, values), up(value)) for index, value in enumerate(values)
            for end in (0, 1)]
    fill = f'<path class="fill" d="{_path(ends)}V{_TOP + _HEIGHT}H{_LEFT}Z"/>'
    return _curve(title, (0.0, max(values)), up, fill, ends)


def _line_plot(values: Sequence[float], title: str) -> str:
    low, high = min(values), max(values)
    # A flat curve is drawn in the middle of its panel instead of enlarging its noise.
    if high - low < 2:
        low, high = (low + high) / 2 - 1, (low + high) / 2 + 1
    up = _scale(low, high, _TOP + _HEIGHT, _TOP)
    middles = [(_time(index + 0.5, values), up(value)) for index, value in enumerate(values)]
    return _curve(title, (low, high), up, "", middles)


def _time(frame: float, values: Sequence[float]) -> float:
    return _LEFT + (_WIDTH - _LEFT) * frame / len(values)


def _curve(title: str, ticks: Iterable[float], up: Callable[[float], float], below: str,
           points: Iterable[tuple[float, float]]) -> str:
    height = _HEIGHT + 2 * _TOP
    levels = "".join(_y_grid_line(up(value), f"{value:.3g}", _WIDTH) for value in ticks)
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


def _y_grid_line(y: float, label: str, right: float) -> str:
    return (f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text><line '
            f'class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')


def _x_grid_line(x: float, label: str) -> str:
    return (f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_TOP + _RD_HEIGHT}"/>'
            f'<text x="{x:.1f}" y="{_TOP + _RD_HEIGHT + 20}" text-anchor="middle">{label}</text>')
