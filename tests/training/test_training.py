"""`aehub train` at toy size: the real command on real files, killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

import aehub
from aehub.codecs.d4.tied_conv import share_expanded_weights
from aehub.errors import InputError
from aehub.media.clip import open_clip
from aehub.training import recipes, train
from aehub.training.data import Cache, Crops, FrameStore, recording_of
from aehub.training.trainer import Budget, Trainer
from aehub.weights.architectures import architectures
from material import moving_picture, write_clip

TOY = {"fields": 1, "analysis_blocks": 0, "synthesis_blocks": 1, "size": 64, "batch": 4,
       "fit_steps": 20, "report_seconds": 2}
SETTINGS = [part for name, value in TOY.items() for part in ("--set", f"{name}={value}")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for seed, name in enumerate(("meadow_0000_00001", "meadow_0000_00009", "harbour", "street")):
        write_clip(folder / f"{name}.mp4", moving_picture(6, width=160, height=96, seed=seed))
    return folder


def command(data: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "aehub", "train", "d4-codec", "--data", str(data), "--out",
            str(out), *SETTINGS, *more]


def log(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_killed_run_resumes_and_lowers_the_held_out_cost(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    victim = subprocess.Popen(command(data, out, "--steps", "200"), start_new_session=True)
    deadline = time.monotonic() + 120
    while not ((out / "log.jsonl").exists() and log(out)[-1]["step"] > 0):
        assert victim.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(victim.pid, signal.SIGKILL)
    victim.wait()
    killed_at = log(out)[-1]["step"]
    assert killed_at < 200
    subprocess.run(command(data, out, "--steps", "200", "--resume"), check=True, timeout=240)
    rows = log(out)
    assert rows[-1]["step"] == 200
    # The second process went on: it never reported a step before the last checkpoint's.
    later = [row["step"] for row in rows if row["step"] > killed_at]
    assert later and min(later) > killed_at and rows.count(rows[0]) == 1
    assert rows[-1]["held_out_cost"] < 0.97 * rows[0]["held_out_cost"]
    assert (out / "curves.png").stat().st_size > 1000
    clip = moving_picture(2, width=96, height=64, seed=9)
    result = aehub.compress(np.stack(clip), tmp_path / "toy.aev", model=out / "model")
    assert result.psnr is not None and result.psnr > 20


def test_held_out_batches_run_in_the_context_that_a_recipe_names(tmp_path: Path) -> None:
    entered: list[int] = []

    @contextmanager
    def context() -> Iterator[None]:
        entered.append(1)
        yield
        entered.clear()

    def losses(model: nn.Module, batch: list[Tensor], generator: torch.Generator
               ) -> dict[str, Tensor]:
        return {"loss": model(batch[0]).sum(), "cost": torch.tensor(float(len(entered)))}

    recipe = SimpleNamespace(LEARNING_RATE=1e-3, build=lambda options: nn.Linear(1, 1),
                             losses=losses, evaluation_context=context)
    dataset = SimpleNamespace(batches=lambda *_, held_out: repeat([np.ones((1, 1), np.float32)]))
    trainer = Trainer(recipe, None, dataset, tmp_path, Budget(1, None), torch.device("cpu"), 0)
    assert trainer.evaluate()["cost"] == pytest.approx(1) and not entered
    del recipe.evaluation_context
    assert trainer.evaluate()["cost"] == 0
    for name in architectures()["d4-codec"].recipes:
        assert recipes.find(name).evaluation_context is share_expanded_weights


@pytest.mark.slow
def test_two_processes_train_one_model(data: Path, tmp_path: Path) -> None:
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
           "-m", "aehub", "train", "d4-codec", "--data", str(data), "--out", str(tmp_path / "run"),
           *SETTINGS, "--steps", "5"]
    subprocess.run(run, check=True, timeout=240, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert log(tmp_path / "run")[-1]["step"] == 5
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()


def test_step_0_is_kept_to_measure_against(data: Path, tmp_path: Path) -> None:
    options = {name: str(value) for name, value in TOY.items()} | {"fit_steps": "0"}
    train("d4-codec", data=data, out=tmp_path, steps=3, options=options)
    start, best = (load_file(tmp_path / f"{n}.safetensors") for n in ("start", "best"))
    assert not np.any(start["synthesis.tail.theta"])
    assert start.keys() == best.keys()


def test_frames_of_a_store_are_those_of_the_clip(data: Path, tmp_path: Path) -> None:
    store = FrameStore.build(data, Cache(tmp_path))
    stored = next(clip for clip in store.clips if clip.name == "harbour.mp4")
    with open_clip(data / "harbour.mp4") as clip:
        for number, frame in enumerate(clip):
            for mine, theirs in zip(store.planes(stored, number), frame.picture, strict=True):
                assert np.array_equal(mine, theirs)
    assert stored.n_frames == 6


def test_a_store_is_decoded_once(data: Path, tmp_path: Path) -> None:
    FrameStore.build(data, Cache(tmp_path))
    (raw,) = tmp_path.glob("frames-*/frames.raw")
    before = raw.stat().st_mtime_ns
    FrameStore.build(data, Cache(tmp_path))
    assert list(tmp_path.glob("*/frames.raw")) == [raw] and raw.stat().st_mtime_ns == before


def test_held_out_crops_share_no_source_with_training_crops(data: Path, tmp_path: Path) -> None:
    crops = Crops(FrameStore.build(data, Cache(tmp_path)), size=64, batch=2)
    training, held_out = ({clip.source for clip in clips}
                          for clips in (crops._clips[False], crops._clips[True]))
    assert training and held_out and not training & held_out


def test_snippets_of_one_recording_have_one_source() -> None:
    assert recording_of("meadow_0004_00015.mp4") == recording_of("clips/meadow_0007_00001.mp4")
    assert recording_of("meadow_0004_00015.mp4") != recording_of("harbour_0004_00015.mp4")


def test_batches_depend_on_seed_and_number_alone(data: Path, tmp_path: Path) -> None:
    crops = Crops(FrameStore.build(data, Cache(tmp_path)), size=64, batch=2)
    batches = crops.batches(0, 5)
    next(batches)
    again = next(crops.batches(1, 5))
    assert all(np.array_equal(a, b) for a, b in zip(next(batches), again, strict=True))


@pytest.mark.parametrize(("arguments", "sentence"), [
    ({"recipe": "d5"}, "no recipe 'd5'"),
    ({"data": Path("nowhere")}, "name a folder of clips"),
    ({"steps": None}, "no budget"),
    ({"options": {"bath": "4"}}, "no option 'bath'"),
    ({"options": {"batch": "four"}}, "give a number"),
])
def test_a_wrong_argument_gets_a_sentence(data: Path, tmp_path: Path, arguments: dict[str, object],
                                          sentence: str) -> None:
    given = {"recipe": "d4-codec", "data": data, "out": tmp_path, "steps": 1, **arguments}
    with pytest.raises(InputError, match=sentence):
        train(given.pop("recipe"), **given)  # type: ignore[arg-type]
