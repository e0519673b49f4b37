"""States of a run on disk, as safetensors: nothing here can be unpickled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialised
from torch import Tensor, nn

from aehub.errors import InputError
from aehub.files import written

if TYPE_CHECKING:
    from aehub.training.trainer import Trainer

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def parameters_of(model: nn.Module) -> dict[str, Tensor]:
    """Copies of all parameters by name."""
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@torch.no_grad()
def put(model: nn.Module, values: dict[str, Tensor]) -> None:
    """Set all parameters by name."""
    for name, parameter in model.named_parameters():
        parameter.copy_(values[name])


def write(path: Path, tensors: dict[str, Tensor], state: dict[str, float] | None = None) -> None:
    """Write under another name, then rename: a kill at any moment leaves a whole file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written(path, force=True) as file:
        file.write(serialised({n: t.contiguous() for n, t in tensors.items()},
                              {"state": json.dumps(state or {})}))


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file that `write` made."""
    return load_file(path)


def save(trainer: Trainer) -> None:
    """Write all that a run needs to go on."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in trainer.model.named_parameters():
        tensors[f"parameter.{name}"] = parameter.detach().clone()
        tensors[f"average.{name}"] = trainer.average[name]
        for key in _MOMENTS:
            moment = trainer.optimizer.state.get(parameter, {}).get(key)
            if moment is not None:
                tensors[f"{key}.{name}"] = moment.detach().clone()
    write(trainer.out / "state.safetensors", tensors, {
        "step": trainer.step, "seconds": trainer.seconds, "best": trainer.best,
        "stale": trainer.stale})


def restore(trainer: Trainer) -> None:
    """Set a trainer to the last state of its folder.

    Raises:
        InputError: the folder holds none, or one of another model.
    """
    path = trainer.out / "state.safetensors"
    if not path.exists():
        raise InputError(f"{trainer.out} holds no run to resume; leave --resume out.")
    tensors = load_file(path, device=str(trainer.device))
    if {f"parameter.{n}" for n in trainer.average} - tensors.keys():
        raise InputError(f"the run in {trainer.out} is of another model; choose another --out.")
    with safe_open(path, "pt") as opened:
        state = json.loads(opened.metadata()["state"])
    trainer.step, trainer.seconds = int(state["step"]), float(state["seconds"])
    trainer.best, trainer.stale = float(state["best"]), int(state["stale"])
    trainer.average = {n: tensors[f"average.{n}"] for n in trainer.average}
    put(trainer.model, {n: tensors[f"parameter.{n}"] for n in trainer.average})
    for name, parameter in trainer.model.named_parameters():
        moments = {key: tensors[f"{key}.{name}"] for key in _MOMENTS if f"{key}.{name}" in tensors}
        if moments:
            trainer.optimizer.state[parameter] = moments
