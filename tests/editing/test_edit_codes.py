"""Turning a file: the picture turns, nothing is lost, no picture is decoded, nobody can tell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aehub
from aehub.bitstream import FileHeader, GroupHeader, Writer, open_reader
from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.d4.transcode import turn_window
from aehub.editing.rewrite import turn_file_header
from aehub.errors import InputError, WeightsError
from aehub.media.metrics import Distortion
from aehub.media.orientation import ELEMENTS, inverse, turn, turn_picture
from bitstream.examples import file_header
from editing.files import (
    QUALITY,
    codes_of,
    differences,
    heads_of,
    planes_of,
    rewritten,
    tiny_model,
)
from material import moving_picture

FORMAT = Path(__file__).resolve().parents[2] / "docs" / "format.md"
STEPS = {
    "identity": "rotate 0", "flip-horizontal": "flip horizontal",
    "flip-vertical": "flip vertical", "rotate-180": "rotate 180", "transpose": "transpose",
    "rotate-90": "rotate 90", "rotate-270": "rotate 270",
    "transverse": "transpose, rotate 180",
}
every_element = pytest.mark.parametrize("name", ELEMENTS)
SIZES = {"padded-and-odd": (67, 45), "on-the-grid": (64, 96), "tall": (34, 101)}


def steps(name: str) -> list[Any]:
    from aehub.editing.operations import parse

    return parse(STEPS[name])


@pytest.fixture(scope="module")
def model() -> D4Codec:
    return tiny_model()


@pytest.fixture(scope="module", params=SIZES.values(), ids=SIZES.keys())
def source(request: pytest.FixtureRequest, model: D4Codec,
           tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five frames, the last group a short one."""
    width, height = request.param
    path = tmp_path_factory.mktemp("source") / "clip.aev"
    aehub.compress(np.stack(moving_picture(5, width, height, seed=5)), path, model=model, group=3,
                   quality=QUALITY, measure=False)
    return path


@every_element
def test_decoding_the_turned_file_gives_the_turned_picture(
    source: Path, model: D4Codec, name: str, tmp_path: Path
) -> None:
    output = tmp_path / "turned.aev"
    result = aehub.edit(source, output, steps(name), model=model)
    g = ELEMENTS[name]
    wanted = [turn_picture(planes, g) for planes in planes_of(source, model)]
    found = planes_of(output, model)
    assert (result.width, result.height) == found[0].size == wanted[0].size
    distortion = Distortion(with_ms_ssim=False)
    for one, two in zip(wanted, found, strict=True):
        distortion.add(one, two)
    assert distortion.psnr >= 60
    types = b"".join(header.resolved_types for header in heads_of(source))
    alone = [(one, two) for one, two, kind in zip(found, wanted, types, strict=True) if not kind]
    worst, share = differences(*zip(*alone, strict=True))
    assert len(alone) >= 2 and worst <= 1 and share <= 1e-4
    assert result.psnr is None and result.bytes == output.stat().st_size
    # Coders write whole words; on files so small two of them are more than the half per cent.
    assert abs(result.bytes - result.bytes_before) <= max(8, 0.005 * result.bytes_before)


@every_element
def test_the_opposite_turn_gives_the_same_codes_and_the_same_file(
    source: Path, model: D4Codec, name: str, tmp_path: Path
) -> None:
    there, back = tmp_path / "there.aev", tmp_path / "back.aev"
    opposite = next(n for n, g in ELEMENTS.items() if g == inverse(ELEMENTS[name]))
    aehub.edit(source, there, steps(name), model=model)
    aehub.edit(there, back, steps(opposite), model=model)
    for before, after in zip(codes_of(source, model), codes_of(back, model), strict=True):
        assert np.array_equal(before, after)
    assert back.read_bytes() == source.read_bytes()


