"""Effort of the encoder: refused in one sentence, and worth its time."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import aehub
from aehub.cli import main
from aehub.codecs.d4.settings import EFFORTS, SETTINGS
from aehub.config import DEFAULT_EFFORT, MAX_EFFORT
from aehub.errors import InputError
from aehub.media.metrics import bd_rate
from material import moving_picture, write_clip
from packages import zlib_installed

QUALITIES = (25, 50, 75)


@pytest.fixture(scope="module")
def busy() -> np.ndarray:
    """Seventeen frames of smooth texture that turns and grows, so that no block is easy."""
    rng = np.random.default_rng(7)
    texture = rng.integers(0, 256, (48, 48, 3)).repeat(8, 0).repeat(8, 1).astype(np.float32)
    for axis in (0, 1):
        texture = sum(np.roll(texture, shift, axis) for shift in range(-4, 4)) / 8
    y, x = np.mgrid[-96:96, -128:128]
    frames = []
    for t in range(17):
        angle, scale = 0.02 * t, 1 + 0.01 * t
        rows = scale * (np.cos(angle) * y - np.sin(angle) * x) + 192
        columns = scale * (np.sin(angle) * y + np.cos(angle) * x) + 192 + 3 * t
        frames.append(texture[rows.astype(int) % 384, columns.astype(int) % 384])
    return np.stack(frames).astype(np.uint8)


def points(frames: np.ndarray, effort: int) -> list[tuple[float, float]]:
    """(bytes, PSNR) at each quality."""
    made = [aehub.compress(frames, io.BytesIO(), quality=quality, effort=effort)
            for quality in QUALITIES]
    return [(one.bytes, one.psnr) for one in made if one.psnr is not None]


def cpu_seconds(frames: np.ndarray, effort: int) -> float:
    """Processor time of a compression, the least of two."""
    times = []
    for _ in range(2):
        began = time.process_time()
        aehub.compress(frames, io.BytesIO(), effort=effort, measure=False)
        times.append(time.process_time() - began)
    return min(times)


@pytest.mark.parametrize("effort", [-1, MAX_EFFORT + 1, 2.5, "5", True, None])
def test_an_effort_is_a_whole_number_from_0_to_9(effort: Any, tmp_path: Path) -> None:
    frames = np.zeros((1, 16, 16, 3), np.uint8)
    with pytest.raises(InputError, match="^effort is .*; give a whole number from 0 to 9.$"):
        aehub.compress(frames, tmp_path / "a.aev", effort=effort)
    assert not list(tmp_path.iterdir())


def test_the_command_line_refuses_an_effort_out_of_range(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", moving_picture(1, 32, 32))
    done = CliRunner().invoke(main, ["compress", str(clip), "--effort", "10"])
    assert done.exit_code == 2 and "--effort" in done.stderr and "0<=x<=9" in done.stderr
    assert not (tmp_path / "clip.aev").exists()


def test_effort_reaches_the_file_through_library_command_line_and_rate_control(
    tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "clip.mkv", moving_picture(3, 64, 48))
    with zlib_installed(tmp_path / "site") as folder:
        model = aehub.load(folder)
        stored, packed = (aehub.compress(clip, io.BytesIO(), model=model, effort=effort).bytes
                          for effort in (0, 9))
        # The codec of this package stores at effort 0 and deflates from 1 on.
        assert stored > 1.2 * packed
        done = CliRunner().invoke(main, ["compress", str(clip), str(tmp_path / "a.aev"), "--model",
                                         str(folder), "--effort", "0"])
        assert done.exit_code == 0 and (tmp_path / "a.aev").stat().st_size == stored
        assert aehub.compress(clip, io.BytesIO(), model=model, target_size=packed,
                              effort=9).bytes <= packed
        with pytest.raises(InputError, match=f"target is {packed} bytes; the smallest file"):
            aehub.compress(clip, io.BytesIO(), model=model, target_size=packed, effort=0)


def test_every_effort_has_settings_and_every_file_decodes(busy: np.ndarray) -> None:
    assert len(EFFORTS) == MAX_EFFORT + 1 and EFFORTS[DEFAULT_EFFORT] is SETTINGS
    for effort in range(MAX_EFFORT + 1):
        file = io.BytesIO()
        made = aehub.compress(busy[:9, :64, :64], file, effort=effort)
        file.seek(0)
        shown = np.stack(list(aehub.decompress(file)))
        assert made.psnr is not None and made.psnr > 25, effort
        assert shown.shape == (9, 64, 64, 3), effort


@pytest.mark.slow
def test_the_highest_effort_needs_no_more_bits_than_the_default() -> None:
    frames = np.stack(moving_picture(17, 192, 128))
    difference = bd_rate(points(frames, DEFAULT_EFFORT), points(frames, MAX_EFFORT)).percent
    assert difference is not None and difference < 0.5, difference


def test_the_lowest_effort_takes_much_less_time_than_the_default(busy: np.ndarray) -> None:
    cpu_seconds(busy[:5], 0), cpu_seconds(busy[:5], DEFAULT_EFFORT)  # Compiled loops are loaded.
    # About half of it in such motion, and three fifths in less.
    assert 1.3 * cpu_seconds(busy, 0) < cpu_seconds(busy, DEFAULT_EFFORT)
