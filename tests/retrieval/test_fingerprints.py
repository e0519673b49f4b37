"""Fingerprints: the same numbers for the eight turns of a clip, at the right times, of any file."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import aehub
from aehub.bitstream import FileHeader, open_reader
from aehub.codecs.base import Codec, PreviewCodec
from aehub.codecs.d4.codec import D4Codec
from aehub.errors import DamagedError, InputError, WeightsError
from aehub.hub import find, load_for_file
from aehub.media.clip import ClipLike
from aehub.media.metrics import Distortion
from aehub.media.orientation import ORDER, compose, inverse, turn_picture
from aehub.retrieval.fingerprint import FingerprintModel, Fingerprints, signature_scores
from aehub.retrieval.sampling import LEAST_SIDE, SmallPicture, divisor, small_pictures
from editing.files import tiny_model
from material import moving_picture, write_clip

FLIP, TURN = aehub.Flip("horizontal"), aehub.Rotate(90)
OPERATIONS: list[list[aehub.Operation]] = [
    [], [FLIP], [aehub.Flip("vertical")], [aehub.Rotate(180)], [aehub.Transpose()], [TURN],
    [aehub.Rotate(270)], [TURN, aehub.Flip("vertical")]]
"""Of each element of `aehub.media.orientation`."""
SIZE = 331, 272


@pytest.fixture(scope="module")
def d4() -> D4Codec:
    return D4Codec.from_pretrained(find("d4-codec"))


@pytest.fixture(scope="module")
def model() -> FingerprintModel:
    return FingerprintModel.from_pretrained(find("fingerprint"))


@pytest.fixture(scope="module")
def path(d4: D4Codec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two groups of an odd size, key pictures among B-frames."""
    path = tmp_path_factory.mktemp("fingerprints") / "clip.aev"
    aehub.compress(np.stack(moving_picture(28, *SIZE)), path, model=d4, group=19, effort=0,
                   measure=False)
    return path


def of(source: ClipLike, codec: Codec, *, dense: bool = False) -> list[SmallPicture]:
    def load(header: FileHeader) -> Codec:
        return codec

    return list(small_pictures(source, load, dense=dense))


def scores(query: Fingerprints, library: Fingerprints) -> np.ndarray:
    """[n, 8] of pictures at equal places."""
    return np.stack([np.diag(signature_scores(query.signatures, library.signatures, turn))
                     for turn in range(ORDER)], 1)


@pytest.mark.parametrize("g", range(1, ORDER))
def test_a_turned_file_has_the_same_fingerprints_bit_by_bit_and_tells_its_turn(
    path: Path, d4: D4Codec, model: FingerprintModel, tmp_path: Path, g: int
) -> None:
    turned = tmp_path / "turned.aev"
    aehub.edit(path, turned, OPERATIONS[g])
    before, after = (model.fingerprints(of(file, d4)) for file in (path, turned))
    assert np.array_equal(before.times, after.times)
    assert np.array_equal(before.vectors, after.vectors)
    found = scores(after, before)
    assert (found.argmax(1) == g).all()
    same = scores(before, before)
    assert np.array_equal(found[:, g], same[:, 0])
    # All eight scores are those of the file itself, permuted.
    assert np.array_equal(found[:, [compose(g, h) for h in range(ORDER)]], same)


@pytest.mark.parametrize("g", range(1, ORDER))
def test_a_turned_picture_has_the_same_fingerprint(model: FingerprintModel, path: Path,
                                                   d4: D4Codec, g: int) -> None:
    small = of(path, d4)[0]
    turned = SmallPicture(0, turn_picture(small.picture, g), compose(g, small.turn))
    before, after = (model.fingerprints([one]) for one in (small, turned))
    assert np.array_equal(before.vectors, after.vectors)
    # Both say by which element the clip's own picture was turned, so the clip is the same.
    assert np.array_equal(before.signatures, after.signatures)


def test_small_pictures_are_those_of_decoding_at_that_scale(path: Path, d4: D4Codec) -> None:
    found = of(path, d4)
    n = divisor(SIZE)
    with aehub.open(path, model=d4, scale=Fraction(1, n)) as clip:
        times = [float(clip.time(number)) for number in range(len(clip))]
        distortion = Distortion(with_ms_ssim=False)
        for small in found:
            picture = turn_picture(small.picture, inverse(small.turn))
            number = int(np.argmin(np.abs(np.array(times) - small.time)))
            assert abs(times[number] - small.time) < 1e-6
            distortion.add(clip.picture(number), picture)
    assert distortion.psnr > 38


def test_pictures_are_key_pictures_two_fifths_of_a_second_apart(path: Path, d4: D4Codec) -> None:
    times = [small.time for small in of(path, d4)]
    assert times[0] == 0
    assert all(0.4 - 1e-3 <= b - a <= 1.0 for a, b in zip(times, times[1:], strict=False))
    dense = [small.time for small in of(path, d4, dense=True)]
    assert len(dense) > 2 * len(times)
    assert all(b - a >= 0.1 - 1e-3 for a, b in zip(dense, dense[1:], strict=False))


def test_where_key_pictures_are_rare_others_are_taken(d4: D4Codec, tmp_path: Path) -> None:
    source, file = tmp_path / "slow.mkv", tmp_path / "slow.aev"
    write_clip(source, moving_picture(18, 64, 48), fps=4)
    aehub.compress(source, file, model=d4, effort=0, measure=False)
    times = [small.time for small in of(file, d4)]
    assert max(np.diff(times)) <= 1.0


