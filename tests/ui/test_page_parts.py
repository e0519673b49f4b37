"""Pieces of the page that need no server."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

import gradio as gr
import pytest
from openings import openings

import aehub
from aehub.errors import InputError
from aehub.measure.comparison import Comparison
from aehub.measure.points import ClipShape, Point
from aehub.media.timestamps import TimeSpan
from aehub.report.records import CompressionReport, Playback
from aehub.ui import formatting, throughput
from aehub.ui.compress import _checker
from aehub.ui.errors import errors_shown
from aehub.ui.limits import Context, PageLimits
from aehub.ui.models import snippet
from aehub.ui.page import css, head, theme
from aehub.ui.page_jobs import PageJobs
from aehub.ui.result_folders import ResultFolders
from aehub.ui.results import rd_curves, time_curves
from aehub.ui.uploads import (
    SIZES,
    check_files,
    check_value,
    forecast_handler,
    longest_side,
    trim_of,
    upload_handler,
)
from aehub.ui.zero_gpu import gpu
from material import moving_picture, write_clip


def test_limits_come_from_the_environment() -> None:
    given = PageLimits.from_env({"AEHUB_MAX_SECONDS": "7.5", "AEHUB_MAX_PIXELS": "1000000",
                                 "AEHUB_MAX_UPLOAD_MB": "30", "AEHUB_KEEP_MINUTES": "5",
                                 "AEHUB_MAX_JOBS": "3", "AEHUB_MAX_MEMORY_MB": "900"})
    assert (given.jobs, given.memory_mb) == (3, 900)
    assert (given.seconds, given.pixels, given.upload_mb) == (7.5, 1_000_000, 30)
    assert given.clip.max_seconds == 7.5 and given.picture.max_seconds is None
    for number in ("7.5 s", "1.0 megapixels", "30 MB", "5 minutes"):
        assert number in given.summary
    assert PageLimits.from_env({}) == PageLimits()
    with pytest.raises(InputError, match="AEHUB_MAX_UPLOAD_MB is '-3'"):
        PageLimits.from_env({"AEHUB_MAX_UPLOAD_MB": "-3"})


@pytest.mark.parametrize("entry", aehub.list_models(states=["bundled"]), ids=lambda e: e.name)
def test_the_snippet_of_every_model_runs_as_pasted(
    entry: aehub.ModelEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet(entry), entry.name, "exec"), {})
    assert capsys.readouterr().out and list(tmp_path.glob("*.*"))


def test_old_results_are_deleted_and_new_ones_kept(tmp_path: Path) -> None:
    folders = ResultFolders(60, tmp_path)
    with folders.new() as old, folders.new() as new:
        for folder in (old, new):
            folders.save_facts(folder, {"packed": "a.aev"})
    waited_for = folders.root / "ab" / "clip.mp4"
    forgotten = folders.root / "cd" / "clip.mp4"
    for upload in (waited_for, forgotten):
        upload.parent.mkdir()
        upload.write_bytes(b"clip")
    uploads = *folders.root.glob("*/clip.mp4"), *folders.root.glob("?[bd]")
    for path in (old, *old.iterdir(), *uploads):
        os.utime(path, (0, 0))
    folders.queued_paths = lambda: [str(waited_for), "/elsewhere/clip.mp4"]
    folders.delete_old()
    assert folders.load_facts(old.name) is None and not forgotten.exists()
    assert folders.load_facts(new.name) == {"packed": "a.aev"} and waited_for.exists()
    assert len(new.name) == 32
    with pytest.raises(GeneratorExit), folders.new() as stopped:
        (stopped / "clip.aev").write_bytes(b"clip")
        raise GeneratorExit
    assert not stopped.exists()
    folders.close()


def test_result_files_are_found_in_their_own_folder_only(tmp_path: Path) -> None:
    folders = ResultFolders(60, tmp_path / "folders")
    with folders.new() as folder:
        (folder / "clip.aev").write_text("clip")
        (folder / ".clip.aev").write_text("clip")
    (tmp_path / "secret").write_text("secret")
    (folders.root / "secret").write_text("secret")
    assert folders.file(folder.name, "clip.aev") == folder / "clip.aev"
    assert folders.file(folder.name, ".clip.aev") == folder / ".clip.aev"
    assert folders.url(folder / "a #1?.aev") == f"ae/jobs/{folder.name}/a%20%231%3F.aev"
    for token, name in ((folder.name, "../../secret"), ("..", "secret"), (folder.name, ".."),
                        (folder.name, "../secret"), (folder.name, "."),
                        ("", "secret"), (folder.name, "missing.aev")):
        assert folders.file(token, name) is None


def test_of_what_is_said_of_a_file_only_the_path_of_an_upload_is_taken(tmp_path: Path) -> None:
    folders = ResultFolders(60, tmp_path)
    upload = folders.root / "ab" / ".clip.mp4"
    upload.parent.mkdir()
    upload.write_bytes(b"clip")
    said = {"path": str(upload), "url": "http://host.invalid", "is_stream": True, "size": "large"}
    (taken,) = check_files(folders, [said], takes_files=True)
    assert taken == {"path": str(upload.with_name("clip.mp4")),
                     "meta": {"_type": "gradio.FileData"}}
    assert Path(taken["path"]).read_bytes() == b"clip"
    for wrong in (
            {"path": str(folders.root)}, {"path": str(upload.parent)}, {"path": 3}, {}, "text"):
        with pytest.raises(gr.Error, match="upload of this server|not on this server any more"):
            check_files(folders, wrong, takes_files=True)
    assert check_files(folders, ["text", None, 3], takes_files=False) == ["text", None, 3]
    folders.close()


def test_an_error_for_the_user_becomes_a_sentence_and_others_stay() -> None:
    @errors_shown
    def plain() -> None:
        raise InputError("the clip is empty; give another.")

    @errors_shown
    def steps() -> Iterator[int]:
        yield 1
        raise InputError("clip.mp4 breaks off.")

    @errors_shown
    def bug() -> None:
        raise ZeroDivisionError("a bug")

    with pytest.raises(gr.Error, match="The clip is empty") as caught:
        plain()
    assert caught.value.print_exception is False
    job = steps()
    assert next(job) == 1
    with pytest.raises(gr.Error, match=r"clip\.mp4 breaks off"):
        next(job)
    with pytest.raises(ZeroDivisionError):
        bug()


def test_without_zero_gpu_a_handler_stays_itself() -> None:
    def handler() -> None: ...

    assert gpu(handler) is handler


@pytest.mark.parametrize(("start", "length", "wanted"), [
    (0, 0, None), (None, None, None), (1.5, 0, "1.5:"), (0, 4, "0:4"), (2, 1.25, "2:3.25"),
    (0.1, 0.2, "0.1:0.3"),
])
def test_two_numbers_make_a_trim(
    start: float | None, length: float | None, wanted: str | None
) -> None:
    assert trim_of(start, length) == (wanted and TimeSpan.parse(wanted))


def test_impossible_wishes_are_refused() -> None:
    size = gr.Dropdown(SIZES, value="640", label="Longer side, px", render=False)
    for wrong in ("huge", None, 640):
        with pytest.raises(gr.Error, match=f"Longer side '{wrong}' is not offered"):
            check_value(size, wrong)
    check_value(size, "as it is")
    check_value(gr.Dropdown(SIZES, value=None, render=False), None)
    assert longest_side("640") == 640 and longest_side("as it is") is None
    with pytest.raises(InputError, match="-1"):
        trim_of(-1, 0)


def test_numbers_are_written_for_people() -> None:
    sizes = {0: "0 bytes", 999: "999 bytes", 1000: "1.0 kB", 123_456: "123 kB",
             999_960: "1.0 MB", 2_500_000: "2.5 MB", 3_000_000_000: "3.0 GB"}
    assert {count: formatting.bytes_text(count) for count in sizes} == sizes
    assert formatting.rate_text("30000/1001") == "29.97" and formatting.rate_text(25) == "25"
    assert formatting.seconds_text(4.25) == "4.2 s" and formatting.seconds_text(75) == "1:15 min"


def test_text_of_others_cannot_become_markup() -> None:
    page = formatting.table(["<b>"], [["<script>", "&"]], caption="<i>")
    page += formatting.notes(["<img>"])
    assert "<script>" not in page and "<img>" not in page and "<i>" not in page


def test_the_chart_is_well_formed_and_said_in_words() -> None:
    playback = Playback(64, 48, 64, (0.0, 0.04, 0.08), 0.125, False, 38.0, None,
                        (37.0, 38.0, 39.5), (250, 250, 400))
    drawn = time_curves(playback)
    figure = ElementTree.fromstring(drawn)
    assert len(figure.findall(".//svg")) == 2
    assert "2.0 to 3.2 kilobits" in figure.attrib["aria-label"]
    assert "37.0 to 39.5 dB" in figure.attrib["aria-label"]


def test_the_curves_are_well_formed_and_said_in_words() -> None:
    points = tuple(
        Point("clip", codec, number, 1000 * number, number / 10, 8.0, 30.0 + number, None, 0.1, 0.1)
        for codec in ("d4-codec", "x264-medium") for number in (1, 2, 3))
    shape = ClipShape("clip", 64, 48, 4, Fraction(25))
    comparison = Comparison("x264-medium", (shape,), {"d4-codec": "", "x264-medium": ""}, points,
                            ("d4-codec",))
    figure = ElementTree.fromstring(rd_curves(comparison))
    assert [group.attrib["class"] for group in figure.iter("g")] == ["model", "baseline r1"]
    assert len(list(figure.iter("circle"))) == 6
    assert "d4-codec 31.0 dB at 0.10 to 33.0 dB at 0.30" in figure.attrib["aria-label"]


def test_the_page_loads_nothing_from_elsewhere() -> None:
    written = css() + head() + str(theme()._font_css) + str(theme()._stylesheets)
    assert not re.search(r"(https?:)?//[a-z0-9-]+\.[a-z]", written)


def test_a_calibration_that_loses_its_folder_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrate, failed = throughput._calibration_report, []

    def without_folder(folder: Path, jobs: PageJobs | None) -> CompressionReport:
        shutil.rmtree(folder)
        try:
            return calibrate(folder, jobs)
        except Exception as error:
            failed.append(error)
            raise

    said: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(throughput, "_calibration_report", without_folder)
    monkeypatch.setattr(threading, "excepthook", said.append)
    throughput.Throughput(ResultFolders(60, tmp_path)).warm_up()
    for thread in threading.enumerate():
        if thread.name == "aehub-warm-up":
            thread.join(60)
    assert failed and not said


def test_an_upload_is_opened_once_for_all_that_comes_before_its_job(tmp_path: Path) -> None:
    folders = ResultFolders(60, tmp_path)
    measured = throughput.Throughput(folders)
    measured._rates.update(prepare=1.0, compress=9.0)
    context = Context(PageLimits(seconds=4), folders, measured)
    path = str(write_clip(tmp_path / "long.mp4", moving_picture(60, 64, 48), fps=10, audio=True))
    forecast, check = forecast_handler(context), _checker(context)
    with openings() as opened:
        preview, *_ = next(upload_handler(context)(path, "640", True))
        assert "64×48, 10 frames/s, 6.0 s, with sound" in preview["value"]
        whole, part = (forecast(path, 0, length, "640", False) for length in (0, 1))
        assert "40 frames" in whole and "10 frames" in part
        assert forecast(path, 7, 0, "640", False) == ""
        assert "longer than 4 s. Trim it." in check(path)[0]["message"]
        assert [said["is_valid"] for said in check(path, 1.5, 2.5, "d4-codec")] == [True] * 4
        assert opened.count(path) == 1
        os.utime(path, (1, 1))
        check(path)
        assert opened.count(path) == 2, "another file of that name"
    folders.close()
