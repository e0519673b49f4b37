"""Run a training: recipe, data, budget and folder in, a model folder out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.distributed as dist

from aehub.errors import InputError
from aehub.files import refuse_overwriting
from aehub.training import recipes
from aehub.training.data import Cache
from aehub.training.trainer import Budget, Trainer
from aehub.weights.device import Device, resolve_device, torch_defaults

SEED = 0
MODEL_FOLDER = "model"


def train(recipe: str, *, data: Path | None, out: Path, minutes: float | None = None,
          steps: int | None = None, resume: bool = False, device: Device = "auto",
          options: Mapping[str, str] | None = None,
          progress: Callable[[int, int], None] | None = None,
          note: Callable[[str], None] | None = None) -> Path:
    """Train a model of the zoo.

    Under `torchrun` every process trains on its own batches and gradients are averaged.

    Args:
        recipe: name of the model, e.g. "d4-codec".
        data: folder of clips and pictures; None if the recipe draws its own data.
        out: folder of the run; the finished model goes to `out/model`.
        minutes: total training time.
        steps: total steps; some recipes have a default.
        resume: continue from the last checkpoint in `out`.
        device: where networks run, as `aehub.load`.
        options: fields of the recipe's `Options` as text, e.g. {"batch": "4"}.
        progress: called as `progress(done, total)` in steps, or in seconds with `minutes`.
        note: called with a sentence on anything unexpected: unreadable files of `data`, a rebuilt
            cache, options that a resumed run changes.

    Returns:
        The folder of the model.

    Raises:
        InputError: an argument cannot be used, or there is no training data.
    """
    module = recipes.find(recipe)
    chosen = parse_options(module.Options(), options or {})
    if (data is None and getattr(module, "NEEDS_DATA", True)) or (data and not data.is_dir()):
        raise InputError(f"the training data is {data}; name a folder of clips with --data.")
    budget = _budget(module, chosen, minutes, steps)
    _check_folder(out)
    with torch_defaults(), _processes(device) as (where, leader):
        cache = Cache(out / "frames", leader, note)
        dataset = module.open_dataset(data, cache, chosen)
        for left_out in getattr(dataset, "notes", ()):
            cache.note(left_out)
        trainer = Trainer(module, chosen, dataset, out, budget, where, SEED)
        if resume:
            for sentence in trainer.resume():
                cache.note(sentence)
        for report in trainer.run():
            if progress is not None:
                progress(*budget.progress(int(report["step"]), report["seconds"]))
        if leader:
            trainer.load_best()
            module.export(trainer.model, dataset, out / MODEL_FOLDER, chosen)
    return out / MODEL_FOLDER


def _budget(module: ModuleType, options: Any, minutes: float | None, steps: int | None) -> Budget:
    if minutes is None and steps is None:
        if not hasattr(module, "default_steps"):
            raise InputError("no budget is given; give --minutes or --steps.")
        steps = module.default_steps(options)
    return Budget(steps, minutes)


def _check_folder(out: Path) -> None:
    """Create the folder of a run and check that it is writable: training may last for days.

    Raises:
        InputError: it cannot be created or is not writable.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise InputError(f"{out} cannot be a folder: {err.strerror}; name another one with "
                         "--out.") from err
    refuse_overwriting(out / "state.safetensors", force=True)


def parse_options(defaults: Any, given: Mapping[str, str]) -> Any:
    """Copy the dataclass `defaults` with the given fields, each parsed as its default's type.

    Raises:
        InputError: a name is unknown or a value is no number.
    """
    known = {field.name: type(getattr(defaults, field.name)) for field in fields(defaults)}
    values = {}
    for name, text in given.items():
        if name not in known:
            raise InputError(f"there is no option {name!r}; known are: {', '.join(known)}.")
        try:
            values[name] = known[name](text)
        except ValueError as err:
            raise InputError(f"{name} is {text!r}; give a number.") from err
    return replace(defaults, **values)


@contextmanager
def _processes(device: Device) -> Iterator[tuple[torch.device, bool]]:
    """(device of this process, True if it leads); joins the processes that `torchrun` started."""
    where = resolve_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield where, True
        return
    cuda = where.type == "cuda"
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        local = int(os.environ["LOCAL_RANK"])
        yield torch.device("cuda", local) if cuda else torch.device("cpu"), dist.get_rank() == 0
    finally:
        dist.destroy_process_group()
