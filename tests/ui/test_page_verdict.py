"""Verdicts against x264 and AV1 at the same bytes; reports stored as records."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from aehub.measure.comparison import Comparison
from aehub.measure.points import ClipShape, Point
from aehub.report.records import Baseline, CompressionReport, Playback
from aehub.results import Compressed
from aehub.ui import compare, results
from aehub.ui.results import REASON, REASON_FOR_FILES, psnr_gap, verdict

BYTES = 10_000


def report_with(*baselines: Baseline, ms_ssim: float | None = 0.99) -> CompressionReport:
    """A finished report of 40 dB in 10 kB with these baselines."""
    made = Compressed("clip.aev", "d4-codec", BYTES, 0, 2, 64, 48, "25/1", 0.08, 1000.0, 13.0, 2.0,
                      None, None, 0.5, 50.0)
    playback = Playback(64, 48, 64, (0.0, 0.04), 0.08, False, 40.0, ms_ssim, (39.0, 41.0),
                        (9000, 900))
    return CompressionReport(20_000, False, Path("clip.original.mkv"), Path("stacked.mp4"),
                             Path("clip.aehub.mp4"), made, playback, baselines, {"compress": 0.5},
                             ("a note",))


def x264(psnr: float, size: int = BYTES, ms_ssim: float | None = 0.99) -> Baseline:
    return Baseline("x264-medium", 23.0, size, psnr, ms_ssim, 1.0, 3)


def av1(psnr: float, size: int = BYTES, ms_ssim: float | None = 0.99) -> Baseline:
    return replace(x264(psnr, size, ms_ssim), codec="svtav1-6")


def words(report: CompressionReport) -> str:
    return re.sub(r"<[^>]*>", "", verdict(report)).strip()


def test_where_another_codec_is_better_the_page_says_by_how_much_and_gives_one_reason() -> None:
    told = words(report_with(av1(43.6)))
    assert told == f"AV1 is 3.6 dB better at these bytes. {REASON}"
    for edit in ("turned", "flipped", "trimmed", "joined", "reversed", "walked", "without loss"):
        assert edit in REASON
    told = words(report_with(x264(38.8), av1(41.2)))
    assert told == ("AEHub is 1.2 dB better than x264 at these bytes. "
                    f"AV1 is 1.2 dB better at these bytes. {REASON}")


def test_where_aehub_is_better_the_page_says_so_and_gives_no_reason() -> None:
    told = words(report_with(x264(37.9), av1(39.0, ms_ssim=0.98)))
    assert told == ("AEHub is 2.1 dB better than x264 at these bytes. "
                    "AEHub is 1.0 dB better than AV1 at these bytes.")
    assert words(report_with(x264(40.04))) == "x264 and AEHub are level at these bytes."
    assert verdict(report_with()) == ""


@pytest.mark.parametrize(("baseline", "said", "with_reason"), [
    (x264(39.0, ms_ssim=0.995), "AEHub is 1.0 dB better than x264 at these bytes; by MS-SSIM x264 "
     "is closer.", True),
    (x264(41.0, ms_ssim=0.98), "x264 is 1.0 dB better at these bytes; by MS-SSIM AEHub is closer.",
     True),
    (x264(40.0, ms_ssim=0.98), "x264 and AEHub are level at these bytes; by MS-SSIM AEHub is "
     "closer.", False),
    (x264(41.0, ms_ssim=0.995), "x264 is 1.0 dB better at these bytes.", True),
    (x264(39.0, ms_ssim=None), "AEHub is 1.0 dB better than x264 at these bytes.", False),
])
def test_two_metrics_that_disagree_are_both_named(
    baseline: Baseline, said: str, with_reason: bool
) -> None:
    assert words(report_with(baseline)) == said + (f" {REASON}" if with_reason else "")


@pytest.mark.parametrize(("size", "said"), [
    (9000, "where its file is 10 % smaller"), (15_000, "where its file is 50 % larger"),
    (10_300, "at these bytes"),
])
def test_files_of_another_size_are_not_called_equal(size: int, said: str) -> None:
    assert said in words(report_with(av1(43.0, size)))


def test_each_row_of_the_table_gives_the_psnr_gap() -> None:
    report = report_with(x264(38.8), av1(43.6))
    assert [psnr_gap(report, n) for n in report.baselines] == ["1.2 dB worse", "3.6 dB better"]
    drawn = results.figures(report)
    assert "<td>1.2 dB worse</td>" in drawn and "<td>3.6 dB better</td>" in drawn
    assert "3.6 dB better at these bytes" in results.overview(report, "ae/jobs/x", 1.0)


@pytest.mark.parametrize(("kilobytes", "said", "with_reason"), [
    (2.0, "x264-medium and svtav1-6 need fewer bits than d4-codec for the same PSNR.", True),
    (0.9, "svtav1-6 needs fewer bits than d4-codec for the same PSNR. "
     "d4-codec needs fewer bits than x264-medium for the same PSNR.", True),
    (0.5, "d4-codec needs fewer bits than x264-medium and svtav1-6 for the same PSNR.", False),
])
def test_curves_are_summed_up_in_words(kilobytes: float, said: str, with_reason: bool) -> None:
    factors = {"d4-codec": kilobytes, "x264-medium": 1.0, "svtav1-6": 0.8}
    points = tuple(
        Point("clip", codec, n, round(1000 * n * factor), n / 10, 8.0, 30.0 + n, None, 0.1, 0.1)
        for codec, factor in factors.items() for n in (1, 2, 3, 4))
    drawn = compare.page(Comparison("x264-medium", (ClipShape("clip", 64, 48, 4, Fraction(25)),),
                                    dict.fromkeys(factors, ""), points, ("d4-codec",)))
    assert f"<b>{said}</b>" in drawn
    assert (REASON_FOR_FILES in drawn) == with_reason and REASON not in drawn


def test_a_report_comes_back_from_its_record(tmp_path: Path) -> None:
    report = report_with(x264(38.8))
    told = json.loads(json.dumps(report.record()))
    back = CompressionReport.from_record(told, tmp_path)
    assert back.stacked == tmp_path / "stacked.mp4"
    assert back.compressed.path == str(tmp_path / "clip.aev")
    assert back.playback == report.playback and back.baselines == report.baselines
    assert back.record() == report.record()
    assert str(tmp_path) not in json.dumps(back.record())
