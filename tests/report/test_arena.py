"""The arena: measured like everything else, at equal bytes, whatever one of the models does."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import aehub
from aehub.errors import InputError, UnknownModel
from aehub.media.clip import open_clip
from aehub.media.metrics import MAX_DB, psnr_of_mse
from aehub.media.picture import Picture
from aehub.report.arena import ArenaProgress, iter_arena
from aehub.report.arena_picture import crop_window
from aehub.report.arena_records import ArenaReport
from aehub.report.memory import PeakMemory
from aehub.results import relayed, run_job
from material import moving_picture, write_clip
from packages import zlib_installed
from pageserver import ROOT
from zlib_codec.codec import ZlibCodec

N_FRAMES, WIDTH, HEIGHT = 6, 96, 64
TINY = ROOT / "tests/golden/tiny-d4"


class Broken(ZlibCodec):
    """A model whose encoder fails as networks do."""

    def group_encoder(self, *arguments: Any, **options: Any) -> Any:
        raise RuntimeError("shape '[1, 4]' is invalid\nfor input of size 3")


class Large(ZlibCodec):
    """A model whose files have 30 kB that nothing reads."""

    def group_encoder(self, *arguments: Any, **options: Any) -> Any:
        encoder = super().group_encoder(*arguments, **options)
        finish = encoder.finish

        def padded() -> Any:
            header, payload = finish()
            return header, payload + bytes(30_000)

        encoder.finish = padded
        return encoder


def model(name: str, kind: type[ZlibCodec] = ZlibCodec) -> ZlibCodec:
    return kind({"name": name})


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with zlib_installed(tmp_path_factory.mktemp("packages") / "site"):
        yield


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "small.mkv"
    return write_clip(path, moving_picture(N_FRAMES, WIDTH, HEIGHT), fps=24, codec="ffv1")


@pytest.fixture(scope="module")
def seen() -> list[ArenaProgress]:
    """The progress of `report`."""
    return []


@pytest.fixture(scope="module")
def report(clip: Path, seen: list[ArenaProgress], tmp_path_factory: pytest.TempPathFactory
           ) -> ArenaReport:
    """Two models and one that fails, with drift."""
    job = iter_arena(clip, tmp_path_factory.mktemp("arena"),
                     [TINY, model("broken", Broken), model("zlib")], drift_passes=2)
    return finish(relayed(job, seen.append))


def finish(job: Generator[Any, None, ArenaReport]) -> ArenaReport:
    return run_job(job, None)


def planes(path: Path) -> list[Picture]:
    with open_clip(path) as opened:
        return [frame.picture for frame in opened]


def decoded(report: ArenaReport, number: int) -> list[Picture]:
    with aehub.open(report.results[number].path, model=(TINY, None)[number]) as archive:
        return [archive.picture(n) for n in range(len(archive))]


def test_numbers_are_those_of_the_files_and_of_the_metrics(report: ArenaReport) -> None:
    originals = planes(report.prepared)
    one = report.results[1]
    assert one.bytes == one.path.stat().st_size
    assert one.bits_per_pixel == pytest.approx(8 * one.bytes / (N_FRAMES * WIDTH * HEIGHT))
    results = decoded(report, 1)
    errors = [[b.astype(float) - a for a, b in zip(*pair, strict=True)]
              for pair in zip(originals, results, strict=True)]
    y, u, v = (psnr_of_mse(float(np.mean([np.mean(error[n] ** 2) for error in errors])))
               for n in range(3))
    assert one.psnr == pytest.approx((6 * y + u + v) / 8)
    first = [psnr_of_mse(float(np.mean(plane ** 2))) for plane in errors[0]]
    assert one.first_psnr == pytest.approx((6 * first[0] + first[1] + first[2]) / 8)
    changes = [np.mean(np.square(
        (results[n][0].astype(float) - results[n - 1][0])
        - (originals[n][0].astype(float) - originals[n - 1][0]))) for n in range(1, N_FRAMES)]
    assert one.flicker_psnr == pytest.approx(psnr_of_mse(float(np.mean(changes))))
    assert one.ms_ssim is None, "the picture is small"


def test_colours_are_compared_in_red_green_and_blue(report: ArenaReport) -> None:
    one = report.results[1]
    with aehub.open(one.path) as archive:
        after = archive[:].mean((0, 1, 2))
    before = np.stack(list(aehub.decompress(lossless(report)))).mean((0, 1, 2))
    assert one.colour_errors == pytest.approx(after - before)
    assert abs(one.colour_drift) == pytest.approx(np.abs(after - before).max())


def lossless(report: ArenaReport) -> io.BytesIO:
    """The original as a file of a codec that loses nothing."""
    file = io.BytesIO()
    aehub.compress(report.prepared, file, model=model("zlib-planes"), quality=100)
    file.seek(0)
    return file


def test_latents_are_counted_in_the_file(report: ArenaReport) -> None:
    # Its codes are the 1.5 samples a pixel of 4:2:0, against 3 of R, G and B.
    assert report.results[1].latent_ratio == 2


def test_drift_begins_with_the_reconstruction_and_follows_the_passes(
    report: ArenaReport, tmp_path: Path
) -> None:
    one, again = report.results[0], tmp_path / "again.aev"
    assert len(one.drift) == 2 and one.drift[0] == one.psnr
    source: Any = decoded(report, 0)
    for psnr in one.drift[1:]:
        aehub.compress(source, again, model=TINY, quality=one.quality, force=True, fps=24)
        with aehub.open(again, model=TINY) as archive:
            source = [archive.picture(n) for n in range(len(archive))]
        errors = [[float(np.mean((b.astype(float) - a) ** 2)) for a, b in zip(*pair, strict=True)]
                  for pair in zip(planes(report.prepared), source, strict=True)]
        y, u, v = (psnr_of_mse(float(np.mean(plane))) for plane in zip(*errors, strict=True))
        assert psnr == pytest.approx((6 * y + u + v) / 8)
    assert report.results[1].drift[1] == report.results[1].psnr, "quantised again, nothing changes"


def test_files_of_equal_bytes_are_equal(report: ArenaReport, clip: Path, tmp_path: Path) -> None:
    target = report.target_size
    assert target is not None
    assert all(0.9 * target <= one.bytes <= target for one in report.results)
    given = finish(iter_arena(clip, tmp_path, [model("zlib")], target_size=20_000))
    assert given.target_size == 20_000 and 18_000 <= given.results[0].bytes <= 20_000


def test_the_size_that_is_found_is_one_that_every_model_reaches(
    clip: Path, tmp_path: Path
) -> None:
    found = finish(iter_arena(clip, tmp_path, [model("zlib"), model("large", Large)], quality=10))
    target = found.target_size
    assert not found.failures and target is not None and target > 30_000
    assert all(0.85 * target <= one.bytes <= target for one in found.results)
    (tmp_path / "least").mkdir()
    least = finish(iter_arena(clip, tmp_path / "least", [model("zlib")], quality=0))
    assert least.results[0].bytes == least.target_size


def test_files_of_one_quality_have_their_own_sizes(clip: Path, tmp_path: Path) -> None:
    models = [model("zlib"), model("other")]
    found = finish(iter_arena(clip, tmp_path, models, quality=40, equal_bytes=False))
    assert found.target_size is None and [one.quality for one in found.results] == [40, 40]
    plain = aehub.compress(found.prepared, tmp_path / "plain.aev", model=models[0], quality=40)
    assert (found.results[0].bytes, found.results[0].psnr) == (
        plain.bytes, pytest.approx(plain.psnr, abs=0.001))


def test_a_size_that_a_model_cannot_reach_is_said_and_the_others_stay(
    clip: Path, tmp_path: Path
) -> None:
    models = [model("large", Large), model("zlib")]
    found = finish(iter_arena(clip, tmp_path, models, target_size=20_000))
    assert [one.model for one in found.results] == ["zlib"]
    assert "the target is 20000 bytes; the smallest file" in found.failures["large"]
    (tmp_path / "wide").mkdir()
    wide = finish(iter_arena(clip, tmp_path / "wide", [model("zlib")], target_size=10**6))
    assert "The file at quality 100" in wide.results[0].notes[-1]


def test_a_model_that_fails_is_named_in_a_sentence_and_the_others_are_there(
    report: ArenaReport
) -> None:
    assert [one.model for one in report.results] == ["tiny-d4", "zlib"]
    assert report.failures == {"broken": "shape '[1, 4]' is invalid for input of size 3"}


def test_if_all_fail_the_first_error_is_raised(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="no-model"):
        finish(iter_arena(clip, tmp_path, ["no-model", model("broken", Broken)]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("options", "words"), [
    ({"models": []}, "no model is given"),
    ({"models": ["d4-codec", "d4-codec"]}, "d4-codec is given twice"),
    ({"models": "d4-codec"}, "models"),
    ({"drift_passes": 11}, "drift_passes"),
    ({"target_size": 0}, "target_size"),
    ({"quality": 101}, "quality"),
])
def test_what_is_impossible_is_refused_before_the_work(
    options: dict[str, Any], words: str, clip: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        finish(iter_arena(clip, tmp_path, **{"models": [TINY], **options}))
    assert not list(tmp_path.iterdir())


def test_a_clip_that_comes_back_as_it_was_does_not_flicker(clip: Path, tmp_path: Path) -> None:
    found = finish(iter_arena(clip, tmp_path, [model("zlib")], quality=100, equal_bytes=False))
    (one,) = found.results
    assert one.flicker_psnr == one.psnr == one.first_psnr == MAX_DB
    assert one.colour_errors == (0, 0, 0)
    still = write_clip(tmp_path / "still.mkv", moving_picture(1, 64, 48), codec="ffv1")
    assert finish(iter_arena(still, tmp_path, [model("zlib")])).results[0].flicker_psnr is None


def test_closing_it_at_any_stage_leaves_no_file(clip: Path, tmp_path: Path) -> None:
    for stage in ("prepare", "encode", "match", "decode", "drift", "show"):
        job = iter_arena(clip, tmp_path, [model("zlib")], drift_passes=2, target_size=9000)
        for now in job:
            if now.stage == stage and now.done:
                break
        assert now.stage == stage
        job.close()
        assert not list(tmp_path.iterdir()), stage


def test_progress_never_decreases_and_names_the_model(
    report: ArenaReport, seen: list[ArenaProgress]
) -> None:
    shares = [now.share for now in seen]
    assert shares == sorted(shares) and 0.9 < shares[-1] <= 1
    assert {now.model for now in seen} == {"", *report.failures, "tiny-d4", "zlib"}


def test_the_video_holds_the_original_and_all_reconstructions(report: ArenaReport) -> None:
    for tall, *parts in zip(planes(report.stacked), planes(report.prepared), decoded(report, 0),
                            decoded(report, 1), strict=True):
        for number, part in enumerate(parts):
            rows = tall[0][number * report.row_height:][:HEIGHT]
            assert np.sqrt(np.mean((rows.astype(float) - part[0]) ** 2)) < 3


def test_the_same_numbers_are_in_json_and_in_csv(report: ArenaReport) -> None:
    facts = json.loads(json.dumps(report.to_json(), allow_nan=False))
    rows = list(csv.DictReader(io.StringIO(report.to_csv())))
    assert [row["model"] for row in rows] == ["tiny-d4", "zlib", "broken"]
    assert rows[2]["failure"].startswith("shape") and rows[2]["psnr"] == ""
    for one, row in zip(facts["models"], rows, strict=False):
        assert float(row["psnr"]) == one["psnr"] and int(row["bytes"]) == one["bytes"]
        assert float(row["blue_error"]) == one["colour_errors"][2]
        assert row["drift"].split()[-1] == str(one["drift"][-1])
    assert facts["frames"] == N_FRAMES and facts["fps"] == "24"


def test_the_picture_shows_every_model_where_they_differ(report: ArenaReport) -> None:
    with Image.open(report.picture) as image:
        # 64-pixel crops four times as large: original and two models.
        assert image.size == (2 * 28 + 3 * 256 + 2 * 14, 2 * 28 + 58 + 256 + 62)
    grey = Picture([np.full((64, 200), 128, np.uint8)] * 3)
    wrong = Picture([grey[0].copy(), *grey[1:]])
    wrong[0][:, 150:160] = 255
    x, y, side = crop_window([grey, grey, wrong])
    assert side == 64 and y == 0 and x <= 150 and x + side >= 160


def test_memory_is_that_of_the_block_alone() -> None:
    with PeakMemory() as memory:
        block = np.ones(8_000_000)
        time.sleep(0.1)
        del block
    with PeakMemory() as little:
        pass
    if memory.bytes is not None:
        assert 60e6 < memory.bytes < 90e6
        assert little.bytes is not None and little.bytes < 20e6
