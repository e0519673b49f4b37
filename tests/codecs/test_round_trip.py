"""A clip becomes a file, and the file becomes the clip again."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from click.testing import CliRunner

import aehub
from aehub.bitstream import Writer, open_reader
from aehub.cli import main
from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.decompress import decode_frames
from aehub.errors import ExistsError, FormatError, InputError, WeightsError
from aehub.media.clip import open_clip
from aehub.media.picture import Colour, Picture
from golden_files import MODEL, write_model
from material import moving_picture, psnr, write_clip

NTSC = Fraction(30000, 1001)
UNSTEADY = [0, 40, 80, 200, 233, 300, 1000, 1001, 1040]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Clips of every shape that matters here, losslessly stored where it does."""
    folder = tmp_path_factory.mktemp("clips")
    pictures = moving_picture(9, 96, 64)
    odd = [picture[:45, :67] for picture in pictures]
    return {
        "ntsc": write_clip(folder / "ntsc.mkv", pictures, fps=NTSC),
        "odd": write_clip(folder / "odd.mkv", odd),
        "unsteady": write_clip(folder / "unsteady.mkv", pictures, vfr_pts=UNSTEADY),
        "slow": write_clip(folder / "slow.mp4", pictures[:3], fps=Fraction(1, 2)),
        "fast": write_clip(folder / "fast.mp4", pictures, fps=Fraction(120000, 1001)),
        "one": write_clip(folder / "one.mkv", pictures[:1]),
        "small": write_clip(folder / "small.mkv", [picture[:2, :2] for picture in pictures]),
        "sound": write_clip(folder / "sound.mp4", pictures * 3, audio=True),
        "tagged": write_clip(folder / "tagged.mp4", pictures, colour=(1, 2, 1, 1),
                             pixel_aspect=Fraction(16, 11)),
    }


def shown(path: Path) -> tuple[list[Picture], list[Fraction]]:
    """Planes and seconds of every frame of a clip."""
    with open_clip(path) as clip:
        frames = list(clip)
        return [f.picture for f in frames], [f.time * clip.info.time_base for f in frames]


def decoded(path: Path) -> tuple[list[Picture], list[Fraction]]:
    """The same of an `.aev` file, exactly as it says."""
    with open_reader(path) as reader:
        frames = list(decode_frames(reader, aehub.load()))
        return [f.picture for f in frames], [f.time * reader.header.time_base for f in frames]


# What comes back.


def test_matrix_range_and_pixel_aspect_come_back(clips: dict[str, Path], tmp_path: Path) -> None:
    aehub.compress(clips["tagged"], tmp_path / "file.aev")
    for name in ("back.mp4", "back.mkv"):
        result = aehub.decompress_to(tmp_path / "file.aev", tmp_path / name)
        with open_clip(clips["tagged"]) as source, open_clip(tmp_path / name) as back:
            assert source.info.colour == back.info.colour == Colour(1, True, 1, 1)
            assert source.info.pixel_aspect == Fraction(16, 11)
            lost = any("16/11 is not kept" in note for note in result.notes)
            assert back.info.pixel_aspect == (1 if lost else Fraction(16, 11))
            assert lost == (name == "back.mkv")


def test_fractions_of_quality_count(clips: dict[str, Path]) -> None:
    streams = [io.BytesIO() for _ in range(3)]
    for stream, quality in zip(streams, (60, 60.5, 60.5), strict=True):
        aehub.compress(clips["ntsc"], stream, quality=quality)
    first, second, third = (stream.getvalue() for stream in streams)
    assert first != second == third


@pytest.mark.parametrize("quality", [-0.01, 100.01, float("nan"), float("inf")])
def test_a_quality_outside_its_range_is_refused(clips: dict[str, Path], quality: float) -> None:
    with pytest.raises(InputError, match="from 0"):
        aehub.compress(clips["one"], io.BytesIO(), quality=quality)


# What is told.


def test_seconds_are_those_of_the_frames(clips: dict[str, Path]) -> None:
    def seconds(name: str) -> float:
        return aehub.compress(clips[name], io.BytesIO()).seconds

    assert seconds("ntsc") == pytest.approx(9 / NTSC, abs=1e-6)
    assert seconds("slow") == 6
    assert 1.040 < seconds("unsteady") <= 1.040 + 0.125


