"""Results of the arena as HTML: the player of all streams, and a table that sorts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, NamedTuple
from urllib.parse import quote

from aehub.report.arena_records import ArenaReport, Reconstruction
from aehub.ui.formatting import bytes_text, notes
from aehub.ui.results import line_chart, player

_CAPTION = (
    "Latents: numbers in a picture (R, G, B) to numbers in its latents. Flicker: PSNR of the "
    "changes from frame to frame; a low value flickers. Colour drift: mean error of R, G or B, the "
    "largest. Memory: of the server's process at its peak, above that with the model loaded, "
    "sampled. The file is the whole .aev, without sound.")


class Column(NamedTuple):
    """One column of the table.

    Attributes:
        title: in its heading.
        value: number to sort by; None is last.
        text: of a result, in the cell.
        best: min or max of `value` is the best, or None where neither is.
    """

    title: str
    value: Callable[[Reconstruction], float | None]
    text: Callable[[Reconstruction], str]
    best: Callable[..., Any] | None


def overview(report: ArenaReport, url: str) -> str:
    """Return the player of any two of the original and the reconstructions, and the picture.

    Args:
        report: the finished report.
        url: of its files, relative to the page.
    """
    labels = ["original", *(f"{one.model}, {bytes_text(one.bytes)}" for one in report.results)]
    streams = [(label, number * report.row_height) for number, label in enumerate(labels)]
    more = f'streams="{escape(json.dumps(streams))}"'
    size = report.width, report.height
    video = f"{url}/{quote(report.stacked.name)}"
    picture = escape(f"{url}/{quote(report.picture.name)}")
    return (f'<div class="ae-results">{player(video, size, report.times, more)}'
            f'<a class="ae-crops" href="{picture}" target="_blank"><img src="{picture}" alt="A '
            f'crop of the original and of each reconstruction"></a>{notes(_remarks(report))}</div>')


def _remarks(report: ArenaReport) -> list[str]:
    remarks = [f"{name} is missing: {reason}" for name, reason in report.failures.items()]
    remarks += [f"{one.model}: {note}" for one in report.results for note in one.notes]
    return [*remarks, *report.notes]


def figures(report: ArenaReport) -> str:
    """Return the table, the best value of each column marked, and the drift if it was requested."""
    columns = _columns(report)
    head = "".join(
        f'<th scope="col" data-ae-best="{column.best.__name__ if column.best else "min"}">'
        f'<button type="button">{escape(column.title)}</button></th>' for column in columns)
    cells = [_cells(column, report.results) for column in columns]
    body = "".join(
        f'<tr><th scope="row" data-ae-value="{number}"><button type="button" '
        f'data-ae-stream="{number + 1}" title="Show it right of the divider">{escape(one.model)}'
        f'</button></th>{"".join(column[number] for column in cells)}</tr>'
        for number, one in enumerate(report.results))
    return ('<div class="ae-results"><div class="ae-table ae-sortable"><table><thead><tr>'
            '<th scope="col" data-ae-best="min"><button type="button">Model</button></th>'
            f"{head}</tr></thead><tbody>{body}</tbody></table></div><p>{escape(_CAPTION)}</p>"
            f"{_drift_chart(report)}</div>")


def _drift_chart(report: ArenaReport) -> str:
    lines = {one.model: list(enumerate(one.drift, 1)) for one in report.results if one.drift}
    if not lines:
        return ""
    passes = max(map(len, lines.values()))
    spoken = "; ".join(f"{name} {line[0][1]:.1f} to {line[-1][1]:.1f} dB"
                       for name, line in lines.items())
    return line_chart(lines, (), "PSNR, dB, after each encode-decode pass",
                      [(number, f"{number}") for number in range(1, passes + 1)], spoken)


def _columns(report: ArenaReport) -> list[Column]:
    # Files of equal bytes have no best one.
    least = min if report.target_size is None else None
    columns = [
        Column("File", lambda one: one.bytes, lambda one: bytes_text(one.bytes), least),
        Column("Bits a\u00a0pixel", lambda one: one.bits_per_pixel,
               lambda one: f"{one.bits_per_pixel:.3f}", least),
        Column("Latents", lambda one: one.latent_ratio, lambda one: f"{one.latent_ratio:.3g}:1",
               max),
        Column("PSNR, dB", lambda one: one.psnr, lambda one: f"{one.psnr:.2f}", max),
        Column("MS-SSIM", lambda one: one.ms_ssim, lambda one: _number(one.ms_ssim, 4), max),
        Column("Flicker, dB", lambda one: one.flicker_psnr,
               lambda one: _number(one.flicker_psnr, 2), max),
        Column("First frame, dB", lambda one: one.first_psnr,
               lambda one: f"{one.first_psnr:.2f}", max),
        Column("Colour drift", lambda one: abs(one.colour_drift), _colour, min),
        Column("Encodes, s/frame", lambda one: one.encode_seconds,
               lambda one: f"{one.encode_seconds:.3f}", min),
        Column("Decodes, s/frame", lambda one: one.decode_seconds,
               lambda one: f"{one.decode_seconds:.3f}", min),
        Column("Memory", lambda one: one.memory_bytes,
               lambda one: "–" if one.memory_bytes is None else bytes_text(one.memory_bytes), min),
    ]
    passes = max((len(one.drift) for one in report.results), default=0)
    if passes:
        columns.insert(8, Column(f"After {passes} passes, dB", lambda one: one.drift_psnr,
                                 lambda one: _number(one.drift_psnr, 2), max))
    return columns


def _cells(column: Column, results: Sequence[Reconstruction]) -> list[str]:
    """Return a column's cells; all that read like the best value are marked."""
    values = [(value, column.text(one)) for one in results
              if (value := column.value(one)) is not None]
    best = column.best(values)[1] if column.best and values and len(results) > 1 else None
    cells = []
    for one in results:
        value, text = column.value(one), column.text(one)
        sorted_by = "" if value is None else f' data-ae-value="{value:.9g}"'
        shown = f"<strong>{escape(text)}</strong>" if text == best else escape(text)
        cells.append(f"<td{sorted_by}>{shown}</td>")
    return cells


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _colour(one: Reconstruction) -> str:
    channel = "RGB"[one.colour_errors.index(one.colour_drift)]
    return f"{one.colour_drift:+.2f} {channel}".replace("-", "−")
