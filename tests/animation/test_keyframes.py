"""Which picture becomes a keyframe, of files and clips of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

import aehub
from aehub.animation.keyframes import LAST, gather_keyframes, keyframes_of_clip, last_frame
from aehub.animation.plan import Settings
from aehub.api.animate import plan_animation
from aehub.config import Limits
from aehub.errors import InputError, LimitError
from aehub.generators.autoencoder import Autoencoder
from aehub.generators.dense import DenseAutoencoder
from aehub.media.clip import open_clip
from aehub.media.colour import to_rgb
from aehub.weights import stored_network
from material import moving_picture, write_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """66 frames in 13.2 s, a key frame every tenth."""
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", moving_picture(66, 64, 48),
                      fps=5, options={"g": "10"})


def decoded(path: Path) -> list[np.ndarray]:
    with open_clip(path) as opened:
        return [to_rgb(frame.picture, opened.info.colour) for frame in opened]


def spoiled(clip: Path, path: Path, number: int) -> Path:
    """The clip with the data of one packet overwritten."""
    with av.open(str(clip)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        place, size = packets[number].pos, packets[number].size
    data = bytearray(clip.read_bytes())
    data[place:place + size] = b"\xff" * size
    path.write_bytes(data)
    return path


def test_the_last_frame_of_a_long_clip_is_sought(clip: Path, tmp_path: Path) -> None:
    # What is never decoded may be damaged.
    damaged = spoiled(clip, tmp_path / "damaged.mp4", 30)
    with pytest.raises(InputError, match="breaks off"):
        decoded(damaged)
    found = last_frame(damaged)
    assert np.array_equal(found.picture, decoded(clip)[-1])  # type: ignore[arg-type]
    assert found.moment == LAST and found.name == "frame last of damaged.mp4"


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm", "a.gif", "a.avi"])
def test_the_last_frame_is_the_last_one_decoded(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    times = [0, 40, 80, 200] if path.suffix in (".mkv", ".webm") else None
    write_clip(path, moving_picture(4, 64, 48), vfr_pts=times,
               **({"codec": "gif", "pix_fmt": "rgb8"} if path.suffix == ".gif" else {}))
    first, last = keyframes_of_clip(path, None)
    assert np.array_equal(first.picture, decoded(path)[0])  # type: ignore[arg-type]
    assert np.array_equal(last.picture, decoded(path)[-1])  # type: ignore[arg-type]
    assert np.array_equal(last.picture, keyframes_of_clip(path, ["3f"])[0].picture)  # type: ignore[arg-type]


def test_a_moment_is_the_picture_on_screen_then(clip: Path, tmp_path: Path) -> None:
    frames = decoded(clip)
    # 5 frames a second: the third is on screen from 0.4 to 0.6, and a hair before it the second.
    wanted = {"0.4": 2, "0.5": 2, "0.599": 2, "0.6": 3, "0.395": 1, "12.9": 64}
    for moment, number in wanted.items():
        (found,) = keyframes_of_clip(clip, [moment])
        assert np.array_equal(found.picture, frames[number]), moment  # type: ignore[arg-type]
    with pytest.raises(InputError, match="13.2: keeps no frame of clip.mp4"):
        keyframes_of_clip(clip, ["13.2"])


def test_a_clip_of_one_frame_is_one_keyframe(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "one.mp4", moving_picture(1, 64, 48))
    assert [key.moment for key in keyframes_of_clip(path, None)] == ["0f"]
    pictures = np.stack(moving_picture(3, 16, 16))
    assert [key.moment for key in keyframes_of_clip(pictures, None)] == ["0f", LAST]
    assert [key.moment for key in keyframes_of_clip(pictures[:1], None)] == ["0f"]


def test_clips_for_keyframes_are_held_to_limits_and_read_again(clip: Path) -> None:
    with pytest.raises(LimitError, match="longer than 10 s"):
        keyframes_of_clip(clip, None, Limits(max_seconds=10))
    with pytest.raises(LimitError, match="longer than 10 s"):
        last_frame(clip, Limits(max_seconds=10))
    with pytest.raises(InputError, match="read more than once"):
        keyframes_of_clip(iter(moving_picture(2, 16, 16)), None)
    for moment in ("", "soon", "1:2", "-1"):
        with pytest.raises(InputError, match="no moment of a clip.*last"):
            keyframes_of_clip(clip, [moment])
    with pytest.raises(InputError, match="no moments"):
        keyframes_of_clip(clip, [])


def save_frames(path: Path, pictures: list[np.ndarray], **options: Any) -> Path:
    first, *others = (Image.fromarray(picture) for picture in pictures)
    first.save(path, save_all=True, append_images=others, **options)
    return path


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif"])
def test_a_keyframe_of_several_pictures_is_the_first_and_that_is_said(
    tmp_path: Path, name: str
) -> None:
    # Pictures of two colours, which a GIF holds as they are.
    pictures = [np.full((32, 48, 3), (20 * n, 90, 200), np.uint8) for n in range(1, 4)]
    for picture in pictures:
        picture[8:16, 8:16] = 255
    path = save_frames(tmp_path / name, pictures,
                       **({} if name == "a.tif" else {"duration": 100}),
                       **({"lossless": True} if name == "a.webp" else {}))
    (key,) = gather_keyframes(None, [path], None, None)
    assert np.array_equal(key.picture[..., :3], pictures[0])  # type: ignore[index]
    assert key.notes == (f"{name} holds several pictures, and the first of them is the keyframe; "
                         "give it as a clip for others.",)
    found = gather_keyframes(None, None, path, ["1f", "last"])
    for frame, picture in zip(found, pictures[1:], strict=True):
        assert np.abs(frame.picture[20:, 20:].astype(int) - picture[20:, 20:]).max() < 4
    model = Autoencoder(stored_network.StoredNetwork("small", DenseAutoencoder(8, 12, 4), {
        "architecture": "dense"}))
    assert plan_animation(model, [key, key], Settings()).notes[:1] == key.notes


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_a_picture_of_pillow_is_read_as_its_file_is(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(moving_picture(1, 24, 16)[0])
    picture = (Image.fromarray(np.arange(384, dtype=np.uint16).reshape(16, 24) * 150)
               if mode == "I;16" else picture.convert(mode))
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    picture.save(path)
    (key,), (right,) = (gather_keyframes(None, [given], None, None) for given in (picture, path))
    assert np.array_equal(key.picture, right.picture)  # type: ignore[arg-type]
    assert key.picture is not None and len(np.unique(key.picture[..., 0])) > 1


def test_a_keyframe_that_shows_nothing_is_refused(tmp_path: Path) -> None:
    empty = np.zeros((32, 32, 4), np.uint8)
    Image.fromarray(empty).save(tmp_path / "empty.png")
    for given, name in ((tmp_path / "empty.png", "empty.png"), (empty, "keyframe 2")):
        for model in ("dense-28", "d4-codec"):
            with pytest.raises(InputError, match=f"{name} is transparent everywhere; give"):
                aehub.animate(tmp_path / "a.gif", model=model, seconds=0.1,
                              keyframes=[np.full((32, 32, 3), 9, np.uint8), given])
    assert not (tmp_path / "a.gif").exists()


def test_keyframes_too_large_to_be_kept_are_refused_before_they_are_all_read() -> None:
    large = np.broadcast_to(np.uint8(7), (16_000, 2_000, 3))
    with pytest.raises(LimitError, match="first 9 keyframes hold 288 million pixels"):
        gather_keyframes(None, [large] * 200, None, None)


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (1200, 7)])
@pytest.mark.parametrize("model", ["dense-28", "d4-codec"])
def test_keyframes_of_odd_sizes_become_each_other(
    tmp_path: Path, size: tuple[int, int], model: str
) -> None:
    pair = [np.full((*size, 3), level, np.uint8) for level in (20, 220)]
    made = aehub.animate(tmp_path / "a.gif", model=model, keyframes=pair, seconds=0.2, fps=10,
                         scale=1)
    assert made.frames == 2
    if model == "d4-codec":
        assert (made.height, made.width) == size
