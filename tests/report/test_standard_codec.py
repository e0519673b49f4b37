"""A file around a standard codec beside that codec at equal bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from aehub.config import DEFAULT_CODEC
from aehub.report.compression import iter_report
from aehub.report.records import CompressionReport
from aehub.results import run_job
from aehub.ui import results
from aehub.ui.results import REASON
from material import moving_picture, write_clip
from sandwich_files import random_sandwich


def report_of(model: str, effort: int, folder: Path) -> CompressionReport:
    clip = write_clip(folder / "clip.mkv", moving_picture(6, 96, 64))
    out = folder / "out"
    out.mkdir()
    return run_job(iter_report(clip, out, model=model, effort=effort), None)


@pytest.mark.parametrize(("effort", "preset"), [(0, 10), (5, 6)])
def test_av1_beside_a_file_has_the_preset_that_is_inside_it(
    effort: int, preset: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_sandwich(tmp_path / "tiny-sandwich")
    monkeypatch.setenv("AEHUB_WEIGHTS", str(model))
    report = report_of(model.name, effort, tmp_path)
    assert [one.codec for one in report.baselines] == ["x264-medium", f"svtav1-{preset}"]
    assert f"AV1 (SVT-AV1 preset {preset}, as inside the .aev)" in results.figures(report)
    assert "H.264 (x264 medium)" in results.figures(report)
    # Its file is not turned and walked through without loss.
    assert not report.is_editable and REASON not in results.verdict(report)
    again = CompressionReport.from_record(report.record(), tmp_path / "out")
    assert again.standard == report.standard == f"svtav1-{preset}" and not again.is_editable


def test_av1_beside_a_file_without_it_has_the_usual_preset(tmp_path: Path) -> None:
    report = report_of(DEFAULT_CODEC, 0, tmp_path)
    assert report.baselines[1].codec == "svtav1-6" and report.is_editable
    drawn = results.figures(report)
    assert "AV1 (SVT-AV1 preset 6)" in drawn and "inside" not in drawn
