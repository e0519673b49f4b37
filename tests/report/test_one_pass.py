"""A job reads its upload once: openings are counted, and files nobody may read are removed."""

from __future__ import annotations

import io
import time
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openings import openings, temporary_files
from PIL import Image

import aehub
from aehub.api import compress
from aehub.errors import LimitError
from aehub.media import decoded_clip
from aehub.media.clip import open_clip
from aehub.report.compression import iter_comparison, iter_report
from aehub.report.playback import frame_image
from aehub.report.prepare import iter_prepare, read_frame
from material import moving_picture, write_clip

UNEVEN = [0, 40, 55, 90, 200, 201, 202, 500, 533, 566, 600, 640, 1200]


def finish(job: Generator[Any, None, Any]) -> Any:
    try:
        while True:
            next(job)
    except StopIteration as end:
        return end.value


def write_gif(path: Path) -> Path:
    first, *others = (Image.fromarray(picture) for picture in moving_picture(4, 64, 48))
    first.save(path, save_all=True, append_images=others, duration=[100, 1000, 30, 3000])
    return path


CLIPS: dict[str, Any] = {
    "even": lambda path: write_clip(path.with_suffix(".mp4"), moving_picture(20, 96, 64), fps=24,
                                    audio=True),
    "uneven": lambda path: write_clip(path.with_suffix(".mp4"), moving_picture(13, 96, 64),
                                      vfr_pts=UNEVEN, audio=True),
    "one": lambda path: write_clip(path.with_suffix(".mp4"), moving_picture(1, 96, 64)),
    "photograph": lambda path: write_picture(path.with_suffix(".png")),
    "gif": lambda path: write_gif(path.with_suffix(".gif")),
    "fast": lambda path: write_clip(path.with_suffix(".mkv"), moving_picture(9, 66, 50), fps=240),
}


def write_picture(path: Path) -> Path:
    Image.fromarray(moving_picture(1, 97, 65)[0]).save(path)
    return path


@pytest.mark.parametrize("kind", CLIPS)
@pytest.mark.parametrize("options", [{}, {"trim": "0.03:0.5", "longest": 64}], ids=["all", "part"])
def test_the_file_of_a_report_is_that_of_its_working_copy(
    tmp_path: Path, kind: str, options: dict[str, Any]
) -> None:
    if kind in ("one", "photograph") and "trim" in options:
        options = {"longest": 64}
    upload = CLIPS[kind](tmp_path / "upload")
    folder = tmp_path / "job"
    folder.mkdir()
    report = finish(iter_report(upload, folder, baselines=False, **options))
    again = io.BytesIO()
    result = aehub.compress(report.prepared, again, measure=False)
    assert Path(str(report.compressed.path)).read_bytes() == again.getvalue()
    assert (report.compressed.fps, report.compressed.seconds) == (result.fps, result.seconds)


@pytest.mark.parametrize("aim", [{"quality": 30}, {"target_size": 20_000}], ids=["quality", "size"])
def test_a_job_opens_its_upload_once_and_decodes_nothing_after_it(
    tmp_path: Path, aim: dict[str, Any]
) -> None:
    upload, folder, kept = CLIPS["even"](tmp_path / "upload"), tmp_path / "job", tmp_path / "kept"
    folder.mkdir()
    kept.mkdir()
    wanted = finish(iter_report(upload, kept, **aim))
    stages: list[str] = []
    with openings() as opened:
        job = iter_report(upload, folder, **aim)
        for stage in job:
            if stage.name == "compress" and "compress" not in stages:
                # Nothing of the clip can be read from here on.
                upload.unlink()
                (folder / "upload.original.mkv").unlink()
            stages.append(stage.name)
        assert opened.count(str(upload)) == 1
    assert set(stages) == {"prepare", "compress", "replay", "neighbours"}
    assert (folder / "upload.aev").read_bytes() == (kept / "upload.aev").read_bytes()
    assert Path(wanted.prepared).exists()


def test_a_comparison_opens_its_upload_once(tmp_path: Path) -> None:
    upload = CLIPS["even"](tmp_path / "upload")
    with openings() as opened:
        found = finish(iter_comparison(upload, tmp_path, "x264-ultrafast,x265-ultrafast", 5))
        assert opened.count(str(upload)) == 1
    assert found.clips[0].n_frames == 5 and found.clips[0].name == "upload"
    assert len(found.points) == 12


def test_a_target_size_decodes_its_source_once_and_finds_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = CLIPS["uneven"](tmp_path / "source")
    files = []
    # With room for the frames, with too little by the header, and with too little in the folder.
    for most, reserved in ((10**9, 1), (1000, 1), (10**9, 1 << 60)):
        monkeypatch.setattr(compress, "_MAX_DECODED_BYTES", most)
        monkeypatch.setattr(decoded_clip, "RESERVED_BYTES", reserved)
        with openings() as opened:
            out = io.BytesIO()
            aehub.compress(source, out, target_size=15_000, measure=False)
            files.append((out.getvalue(), opened.count(str(source))))
    assert len({data for data, _ in files}) == 1
    assert files[0][1] == 1 and all(count > 2 for _, count in files[1:])


def test_a_closed_job_leaves_no_temporary_file_at_any_stage(tmp_path: Path) -> None:
    upload, before = CLIPS["even"](tmp_path / "upload"), temporary_files()
    for number, name in enumerate(("prepare", "compress", "replay", "neighbours")):
        folder = tmp_path / str(number)
        folder.mkdir()
        job = iter_report(upload, folder, quality=30)
        while (stage := next(job)).name != name or not stage.done:
            pass
        assert len(temporary_files()) > len(before)
        job.close()
        assert temporary_files() == before


def test_a_limit_in_the_middle_of_a_job_names_the_upload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = CLIPS["even"](tmp_path / "upload")
    monkeypatch.setenv("AEHUB_MAX_FRAMES", "7")
    with pytest.raises(LimitError, match=r"^upload.mp4 has more than 7 frames"):
        finish(iter_report(upload, tmp_path))


@pytest.mark.parametrize("kind", CLIPS)
def test_a_still_is_the_frame_of_its_number(tmp_path: Path, kind: str) -> None:
    upload, folder = CLIPS[kind](tmp_path / "upload"), tmp_path / "job"
    folder.mkdir()
    report = finish(iter_report(upload, folder, baselines=False, quality=5))
    with open_clip(report.prepared) as clip, aehub.open(report.compressed.path) as archive:
        for number, frame in enumerate(clip):
            still = read_frame(report.prepared, archive.time(number))
            assert all(np.array_equal(a, b) for a, b in zip(still, frame.picture, strict=True))
            image = frame_image(report.prepared, Path(str(report.compressed.path)), number,
                                "original")
            assert Image.open(io.BytesIO(image)).size == still.size


def test_a_late_still_takes_no_longer_than_an_early_one(tmp_path: Path) -> None:
    upload = write_clip(tmp_path / "upload.mp4", moving_picture(240, 192, 128), fps=24)
    finish(iter_prepare(upload, tmp_path / "copy.mkv")).close()

    def processor_seconds(second: int) -> float:
        began = time.process_time()
        for _ in range(5):
            read_frame(tmp_path / "copy.mkv", Fraction(second))
        return time.process_time() - began

    early = min(processor_seconds(1) for _ in range(3))
    late = min(processor_seconds(9) for _ in range(3))
    with open_clip(tmp_path / "copy.mkv") as clip:
        began = time.process_time()
        for _ in clip:
            pass
        whole = time.process_time() - began
    assert late < 3 * early + 0.01 and late / 5 < whole / 4
