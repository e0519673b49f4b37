"""Cached training files are rebuilt when any of their inputs has changed."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from aehub.cli import main
from aehub.codecs.d4 import checkpoint
from aehub.errors import InputError
from aehub.training import train
from aehub.training.data import Cache, FrameStore
from aehub.training.layer_library import Characters, LayerLibrary
from aehub.training.recipes import d4_filter
from aehub.training.recipes.d4_sequences import MotionStore, pair_index, reference_pairs
from material import moving_picture, write_clip

TINY = Path(__file__).parents[1] / "golden" / "tiny-d4"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two clips."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for seed, name in enumerate(("meadow", "harbour")):
        write_clip(folder / f"{name}.mp4", moving_picture(3, width=64, height=32, seed=seed))
    return folder


def all_fields(motion: MotionStore, frames: FrameStore) -> list[np.ndarray]:
    return [motion.field(clip, *pair) for clip in frames.clips
            for pair in reference_pairs(clip.n_frames)]


def test_frames_and_fields_follow_their_clips(data: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    cache = Cache(tmp_path / "cache", note=notes.append)
    frames = FrameStore.build(data, cache)
    MotionStore.build(frames, cache)
    assert notes == [] and len(list(cache.folder.iterdir())) == 2
    write_clip(data / "meadow.mp4", moving_picture(5, width=64, height=32, seed=7))
    frames = FrameStore.build(data, cache)
    motion = MotionStore.build(frames, cache)
    fresh = Cache(tmp_path / "fresh")
    wanted = FrameStore.build(data, fresh)
    assert frames.clips == wanted.clips
    for found, right in zip(all_fields(motion, frames),
                            all_fields(MotionStore.build(wanted, fresh), wanted), strict=True):
        assert np.array_equal(found, right)
    assert [note.partition(" were rebuilt: ")[2] for note in notes] == [
        "files changed.", "frames changed."]
    # What is stale takes no room.
    assert len(list(cache.folder.iterdir())) == 2


def test_a_clip_of_the_same_name_and_size_is_decoded_again(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    path, cache = tmp_path / "data" / "a.bmp", Cache(tmp_path / "cache")
    for number, level in enumerate((40, 200)):
        Image.new("L", (64, 64), level).save(path)
        os.utime(path, ns=(number, number))
        frames = FrameStore.build(tmp_path / "data", cache)
        assert abs(int(frames.planes(frames.clips[0], 0)[0].mean()) - level) < 25


def test_notes_on_files_that_cannot_be_read_are_kept(data: Path, tmp_path: Path) -> None:
    (data / "broken.mp4").write_bytes(b"no clip")
    cache = Cache(tmp_path / "cache")
    for _ in range(2):
        frames = FrameStore.build(data, cache)
        assert [note.partition(":")[0] for note in frames.notes] == ["broken.mp4 was left out"]
        assert [clip.n_frames for clip in frames.clips] == [3, 3]


def test_pictures_of_an_encoder_follow_its_model(data: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    cache = Cache(tmp_path / "cache", note=notes.append)
    write_clip(data / "meadow.mp4", moving_picture(9, width=64, height=32, seed=7))
    stored = checkpoint.load(TINY)
    checkpoint.save(tmp_path / "other", replace(
        stored, name="other", config={"encoder": {"lambda": 0.4, "inter_lambda": 0.4}}))

    def recorded(model: Path, clips: int) -> bytes:
        options = d4_filter.Options(base=str(model), clips=clips, size=32, batch=1)
        d4_filter.open_dataset(data, cache, options)
        (inputs,) = cache.folder.glob("filter-inputs-*/inputs.raw")
        return inputs.read_bytes()

    first = recorded(TINY, 2)
    assert recorded(TINY, 2) == first and notes == []
    assert recorded(tmp_path / "other", 2) != first
    assert "rebuilt: base changed." in notes[-1]
    assert recorded(TINY, 2) == first


def test_layers_follow_their_characters(tmp_path: Path) -> None:
    nobody = np.zeros(4, bool)
    layers = [f"body/male/{name}.png" for name in ("light", "light", "dark", "dark")]
    cache = Cache(tmp_path)
    for level in (50, 150):
        walk = np.full((4, 4, 9, 64, 64, 3), 255, np.uint8)
        walk[:2, ..., 20:40, 20:40, :], walk[2:, ..., 20:40, 20:40, :] = level, level + 40
        library = LayerLibrary.build(Characters(walk, layers, layers, nobody, nobody), cache)
        dark, light = (library.compose([n], 2, np.array([0]))[0, 30, 30] for n in (0, 1))
        assert (light == level).all() and (dark == level + 40).all()


def test_another_process_waits_until_all_is_written(tmp_path: Path) -> None:
    leader, other = Cache(tmp_path), Cache(tmp_path, leader=False)
    may_end, found = threading.Event(), []

    def make(folder: Path) -> None:
        (folder / "half").write_text("half")
        may_end.wait(20)
        (folder / "whole").write_text(str(len(list(tmp_path.iterdir()))))

    leader.get_or_make("things", {"version": 1}, lambda folder: None)
    def wait() -> None:
        folder = other.get_or_make("things", {"version": 2}, make)
        found.append(sorted(path.name for path in folder.iterdir()))

    threads = [threading.Thread(target=lambda: leader.get_or_make("things", {"version": 2}, make)),
               threading.Thread(target=wait)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    assert not found
    may_end.set()
    for thread in threads:
        thread.join(20)
    assert found == [["half", "inputs.json", "whole"]]


def test_what_could_not_be_made_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise InputError("no.")

    kept = Cache(tmp_path).get_or_make("things", {"version": 1}, lambda folder: None)
    with pytest.raises(InputError):
        Cache(tmp_path).get_or_make("things", {"version": 2}, fail)
    assert list(tmp_path.iterdir()) == [kept]


def test_the_place_of_a_pair_is_that_in_the_list_of_all() -> None:
    for n_frames in (0, 1, 2, 9, 40):
        for place, (frame, reference) in enumerate(reference_pairs(n_frames)):
            assert pair_index(n_frames, frame, reference) == place


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    train("dense-28", data=None, out=out, steps=2, options={"glyphs": "64", "batch": "32"})
    return out


def test_a_resumed_run_says_what_is_other_than_before(run: Path) -> None:
    done = CliRunner().invoke(main, [
        "train", "dense-28", "--out", str(run), "--steps", "3", "--resume", "--set", "glyphs=64",
        "--set", "batch=16"])
    assert done.exit_code == 0, done.stderr
    assert "note: The run continues with batch=16; it was started with batch=32." in done.stderr


@pytest.mark.parametrize(("recipe", "options", "words"), [
    ("dense-28", {"hidden": "48", "glyphs": "64"}, "of another model, started with .*hidden=64"),
    ("emoji-vae", {}, "of another model"),
])
def test_a_run_of_another_model_is_not_resumed(
    run: Path, tmp_path: Path, recipe: str, options: dict[str, str], words: str
) -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    for number in range(12):
        Image.fromarray(picture + 20 * number).save(tmp_path / f"thing {number}.png")
    with pytest.raises(InputError, match=words):
        train(recipe, data=tmp_path, out=run, steps=4, resume=True, options=options)


def test_a_new_run_keeps_nothing_of_an_earlier_one(run: Path) -> None:
    (run / "log.jsonl").write_text('{"step": 9, "held_out_cost": 0}\n')
    train("dense-28", data=None, out=run, steps=1, options={"glyphs": "64", "batch": "32"})
    assert '"step": 9' not in (run / "log.jsonl").read_text()