def test_the_four_quarters_are_the_four_pictures_one_expects(
    model: D4Codec, tmp_path: Path
) -> None:
    """Pinned to numpy, so that clockwise stays clockwise."""
    path, output = tmp_path / "clip.aev", tmp_path / "turned.aev"
    picture = np.full((1, 64, 96, 3), 60, np.uint8)
    picture[:, :24, :24] = 240
    aehub.compress(picture, path, model=model, quality=90, measure=False)
    corners = {"rotate 90": (0, -1), "rotate 180": (-1, -1), "rotate 270": (-1, 0),
               "flip horizontal": (0, -1), "flip vertical": (-1, 0), "transpose": (0, 0)}
    for words, corner in corners.items():
        aehub.edit(path, output, steps_of(words), model=model, force=True)
        (luma, _, _), = planes_of(output, model)
        seen = {(y, x): int(luma[12 if y == 0 else -12, 12 if x == 0 else -12])
                for y in (0, -1) for x in (0, -1)}
        assert max(seen, key=lambda place: seen[place]) == corner, words


def steps_of(words: str) -> list[Any]:
    from aehub.editing.operations import parse

    return parse(words)


@pytest.fixture
def networks_run(model: D4Codec) -> Iterator[dict[str, int]]:
    """Number of runs of each network since."""
    counts: dict[str, int] = {}
    hooks = []
    for name, module in model.network.named_modules():
        part = name.removeprefix("inter.").split(".")[0]

        def count(*_: Any, part: str = part) -> None:
            counts[part] = counts.get(part, 0) + 1

        hooks.append(module.register_forward_pre_hook(count))
    yield counts
    for hook in hooks:
        hook.remove()


def test_an_edit_runs_the_integer_network_and_no_other(
    source: Path, model: D4Codec, networks_run: dict[str, int], tmp_path: Path
) -> None:
    operations = [aehub.Rotate(90), aehub.Trim("1f:5f"), aehub.Flip("vertical"), aehub.Reverse()]
    aehub.edit(source, tmp_path / "turned.aev", operations, model=model, group_exact=True)
    # Gains are numbers that a quality picks.
    assert set(networks_run) - {"gain"} == {"scales"}
    networks_run.clear()
    aehub.edit(source, tmp_path / "moved.aev", [aehub.Trim("1f:"), aehub.Reverse()], model=model)
    aehub.concat([source, source], tmp_path / "joined.aev", model=model)
    assert not networks_run
    planes_of(source, model)
    assert {"scales", "means", "synthesis"} <= set(networks_run)


def test_moves_of_whole_groups_ask_for_no_model(source: Path, tmp_path: Path) -> None:
    # The name in the file's header is that of no model that could be found.
    for operations in ([aehub.Reverse()], [aehub.Trim("3f:")], [aehub.Trim("1f:")]):
        aehub.edit(source, tmp_path / "moved.aev", operations, force=True)
    aehub.concat([source, tmp_path / "moved.aev"], tmp_path / "joined.aev")
    with pytest.raises(aehub.UnknownModel):
        aehub.edit(source, tmp_path / "turned.aev", [aehub.Transpose()])
    assert not (tmp_path / "turned.aev").exists()


def test_heads_hold_the_fields_of_the_format_and_none_for_orientation(
    source: Path, model: D4Codec, tmp_path: Path
) -> None:
    output = tmp_path / "turned.aev"
    aehub.edit(source, output, [aehub.Rotate(90), aehub.Trim("1f:4f"), aehub.Reverse()],
               model=model)
    assert {field.name for field in fields(FileHeader)} == {
        "model", "entropy_hash", "synthesis_hash", "coder", "width", "height", "fps", "quality",
        "group_frames", "time_base", "colour", "pixel_aspect", "pictures"}
    assert {field.name for field in fields(GroupHeader)} == {
        "atomic", "n_frames", "quality", "crop", "shown", "reverse", "times", "last_duration",
        "frame_types", "references", "stream_words", "mini_gop_ends"}
    data, flags = output.read_bytes(), []
    assert data[4] == 1, "the version is the one that every reader knows"
    with open_reader(output) as reader, open_reader(source) as unturned:
        before = unturned.header
        assert reader.header == replace(before, width=before.height, height=before.width)
        for group in reader.groups():
            # Type, length, CRC-8: the flags of the group header follow.
            body = group.offset + 2 + 1 + (1 if data[group.offset + 3] < 128 else 2) + 1
            flags.append(data[body] & 127 | (data[body + 1] << 7 if data[body] > 127 else 0))
    (known,) = re.findall(r"Flags above bit (\d+) are refused", FORMAT.read_text())
    assert flags and all(flag < 2 << int(known) for flag in flags)
    assert aehub.verify(output).ok