def test_progress_counts_frames_up_to_their_number(clips: dict[str, Path], tmp_path: Path) -> None:
    there: list[tuple[int, int]] = []
    back: list[tuple[int, int]] = []
    aehub.compress(clips["ntsc"], tmp_path / "a.aev", progress=lambda *s: there.append(s))
    aehub.decompress_to(tmp_path / "a.aev", tmp_path / "a.mkv", progress=lambda *s: back.append(s))
    for steps in (there, back):
        assert steps == sorted(steps) and steps[-1] == (9, 9)
        assert all(done <= total == 9 for done, total in steps)


def test_looking_at_a_file_needs_no_torch(clips: dict[str, Path], tmp_path: Path) -> None:
    aehub.compress(clips["sound"], tmp_path / "file.aev")
    code = (f"import aehub, sys; path = {str(tmp_path / 'file.aev')!r}\n"
            "assert aehub.info(path)['frames'] == 27\n"
            "assert not aehub.verify(path).problems\n"
            "assert not {'torch', 'av', 'constriction'} & sys.modules.keys(), sys.modules.keys()")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_cannot_be_decoded_is_refused_before_the_first_frame(tmp_path: Path) -> None:
    (tmp_path / "text.aev").write_text("not a clip at all, but long enough to look at")
    with pytest.raises(InputError):
        aehub.decompress(tmp_path / "missing.aev")
    with pytest.raises(FormatError):
        aehub.decompress(tmp_path / "text.aev")
    with pytest.raises(TypeError, match="unexpected"):
        aehub.decompress(tmp_path / "text.aev", quality=3)


# Parts of clips and files.


@pytest.mark.parametrize(("trim", "kept"), [("3f:7f", range(3, 7)), ("0.12:0.2", range(3, 5)),
                                            ("8f:", range(8, 9)), (":2f", range(2))])
def test_a_trim_keeps_the_frames_it_names(
    clips: dict[str, Path], tmp_path: Path, trim: str, kept: range
) -> None:
    result = aehub.compress(clips["odd"], tmp_path / "file.aev", trim=trim, quality=90)
    assert result.frames == len(kept)
    source, copy = shown(clips["odd"])[0], decoded(tmp_path / "file.aev")[0]
    for number, planes in zip(kept, copy, strict=True):
        errors = [psnr(other[0], planes[0]) for other in source]
        assert int(np.argmax(errors)) == number


@pytest.mark.parametrize("group", [0, -1, 1001])
def test_a_group_of_impossible_length_is_refused(clips: dict[str, Path], group: int) -> None:
    with pytest.raises(InputError, match="from 1 to 1000"):
        aehub.compress(clips["odd"], io.BytesIO(), group=group)


