"""The suite of every codec: `zlib_codec`, a package of its own, and a tiny `d4-codec`."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

import aehub
from aehub import threads
from aehub.bitstream import Group, Writer, open_reader
from aehub.codecs.base import MiniGop
from aehub.codecs.compress import file_header
from aehub.codecs.decompress import decode_frames
from aehub.editing.operations import parse
from aehub.errors import DamagedError, FormatError, InputError
from aehub.media.clip import open_clip
from aehub.media.metrics import Distortion
from aehub.media.orientation import ELEMENTS, turn_picture
from aehub.media.picture import Picture
from material import moving_picture, write_clip

N, GROUP = 10, 4
UNSTEADY = [0, 40, 80, 200, 233, 300, 1000, 1001, 1040, 1100]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    pictures = moving_picture(N, 96, 64)
    return {
        "steady": write_clip(folder / "steady.mkv", pictures, fps=Fraction(30000, 1001)),
        "unsteady": write_clip(folder / "unsteady.mkv", pictures, vfr_pts=UNSTEADY, audio="flac"),
        "slow": write_clip(folder / "slow.mp4", pictures[:3], fps=Fraction(1, 2)),
        "fast": write_clip(folder / "fast.mp4", pictures, fps=Fraction(120000, 1001)),
        "odd": write_clip(folder / "odd.mkv", [picture[:45, :67] for picture in pictures]),
        "one": write_clip(folder / "one.mkv", pictures[:1]),
        "small": write_clip(folder / "small.mkv", [picture[:2, :2] for picture in pictures]),
    }


@pytest.fixture(scope="module")
def source(codec: Any, clips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames of an odd size in three groups, the last a short one."""
    path = tmp_path_factory.mktemp("source") / "clip.aev"
    aehub.compress(clips["odd"], path, model=codec, group=GROUP, quality=60, measure=False)
    return path


@pytest.fixture(scope="module")
def pictures(source: Path, codec: Any) -> list[Picture]:
    """Its frames, read through."""
    return pictures_of(source, codec)


def pictures_of(path: Path, codec: Any) -> list[Picture]:
    with open_reader(path) as reader:
        return [frame.picture for frame in decode_frames(reader, codec)]


def same(found: list[Picture], wanted: list[Picture]) -> bool:
    return len(found) == len(wanted) and all(
        np.array_equal(a, b) for one, two in zip(found, wanted) for a, b in zip(one, two))


# A clip becomes a file, and the file a clip.


@pytest.mark.parametrize("name", ["steady", "unsteady", "slow", "fast", "odd", "one", "small"])
def test_a_clip_comes_back_with_its_size_times_and_sound(
    codec: Any, clips: dict[str, Path], name: str, tmp_path: Path
) -> None:
    path, back = tmp_path / "file.aev", tmp_path / "back.mkv"
    result = aehub.compress(clips[name], path, model=codec, quality=70)
    assert aehub.verify(path).ok
    lossless = aehub.decompress_to(path, back, model=codec)
    with open_clip(clips[name]) as first, open_clip(back) as second:
        wanted, copy = list(first), list(second)
        base = first.info.time_base, second.info.time_base
        assert (first.audio is None) == (second.audio is None) == (name != "unsteady")
    with open_reader(path) as reader:
        found = list(decode_frames(reader, codec))
        times = [frame.time * reader.header.time_base for frame in found]
    assert same([frame.picture for frame in copy], [frame.picture for frame in found])
    # Matroska counts milliseconds.
    tick = Fraction(1, 1000 if clips[name].suffix == ".mkv" else 10_000)
    for frame, time, again in zip(wanted, times, copy, strict=True):
        assert abs(frame.time * base[0] - time) <= tick
        assert abs(again.time * base[1] - time) <= Fraction(1, 1000)
    assert name == "unsteady" or lossless.seconds == result.seconds
    distortion = Distortion()
    for one, two in zip(wanted, found, strict=True):
        distortion.add(one.picture, two.picture)
    assert result.psnr == round(distortion.psnr, 3)
    assert result.psnr > 25
    rgb = list(aehub.decompress(path, model=codec))
    assert len(rgb) == result.frames == lossless.frames
    assert {frame.shape for frame in rgb} == {(result.height, result.width, 3)}


