"""`decompress --no-restore`: the stream of AV1 in a file for players, untouched."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from click.testing import CliRunner

import aehub
from aehub.bitstream import open_reader
from aehub.cli import main
from aehub.codecs.decompress import timed_groups
from aehub.codecs.sandwich import av1
from aehub.codecs.sandwich.codec import SandwichCodec
from aehub.codecs.sandwich.network import Restorer
from aehub.errors import DamagedError, InputError
from aehub.media.clip import open_clip
from aehub.media.elementary_streams import from_video_frame
from aehub.media.picture import Picture
from golden_files import MODEL
from material import moving_picture, write_clip
from sandwich_files import av1_pictures, payloads, random_sandwich

N, GROUP = 10, 4
UNSTEADY = [0, 40, 80, 200, 233, 300, 1000, 1001, 1040, 1100]
SUFFIXES = (".mp4", ".mkv", ".webm")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SandwichCodec:
    return aehub.load(random_sandwich(tmp_path_factory.mktemp("models") / "sandwich"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, model: SandwichCodec) -> dict[str, Path]:
    """Compressed clips of ten frames in groups of four."""
    folder = tmp_path_factory.mktemp("files")
    pictures = moving_picture(N, 96, 64)
    clips = {
        "steady": write_clip(folder / "steady.mkv", pictures, fps=Fraction(30000, 1001)),
        "unsteady": write_clip(folder / "unsteady.mkv", pictures, vfr_pts=UNSTEADY, audio="flac"),
        "odd": write_clip(folder / "odd.mkv", [picture[:45, :67] for picture in pictures]),
        "small": write_clip(folder / "small.mkv", [picture[:2, :2] for picture in pictures]),
        "tagged": write_clip(folder / "tagged.mp4", pictures, colour=(1, 2, 1, 1),
                             pixel_aspect=Fraction(4, 3)),
    }
    for name, clip in clips.items():
        aehub.compress(clip, folder / f"{name}.aev", model=model, group=GROUP, quality=70,
                       measure=False)
    return {name: folder / f"{name}.aev" for name in clips}


def shown_times(path: Path) -> list[tuple[Fraction, Fraction]]:
    """Begin and duration of the shown frames of a compressed file, in seconds."""
    with open_reader(path) as reader:
        base = reader.header.time_base
        return [(frame.time * base, frame.duration * base)
                for _, frames in timed_groups(reader) for frame in frames]


def shown_pictures(path: Path, model: SandwichCodec) -> list[Picture]:
    """Pictures of the streams, as they are coded, in the order in which the file shows them."""
    with open_reader(path) as reader:
        size = av1.coded_size((reader.header.width, reader.header.height))
        orders = [group.header.display_order for group in reader.groups()]
    decoded = [list(av1.decode(units, size)) for _, units in payloads(path, model)]
    return [pictures[n] for pictures, order in zip(decoded, orders, strict=True) for n in order]


def read(path: Path) -> tuple[list[Picture], list[Fraction]]:
    """Pictures and times of a file, as players get them."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return [from_video_frame(f) for f in frames], [f.pts * f.time_base for f in frames]


def same(found: list[Picture], wanted: list[Picture]) -> bool:
    return len(found) == len(wanted) and all(
        np.array_equal(a, b) for one, two in zip(found, wanted) for a, b in zip(one, two))


def check(copy: Path, source: Path, model: SandwichCodec) -> None:
    """A copy shows the pictures of the streams at the times of the file."""
    found, times = read(copy)
    assert same(found, shown_pictures(source, model))
    tick = Fraction(1, 10**6 if copy.suffix == ".mp4" else 1000)
    wanted = shown_times(source)
    assert all(abs(a - b) <= tick for a, (b, _) in zip(times, wanted, strict=True))
    if not source.stem.startswith("unsteady"):  # There the sound ends last.
        with av.open(str(copy)) as container:
            duration = Fraction(container.duration, av.time_base)
        assert abs(duration - sum(wanted[-1])) <= Fraction(1, 1000)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["steady", "unsteady", "odd", "small"])
def test_a_copied_stream_plays_its_own_samples_at_the_times_of_the_file(
    files: dict[str, Path], model: SandwichCodec, name: str, suffix: str, tmp_path: Path
) -> None:
    copy = tmp_path / f"copy{suffix}"
    result = aehub.decompress_to(files[name], copy, model=model, restore=False)
    check(copy, files[name], model)
    assert result.frames == N
    assert result.seconds == pytest.approx(float(sum(shown_times(files[name])[-1])), abs=1e-6)
    padded = name in ("odd", "small")
    assert any("last row" in note for note in result.notes) == padded


