"""Data of picture models: variants stay in one split, held-out pictures stay unseen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from aehub.errors import InputError
from aehub.training.pictures import (
    PictureBatches,
    PictureSet,
    augmented,
    base_name,
    composed,
    near_duplicates,
    split_of,
)


def blobs(n: int, seed: int = 0) -> np.ndarray:
    """Pictures of soft colour patches, no two alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (n, 5, 5, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(c).resize((64, 64))) for c in coarse])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("pictures")
    names = [f"THING {number}" for number in range(60)]
    np.savez(data / "set.npz", images=blobs(60), names=np.array(names))
    return data


@pytest.mark.parametrize(("one", "other"), [
    ("RUNNER", "RUNNER + ZERO WIDTH JOINER + FEMALE SIGN"),
    ("WAVING HAND SIGN", "WAVING HAND SIGN + EMOJI MODIFIER FITZPATRICK TYPE-3"),
    ("BLUE HEART", "GREEN HEART"),
    ("CLOCK FACE TWO OCLOCK", "CLOCK FACE TEN-THIRTY"),
    ("MAN + ZERO WIDTH JOINER + ROCKET", "WOMAN + ZERO WIDTH JOINER + ROCKET"),
    ("NUMBER SIGN + COMBINING ENCLOSING KEYCAP", "DIGIT ONE + COMBINING ENCLOSING KEYCAP"),
    ("emoji_u1f3c3", "emoji_u1f3c3_1f3fb_200d_2640"),
])
def test_variants_share_a_base_name(one: str, other: str) -> None:
    assert base_name(one) == base_name(other)


@pytest.mark.parametrize(("one", "other"), [
    ("RUNNER", "SWIMMER"), ("BLUE HEART", "BLUE BOOK"), ("emoji_u1f3c3", "emoji_u1f3c4")])
def test_different_things_have_different_base_names(one: str, other: str) -> None:
    assert base_name(one) != base_name(other)


def test_all_parts_come_up_and_training_is_most() -> None:
    parts = [split_of(f"THING {number}") for number in range(1000)]
    assert 60 < parts.count("test") < 140 and 25 < parts.count("validation") < 80


def test_a_mirror_image_and_another_colour_look_alike() -> None:
    pictures = blobs(4)
    darker = (pictures[2] * 0.6).astype(np.uint8)
    others = np.stack([pictures[0], pictures[1][:, ::-1], darker])
    assert near_duplicates(pictures, others).tolist() == [True, True, True, False]


def test_nothing_held_out_can_be_trained_on(folder: Path) -> None:
    images = blobs(60)
    names = [f"THING {number}" for number in range(60)]
    held_out = next(n for n in range(60) if split_of(base_name(names[n])) == "test")
    trained = next(n for n in range(60) if split_of(base_name(names[n])) == "training")
    before = PictureSet(images, names)
    images[trained] = images[held_out][:, ::-1]
    after = PictureSet(images, names)
    assert len(after.training) == len(before.training) - 1
    parts = (after.training, after.validation, after.test)
    seen = [{picture.tobytes() for picture in part} for part in parts]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]


def test_png_files_are_read_on_white_at_64(tmp_path: Path) -> None:
    for number in range(30):
        picture = Image.fromarray(blobs(1, number)[0]).resize((100, 60)).convert("RGBA")
        picture.putpixel((0, 0), (0, 0, 0, 0))
        picture.save(tmp_path / f"thing {number}.png")
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    found = PictureSet.open(tmp_path)
    assert found.training.shape[1:] == (64, 64, 3)
    # Bars above and below: the ground is white.
    assert (found.training[:, 0] == 255).all() and (found.training[:, -1] == 255).all()


def test_archives_of_another_layout_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", images=blobs(3)[:, ::2], names=np.array(["A", "B", "C"]))
    with pytest.raises(InputError, match="does not hold images"):
        PictureSet.open(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no picture"):
        PictureSet.open(tmp_path)


def test_batches_depend_on_seed_and_number_alone(folder: Path) -> None:
    dataset = PictureBatches(PictureSet.open(folder), batch=16)
    batches = dataset.batches(0, 5)
    next(batches)
    second = next(batches)[0]
    assert second.shape == (16, 3, 64, 64) and second.dtype == np.uint8
    assert np.array_equal(second, next(dataset.batches(1, 5))[0])
    assert not np.array_equal(second, next(dataset.batches(1, 6))[0])


def test_altered_pictures_keep_white_white_and_stay_in_range() -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.from_numpy(blobs(32)).permute(0, 3, 1, 2) / 255
    pictures[:16] = 1
    made = augmented(pictures, generator)
    assert torch.allclose(made[:16], torch.ones(()), atol=1e-4)
    assert 0 <= float(made.min()) and float(made.max()) <= 1
    assert (made[16:] - pictures[16:]).abs().flatten(1).amax(1).gt(0.05).sum() >= 8


def test_composed_pictures_are_an_eighth() -> None:
    pictures = torch.from_numpy(blobs(32)).permute(0, 3, 1, 2) / 255
    made = composed(pictures, torch.Generator().manual_seed(0))
    changed = (made != pictures).flatten(1).any(1)
    assert 1 <= int(changed.sum()) <= 4 and not changed[4:].any()