@pytest.mark.parametrize("name", ["steady", "unsteady", "one"])
def test_facts_of_a_file_are_those_of_its_compression(
    codec: Any, clips: dict[str, Path], name: str, tmp_path: Path
) -> None:
    path = tmp_path / "file.aev"
    result = aehub.compress(clips[name], path, model=codec, group=GROUP)
    facts = aehub.info(path)
    for key in ("model", "bytes", "audio_bytes", "frames", "width", "height", "fps", "seconds",
                "kbps", "bits_per_pixel", "quality"):
        assert facts[key] == getattr(result, key), key
    assert result.model == codec.name and result.bytes == path.stat().st_size
    assert result.ratio == round(clips[name].stat().st_size / result.bytes, 3)
    assert facts["groups"] == -(-result.frames // GROUP) and facts["group_frames"] == GROUP
    assert facts["coder"] == codec.payload_formats[0] and facts["complete"]
    assert sum(result.frame_bytes) == facts["payload_bytes"]
    assert len(result.frame_bytes) == result.frames
    pictures = result.bytes - result.audio_bytes
    pixels = result.frames * result.width * result.height
    assert result.bits_per_pixel == pytest.approx(8 * pictures / pixels, abs=1e-6)
    assert result.kbps == pytest.approx(8 * pictures / result.seconds / 1000, abs=1e-3)


def test_a_file_is_the_same_unmeasured(
    codec: Any, clips: dict[str, Path], tmp_path: Path
) -> None:
    results = [aehub.compress(clips["odd"], tmp_path / f"{measure}.aev", model=codec,
                              measure=measure) for measure in (True, False)]
    assert (tmp_path / "True.aev").read_bytes() == (tmp_path / "False.aev").read_bytes()
    assert results[0].psnr is not None and results[1].psnr is None


def test_a_better_quality_is_a_larger_file_and_a_closer_picture(
    codec: Any, clips: dict[str, Path]
) -> None:
    results = [aehub.compress(clips["steady"], io.BytesIO(), model=codec, quality=quality)
               for quality in (0, 25, 50.5, 75, 100)]
    for less, more in zip(results, results[1:]):
        assert less.bytes < more.bytes and less.psnr < more.psnr


@pytest.mark.parametrize("effort", [0, 3, 9])
def test_a_file_of_any_effort_decodes_to_what_its_compression_measured(
    codec: Any, clips: dict[str, Path], tmp_path: Path, effort: int
) -> None:
    path = tmp_path / "clip.aev"
    made = aehub.compress(clips["steady"], path, model=codec, effort=effort)
    distortion = Distortion(with_ms_ssim=False)
    with open_clip(clips["steady"]) as clip:
        for frame, shown in zip(clip, pictures_of(path, codec), strict=True):
            distortion.add(frame.picture, shown)
    assert made.frames == N and round(distortion.psnr, 3) == made.psnr


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_a_file_takes_the_size_it_was_given_or_says_why_not(
    codec: Any, clips: dict[str, Path], share: float
) -> None:
    low, high = (aehub.compress(clips["steady"], io.BytesIO(), model=codec, quality=quality).bytes
                 for quality in (5, 95))
    target = int(low ** (1 - share) * high**share)
    result = aehub.compress(clips["steady"], io.BytesIO(), model=codec, target_size=target)
    assert result.bytes <= target
    assert result.bytes >= 0.97 * target or any(
        f"{result.bytes} bytes" in note and f"{target}" in note for note in result.notes)
    with pytest.raises(InputError, match="the smallest file of this clip, at quality 0"):
        aehub.compress(clips["steady"], io.BytesIO(), model=codec, target_size=100)


def test_curves_are_measured_by_the_folder_of_a_model(
    codec: Any, clips: dict[str, Path]
) -> None:
    comparison = aehub.compare([clips["odd"]], f"x264-medium,{codec.folder}", frames=4)
    assert comparison.ours == (str(codec.folder),) and not comparison.failures
    points = comparison.curve("odd", str(codec.folder))
    assert len(points) == 6 and points[0].psnr < points[-1].psnr


def test_a_group_decodes_the_frames_that_are_asked_for_and_no_others(
    source: Path, codec: Any, pictures: list[Picture]
) -> None:
    with open_reader(source) as reader:
        group = reader.group_at(1)
        found = dict(codec.decode_group(reader.header, group, {1, 3}))
    assert found.keys() == {1, 3}
    assert same([found[1], found[3]], [pictures[GROUP + 1], pictures[GROUP + 3]])


class OnlyIntegers(TorchFunctionMode):
    """Refuses convolutions of anything but integers."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None
                           ) -> Any:
        if "conv" in getattr(function, "__name__", ""):
            for tensor in [part for part in args if isinstance(part, torch.Tensor)]:
                # Weights packed for convolutions of bytes.
                if not tensor.is_mkldnn and not torch.equal(tensor, tensor.round()):
                    raise RuntimeError("a float network runs")
        return function(*args, **(kwargs or {}))


def test_codes_are_integers_that_no_float_network_has_touched(source: Path, codec: Any) -> None:
    with open_reader(source) as reader, OnlyIntegers():
        group = reader.group_at(0)
        frames = list(codec.codes(reader.header, group))
        if hasattr(codec, "network"):
            # Modes of torch are those of one thread.
            with (pytest.raises(RuntimeError, match="a float network runs"),
                  threads.one_thread()):
                list(codec.decode_group(reader.header, group))
    assert sorted(frame.number for frame in frames) == list(range(GROUP))
    types = group.header.resolved_types
    for frame in frames:
        assert frame.is_intra == (types[frame.number] == 0)
        sizes = [part.shape[-2:] for part in frame.latents]
        assert all(part.dtype == np.int32 and part.ndim == 3 for part in frame.latents)
        assert sizes == sorted(sizes, reverse=True) and any(part.any() for part in frame.latents)


def test_an_encoder_gives_every_frame_once_and_all_with_the_end_of_the_group(
    codec: Any, clips: dict[str, Path]
) -> None:
    with open_clip(clips["odd"]) as clip:
        header = file_header(codec, clip.info, 60, None)
        frames = list(clip)
    encoder, given = codec.group_encoder(header), list[int]()
    for begin, end in ((0, 1), (1, 3), (3, 7)):
        coded = encoder.add(MiniGop(frames[begin:end], end == 7, None))
        given += [frame.number for frame in coded if frame is not None]
        assert len(set(given)) == len(given) and max(given, default=-1) < end
    assert sorted(given) == list(range(7))
    assert encoder.finish()[0].n_frames == 7


# Edits.


def test_joined_files_of_two_qualities_show_one_after_the_other(
    source: Path, codec: Any, clips: dict[str, Path], pictures: list[Picture], tmp_path: Path
) -> None:
    finer, output = tmp_path / "finer.aev", tmp_path / "joined.aev"
    aehub.compress(clips["odd"], finer, model=codec, quality=93, fps=30, measure=False)
    result = aehub.concat([source, finer, source], output)
    assert result.frames == 3 * N and aehub.verify(output).ok
    assert result.seconds == pytest.approx(N * (2 / 25 + 1 / 30), abs=1e-6)
    assert same(pictures_of(output, codec), pictures + pictures_of(finer, codec) + pictures)


@pytest.mark.parametrize("trims", [
    {":4f": (0, 4), "4f:": (4, N)}, {":6f": (0, 6), "6f:": (6, N)},
    {":0.2": (0, 5), "0.2:": (5, N)}, {":5f": (0, 5), "5f:7f": (5, 7), "7f:": (7, N)}], ids=str)
def test_the_parts_of_a_file_show_their_frames_and_make_it_again(
    source: Path, codec: Any, pictures: list[Picture], trims: dict[str, tuple[int, int]],
    tmp_path: Path
) -> None:
    parts = [tmp_path / f"{number}.aev" for number in range(len(trims))]
    for part, (trim, kept) in zip(parts, trims.items(), strict=True):
        aehub.edit(source, part, [aehub.Trim(trim)], model=codec)
        assert aehub.verify(part).ok
        assert same(pictures_of(part, codec), pictures[slice(*kept)])
    aehub.concat(parts, tmp_path / "whole.aev", model=codec)
    assert (tmp_path / "whole.aev").read_bytes() == source.read_bytes()


def test_a_reversal_plays_backward_and_its_own_reversal_is_the_file(
    source: Path, codec: Any, pictures: list[Picture], tmp_path: Path
) -> None:
    aehub.edit(source, tmp_path / "back.aev", [aehub.Reverse()])
    assert same(pictures_of(tmp_path / "back.aev", codec), pictures[::-1])
    aehub.edit(tmp_path / "back.aev", tmp_path / "there.aev", [aehub.Reverse()])
    assert (tmp_path / "there.aev").read_bytes() == source.read_bytes()


@pytest.mark.parametrize(("steps", "opposite"), [
    ("rotate 90", "rotate 270"), ("flip horizontal", "flip horizontal")])
def test_a_turn_is_exact_or_refused_with_the_way_through_pixels(
    source: Path, codec: Any, pictures: list[Picture], steps: str, opposite: str, tmp_path: Path
) -> None:
    turned, back = tmp_path / "turned.aev", tmp_path / "back.aev"
    if codec.editor is None:
        with pytest.raises(InputError, match=f"^{codec.name} cannot turn.*via_pixels=True"):
            aehub.edit(source, turned, parse(steps), model=codec)
        assert not turned.exists()
    else:
        aehub.edit(source, turned, parse(steps), model=codec)
        aehub.edit(turned, back, parse(opposite), model=codec)
        assert back.read_bytes() == source.read_bytes()
    result = aehub.edit(source, turned, [aehub.Trim("1f:9f"), *parse(steps)], model=codec,
                        via_pixels=True, force=True)
    element = ELEMENTS[steps.replace(" ", "-")]
    wanted = [turn_picture(picture, element) for picture in pictures[1:9]]
    assert (result.width, result.height) == wanted[0].size
    distortion = Distortion()
    for one, two in zip(wanted, pictures_of(turned, codec), strict=True):
        distortion.add(one, two)
    assert result.psnr == round(distortion.psnr, 3) > 25


def test_hidden_frames_are_dropped_or_the_codec_says_that_they_stay(
    source: Path, codec: Any, pictures: list[Picture], tmp_path: Path
) -> None:
    plain, exact = tmp_path / "plain.aev", tmp_path / "exact.aev"
    trim = [aehub.Trim("2f:7f")]
    aehub.edit(source, plain, trim, model=codec)
    assert same(pictures_of(plain, codec), pictures[2:7])
    if codec.editor is None:
        with pytest.raises(InputError, match=f"^{codec.name} cannot drop frames.*group_exact"):
            aehub.edit(source, exact, trim, model=codec, group_exact=True)
        return
    aehub.edit(source, exact, trim, model=codec, group_exact=True)
    assert same(pictures_of(exact, codec), pictures[2:7])


# What is damaged, or of another codec.


def test_a_damaged_group_costs_its_own_frames_and_one_sentence(
    source: Path, codec: Any, pictures: list[Picture]
) -> None:
    data = bytearray(source.read_bytes())
    with open_reader(source) as reader:
        data[reader.group_at(1).offset + 30] ^= 1
    found = []
    with pytest.raises(DamagedError, match="1 of 3 groups are lost"):
        for frame in aehub.decompress(io.BytesIO(data), model=codec):
            found.append(frame)
    assert len(found) == N - GROUP
    with aehub.open(io.BytesIO(data), model=codec) as archive:
        with pytest.raises(DamagedError, match="group 1"):
            archive[GROUP]
        assert same([archive.picture(n) for n in (3, 9)], [pictures[3], pictures[9]])


@given(payload=st.binary(max_size=300))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_payload_gives_pictures_or_one_sentence(
    codec: Any, source: Path, payload: bytes
) -> None:
    with open_reader(source) as reader:
        header, group = reader.header, reader.group_at(0)
    forged = Group(replace(group.header, mini_gop_ends=None), payload, 0, 0)
    for read in (codec.decode_group, codec.codes):
        try:
            assert len(list(read(header, forged))) == GROUP
        except DamagedError as error:
            assert "does not decode" in str(error) and str(error).endswith(".")


def test_a_payload_that_is_cut_short_with_right_checksums_gets_one_sentence(
    codec: Any, source: Path
) -> None:
    stream = io.BytesIO()
    with open_reader(source) as reader, Writer(stream, reader.header) as writer:
        for group in reader.groups():
            header = replace(group.header, stream_words=(), mini_gop_ends=None)
            writer.group(header, group.payload[: len(group.payload) // 3])
    stream.seek(0)
    assert aehub.verify(stream).ok
    stream.seek(0)
    with pytest.raises(DamagedError, match="does not decode"):
        list(aehub.decompress(stream, model=codec))


def test_a_file_of_another_codec_is_refused_by_name(
    source: Path, codec: Any, folders: dict[str, Path], clips: dict[str, Path], tmp_path: Path
) -> None:
    other = next(folder for name, folder in folders.items() if name != codec.name)
    with pytest.raises(FormatError, match=f"{other.name} here has .*leave the model out, or name"):
        next(aehub.decompress(source, model=other))
    foreign = tmp_path / "foreign.aev"
    aehub.compress(clips["odd"], foreign, model=other, measure=False)
    with pytest.raises(InputError, match=f"the model is {other.name}, not {codec.name}"):
        aehub.concat([source, foreign], tmp_path / "joined.aev")
    assert not (tmp_path / "joined.aev").exists()