def test_groups_do_not_depend_on_each_other(clips: dict[str, Path], tmp_path: Path) -> None:
    aehub.compress(clips["odd"], tmp_path / "whole", group=4)
    with open_reader(tmp_path / "whole") as reader, open(tmp_path / "part", "wb") as stream:
        groups = list(reader.groups())
        begin, n = groups[0].header.n_frames, groups[1].header.n_frames
        with Writer(stream, reader.header) as writer:
            writer.group(groups[1].header, groups[1].payload)
    whole, part = (decoded(tmp_path / name)[0] for name in ("whole", "part"))
    assert len(part) == n
    for first, second in zip(whole[begin:begin + n], part, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


# Sources and targets.


class Pipe(io.RawIOBase):
    """A stream that neither seeks nor tells, and moves a few bytes at a time."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self.data.read(min(len(buffer), 700))
        buffer[: len(piece)] = piece
        return len(piece)

    def write(self, data: Any) -> int:
        return self.data.write(bytes(data[:700]))


def test_paths_streams_and_pipes_make_the_same_file(
    clips: dict[str, Path], tmp_path: Path
) -> None:
    aehub.compress(clips["sound"], tmp_path / "file.aev")
    aehub.compress(str(clips["sound"]), str(tmp_path / "text.aev"))
    wanted = (tmp_path / "file.aev").read_bytes()
    assert (tmp_path / "text.aev").read_bytes() == wanted
    bytes_in, bytes_out = io.BytesIO(clips["sound"].read_bytes()), io.BytesIO()
    aehub.compress(bytes_in, bytes_out)
    assert bytes_out.getvalue() == wanted
    pipe_out = Pipe()
    result = aehub.compress(Pipe(clips["sound"].read_bytes()), pipe_out)
    assert pipe_out.data.getvalue() == wanted
    assert (result.path, result.ratio) == (None, None)


@pytest.mark.parametrize("opened", [io.BytesIO, Pipe])
def test_streams_and_pipes_decode_like_files(
    clips: dict[str, Path], tmp_path: Path, opened: Callable[[bytes], Any]
) -> None:
    aehub.compress(clips["odd"], tmp_path / "file.aev")
    data = (tmp_path / "file.aev").read_bytes()
    wanted = list(aehub.decompress(tmp_path / "file.aev"))
    found = list(aehub.decompress(opened(data)))
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))
    aehub.decompress_to(opened(data), tmp_path / "back.mkv")
    assert len(shown(tmp_path / "back.mkv")[0]) == 9


def test_a_stream_gets_y4m(clips: dict[str, Path], tmp_path: Path) -> None:
    aehub.compress(clips["odd"], tmp_path / "file.aev")
    stream = io.BytesIO()
    result = aehub.decompress_to(tmp_path / "file.aev", stream)
    assert result.path is None
    (tmp_path / "back.y4m").write_bytes(stream.getvalue())
    for first, second in zip(
        shown(tmp_path / "back.y4m")[0], decoded(tmp_path / "file.aev")[0], strict=True
    ):
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("kind", ["array", "list", "generator", "picture"])
def test_arrays_are_clips(kind: str) -> None:
    frames = moving_picture(3, 67, 45)
    source: Any = {"array": np.stack(frames), "list": frames, "generator": iter(frames),
                   "picture": frames[0]}[kind]
    stream = io.BytesIO()
    result = aehub.compress(source, stream, quality=95, fps=12.5)
    assert (result.fps, result.ratio) == ("25/2", None)
    stream.seek(0)
    back = list(aehub.decompress(stream))
    assert len(back) == result.frames == (1 if kind == "picture" else 3)
    for first, second in zip(back, frames, strict=False):
        assert first.dtype == np.uint8 and first.shape == (45, 67, 3)
        assert psnr(first, second) > 25


def test_arrays_and_streams_need_an_output() -> None:
    with pytest.raises(InputError, match="give an output"):
        aehub.compress(np.zeros((1, 32, 32, 3), np.uint8))


def test_without_an_output_the_file_lies_beside_the_clip(
    clips: dict[str, Path], tmp_path: Path
) -> None:
    copy = tmp_path / "clip.mkv"
    copy.write_bytes(clips["odd"].read_bytes())
    assert aehub.compress(copy).path == str(tmp_path / "clip.aev")
    assert {path.name for path in tmp_path.iterdir()} == {"clip.aev", "clip.mkv"}


# Sound.


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(audio=0) if p.size]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("piped", [False, True])
def test_sound_comes_back_packet_by_packet(
    clips: dict[str, Path], tmp_path: Path, suffix: str, piped: bool
) -> None:
    path, back = tmp_path / "file.aev", tmp_path / f"back{suffix}"
    result = aehub.compress(clips["sound"], path)
    assert result.audio_bytes > 10_000
    aehub.decompress_to(Pipe(path.read_bytes()) if piped else path, back)
    assert packets(back) == packets(clips["sound"])


def test_sound_can_be_left_out(clips: dict[str, Path], tmp_path: Path) -> None:
    silent = aehub.compress(clips["sound"], tmp_path / "silent.aev", audio=False)
    with_sound = aehub.compress(clips["sound"], io.BytesIO())
    assert silent.audio_bytes == 0
    heads = with_sound.bytes - with_sound.audio_bytes - silent.bytes
    assert 0 <= heads <= 16


# Nothing is overwritten, nothing is left behind.


def test_nothing_is_overwritten_without_force(clips: dict[str, Path], tmp_path: Path) -> None:
    path, back = tmp_path / "file.aev", tmp_path / "back.mkv"
    for target in (path, back):
        target.write_bytes(b"mine")
    with pytest.raises(ExistsError, match="--force"):
        aehub.compress(clips["odd"], path)
    with pytest.raises(ExistsError, match="--force"):
        aehub.compress(clips["odd"], path, target_size=9000)
    assert path.read_bytes() == b"mine"
    aehub.compress(clips["odd"], path, force=True)
    with pytest.raises(ExistsError, match="--force"):
        aehub.decompress_to(path, back)
    assert back.read_bytes() == b"mine"
    aehub.decompress_to(path, back, force=True)
    assert len(shown(back)[0]) == 9


def test_a_folder_that_is_not_there_is_named(clips: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere does not exist"):
        aehub.compress(clips["odd"], tmp_path / "nowhere" / "file.aev")


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_closing_a_job_leaves_no_file(clips: dict[str, Path], tmp_path: Path, steps: int) -> None:
    job = aehub.iter_compress(clips["odd"], tmp_path / "file.aev", group=2)
    for _ in range(steps):
        next(job)
    job.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".gif", ".png", ""])
def test_closing_a_job_leaves_no_clip(
    clips: dict[str, Path], tmp_path: Path, suffix: str
) -> None:
    aehub.compress(clips["ntsc"], tmp_path / "file.aev")
    job = aehub.iter_decompress_to(tmp_path / "file.aev", tmp_path / f"back{suffix}")
    for _ in range(3):
        next(job)
    job.close()
    assert [path.name for path in tmp_path.iterdir()] == ["file.aev"]


def test_a_clip_that_breaks_off_leaves_no_file(clips: dict[str, Path], tmp_path: Path) -> None:
    def frames() -> Iterator[np.ndarray]:
        yield from moving_picture(20, 64, 48)
        raise OSError("the camera went away")

    with pytest.raises(OSError, match="camera"):
        aehub.compress(frames(), tmp_path / "file.aev")
    assert list(tmp_path.iterdir()) == []


# Models.


def test_a_file_of_another_models_weights_shows_no_picture(
    clips: dict[str, Path], tmp_path: Path
) -> None:
    other = D4Codec.from_pretrained(MODEL)
    other.name = "d4-codec"
    path, back = tmp_path / "file.aev", tmp_path / "back.mkv"
    aehub.compress(clips["odd"], path, model=other)
    with pytest.raises(WeightsError, match="was written with the tables"):
        next(aehub.decompress(path))
    with pytest.raises(WeightsError, match="was written with the tables"):
        aehub.decompress_to(path, back)
    with aehub.open(path) as archive, pytest.raises(WeightsError, match="tables"):
        archive[0]
    done = subprocess.run([sys.executable, "-m", "aehub", "decompress", path, back],
                          capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1 and "was written with the tables" in done.stderr
    assert not back.exists()


@torch.no_grad()
def test_a_file_of_another_decoder_shows_no_picture(
    clips: dict[str, Path], tmp_path: Path
) -> None:
    other = D4Codec.from_pretrained(MODEL)
    other.network.synthesis.tail.theta.mul_(0.5)
    other.save_pretrained(tmp_path / "other")
    aehub.compress(clips["odd"], tmp_path / "file.aev", model=tmp_path / "other")
    with pytest.raises(WeightsError, match="was written with the decoder"):
        next(aehub.decompress(tmp_path / "file.aev", model=MODEL))
    assert len(list(aehub.decompress(tmp_path / "file.aev", model=tmp_path / "other"))) == 9


def test_files_of_a_model_in_a_folder_can_be_opened(
    clips: dict[str, Path], tmp_path: Path
) -> None:
    write_model(tmp_path / "mine", seed=3)
    path = tmp_path / "file.aev"
    result = aehub.compress(clips["odd"], path, model=tmp_path / "mine")
    assert result.model == "tiny-d4"
    with aehub.open(path, model=tmp_path / "mine") as archive:
        first = archive[0]
    assert np.array_equal(next(aehub.decompress(path, model=tmp_path / "mine")), first)
    aehub.decompress_to(path, tmp_path / "back.mkv", model=tmp_path / "mine")
    with pytest.raises(aehub.UnknownModel, match="tiny-d4"):
        aehub.decompress_to(path, tmp_path / "again.mkv")
    arguments = ["decompress", str(path), str(tmp_path / "again.mkv")]
    assert CliRunner().invoke(main, arguments).exit_code == 1
    done = CliRunner().invoke(main, [*arguments, "--model", str(tmp_path / "mine")])
    assert done.exit_code == 0, done.stderr


def test_one_model_serves_several_threads(clips: dict[str, Path]) -> None:
    model = aehub.load()

    def file(_: int) -> bytes:
        stream = io.BytesIO()
        aehub.compress(clips["odd"], stream, model=model)
        stream.seek(0)
        assert len(list(aehub.decompress(stream))) == 9
        return stream.getvalue()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(file, range(6)))) == 1


def test_models_encode_frames_to_latents_and_back() -> None:
    model, frames = aehub.load(), moving_picture(3, 70, 50)
    latents = model.encode(frames, quality=90)
    assert latents.latent.shape == (3, 96, 8, 12) and latents.hyper.shape == (3, 24, 2, 3)
    assert torch.equal(latents.latent, latents.latent.round())
    back = model.decode(latents, quality=90, size=(70, 50))
    assert all(psnr(a, b) > 28 for a, b in zip(back, frames, strict=True))
    assert model.decode(latents, quality=90)[0].shape == (64, 96, 3)
