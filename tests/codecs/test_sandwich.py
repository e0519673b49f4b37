"""The parts of `sandwich-av1`: headers of AV1, mixture, alignment, choices of its encoder."""

from __future__ import annotations

import io
import resource
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.logging
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import aehub
from aehub import threads
from aehub.bitstream import Group, open_reader
from aehub.codecs.sandwich import alignment, av1, grain, mixing, obu
from aehub.codecs.sandwich.codec import SandwichCodec
from aehub.codecs.sandwich.side_information import SideInformation, coded_bytes, unpack
from aehub.errors import DamagedError, FormatError, InputError
from aehub.media.colour import from_rgb
from aehub.media.picture import Colour, Picture
from golden_files import MODEL, pan
from material import moving_picture
from sandwich_files import GOLDEN_FILE, GOLDEN_MODEL, payloads, random_sandwich


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SandwichCodec:
    return aehub.load(random_sandwich(tmp_path_factory.mktemp("models") / "sandwich"))


@pytest.fixture(scope="module")
def golden() -> SandwichCodec:
    return SandwichCodec.from_pretrained(GOLDEN_MODEL)


def planes(pictures: list[np.ndarray]) -> list[Picture]:
    return [from_rgb(picture, Colour(6)) for picture in pictures]


def stream_of(pictures: list[Picture], crf: float, preset: int, **options: Any) -> bytes:
    encoder = av1.Av1Encoder(pictures[0].size, Fraction(25), crf, preset, **options)
    return b"".join([*(encoder.add(picture) for picture in pictures), encoder.finish()])


# Headers of AV1.


def quantisers_by_ffmpeg(units: list[obu.TemporalUnit]) -> list[int]:
    """base_q_idx of the shown frames, by the reader of headers in FFmpeg."""
    first = obu.TEMPORAL_DELIMITER + units[0].data
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        with av.open(io.BytesIO(first), format="obu") as container, av.logging.Capture() as lines:
            reader = BitStreamFilterContext("trace_headers", container.streams.video[0])
            for unit in units:
                reader.filter(av.Packet(unit.data))
    finally:
        av.logging.set_level(level)
    shown, slots, fields = list[int](), [0] * 8, dict[str, int]()
    for _, _, line in lines:
        name, _, value = line.strip().rpartition(" = ")
        name = (name.split() or ["", ""])[1] if len(name.split()) > 1 else ""
        if name == "show_existing_frame":
            fields = {}
        if name in ("frame_type", "show_frame", "refresh_frame_flags"):
            fields[name] = int(value)
        if name == "frame_to_show_map_idx":
            shown.append(slots[int(value)])
        if name == "base_q_idx":
            is_key = fields["frame_type"] == 0 and fields["show_frame"]
            refreshed = 0xFF if is_key else fields["refresh_frame_flags"]
            slots = [int(value) if refreshed >> n & 1 else q for n, q in enumerate(slots)]
            if fields["show_frame"]:
                shown.append(int(value))
    return shown


@pytest.mark.parametrize(("preset", "crf", "size", "n"), [
    (10, 35, (96, 64), 9), (8, 20, (176, 144), 18), (8, 63, (35, 51), 12), (6, 45, (66, 130), 33),
    (4, 30, (64, 64), 10), (2, 55, (98, 74), 7), (8, 1, (2, 2), 3), (9, 40, (300, 70), 1)])
def test_headers_give_the_frames_and_quantisers_that_ffmpeg_reads(
    preset: int, crf: float, size: tuple[int, int], n: int
) -> None:
    pictures = planes(moving_picture(n, *size))
    units = list(obu.temporal_units(stream_of(pictures, crf, preset)))
    assert len(units) == n == len(list(av1.decode(units, size)))
    assert [unit.base_q_idx for unit in units] == quantisers_by_ffmpeg(units)


def test_headers_of_streams_with_film_grain_are_read(model: SandwichCodec) -> None:
    pictures = noisy(6, 4.0)
    units = list(obu.temporal_units(stream_of(pictures, 40, 8, grain=40)))
    assert [unit.base_q_idx for unit in units] == quantisers_by_ffmpeg(units)


