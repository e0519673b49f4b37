"""Which picture becomes a keyframe, of files and clips of every kind."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from aehub.animate.keyframes import LAST, frames_of, last_frame
from aehub.clips import open_clip, to_rgb
from aehub.config import Limits
from aehub.errors import InputError, LimitError
from material import moving_picture, write_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """66 frames in 13.2 s, a key frame every tenth."""
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", moving_picture(66, 64, 48),
                      fps=5, options={"g": "10"})


def decoded(path: Path) -> list[np.ndarray]:
    with open_clip(path) as opened:
        return [to_rgb(frame.planes, opened.info.colour) for frame in opened]


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
    first, last = frames_of(path, None)
    assert np.array_equal(first.picture, decoded(path)[0])  # type: ignore[arg-type]
    assert np.array_equal(last.picture, decoded(path)[-1])  # type: ignore[arg-type]
    assert np.array_equal(last.picture, frames_of(path, ["3f"])[0].picture)  # type: ignore[arg-type]


def test_a_moment_is_the_picture_on_screen_then(clip: Path, tmp_path: Path) -> None:
    frames = decoded(clip)
    # 5 frames a second: the third is on screen from 0.4 to 0.6, and a hair before it the second.
    wanted = {"0.4": 2, "0.5": 2, "0.599": 2, "0.6": 3, "0.395": 1, "12.9": 64}
    for moment, number in wanted.items():
        (found,) = frames_of(clip, [moment])
        assert np.array_equal(found.picture, frames[number]), moment  # type: ignore[arg-type]
    with pytest.raises(InputError, match="13.2: keeps no frame of clip.mp4"):
        frames_of(clip, ["13.2"])


def test_a_clip_of_one_frame_is_one_keyframe(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "one.mp4", moving_picture(1, 64, 48))
    assert [key.moment for key in frames_of(path, None)] == ["0f"]
    pictures = np.stack(moving_picture(3, 16, 16))
    assert [key.moment for key in frames_of(pictures, None)] == ["0f", LAST]
    assert [key.moment for key in frames_of(pictures[:1], None)] == ["0f"]


def test_clips_for_keyframes_are_held_to_limits_and_read_again(clip: Path) -> None:
    with pytest.raises(LimitError, match="longer than 10 s"):
        frames_of(clip, None, Limits(max_seconds=10))
    with pytest.raises(LimitError, match="longer than 10 s"):
        last_frame(clip, Limits(max_seconds=10))
    with pytest.raises(InputError, match="read more than once"):
        frames_of(iter(moving_picture(2, 16, 16)), None)
    for moment in ("", "soon", "1:2", "-1"):
        with pytest.raises(InputError, match="no moment of a clip.*last"):
            frames_of(clip, [moment])
    with pytest.raises(InputError, match="no moments"):
        frames_of(clip, [])
