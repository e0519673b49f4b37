"""A finished job as HTML: the wipe player, the figures, the curves."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from aehub.review.records import Neighbour, Study
from aehub.ui.chart import over_time
from aehub.ui.verdict import beside, verdict
from aehub.ui.words import bytes_text, notes, rate_text, table, tiles
from aehub.words import count_text

_NAMES = {"x264-medium": "H.264 (x264 medium)", "svtav1-6": "AV1 (SVT-AV1 6)"}


def overview(study: Study, place: str, elapsed: float) -> str:
    """The player, the comparison at the same bytes, and the numbers that matter most.

    Args:
        study: the finished study.
        place: address of its files, relative to the page.
        elapsed: seconds it took as the visitor felt it.
    """
    speed = study.compressed.frames / study.compressed.elapsed
    time = ("Time", f"{elapsed:.1f} s", f"{speed:.0f} frames/s to compress")
    return shown(study, player(study, place), time)


def shown(
    study: Study, above: str, last: tuple[str, str, str], *, kind: str = ""
) -> str:
    """What every finished study shows.

    Args:
        study: the finished study.
        above: HTML of its player.
        last: label, value and note of the last tile.
        kind: what is to be said of the original.
    """
    numbers = tiles([*_tiles(study, kind), last])
    return f'<div class="ae-results">{above}{verdict(study)}{numbers}{notes(study.notes)}</div>'


def figures(study: Study) -> str:
    """The neighbours at the same size, and the curves over time."""
    return (f'<div class="ae-results">{_neighbours(study)}'
            f"<section><h3>Over time</h3>{over_time(study.replay)}</section></div>")


def player(study: Study, place: str, *, more: str = "") -> str:
    """The wipe player of a study; `more` are further attributes of it."""
    replay = study.replay
    more += " sound" if replay.has_sound else ""
    label = f"AEHub, {bytes_text(study.compressed.bytes)}"
    return (f'<aehub-wipe src="{place}/{study.stacked.name}" width="{replay.width}" '
            f'height="{replay.height}" half="{replay.half}" stills="{place}" '
            f'label="{escape(label)}" times="{escape(json.dumps(replay.times))}"{more}>'
            "</aehub-wipe>")


def _tiles(study: Study, kind: str) -> list[tuple[str, str, str]]:
    made, facts = study.compressed, study.to_json()
    ratio = ("–", "only a part was used") if facts["ratio"] is None else (
        f"{facts['ratio']:.1f}×", "smaller" if facts["ratio"] >= 1 else "it grew")
    similar = "–" if facts["ms_ssim"] is None else f"{facts['ms_ssim']:.4f}"
    sound = f"{bytes_text(made.audio_bytes)} of it sound" if made.audio_bytes else "all of it"
    raw = made.width * made.height * 1.5 * made.frames
    return [
        ("Original", bytes_text(study.source_bytes), f"{kind} raw {bytes_text(raw)}".strip()),
        (".aev file", bytes_text(made.bytes), sound),
        ("Ratio", *ratio),
        ("Rate", f"{made.kbps:.0f} kbit/s", f"{made.bits_per_pixel:.3f} bits a pixel"),
        ("PSNR", f"{facts['psnr']:.2f} dB", f"quality {made.quality:g}"),
        ("MS-SSIM", similar, "below 176 px" if facts["ms_ssim"] is None else "1 is identical"),
        ("Picture", f"{made.width}×{made.height}",
         f"{count_text(made.frames, 'frame')}, {rate_text(made.fps)}/s"),
    ]


def _neighbours(study: Study) -> str:
    if not study.neighbours:
        return ""
    made, replay = study.compressed, study.replay
    pictures = made.bytes - made.audio_bytes
    rows = [_row(f"AEHub ({made.model})", f"quality {made.quality:g}", pictures, replay.psnr,
                 replay.ms_ssim, "")]
    rows += [_of(study, neighbour) for neighbour in study.neighbours]
    caption = ("Bytes without sound: the whole .aev against bare streams. Each neighbour's setting "
               "was searched for the same number of bytes.")
    head = ["Codec", "Setting", "Bytes", "PSNR", "MS-SSIM", "Beside AEHub"]
    return ("<section><h3>Neighbours at the same size</h3>"
            f"{table(head, rows, caption=caption, mark=0)}</section>")


def _of(study: Study, neighbour: Neighbour) -> list[str]:
    return _row(_NAMES.get(neighbour.codec, neighbour.codec), f"crf {neighbour.crf:g}",
                neighbour.bytes, neighbour.psnr, neighbour.ms_ssim, beside(study, neighbour))


def _row(name: str, setting: str, size: int, psnr: float, similar: Any, words: str) -> list[str]:
    return [name, setting, bytes_text(size), f"{psnr:.2f} dB",
            "–" if similar is None else f"{similar:.4f}", words]