def test_a_copied_stream_is_the_stream_byte_by_byte(
    files: dict[str, Path], model: SandwichCodec, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.mp4"
    aehub.decompress_to(files["steady"], copy, model=model, restore=False)
    with av.open(str(copy)) as container:
        found = [bytes(packet) for packet in container.demux(video=0) if packet.size]
        keys = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
    assert found == [unit.data for _, units in payloads(files["steady"], model) for unit in units]
    assert all(key == (number % GROUP == 0) for number, key in enumerate(keys))


def test_no_network_runs_for_a_copy(
    files: dict[str, Path], model: SandwichCodec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("a network runs")

    monkeypatch.setattr(Restorer, "forward", refuse)
    aehub.decompress_to(files["steady"], tmp_path / "copy.mkv", model=model, restore=False)
    with pytest.raises(RuntimeError, match="a network runs"):
        aehub.decompress_to(files["steady"], tmp_path / "restored.mkv", model=model)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_copied_stream_has_the_sound_of_decompression(
    files: dict[str, Path], model: SandwichCodec, suffix: str, tmp_path: Path
) -> None:
    tracks = []
    for restore in (False, True):
        copy = tmp_path / f"{restore}{suffix}"
        aehub.decompress_to(files["unsteady"], copy, model=model, restore=restore)
        with av.open(str(copy)) as container:
            tracks.append([(packet.pts * packet.time_base, bytes(packet))
                           for packet in container.demux(audio=0) if packet.size])
    assert tracks[0] == tracks[1] and len(tracks[0]) > 3


def test_a_copied_stream_states_colour_range_and_pixel_aspect(
    files: dict[str, Path], model: SandwichCodec, tmp_path: Path
) -> None:
    for suffix in (".mp4", ".mkv"):
        copy = tmp_path / f"copy{suffix}"
        result = aehub.decompress_to(files["tagged"], copy, model=model, restore=False)
        with av.open(str(copy)) as container:
            context = container.streams.video[0].codec_context
            tags = context.colorspace, context.color_primaries, context.color_trc
            aspect = container.streams.video[0].sample_aspect_ratio
            frame = next(container.decode(video=0))
        assert tags == (1, 1, 1)
        # Players go by the stream, whatever the container says.
        assert frame.color_range == 2
        assert aspect == Fraction(4, 3) or any("pixel aspect" in note for note in result.notes)


# Edits.


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("trim", [":6f", "4f:9f"])
def test_frames_hidden_at_the_end_of_a_group_are_left_out(
    files: dict[str, Path], model: SandwichCodec, trim: str, suffix: str, tmp_path: Path
) -> None:
    part, copy = tmp_path / "part.aev", tmp_path / f"copy{suffix}"
    aehub.edit(files["steady"], part, [aehub.Trim(trim)], model=model)
    aehub.decompress_to(part, copy, model=model, restore=False)
    check(copy, part, model)


@pytest.mark.parametrize("name", ["steady", "unsteady"])
def test_frames_hidden_at_the_start_stay_hidden_in_mp4_and_are_refused_elsewhere(
    files: dict[str, Path], model: SandwichCodec, name: str, tmp_path: Path
) -> None:
    part, copy = tmp_path / "part.aev", tmp_path / "copy.mp4"
    aehub.edit(files[name], part, [aehub.Trim("3f:9f")], model=model)
    result = aehub.decompress_to(part, copy, model=model, restore=False)
    check(copy, part, model)
    assert result.frames == 6
    with open_clip(copy) as clip:
        assert len(list(clip)) == 6
    for suffix in (".mkv", ".webm"):
        with pytest.raises(InputError, match=r"hides its first 3 frames.*only an \.mp4"):
            aehub.decompress_to(part, tmp_path / f"copy{suffix}", model=model, restore=False)
        assert not (tmp_path / f"copy{suffix}").exists()


def test_joined_files_play_one_after_the_other_unless_a_later_one_hides_frames_first(
    files: dict[str, Path], model: SandwichCodec, tmp_path: Path
) -> None:
    part, whole, bad = (tmp_path / f"{name}.aev" for name in ("part", "whole", "bad"))
    aehub.edit(files["steady"], part, [aehub.Trim("3f:9f")], model=model)
    aehub.concat([part, files["steady"]], whole)
    aehub.decompress_to(whole, tmp_path / "copy.mp4", model=model, restore=False)
    check(tmp_path / "copy.mp4", whole, model)
    aehub.concat([files["steady"], part], bad)
    with pytest.raises(InputError, match="hides its first 3 frames.*only at its start"):
        aehub.decompress_to(bad, tmp_path / "bad.mp4", model=model, restore=False)


def test_a_reversal_is_refused_unless_every_group_is_one_frame(
    files: dict[str, Path], model: SandwichCodec, tmp_path: Path
) -> None:
    back, single = tmp_path / "back.aev", tmp_path / "single.aev"
    aehub.edit(files["steady"], back, [aehub.Reverse()])
    with pytest.raises(InputError, match="plays backward, and its stream only forward"):
        aehub.decompress_to(back, tmp_path / "copy.mp4", model=model, restore=False)
    assert not (tmp_path / "copy.mp4").exists()
    aehub.compress(np.stack(moving_picture(3, 96, 64)), single, model=model, group=1)
    aehub.edit(single, back, [aehub.Reverse()], force=True)
    aehub.decompress_to(back, tmp_path / "copy.mp4", model=model, restore=False)
    check(tmp_path / "copy.mp4", back, model)


# What cannot be copied.


def test_a_group_that_is_coded_at_half_its_size_is_refused(
    model: SandwichCodec, tmp_path: Path
) -> None:
    path = tmp_path / "small.aev"
    aehub.compress(np.stack(smooth_clip(6)), path, model=model, quality=0, measure=False)
    assert [side.halved for side, _ in payloads(path, model)] == [True]
    with pytest.raises(InputError, match=r"^a group is coded at half its size.*--no-restore"):
        aehub.decompress_to(path, tmp_path / "copy.mp4", model=model, restore=False)


def smooth_clip(n: int) -> list[np.ndarray]:
    """Soft waves that move: half the samples hold all of it."""
    y, x = np.mgrid[:144, :176]
    return [np.stack([128 + 90 * np.sin((x + 3 * t) / 19) * np.cos((y + t) / 23 + part)
                      for part in range(3)], -1).astype(np.uint8) for t in range(n)]


def test_a_codec_without_a_standard_one_inside_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "clip.aev"
    aehub.compress(np.stack(moving_picture(2, 64, 48)), path, model=MODEL, measure=False)
    with pytest.raises(InputError, match=r"^files of tiny-d4 hold no stream that players decode"):
        aehub.decompress_to(path, tmp_path / "copy.mp4", model=MODEL, restore=False)
    assert not (tmp_path / "copy.mp4").exists()


@pytest.mark.parametrize(("output", "options", "sentence"), [
    ("copy.gif", {}, r"^gif holds no video stream as it is.*\.mp4, \.mkv or \.webm"),
    ("folder", {}, r"^folder holds no video stream"),
    ("copy.mp4", {"scale": "1/2"}, r"^the scale is 1/2, and a stream that is copied")])
def test_an_output_that_holds_no_stream_is_refused(
    files: dict[str, Path], model: SandwichCodec, output: str, options: dict[str, Any],
    sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=sentence):
        aehub.decompress_to(files["steady"], tmp_path / output, model=model, restore=False,
                            **options)
    assert not (tmp_path / output).exists()
    with pytest.raises(InputError, match="y4m holds no video stream"):
        aehub.decompress_to(files["steady"], io.BytesIO(), model=model, restore=False)


def test_a_damaged_group_leaves_the_others_in_the_copy(
    files: dict[str, Path], model: SandwichCodec, tmp_path: Path
) -> None:
    data = bytearray(files["steady"].read_bytes())
    with open_reader(files["steady"]) as reader:
        data[reader.group_at(1).offset + 30] ^= 1
    with pytest.raises(DamagedError, match="1 of 3 groups are lost"):
        aehub.decompress_to(io.BytesIO(data), tmp_path / "copy.mp4", model=model, restore=False)
    kept = shown_pictures(files["steady"], model)
    found, times = read(tmp_path / "copy.mp4")
    assert same(found, kept[:GROUP] + kept[2 * GROUP:])
    assert abs(times[GROUP] - shown_times(files["steady"])[2 * GROUP][0]) < Fraction(1, 10**6)


def test_the_command_copies_a_stream(
    files: dict[str, Path], model: SandwichCodec, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.mp4"
    done = CliRunner().invoke(main, ["decompress", str(files["steady"]), str(copy),
                                     "--no-restore", "--model", str(model.folder)])
    assert done.exit_code == 0, done.output
    assert f"{N} frames of 96x64" in done.output
    assert same(read(copy)[0], [p for group in av1_pictures(files["steady"], model)
                                for p in group])
