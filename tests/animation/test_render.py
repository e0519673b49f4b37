"""Animations as files: every pixel, what is transparent, and how long each frame is shown."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from aehub.animation.render import open_renderer
from aehub.errors import InputError
from aehub.generators.base import enlarge, over_white
from aehub.media import animated_images
from aehub.media.clip import open_clip


def sprites(n: int = 7, side: int = 24) -> list[np.ndarray]:
    """Frames of few colours, transparent around a moving square: uint8 [side, side, 4]."""
    frames = []
    for t in range(n):
        frame = np.zeros((side, side, 4), np.uint8)
        frame[4:16, 2 + t:12 + t] = (200, 30 + t, 60, 255)
        frame[6:9, 4 + t:7 + t] = (20, 20, 90, 255)
        frames.append(frame)
    return frames


def write(path: Path, frames: list[np.ndarray], fps: Fraction = Fraction(10)) -> None:
    with open_renderer(path, fps) as renderer:
        for frame in frames:
            renderer.write(frame)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_moving_pictures_keep_pixels_transparency_and_time(tmp_path: Path, suffix: str) -> None:
    frames, path = sprites(), tmp_path / f"walk{suffix}"
    write(path, frames, Fraction(12))
    with Image.open(path) as image:
        shown, times = [], []
        for found in ImageSequence.Iterator(image):
            shown.append(np.asarray(found.convert("RGBA")))
            times.append(found.info["duration"])
        assert image.info["loop"] == 0
    assert len(shown) == len(frames)
    assert abs(sum(times) - 7000 / 12) <= 10
    for found, wanted in zip(shown, frames, strict=True):
        solid = wanted[..., 3] > 0
        assert np.array_equal(found[..., 3] > 0, solid)
        assert np.array_equal(found[solid], wanted[solid])


def test_a_folder_holds_every_frame_as_it_is(tmp_path: Path) -> None:
    frames = sprites()
    write(tmp_path / "walk", frames)
    files = sorted((tmp_path / "walk").iterdir())
    assert [file.name for file in files] == [f"{n:06d}.png" for n in range(7)]
    assert all(np.array_equal(np.asarray(Image.open(file)), frame)
               for file, frame in zip(files, frames, strict=True))


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_videos_show_sprites_on_white_at_the_rate_asked_for(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"walk{suffix}"
    write(path, [enlarge(frame, 4) for frame in sprites()], Fraction(30))
    with open_clip(path) as clip:
        found = list(clip)
        assert clip.info.fps == 30 and (clip.info.width, clip.info.height) == (96, 96)
    assert len(found) == 7
    assert found[0].picture[0][0, 0] >= 233  # white, in limited range


def shown(path: Path) -> tuple[list[np.ndarray], int]:
    """(the frames of an animation, uint8 [H, W, 4]; milliseconds that all take)."""
    with Image.open(path) as image:
        frames = [(np.asarray(one.convert("RGBA")), one.info["duration"])
                  for one in ImageSequence.Iterator(image)]
    return [frame for frame, _ in frames], sum(time for _, time in frames)


@pytest.mark.parametrize("most", [0, 1 << 30])
@pytest.mark.parametrize("channels", [3, 4])
def test_a_gif_is_exact_up_to_256_colours_in_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: int, most: int
) -> None:
    monkeypatch.setattr(animated_images, "_MAX_QUEUED_BYTES", most)
    frames = []
    for t in range(4):
        frame = np.full((16, 16, 4), (9, 9, 9, 255), np.uint8)
        frame[:8, :8] = [[(8 * y, 8 * x, 60 * t, 255) for x in range(8)] for y in range(8)]
        frame[3, 3] = (255, 255, 255, 0) if channels == 4 else (9, 9, 9, 255)
        frames.append(frame[..., :channels])
    frames[0][:8, 4:8] = frames[0][:8, :4]
    write(tmp_path / "exact.gif", frames)
    found, time = shown(tmp_path / "exact.gif")
    assert len(found) == 4 and time == 400
    for one, wanted in zip(found, frames, strict=True):
        covered = one[..., 3] > 0
        assert np.array_equal(covered, np.ones_like(covered) if channels == 3
                              else wanted[..., 3] > 0)
        assert np.array_equal(one[covered][:, :3], wanted[covered][:, :3])


def test_pictures_that_follow_alike_are_one_that_stays(tmp_path: Path) -> None:
    a, b = sprites(2)
    for suffix in (".gif", ".png", ".webp"):
        write(tmp_path / f"still{suffix}", [a, a, a, b, b])
        found, time = shown(tmp_path / f"still{suffix}")
        assert len(found) == 2 and time == 500


def test_a_gif_of_many_colours_keeps_what_is_clear(tmp_path: Path) -> None:
    y, x = np.mgrid[:48, :48]
    frames = [np.stack([5 * x, 5 * y, 2 * (x + y + t), np.where(x > y, 255, 90)], -1).astype(
        np.uint8) for t in range(3)]
    write(tmp_path / "many.gif", frames)
    for one, wanted in zip(shown(tmp_path / "many.gif")[0], frames, strict=True):
        assert np.array_equal(one[..., 3] > 0, wanted[..., 3] > 127)
        covered = one[..., 3] > 0
        assert np.square(one[covered][:, :3] - wanted[covered][:, :3].astype(int)).mean() < 150


def test_a_gif_of_many_colours_comes_near_them(tmp_path: Path) -> None:
    y, x = np.mgrid[:48, :48]
    frames = [np.stack([5 * x, 5 * y, 2 * (x + y + t)], -1).astype(np.uint8) for t in range(3)]
    write(tmp_path / "many.gif", frames)
    with Image.open(tmp_path / "many.gif") as image:
        found = np.asarray(image.convert("RGB")).astype(int)
    assert np.square(found - frames[0]).mean() < 100


def test_what_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.gif", "a"):
        with pytest.raises(KeyboardInterrupt), open_renderer(tmp_path / name, Fraction(10)) as out:
            out.write(sprites(1)[0])
            raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_bad_outputs_are_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"as \.bmp; use \.mp4"):
        write(tmp_path / "a.bmp", sprites())
    for name in ("a.gif", "a.mp4", "a"):
        with pytest.raises(InputError, match="has no frames"):
            write(tmp_path / name, [])
    assert list(tmp_path.iterdir()) == []


def test_half_covered_pixels_are_mixed_with_white() -> None:
    picture = np.array([[[100, 0, 200, 0], [100, 0, 200, 255], [100, 0, 200, 128]]], np.uint8)
    assert over_white(picture).tolist() == [[[255, 255, 255], [100, 0, 200], [177, 127, 227]]]
