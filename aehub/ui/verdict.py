"""A result beside other codecs at the same number of bytes, in words: ahead, level or behind."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

from aehub.metrics import ms_ssim_db
from aehub.review.records import Neighbour, Study

if TYPE_CHECKING:
    from aehub.compare import Comparison

LEVEL = 0.1
"""Differences below this many dB are called none; nobody sees them."""
SAME_BYTES = 0.05
"""Files that differ less than this share in size are called equally large."""
NAMES = {"x264-medium": "x264", "svtav1-6": "AV1"}
_EDITS = "can be turned, flipped, trimmed, joined, reversed and walked through without loss."
REASON = f"One reason to use this file all the same: it {_EDITS}"
REASON_FOR_FILES = f"One reason to use its files all the same: they {_EDITS}"


def verdict(study: Study) -> str:
    """Say which codec is better at these bytes, and what else our file is good for; HTML."""
    if not study.neighbours:
        return ""
    told = [_sentence(study, neighbour) for neighbour in study.neighbours]
    behind = any(max(_leads(study, neighbour)) > 0 for neighbour in study.neighbours)
    return _paragraph(told, REASON if behind else "")


def beside(study: Study, neighbour: Neighbour) -> str:
    """A neighbour's quality against ours: "3.6 dB better", "0.4 dB worse", "level"."""
    lead, _ = _leads(study, neighbour)
    return f"{abs(lead):.1f} dB {'better' if lead > 0 else 'worse'}" if lead else "level"


def of_comparison(comparison: Comparison) -> str:
    """The same for whole curves: which codecs need fewer bits than ours; HTML."""
    percents = {codec: 0.0 if codec == comparison.anchor else comparison.mean_difference(codec)
                for codec in comparison.codecs}
    known = {codec: percent for codec, percent in percents.items() if percent is not None}
    told, reason = [], ""
    for ours in [codec for codec in comparison.ours if codec in known]:
        fewer = [codec for codec, percent in known.items() if percent < known[ours]]
        more = [codec for codec, percent in known.items() if percent > known[ours]]
        if fewer:
            need = "need" if fewer[1:] else "needs"
            told.append(f"{_listed(fewer)} {need} fewer bits than {ours} for the same PSNR.")
            reason = REASON_FOR_FILES
        if more:
            told.append(f"{ours} needs fewer bits than {_listed(more)} for the same PSNR.")
    return _paragraph(told, reason) if told else ""


def _sentence(study: Study, neighbour: Neighbour) -> str:
    name, size = NAMES.get(neighbour.codec, neighbour.codec), _size(study, neighbour)
    lead, similar = _leads(study, neighbour)
    if not lead:
        words = f"{name} and AEHub are level {size}"
    elif lead > 0:
        words = f"{name} is {lead:.1f} dB better {size}"
    else:
        words = f"AEHub is {-lead:.1f} dB better than {name} {size}"
    if similar and similar * lead <= 0:
        words += f"; by MS-SSIM {name if similar > 0 else 'AEHub'} is closer"
    return words + "."


def _size(study: Study, neighbour: Neighbour) -> str:
    """At which bytes; settings of other codecs do not reach every size."""
    more = neighbour.bytes / (study.compressed.bytes - study.compressed.audio_bytes) - 1
    if abs(more) < SAME_BYTES:
        return "at these bytes"
    return f"where its file is {100 * abs(more):.0f} % {'larger' if more > 0 else 'smaller'}"


def _leads(study: Study, neighbour: Neighbour) -> tuple[float, float]:
    """By how many dB a neighbour is better in PSNR and in MS-SSIM (of its error); 0 if level."""
    ours = study.replay
    leads = [neighbour.psnr - ours.psnr, 0.0]
    if neighbour.ms_ssim is not None and ours.ms_ssim is not None:
        leads[1] = ms_ssim_db(neighbour.ms_ssim) - ms_ssim_db(ours.ms_ssim)
    psnr, similar = (lead if abs(lead) >= LEVEL else 0.0 for lead in leads)
    return psnr, similar


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _paragraph(sentences: Iterable[str], reason: str) -> str:
    first = escape(" ".join(sentences))
    return f'<p class="ae-verdict"><b>{first}</b> {escape(reason)}</p>'