def test_temporal_units_are_the_stream_without_loss() -> None:
    stream = stream_of(planes(moving_picture(9, 96, 64)), 40, 8)
    units = list(obu.temporal_units(stream))
    assert b"".join(unit.data for unit in units) == stream
    # Each prefix shows its frames.
    assert len(list(av1.decode(units[:4], (96, 64)))) == 4


def test_a_stream_that_is_cut_anywhere_gets_one_sentence() -> None:
    stream = stream_of(planes(moving_picture(3, 64, 64)), 50, 10)
    ends = np.cumsum([len(unit.data) for unit in obu.temporal_units(stream)]).tolist()
    for end in range(1, len(stream)):
        if end in ends:
            continue
        with pytest.raises(DamagedError, match=r"^a group does not decode: .*AV1.*\.$"):
            list(obu.temporal_units(stream[:end]))


# Forged payloads.


def forged(stream: bytes, width: int, height: int) -> bytes:
    """The stream with a sequence header of another size."""
    sequence, *others = obu.units(stream)
    bits = f"{int.from_bytes(sequence.payload, 'big'):0{8 * len(sequence.payload)}b}"
    at = 29  # After one operating point of a low level.
    sides = int(bits[at:at + 4], 2) + 1, int(bits[at + 4:at + 8], 2) + 1
    rest = bits[at + 8 + sum(sides):]
    bits = f"{bits[:at]}{15:04b}{15:04b}{width - 1:016b}{height - 1:016b}{rest}"
    bits += "0" * (-len(bits) % 8)
    payload = int(bits, 2).to_bytes(len(bits) // 8, "big")
    assert obu._read_sequence(obu._Bits(payload))[2:4] == (width, height)
    return (bytes((sequence.data[0], len(payload))) + payload
            + b"".join(unit.data for unit in others))


@pytest.mark.parametrize("side", [65_536, 16_384, 128])
def test_a_forged_stream_of_huge_pictures_allocates_nothing(side: int, golden: SandwichCodec
                                                            ) -> None:
    stream = forged(stream_of(planes(moving_picture(2, 64, 64)), 40, 10), side, side)
    with open_reader(GOLDEN_FILE) as reader:
        header, group = reader.header, reader.group_at(0)
    payload = Group(replace(group.header, n_frames=2), b"\0" + stream, 0, 0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DamagedError, match="^a group does not decode"):
        list(golden.decode_group(header, payload))
    # Past the reader of headers, too.
    with pytest.raises(DamagedError, match="^a group does not decode"):
        list(av1.decode([obu.TemporalUnit(stream, 0)], (97, 75)))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@given(seed=st.integers(0, 2**32 - 1), number=st.integers(0, 3), n=st.integers(1, 4))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_bytes_that_change_give_pictures_or_one_sentence(
    golden: SandwichCodec, seed: int, number: int, n: int
) -> None:
    with open_reader(GOLDEN_FILE) as reader:
        header, group = reader.header, reader.group_at(number)
    rng, payload = np.random.default_rng(seed), bytearray(group.payload)
    # Headers are at the beginning.
    for at in rng.integers(0, rng.choice([40, len(payload)]), n):
        payload[at] ^= int(rng.integers(1, 256))
    changed = Group(group.header, bytes(payload), 0, 0)
    for read in (golden.decode_group, golden.codes, golden.standard_packets):
        try:
            assert len(list(read(header, changed))) == group.header.n_frames
        except (DamagedError, InputError) as error:
            assert str(error).startswith("a group ") and str(error).endswith(".")


@pytest.mark.parametrize("size", [(97, 76), (16_384, 4096), (1, 1), (64, 64)])
def test_a_file_header_of_another_size_gets_one_sentence(
    golden: SandwichCodec, size: tuple[int, int]
) -> None:
    with open_reader(GOLDEN_FILE) as reader:
        header = replace(reader.header, width=size[0], height=size[1])
        groups = list(reader.groups())
    if size == (97, 76):  # The same pictures of AV1, of which it shows a row more.
        assert len(list(golden.decode_group(header, groups[0]))) == 6
        return
    with pytest.raises(DamagedError, match="does not decode"):
        list(golden.decode_group(header, groups[0]))


def test_a_window_at_a_corner_is_refused(golden: SandwichCodec) -> None:
    with open_reader(GOLDEN_FILE) as reader:
        header, group = reader.header, reader.group_at(0)
    moved = replace(group, header=replace(group.header, crop=(2, 0)))
    with pytest.raises(FormatError, match=r"^a group shows a window at \(2, 0\)"):
        list(golden.decode_group(header, moved))


@pytest.mark.parametrize("missing", ["libsvtav1", "libdav1d"])
def test_a_build_without_the_codec_gets_one_sentence(
    golden: SandwichCodec, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(name: str, mode: Any) -> Any:
        return av.CodecContext.create("none" if name == missing else name, mode)

    monkeypatch.setattr(av1, "video_context", create)
    with pytest.raises(InputError, match=r"^this build of PyAV has no .*; install .*\.$"):
        if missing == "libsvtav1":
            av1.Av1Encoder((64, 64), Fraction(25), 30, 8)
        list(aehub.decompress(GOLDEN_FILE, model=golden))


# The mixture.


def mixed(corrections: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """What the network gives for weights: float32 [classes, 6, h, w]."""
    parts = [np.einsum("ck,khij->chij", weights[n] * mixing.UNIT, corrections[:, part])
             for n, part in enumerate(mixing.PARTS)]
    return np.concatenate(parts, 1).astype(np.float32)


def statistics_of(folded: np.ndarray, corrections: np.ndarray, original: np.ndarray
                  ) -> mixing.Statistics:
    statistics = mixing.Statistics(len(corrections))
    statistics.add(folded, corrections.astype(np.float32), original)
    return statistics


@given(seed=st.integers(0, 2**32 - 1), alike=st.sampled_from([0.0, 0.5, 0.999, 1.0]),
       scale=st.sampled_from([0.003, 0.1, 1.0, 30.0]), classes=st.sampled_from(mixing.N_CLASSES),
       used=st.sampled_from([1, 2]))
@settings(max_examples=100, deadline=None)
def test_solved_weights_never_raise_the_error_of_the_frames_they_are_solved_on(
    seed: int, alike: float, scale: float, classes: int, used: int
) -> None:
    rng = np.random.default_rng(seed)
    folded = rng.integers(0, 256, (6, 12, 7), np.uint8)
    original = np.clip(folded + rng.normal(0, 4, folded.shape), 0, 255).astype(np.uint8)
    first, second = scale * rng.normal(0, 1, (2, *folded.shape))
    corrections = np.stack([first, alike * first + (1 - alike) * second])
    statistics = statistics_of(folded, corrections, original)
    weights = statistics.solve(classes, used)
    assert weights.shape == (3, classes, used)
    assert np.all(statistics.errors(weights) <= statistics.errors(None) + 1e-6)


def test_weights_are_found_that_a_constructed_case_has() -> None:
    rng = np.random.default_rng(1)
    folded = rng.integers(100, 130, (6, 32, 16)).astype(np.uint8)
    corrections = rng.integers(-3, 4, (2, 6, 32, 16)) * 2
    parts = np.zeros((6, 1, 1))
    wanted = np.array([[12, -4], [4, 8], [-8, 0]])
    original = folded.astype(int)
    for n, part in enumerate(mixing.PARTS):
        parts = (corrections[:, part] * wanted[n, :, None, None, None] * mixing.UNIT).sum(0)
        original[part] += np.rint(parts).astype(int)
    statistics = statistics_of(folded, corrections, original.astype(np.uint8))
    solved = statistics.solve(1, 2)
    assert np.array_equal(solved[:, 0], wanted)
    assert np.allclose(statistics.errors(solved), 0, atol=1e-3)
    assert np.array_equal(mixing.corrected(folded, mixed(corrections, solved)), original)


@pytest.mark.parametrize("classes", [2, 4])
def test_each_class_of_positions_gets_the_weight_that_it_needs(classes: int) -> None:
    rng = np.random.default_rng(2)
    spans = np.array([1, 5, 12, 40])[np.arange(32)[:, None] // 8].repeat(16, 1)
    folded = (100 + rng.random((6, 32, 16)) * spans).astype(np.uint8)
    folded[0], folded[1] = 100, 100 + spans - 1
    found = mixing.classify(folded, classes)
    assert set(found.ravel()) == set(range(classes))
    corrections = rng.integers(-4, 5, (1, 6, 32, 16)) * 4
    wanted = np.array([2, 8, -4, 6])[:classes]
    original = folded + (corrections[0] * wanted[found] // 8)
    statistics = statistics_of(folded, corrections, original.astype(np.uint8))
    solved = statistics.solve(classes, 1)
    assert np.all(np.abs(solved[0, :, 0] - wanted) <= 1)
    assert statistics.errors(solved)[0] < 0.1 * statistics.errors(statistics.solve(1, 1))[0]


def test_errors_of_weights_are_those_of_the_mixed_pictures() -> None:
    rng = np.random.default_rng(3)
    folded = rng.integers(60, 190, (6, 24, 9)).astype(np.uint8)
    original = np.clip(folded + rng.normal(0, 3, folded.shape), 0, 255).astype(np.uint8)
    corrections = rng.normal(0, 2, (2, *folded.shape)).astype(np.float32)
    statistics = statistics_of(folded, corrections, original)
    for classes in mixing.N_CLASSES:
        weights = rng.integers(-10, 10, (3, classes, 2)).astype(np.int8)
        error = original.astype(float) - mixing.corrected(folded, mixed(corrections, weights))
        direct = [np.square(error[part]).sum() for part in mixing.PARTS]
        # Pictures are rounded, which adds a twelfth for each sample.
        assert np.allclose(direct, statistics.errors(weights), rtol=0.05)


@pytest.mark.parametrize("size", [(96, 64), (97, 75), (1, 1), (2, 5)])
def test_folding_loses_nothing(size: tuple[int, int]) -> None:
    (picture,) = planes(moving_picture(1, *size))
    width, height = (-(-n // 2) * 2 for n in size)
    back = mixing.unfold(mixing.fold(picture, height, width), size)
    assert all(np.array_equal(a, b) for a, b in zip(picture, back, strict=True))


@given(seed=st.integers(0, 2**32 - 1), classes=st.sampled_from(mixing.N_CLASSES),
       used=st.integers(1, 15), spread=st.sampled_from([0, 3, 300]))
@settings(max_examples=50, deadline=None)
def test_weights_of_any_size_come_back_in_the_bytes_that_the_encoder_counts(
    seed: int, classes: int, used: int, spread: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = np.clip(rng.normal(0, spread, (3, classes, used)), -128, 127).astype(np.int8)
    packed = SideInformation(weights).pack()
    assert len(packed) == 1 + coded_bytes(weights)
    (found, *_), stream = unpack(packed + b"stream", 15)
    assert np.array_equal(found, weights) and stream == b"stream"


@pytest.mark.parametrize("start", [b"", b"\x00", b"\x01", b"\x10", b"\x41", b"\x0c",
                                   b"\x11" + bytes(1), b"\x11" + bytes(2), b"\x33" + bytes(18),
                                   b"\x11" + b"\xff" * 9, b"\x11\xff\xff\xff\xff\x80"])
def test_side_information_that_contradicts_itself_or_ends_early_is_one_sentence(
    start: bytes
) -> None:
    with pytest.raises(DamagedError,
                       match="has the flags|has a weight|before its weights|hold no stream"):
        unpack(start if len(start) != 1 or start == b"\x00" else start + bytes(99), 3)


# Alignment.


@pytest.mark.parametrize("step", [(0, 0), (0, 1), (3, -7), (2, -6), (30, 22), (-80, 64)])
def test_references_are_aligned_to_quarters_of_a_sample(step: tuple[int, int]) -> None:
    down, right = step
    (large,) = planes(moving_picture(1, 800, 720, seed=3))

    def window(y: int, x: int) -> Picture:
        """Of the picture at a quarter of its size, moved by quarters."""
        return Picture(plane[y // n:y // n + 384 // n, x // n:x // n + 448 // n].reshape(
            96 // n, 4, 112 // n, 4).mean((1, 3)).round().astype(np.uint8)
            for plane, n in zip(large, (1, 2, 2), strict=True))

    current, reference = window(160, 160), window(160 - down, 160 - right)
    field = alignment._vectors(current[0], alignment._half_samples(reference[0], 16))
    assert field.shape == (2, 12, 14)
    assert tuple(np.median(field[:, 3:-3, 3:-3], (1, 2))) == (down, right)
    found = alignment.differences(current, reference)
    for n, (plane, before, after) in enumerate(zip(found, reference, current, strict=True)):
        assert plane.dtype == np.int8 and plane.shape == after.shape
        rows, columns = (slice(n // 4, -n // 4) for n in after.shape)
        aligned = np.abs(plane / alignment.PRECISION)[rows, columns].mean()
        still = np.abs(before.astype(int) - after)[rows, columns].mean()
        # Odd quarters of luma are eighths of chroma, which are rounded.
        assert aligned <= 0.35 * still + 0.05 or (n > 0 and (down % 2 or right % 2))


def test_a_reference_that_is_the_frame_differs_by_nothing() -> None:
    (picture,) = planes(moving_picture(1, 97, 75))
    assert all(not plane.any() for plane in alignment.differences(picture, picture))


def test_references_are_near_and_of_low_quantisers() -> None:
    quantisers = [90, 160, 140, 160, 110, 160, 150, 160, 100]
    assert alignment.choose_references(quantisers, 0, 1) == [0, 4]
    assert alignment.choose_references(quantisers, 3, 2) == [0, 2, 4, 8]
    assert alignment.choose_references(quantisers, 7, 2) == [0, 4, 8, 8]
    assert alignment.choose_references(quantisers, 8, 1) == [0, 8]
    assert alignment.choose_references([50], 0, 2) == [0] * 4
    assert alignment.choose_references(quantisers, 3, 0) == []


# Choices of the encoder, and what decoders make of them.


def compressed(clip: list[np.ndarray], model: SandwichCodec, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    aehub.compress(np.stack(clip), file, model=model, measure=False, **options)
    file.seek(0)
    return file


def smooth_clip(n: int, width: int, height: int) -> list[np.ndarray]:
    """Soft waves that move: half the samples hold all of it."""
    y, x = np.mgrid[:height, :width]
    return [np.stack([128 + 90 * np.sin((x + 3 * t) / 31) * np.cos((y + t) / 37 + part)
                      for part in range(3)], -1).astype(np.uint8) for t in range(n)]


@pytest.mark.parametrize(("size", "quality", "halved"), [
    ((176, 144), 0, True), ((177, 145), 0, True), ((176, 144), 60, False), ((176, 100), 0, False)])
def test_a_smooth_clip_of_low_quality_is_coded_at_half_its_size(
    model: SandwichCodec, size: tuple[int, int], quality: float, halved: bool, tmp_path: Path
) -> None:
    path = tmp_path / "clip.aev"
    path.write_bytes(compressed(smooth_clip(6, *size), model, quality=quality).getvalue())
    ((side, units),) = payloads(path, model)
    assert side.halved == halved and len(units) == 6
    frames = list(aehub.decompress(path, model=model))
    assert {frame.shape for frame in frames} == {(size[1], size[0], 3)}
    error = np.stack(frames).astype(float) - np.stack(smooth_clip(6, *size))
    assert np.square(error).mean() < 60


def test_restored_frames_do_not_depend_on_which_are_asked_for(
    model: SandwichCodec, tmp_path: Path
) -> None:
    path = tmp_path / "clip.aev"
    path.write_bytes(compressed(pan(17, 80, 66), model, quality=40).getvalue())
    with open_reader(path) as reader:
        header, group = reader.header, reader.group_at(0)
        # Weights that count.
        _, stream = payloads(path, model)[0]
        side = SideInformation(np.full((3, 1, model.network.restorer.candidates), 8, np.int8))
        group = replace(group, payload=side.pack() + b"".join(unit.data for unit in stream))
        everything = dict(model.decode_group(header, group))
        plain = list(av1.decode(stream, (80, 66)))
        assert any(not np.array_equal(plain[n][0], everything[n][0]) for n in range(17))
        for wanted in ({0}, {16}, {7}, {3, 12}, {15, 16}, set(range(0, 17, 5))):
            found = dict(model.decode_group(header, group, wanted))
            assert found.keys() == wanted
            assert all(np.array_equal(a, b) for n in wanted
                       for a, b in zip(found[n], everything[n], strict=True))


def test_one_thread_writes_the_same_bytes(model: SandwichCodec) -> None:
    clip = pan(9, 96, 64)
    with threads.one_thread():
        alone = compressed(clip, model, quality=45)
    assert alone.getvalue() == compressed(clip, model, quality=45).getvalue()


# Film grain.


def noisy(n: int, deviation: float, size: tuple[int, int] = (176, 144)) -> list[Picture]:
    """A soft picture that pans, and grain of this deviation in luma."""
    rng, (width, height) = np.random.default_rng(4), size
    found = []
    for picture in planes(smooth_clip(n, width, height)):
        y = picture[0] + deviation * rng.standard_normal(picture[0].shape)
        found.append(Picture([np.clip(np.rint(y), 16, 235).astype(np.uint8), *picture[1:]]))
    return found


def variance_of_grain(pictures: list[Picture]) -> float:
    """Of luma against the means of neighbours, by which white noise keeps 5/4 of its variance."""
    found = []
    for picture in pictures:
        y = picture[0].astype(float)
        around = (y[1:-1, :-2] + y[1:-1, 2:] + y[:-2, 1:-1] + y[2:, 1:-1]) / 4
        found.append(np.var(y[1:-1, 1:-1] - around) / 1.25)
    return float(np.mean(found))


@pytest.mark.parametrize(("deviation", "quality"), [(4.0, 100), (6.0, 90)])
def test_described_grain_makes_a_file_smaller_and_comes_back(
    model: SandwichCodec, deviation: float, quality: float
) -> None:
    clip, decoded, sizes = noisy(9, deviation), [], []
    for described in (False, True):
        file = io.BytesIO()
        sizes.append(aehub.compress(clip, file, model=model, quality=quality, grain=described,
                                    measure=False).bytes)
        file.seek(0)
        with aehub.open(file, model=model) as archive:
            decoded.append([archive.picture(n) for n in range(9)])
    assert sizes[1] < 0.6 * sizes[0]
    wanted = variance_of_grain(clip)
    assert wanted == pytest.approx(deviation**2, rel=0.1)
    assert 0.5 * wanted < variance_of_grain(decoded[1]) < 1.3 * wanted
    # Grain of every frame is its own.
    first, second = (picture[0].astype(float) for picture in decoded[1][4:6])
    assert np.var(second - first) > 0.8 * wanted


def test_a_clip_without_grain_is_the_same_file_with_and_without(model: SandwichCodec) -> None:
    clip = smooth_clip(4, 96, 80)
    assert (compressed(clip, model, quality=50, grain=True).getvalue()
            == compressed(clip, model, quality=50).getvalue())


def test_the_level_of_grain_grows_with_the_grain_and_is_none_without() -> None:
    levels = [grain.level_of(noisy(1, deviation)[0]) for deviation in (0, 1, 2, 4, 8)]
    assert levels[0] == 0 < levels[1] < levels[2] and levels == sorted(levels)
    assert levels[-1] == grain.MAX_LEVEL
    assert grain.level_of(planes(moving_picture(1, 8, 8))[0]) == 0


def test_grain_of_a_codec_that_has_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^tiny-d4 synthesises no film grain.*--grain"):
        aehub.compress(np.stack(moving_picture(2, 64, 48)), tmp_path / "clip.aev", model=MODEL,
                       grain=True)
    assert not (tmp_path / "clip.aev").exists()
