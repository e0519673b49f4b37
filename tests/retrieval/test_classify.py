"""Classification by example: the same answer in all orientations, labels, "none", bad examples."""

from __future__ import annotations

import json
import os
import shutil
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import aehub
from aehub.cli import main
from aehub.errors import InputError, ModelError
from aehub.media.orientation import IDENTITY, ORDER, turn_picture
from aehub.media.picture import YUV420, Picture
from aehub.retrieval.appearance import Appearance
from aehub.retrieval.classify import Classifier
from aehub.retrieval.sampling import SmallPicture
from material import moving_picture, tones, write_clip

TURNS = [[aehub.Rotate(90 * quarter)] * bool(quarter) + flip for quarter in range(4)
         for flip in ([], [aehub.Flip("horizontal")])]


def stripes(n: int, seed: int, width: int = 256, height: int = 160) -> list[np.ndarray]:
    """Clip of another kind than `moving_picture`: still green and yellow stripes."""
    rng = np.random.default_rng(seed)
    x = (np.arange(width) // int(rng.integers(8, 24))) % 2
    row = np.where(x[:, None], (40, 160, 60), (220, 210, 40 + seed))
    return [np.broadcast_to(row, (height, width, 3)).astype(np.uint8).copy()] * n


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    for seed in range(2):
        for label, frames in (("discs", moving_picture(24, 256, 160, seed)),
                              ("stripes", stripes(24, seed))):
            (folder / label).mkdir(exist_ok=True)
            write_clip(folder / label / f"{seed}.mp4", frames)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "disc.mp4",
                      moving_picture(24, 256, 160, seed=7))


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["classify", *map(str, arguments)])


def test_clips_get_the_label_of_the_examples_that_look_like_them(
    examples: Path, clip: Path, tmp_path: Path
) -> None:
    other = write_clip(tmp_path / "other.mp4", stripes(24, seed=5))
    picture = tmp_path / "picture.png"
    Image.fromarray(stripes(1, seed=6)[0]).save(picture)
    found = aehub.classify([clip, other, picture], examples)
    assert [one.label for one in found] == ["discs", "stripes", "stripes"]
    for one in found:
        assert set(one.scores) == {"discs", "stripes"}
        assert one.confidence == one.scores[str(one.label)] > 0.5
        assert 0 <= min(one.scores.values()) and sum(one.scores.values()) <= 1 + 1e-5


def test_a_clip_unlike_all_examples_gets_none(examples: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (160, 256, 3), np.uint8) for _ in range(24)]
    (found,) = aehub.classify(write_clip(tmp_path / "noise.mp4", noise), examples)
    assert found.label is None
    assert 0.5 <= found.confidence <= 1
    assert sum(found.scores.values()) == pytest.approx(1 - found.confidence, abs=1e-5)


def test_with_one_label_the_answer_is_that_label_or_none(
    examples: Path, clip: Path, tmp_path: Path
) -> None:
    only = {"discs": sorted((examples / "discs").iterdir())}
    dark = write_clip(tmp_path / "dark.mp4", [np.zeros((160, 256, 3), np.uint8)] * 12)
    assert [one.label for one in aehub.classify([clip, dark], only)] == ["discs", None]


@pytest.mark.parametrize("size", [(256, 160), (198, 134)], ids=["even", "odd small pictures"])
def test_all_eight_orientations_get_exactly_the_same_answer(
    examples: Path, tmp_path: Path, size: tuple[int, int]
) -> None:
    write_clip(tmp_path / "clip.mp4", moving_picture(20, *size, seed=3))
    packed = tmp_path / "clip.aev"
    aehub.compress(tmp_path / "clip.mp4", packed, effort=0, measure=False)
    turned = []
    for number, operations in enumerate(TURNS):
        turned.append(tmp_path / f"{number}.aev")
        aehub.edit(packed, turned[-1], operations)
    answers = [(one.label, one.confidence, one.scores) for one in
               aehub.classify(turned, examples)]
    assert len({json.dumps(answer) for answer in answers}) == 1
    assert answers[0][0] == "discs"
    assert aehub.classify(packed, examples)[0].scores == answers[0][2]


