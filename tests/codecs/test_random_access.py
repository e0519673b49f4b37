"""Any frame of a file, in any order, is the frame that reading it through gives."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aehub
from aehub.codecs import archive as module
from aehub.errors import DamagedError, InputError
from material import moving_picture

N = 21


@pytest.fixture(scope="module")
def path(codec: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("access") / "clip.aev"
    aehub.compress(np.stack(moving_picture(N, 67, 45)), path, model=codec, group=4)
    return path


@pytest.fixture(scope="module")
def frames(path: Path, codec: Any) -> np.ndarray:
    """All frames, read through."""
    return np.stack(list(aehub.decompress(path, model=codec)))


def test_an_archive_tells_what_it_holds(path: Path, codec: Any) -> None:
    with aehub.open(path, model=codec) as clip:
        assert len(clip) == clip.info.n_frames == N
        assert (clip.info.width, clip.info.height, clip.info.fps) == (67, 45, 25)


@pytest.mark.parametrize("number", [0, 1, 3, 4, 12, N - 1, -1, -2, -N])
def test_single_frames_are_those_of_reading_through(
    path: Path, codec: Any, frames: np.ndarray, number: int
) -> None:
    with aehub.open(path, model=codec) as clip:
        assert np.array_equal(clip[number], frames[number])


@pytest.mark.parametrize(
    "part",
    [slice(None), slice(2, 7), slice(12, 18), slice(-5, None), slice(None, None, 3),
     slice(None, None, -1), slice(15, 3, -4), slice(7, 7), slice(100, 200), slice(-100, 3)],
    ids=str,
)
def test_slices_are_those_of_reading_through(
    path: Path, codec: Any, frames: np.ndarray, part: slice
) -> None:
    with aehub.open(path, model=codec) as clip:
        found = clip[part]
        assert found.dtype == np.uint8 and found.shape == frames[part].shape
        assert np.array_equal(found, frames[part])


def test_iterating_gives_every_frame_once(path: Path, codec: Any, frames: np.ndarray) -> None:
    with aehub.open(path, model=codec) as clip:
        assert np.array_equal(np.stack(list(clip)), frames)


@pytest.mark.parametrize("number", [N, N + 100, -N - 1])
def test_a_frame_that_is_not_there_is_named(path: Path, codec: Any, number: int) -> None:
    with (aehub.open(path, model=codec) as clip,
          pytest.raises(IndexError, match=f"the clip has {N}")):
        clip[number]


@pytest.mark.parametrize("number", [-1, N])
def test_planes_are_counted_from_zero(path: Path, codec: Any, number: int) -> None:
    with aehub.open(path, model=codec) as clip:
        for ask in (clip.picture, clip.time):
            with pytest.raises(IndexError, match=f"the clip has {N}"):
                ask(number)


def test_only_the_groups_asked_for_are_decoded(
    path: Path, codec: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    plain = module.decode_group

    def counting(model: Any, head: Any, group: Any, *rest: Any, **options: Any) -> Any:
        decoded.append(group.index)
        return plain(model, head, group, *rest, **options)

    monkeypatch.setattr(module, "decode_group", counting)
    with aehub.open(path, model=codec) as clip:
        clip[9:11]
        assert decoded == [2]
        clip[6:9]
        assert decoded == [2, 1, 2]


def test_streams_are_archives_and_pipes_are_not(path: Path, codec: Any, frames: np.ndarray) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    with aehub.open(io.BytesIO(path.read_bytes()), model=codec) as clip:
        assert np.array_equal(clip[5], frames[5])
    with pytest.raises(InputError, match="a pipe has no random access"):
        aehub.open(Pipe(path.read_bytes()))


def test_a_damaged_group_spoils_only_its_own_frames(
    path: Path, codec: Any, frames: np.ndarray
) -> None:
    data = bytearray(path.read_bytes())
    with aehub.bitstream.open_reader(path) as reader:
        second = reader.index[1].offset
    data[second + 40] ^= 1
    with aehub.open(io.BytesIO(data), model=codec) as clip:
        with pytest.raises(DamagedError, match="group 1"):
            clip[5]
        assert np.array_equal(clip[3], frames[3])
        assert np.array_equal(clip[8], frames[8])