def test_a_clip_of_another_format_has_nearly_the_same_fingerprints(
    path: Path, d4: D4Codec, model: FingerprintModel, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "clip.mkv", moving_picture(28, *SIZE))
    ours, theirs = (model.fingerprints(of(file, d4, dense=True)) for file in (path, clip))
    n = min(len(ours.times), len(theirs.times))
    similarity = (ours.vectors[:n].astype(np.float32) * theirs.vectors[:n]).sum(1)
    assert similarity.min() > 0.9


@pytest.mark.parametrize("operations", [[], [aehub.Reverse()]], ids=["as coded", "reversed"])
def test_codecs_without_previews_are_decoded_and_averaged(
    tmp_path: Path, operations: list[aehub.Operation]
) -> None:
    codec = tiny_model()
    coded, file = tmp_path / "coded.aev", tmp_path / "clip.aev"
    aehub.compress(np.stack(moving_picture(14, 72, 64)), coded, model=codec, measure=False)
    aehub.edit(coded, file, operations)

    class Plain:
        """The same codec without previews."""

        def __getattr__(self, name: str) -> object:
            if name == "previews":
                raise AttributeError(name)
            return getattr(codec, name)

    plain = Plain()
    assert not isinstance(plain, PreviewCodec)
    assert isinstance(codec, PreviewCodec)
    ours, theirs = (of(file, one, dense=True) for one in (codec, plain))  # type: ignore[arg-type]
    assert [small.time for small in ours] == [small.time for small in theirs]
    assert len(ours) > 3
    for one, other in zip(ours, theirs, strict=True):
        distortion = Distortion(with_ms_ssim=False)
        distortion.add(other.picture, turn_picture(one.picture, inverse(one.turn)))
        assert distortion.psnr > 30


def test_a_damaged_file_gives_what_is_intact_and_an_error(path: Path, d4: D4Codec,
                                                          tmp_path: Path) -> None:
    with open_reader(path) as reader:
        last = list(reader.groups())[-1]
    data = bytearray(path.read_bytes())
    data[last.offset + 40] ^= 1
    broken = tmp_path / "broken.aev"
    broken.write_bytes(data)
    found = []
    with pytest.raises(DamagedError):
        for small in small_pictures(broken, lambda header: d4):
            found.append(small)
    assert found


@pytest.mark.parametrize(("size", "n"), [((640, 360), 8), ((176, 144), 4), ((64, 64), 2),
                                         ((LEAST_SIDE, 400), 1), ((3, 2), 1), ((12000, 60), 2),
                                         ((60, 200_000), 8)])
def test_small_pictures_keep_a_least_side_unless_they_are_very_long(
    size: tuple[int, int], n: int
) -> None:
    assert divisor(size) == n


def test_every_picture_of_a_folder_is_taken(tmp_path: Path, d4: D4Codec) -> None:
    for number, picture in enumerate(moving_picture(7, 64, 48)):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    for dense in (False, True):
        assert len(of(tmp_path, d4, dense=dense)) == 7


def test_every_picture_of_a_folder_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(12):
        Image.fromarray(moving_picture(1, 160, 96, seed=number)[0]).save(folder / f"{number}.png")
    aehub.index(folder, tmp_path / "index")
    for number in range(12):
        match = aehub.search(folder / f"{number}.png", tmp_path / "index")[0]
        assert match.start == pytest.approx(number / 25, abs=1e-3)


def test_a_file_object_is_read_as_the_file(path: Path, d4: D4Codec, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", moving_picture(9, 64, 48))
    for file in (path, clip):
        stream = io.BytesIO(file.read_bytes())
        stream.read(5)
        ours, theirs = of(file, d4), of(stream, d4)
        assert [small.time for small in ours] == [small.time for small in theirs]
        assert all(np.array_equal(a, b) for one, other in zip(ours, theirs, strict=True)
                   for a, b in zip(one.picture, other.picture, strict=True))


def test_pictures_too_small_to_tell_apart_are_refused(d4: D4Codec, tmp_path: Path) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "dot.png")
    aehub.compress(tmp_path / "dot.png", tmp_path / "dot.aev", measure=False)
    for name in ("dot.png", "dot.aev"):
        with pytest.raises(InputError, match=rf"^{name} has 2x2 samples, .* of at least 8x8\.$"):
            of(tmp_path / name, d4)
    (file,) = aehub.index(tmp_path / "dot.png", tmp_path / "index").files
    assert file.state == "failed" and "dot.png has 2x2 samples" in str(file.error)


def test_frames_are_encoded_as_the_pictures_of_a_clip_are(model: FingerprintModel, d4: D4Codec,
                                                         tmp_path: Path) -> None:
    frames = moving_picture(3, *SIZE)
    vectors = model.encode(frames)
    assert vectors.shape == (3, model.shape[0])
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(float), axis=1), 1, atol=1e-3)
    picture = tmp_path / "first.png"
    Image.fromarray(frames[0]).save(picture)
    found = model.fingerprints(of(picture, d4)).vectors[0]
    assert found.astype(float) @ vectors[0].astype(float) > 0.98


def test_other_models_make_no_fingerprints() -> None:
    with pytest.raises(WeightsError, match="makes no fingerprints"):
        FingerprintModel.from_pretrained(find("dense-28"))


def test_a_compressed_picture_has_a_small_picture(tmp_path: Path) -> None:
    aehub.compress(moving_picture(1, 96, 64), tmp_path / "picture.aev", measure=False)
    for dense in (False, True):
        (small,) = small_pictures(tmp_path / "picture.aev", load_for_file, dense=dense)
        assert small.time == 0