@pytest.mark.parametrize("size", [(40, 32), (41, 33), (41, 32), (2, 1)])
def test_counts_of_a_turned_clip_are_the_same_bit_by_bit(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    width, height = size
    chroma = (height + 1) // 2, (width + 1) // 2
    clip = [Picture((rng.integers(0, 256, shape, np.uint8)
                     for shape in ((height, width), chroma, chroma)), YUV420) for _ in range(3)]

    def parts(g: int, turn: int) -> list[bytes | None]:
        appearance = Appearance()
        for number, picture in enumerate(clip):
            # The codes of a turned clip may come in any orientation, which `turn` tells.
            given = turn if number == 1 else IDENTITY
            small = turn_picture(turn_picture(picture, g), given)
            appearance.add(SmallPicture(float(number), small, given))
        return [None if one is None else one.tobytes() for one in appearance.parts()]

    assert all(parts(g, g ^ 5) == parts(IDENTITY, IDENTITY) for g in range(ORDER))


def test_copies_of_an_example_as_the_only_example_of_each_label_are_found() -> None:
    rng = np.random.default_rng(0)
    rows = np.sqrt(rng.dirichlet(np.full(20, 0.1), (2, 6)))
    classifier = Classifier(["a", "b"], rows)
    found = [classifier.predict(parts) for parts in rows]
    assert [one.label for one in found] == ["a", "b"]
    assert all(one.confidence > 0.9 for one in found)


def test_an_example_that_cannot_be_read_is_left_out_with_a_note(
    examples: Path, clip: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(examples, tmp_path / "examples")
    (folder / "discs" / "readme.txt").write_text("The discs move.")
    (folder / "discs" / ".DS_Store").write_bytes(b"x")
    (found,) = aehub.classify(clip, folder)
    assert found.label == "discs"
    (note,) = found.notes
    assert note.startswith("the example discs/readme.txt is left out: readme.txt is not a clip")


def test_a_file_that_may_not_be_read_stops_nothing(
    examples: Path, clip: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(examples, tmp_path / "examples")
    shut = Path(shutil.copy(clip, tmp_path / "shut.mp4"))
    loop = tmp_path / "loop.mp4"
    loop.symlink_to(loop)
    for path in (folder / "discs" / "0.mp4", shut):
        path.chmod(0)
    given = {label.name: [loop, *label.iterdir()] for label in sorted(folder.iterdir())}
    first, refused, found = aehub.classify([loop, shut, clip], given)
    assert found.label == "discs" and "discs/loop.mp4 is left out" in found.notes[0]
    assert first.label is None and str(first.error).endswith(".")
    if not os.access(shut, os.R_OK):
        assert "discs/0.mp4 is left out" in "".join(found.notes)
        assert refused.label is None and str(refused.error).endswith(".")


def test_a_folder_of_pictures_is_one_clip_or_many(examples: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "walk").mkdir(parents=True)
    write_clip(tmp_path / "in" / "disc.mp4", moving_picture(12, 256, 160, seed=7))
    for number, picture in enumerate(moving_picture(3, 256, 160, seed=8)):
        Image.fromarray(picture).save(tmp_path / "in" / "walk" / f"{number}.png")
    one = aehub.classify(tmp_path / "in", examples)
    assert [Path(found.path).relative_to(tmp_path / "in").as_posix() for found in one] == [
        "disc.mp4", "walk"]
    assert len(aehub.classify([tmp_path / "in"], examples, each=True)) == 4
    Image.fromarray(picture).save(tmp_path / "in" / "still.png")
    mixed, _ = aehub.classify(tmp_path / "in", examples)
    assert "holds pictures and clips" in str(mixed.error)
    done = run(tmp_path / "in", "--examples", examples, "--each")
    assert done.exit_code == 0 and len(done.stdout.splitlines()) == 5


def test_any_path_is_taken(examples: Path, clip: Path) -> None:
    with os.scandir(clip.parent) as entries:
        entry = next(one for one in entries if one.name == clip.name)
    assert aehub.classify(entry, examples)[0].label == "discs"


def sound_only(folder: Path) -> Path:
    with wave.open(str(folder / "sound.wav"), "wb") as file:
        file.setparams((1, 2, 48_000, 0, "NONE", ""))
        file.writeframes((tones(0.2)[0] * 20_000).astype("<i2").tobytes())
    return folder / "sound.wav"


def wrong_examples(folder: Path) -> Iterator[tuple[Path, str]]:
    """Folders of examples, and what is said of each."""
    yield folder / "absent", "absent is no folder; give one that holds"
    (folder / "bare").mkdir()
    yield folder / "bare", "bare has no labels; make a folder for each"
    (folder / "empty" / "cats").mkdir(parents=True)
    yield folder / "empty", "1 label of .*empty without an example: cats; give each"
    (folder / "texts" / "cats").mkdir(parents=True)
    (folder / "texts" / "cats" / "a.txt").write_text("no cat")
    yield folder / "texts", "no example of the label 'cats' can be read: a.txt is not a clip"


def test_wrong_examples_are_named_in_one_sentence(clip: Path, tmp_path: Path) -> None:
    for folder, sentence in wrong_examples(tmp_path):
        with pytest.raises(InputError, match=sentence):
            aehub.classify(clip, folder)


def test_examples_of_a_label_are_a_list(clip: Path) -> None:
    sentence = r"^the value of the label 'cats' is 'cat\.mp4'; give a list\.$"
    with pytest.raises(InputError, match=sentence):
        aehub.classify(clip, {"cats": "cat.mp4"})


def test_what_cannot_be_labelled_is_named(examples: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no clip to label"):
        aehub.classify([], examples)
    with pytest.raises(InputError, match="holds no clip, picture or .aev file"):
        aehub.classify(tmp_path, examples)
    with pytest.raises(ModelError, match="d4-codec makes no fingerprints, .*; use fingerprint"):
        aehub.classify("clip.mp4", examples, model="d4-codec")


def test_the_command_prints_a_line_for_each_file_of_a_folder(
    examples: Path, clip: Path, tmp_path: Path
) -> None:
    shutil.copy(clip, tmp_path / "a.mp4")
    write_clip(tmp_path / "b.mp4", stripes(12, seed=3))
    done = run(tmp_path, "--examples", examples)
    assert done.exit_code == 0, done.output
    first, second = done.stdout.splitlines()
    assert first.startswith("discs ") and first.endswith("a.mp4") and "%" in first
    assert second.startswith("stripes ") and second.endswith("b.mp4")


def test_the_object_counts_failures_and_has_null_for_none(
    examples: Path, clip: Path, tmp_path: Path
) -> None:
    dark = write_clip(tmp_path / "dark.mp4", [np.zeros((160, 256, 3), np.uint8)] * 12)
    sound = sound_only(tmp_path)
    done = run(clip, dark, sound, "--examples", examples, "--json")
    assert done.exit_code == 1
    printed = json.loads(done.stdout)
    assert list(printed) == ["files", "failed"] and printed["failed"] == 1
    first, second, third = printed["files"]
    for one in (first, second, third):
        assert list(one) == ["path", "label", "confidence", "scores", "error", "notes"]
    assert (first["label"], second["label"], third["label"]) == ("discs", None, None)
    assert third["scores"] == {} and third["error"].endswith(".")
    assert done.stderr.count(third["error"]) == 1
    assert "\nnone " in run(clip, dark, "--examples", examples).stdout
