"""Reports: sizes, lossless copies, stacked videos, baselines, cancelling."""

from __future__ import annotations

import io
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

import aehub
from aehub.bitstream import open_reader
from aehub.config import Limits
from aehub.errors import InputError, LimitError
from aehub.media.clip import open_clip
from aehub.media.picture import Picture
from aehub.media.timestamps import TimeSpan
from aehub.report.compression import iter_report
from aehub.report.matched_size import _Encode, closest_size
from aehub.report.playback import (
    frame_image,
    iter_preview_video,
    preview_frame_count,
    stack_planes,
    stacked_half,
)
from aehub.report.prepare import fit_size, iter_prepare, probe_clip
from aehub.report.records import CompressionReport
from material import moving_picture, write_clip


def finish(job: Generator[Any, None, Any]) -> Any:
    while True:
        try:
            next(job)
        except StopIteration as end:
            return end.value


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "small.mp4"
    return write_clip(path, moving_picture(12, 96, 64), fps=24, audio=True)


@pytest.fixture(scope="module")
def report(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> CompressionReport:
    return finish(iter_report(clip, tmp_path_factory.mktemp("report"), quality=30))


@pytest.mark.parametrize(("size", "longest", "aspect", "wanted"), [
    ((1920, 1080), 640, 1, (640, 360)),
    ((1080, 1920), 640, 1, (360, 640)),
    ((320, 240), 640, 1, (320, 240)),
    ((321, 241), None, 1, (321, 241)),
    ((720, 576), 640, Fraction(16, 15), (640, 480)),
    ((720, 576), None, Fraction(16, 11), (720, 396)),
    ((5000, 10), 640, 1, (640, 16)),
])
def test_a_clip_is_fitted_without_enlarging_it(
    size: tuple[int, int], longest: int | None, aspect: Fraction, wanted: tuple[int, int]
) -> None:
    assert fit_size(*size, longest, Fraction(aspect)) == wanted


def test_a_copy_of_the_same_size_keeps_every_sample(clip: Path, tmp_path: Path) -> None:
    info = finish(iter_prepare(clip, tmp_path / "copy.mkv")).info
    assert (info.width, info.height, info.n_frames) == (96, 64, 12)
    with open_clip(clip) as before, open_clip(tmp_path / "copy.mkv") as after:
        assert after.audio is not None
        for a, b in zip(before, after, strict=True):
            assert all((x == y).all() for x, y in zip(a.picture, b.picture, strict=True))


def test_a_smaller_copy_says_so_and_resembles_the_clip(clip: Path, tmp_path: Path) -> None:
    info = finish(iter_prepare(clip, tmp_path / "copy.mkv", longest=48,
                               trim=TimeSpan.parse("4f:8f"))).info
    assert (info.width, info.height, info.n_frames) == (48, 32, 4)
    assert "96x64 to 48x32" in info.notes[-1]
    with open_clip(clip, trim=TimeSpan.parse("4f:5f")) as a, open_clip(tmp_path / "copy.mkv") as b:
        large, small = next(iter(a)).picture[0], next(iter(b)).picture[0]
    means = large.reshape(32, 2, 48, 2).mean((1, 3))
    assert np.abs(means - small).mean() < 6


def test_limits_hold_for_the_part_that_is_kept(clip: Path, tmp_path: Path) -> None:
    short = Limits(max_seconds=0.3)
    with pytest.raises(LimitError):
        finish(iter_prepare(clip, tmp_path / "a.mkv", limits=short))
    finish(iter_prepare(clip, tmp_path / "b.mkv", limits=short, trim=TimeSpan.parse("0:0.25")))


def test_a_look_tells_size_length_and_sound(clip: Path) -> None:
    seen = probe_clip(clip)
    assert (seen.info.width, seen.info.height, seen.info.n_frames) == (96, 64, 12)
    assert seen.has_sound and seen.info.source_bytes == clip.stat().st_size
    assert seen.seconds == pytest.approx(0.5)
    assert seen.picture.shape == (64, 96, 3)


def test_halves_of_a_stacked_picture_separate() -> None:
    rng = np.random.default_rng(0)

    def picture() -> Picture:
        half = (25, 17)
        return Picture(rng.integers(0, 256, s, np.uint8) for s in ((49, 33), half, half))

    above, below = picture(), picture()
    half = stacked_half(49)
    assert half % 16 == 0 and half >= 49 + 8
    stacked = stack_planes(above, below, half)
    assert (stacked[0][:49] == above[0]).all() and (stacked[0][half:] == below[0]).all()
    assert (stacked[1][half // 2:] == below[1]).all()
    assert stacked[2].shape == (half // 2 + 25, 17)


def test_a_report_counts_the_bytes_that_are_there(report: CompressionReport, clip: Path) -> None:
    facts = report.to_json()
    assert facts["bytes"] == Path(str(report.compressed.path)).stat().st_size
    assert facts["source_bytes"] == clip.stat().st_size
    pictures = facts["bytes"] - facts["audio_bytes"]
    assert 0.8 * pictures < sum(report.playback.frame_bytes) <= pictures
    assert len(report.playback.frame_bytes) == facts["frames"] == 12
    assert set(facts["stages"]) == {"prepare", "compress", "replay", "neighbours"}


def test_a_report_measures_what_the_library_measures(
    report: CompressionReport, tmp_path: Path
) -> None:
    again = aehub.compress(report.prepared, tmp_path / "again.aev", quality=30)
    assert report.playback.psnr == pytest.approx(again.psnr, abs=0.001)
    assert len(report.playback.frame_psnrs) == 12
    frame_psnrs = report.playback.frame_psnrs
    assert min(frame_psnrs) <= report.playback.psnr <= max(frame_psnrs)


def test_the_stacked_video_shows_both_pictures_at_every_time(report: CompressionReport) -> None:
    playback = report.playback
    with open_clip(report.stacked) as stacked, open_clip(report.prepared) as original:
        assert stacked.audio is not None
        frames = list(stacked)
        times = [float(frame.time * stacked.info.time_base) for frame in frames]
        assert times == pytest.approx(playback.times, abs=1e-3)
        for tall, frame in zip(frames, original, strict=True):
            difference = tall.picture[0][:64].astype(int) - frame.picture[0]
            assert np.sqrt((difference**2).mean()) < 2.5
            lower = tall.picture[0][playback.half:playback.half + 64].astype(int) - frame.picture[0]
            assert (lower != 0).any()


def test_stills_are_exact(report: CompressionReport) -> None:
    packed = Path(str(report.compressed.path))

    def picture(kind: str) -> np.ndarray:
        data = frame_image(report.prepared, packed, 9, kind)
        return np.asarray(Image.open(io.BytesIO(data)))

    with aehub.open(packed) as archive:
        assert (picture("reconstruction") == archive[9]).all()
    distance = np.abs(picture("original").astype(int) - picture("reconstruction"))
    assert (picture("difference") == np.minimum(8 * distance, 255)).all()
    for number, kind in ((12, "difference"), (-1, "original"), (0, "nonsense")):
        with pytest.raises(InputError):
            frame_image(report.prepared, packed, number, kind)


@pytest.mark.parametrize(("width", "height", "fps", "frames"), [
    (256, 256, Fraction(25), 75),
    (256, 256, Fraction(60), 96),
    (640, 360, Fraction(30000, 1001), 43),
    (4096, 2304, Fraction(25), 8),
    (64, 64, Fraction(1, 5), 1),
])
def test_moving_pictures_are_as_long_as_is_quick(
    width: int, height: int, fps: Fraction, frames: int
) -> None:
    assert preview_frame_count(width, height, fps) == frames


def test_moving_pictures_are_the_first_ones_of_the_file(
    report: CompressionReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aehub.report.playback.preview_frame_count", lambda *size: 5)
    packed, video = Path(str(report.compressed.path)), tmp_path / "film.mp4"
    assert finish(iter_preview_video(packed, video)) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]
    with open_clip(video) as clip, aehub.open(packed) as archive:
        assert (clip.info.width, clip.info.height) == (archive.info.width, archive.info.height)
        shown = [frame.picture[0].astype(float) for frame in clip]
        assert len(shown) == 5
        for number, luma in enumerate(shown):
            assert np.abs(luma - archive.picture(number)[0]).mean() < 3


def test_the_nearest_trial_does_not_take_more_bytes() -> None:
    trials = [_Encode(crf, size, []) for crf, size in ((20, 1200), (24, 1020), (28, 900))]
    assert closest_size(trials, 1000).bytes == 1020  # within 3 %
    assert closest_size(trials, 980).bytes == 900
    assert closest_size(trials, 100).bytes == 900  # none fits: the smallest, and its bytes are told


def test_closing_a_report_ends_it_at_any_stage(clip: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("prepare", "compress", "replay", "neighbours")):
        folder = tmp_path / str(number)
        folder.mkdir()
        job = iter_report(clip, folder, quality=30)
        for stage in job:
            if stage.name == name:
                break
        job.close()
        assert not list(folder.glob("*.part"))
        with pytest.raises(StopIteration):
            next(job)


def test_the_videos_of_a_report_show_what_was_on_screen_for_as_long(tmp_path: Path) -> None:
    images = [Image.fromarray(picture) for picture in moving_picture(2, 64, 48)]
    images[0].save(tmp_path / "c.gif", save_all=True, append_images=images[1:],
                   duration=[1000, 3000])
    found = finish(iter_report(tmp_path / "c.gif", tmp_path, quality=30, baselines=False,
                               trim="0.25:2.5"))
    assert found.playback.times == (0, 0.75)
    assert found.playback.seconds == found.compressed.seconds == 2.25
    for path in (found.prepared, found.stacked, found.decoded):
        with av.open(str(path)) as container:
            assert container.duration == pytest.approx(2_250_000, abs=1000), path.name
    with open_clip(found.prepared) as copy:
        assert copy.info.plays == 1
    with open_reader(found.compressed.path) as reader:
        assert reader.plays == 1, "a GIF that does not say more is played once"
