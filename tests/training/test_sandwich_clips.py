"""Clips that `sandwich-av1` is trained on: recordings, windows over pictures, text, noise."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from aehub.media.picture import Picture
from aehub.training.data import Cache, FrameStore, StoredClip
from aehub.training.recipes import sandwich_clips
from material import moving_picture, write_clip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    folder = tmp_path_factory.mktemp("data")
    write_clip(folder / "clip.mkv", moving_picture(12, 200, 144), fps=25)
    write_clip(folder / "short.mkv", moving_picture(5, 200, 144), fps=25)
    for name, size in (("photo", (600, 401)), ("tall", (100, 300)), ("small", (64, 64))):
        picture = next(iter(moving_picture(1, 640, 416, seed=len(name))))
        Image.fromarray(picture).resize(size).save(folder / f"{name}.png")
    return FrameStore.build(folder, Cache(tmp_path_factory.mktemp("cache")))


def of_name(store: FrameStore, name: str) -> StoredClip:
    return next(clip for clip in store.clips if clip.name.startswith(name))


def seen(store: FrameStore, name: str, seed: int) -> sandwich_clips.TrainingClip:
    return sandwich_clips.training_clip(store, of_name(store, name), 8, np.random.default_rng(seed))


def test_short_clips_and_small_pictures_are_left_out(store: FrameStore) -> None:
    shown = {clip.name for clip in store.clips if sandwich_clips.is_usable(clip, 9)}
    assert shown == {"clip.mkv", "photo.png", "tall.png"}


@pytest.mark.parametrize("name", ["clip", "photo", "tall"])
def test_training_clips_are_of_one_size_that_codecs_take(store: FrameStore, name: str) -> None:
    sizes = set()
    for seed in range(12):
        pictures, _ = seen(store, name, seed)
        assert len(pictures) == 8
        size = pictures[0].size
        assert all(p.size == size and p[1].shape == (size[1] // 2, size[0] // 2) for p in pictures)
        assert size[0] % 4 == size[1] % 4 == 0 and min(size) >= sandwich_clips.LEAST_SIDE
        assert all(plane.dtype == np.uint8 for p in pictures for plane in p)
        sizes.add(size)
    assert name != "clip" or len(sizes) > 1, "some recordings are made smaller"


def test_the_same_seed_gives_the_same_clip(store: FrameStore) -> None:
    (first, noise), (again, same) = (seen(store, "photo", 3) for _ in range(2))
    assert noise == same
    assert all(np.array_equal(a, b) for p, q in zip(first, again, strict=True)
               for a, b in zip(p, q, strict=True))


def test_a_window_moves_as_far_in_every_frame_until_it_turns_back() -> None:
    begin, end = np.array([4.0, 1.0]), np.array([10.0, 3.0])
    path = np.array([sandwich_clips._reflected(begin + t * np.array([2.0, -0.5]), end)
                     for t in range(20)])
    steps = np.abs(np.diff(path, axis=0))
    assert path.min() >= 0 and np.all(path <= end)
    assert np.all(steps <= [2.0, 0.5]) and np.median(steps, 0) == pytest.approx([2.0, 0.5])
    still = sandwich_clips._reflected(np.array([5.0, 5.0]), np.zeros(2))
    assert np.all(np.abs(still) < 1e-5), "a window as large as the picture stays at its corner"


def test_noise_is_as_strong_as_told_and_half_as_strong_in_chroma() -> None:
    grey = Picture(np.full(shape, 128, np.uint8) for shape in ((128, 128), (64, 64), (64, 64)))
    noisy = sandwich_clips._with_noise(grey, 4.0, np.random.default_rng(0))
    assert [float(plane.std()) for plane in noisy] == pytest.approx([4, 2, 2], rel=0.06)
    assert grey[0].std() == 0, "the original stays"


def test_text_is_put_on_a_copy_and_stands_out_of_it() -> None:
    dark = Picture(np.full(shape, value, np.uint8) for shape, value in
                   (((200, 300), 40), ((100, 150), 128), ((100, 150), 128)))
    for seed in range(6):
        written = sandwich_clips._with_text(dark, np.random.default_rng(seed))
        assert int(written[0].max()) - int(written[0].min()) >= 40
        assert [p.shape for p in written] == [p.shape for p in dark]
    assert dark[0].max() == 40