def test_a_turned_file_tells_nobody_that_it_was_turned(
    model: D4Codec, tmp_path: Path
) -> None:
    path = tmp_path / "clip.aev"
    aehub.compress(np.stack(moving_picture(2, 64, 32)), path, model=model, measure=False)
    aehub.edit(path, tmp_path / "turned.aev", [aehub.Rotate(90)], model=model)
    assert heads_of(path) == heads_of(tmp_path / "turned.aev")


@every_element
@pytest.mark.parametrize("crop", [(0, 0), (29, 0), (0, 19), (31, 31), (13, 7)])
def test_the_window_moves_with_the_plane(name: str, crop: tuple[int, int]) -> None:
    g, header = ELEMENTS[name], file_header(width=67, height=45)
    plane = np.zeros(header.coded_size(32, crop)[::-1], bool)
    plane[crop[1]:crop[1] + 45, crop[0]:crop[0] + 67] = True
    turned = turn_file_header(header, g)
    x, y = turn_window(header, crop, g)
    wanted = turn(plane, g)
    assert turned.coded_size(32, (x, y)) == wanted.shape[::-1]
    assert wanted[y:y + turned.height, x:x + turned.width].all()
    assert wanted.sum() == turned.height * turned.width


def test_a_window_that_no_other_can_mirror_is_refused() -> None:
    with pytest.raises(InputError, match=r"\(40, 0\).*--via-pixels"):
        turn_window(file_header(), (40, 0), ELEMENTS["flip-horizontal"])
    assert turn_window(file_header(), (40, 0), ELEMENTS["flip-vertical"])[0] == 40


def test_the_pixel_aspect_turns_too(source: Path, model: D4Codec, tmp_path: Path) -> None:
    wide = rewritten(source, tmp_path / "wide.aev", pixel_aspect=Fraction(4, 3))
    aspects = {}
    for name in ("rotate-90", "rotate-180"):
        aehub.edit(wide, tmp_path / f"{name}.aev", steps(name), model=model)
        aspects[name] = aehub.info(tmp_path / f"{name}.aev")["pixel_aspect"]
    assert aspects == {"rotate-90": "3/4", "rotate-180": "4/3"}


def test_groups_of_other_windows_turn_with_the_rest(
    source: Path, model: D4Codec, tmp_path: Path
) -> None:
    flipped, both = tmp_path / "flipped.aev", tmp_path / "both.aev"
    aehub.edit(source, flipped, [aehub.Flip("horizontal")], model=model)
    aehub.concat([source, flipped], both)
    aehub.edit(both, tmp_path / "turned.aev", [aehub.Rotate(90)], model=model)
    wanted = [turn_picture(planes, ELEMENTS["rotate-90"]) for planes in planes_of(both, model)]
    worst, share = differences(planes_of(tmp_path / "turned.aev", model), wanted)
    assert worst <= 1 and share <= 1e-3


def test_a_file_of_other_weights_is_refused(source: Path, model: D4Codec, tmp_path: Path) -> None:
    other = rewritten(source, tmp_path / "other.aev", entropy_hash=bytes(8))
    with pytest.raises(WeightsError, match="tables"):
        aehub.edit(other, tmp_path / "turned.aev", [aehub.Rotate(90)], model=model)


def test_a_stream_that_is_none_is_told_and_the_other_groups_are_edited(
    source: Path, model: D4Codec, tmp_path: Path
) -> None:
    with open_reader(source) as reader:
        groups = [(group.header, group.payload) for group in reader.groups()]
        header = reader.header
    broken = tmp_path / "broken.aev"
    with broken.open("wb") as stream, Writer(stream, header) as writer:
        writer.group(replace(groups[0][0], mini_gop_ends=None), bytes(7))
        writer.group(*groups[1])
    with pytest.raises(aehub.DamagedError, match="1 of 2 groups"):
        aehub.edit(broken, tmp_path / "turned.aev", [aehub.Rotate(180)], model=model)
    assert aehub.info(tmp_path / "turned.aev")["groups"] == 1
