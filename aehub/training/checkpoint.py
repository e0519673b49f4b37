"""States of a run on disk, as safetensors: nothing here can be unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def write(path: Path, tensors: dict[str, Tensor], state: Mapping[str, Any] | None = None) -> None:
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
        "stale": trainer.stale, "recipe": trainer.recipe.NAME, "options": asdict(trainer.options)})


def restore(trainer: Trainer) -> list[str]:
    """Set a trainer to the last state of its folder.

    Returns:
        A sentence for each option that differs from the run that wrote the state.

    Raises:
        InputError: the folder holds none, or one of another recipe or model.
    """
    path = trainer.out / "state.safetensors"
    if not path.exists():
        raise InputError(f"{trainer.out} holds no run to resume; leave --resume out.")
    tensors = load_file(path, device=str(trainer.device))
    with safe_open(path, "pt") as opened:
        state = json.loads(opened.metadata()["state"])
    changes = _changes(asdict(trainer.options), state.get("options", {}))
    known = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    wanted = {f"parameter.{name}": tuple(tensor.shape) for name, tensor in trainer.average.items()}
    if state.get("recipe", trainer.recipe.NAME) != trainer.recipe.NAME or any(
            known.get(name) != shape for name, shape in wanted.items()):
        began = f", begun with {', '.join(was for _, was, _ in changes)}" if changes else ""
        raise InputError(f"the run in {trainer.out} is of another model{began}; choose another "
                         "--out.")
    trainer.step, trainer.seconds = int(state["step"]), float(state["seconds"])
    trainer.best, trainer.stale = float(state["best"]), int(state["stale"])
    trainer.average = {n: tensors[f"average.{n}"] for n in trainer.average}
    put(trainer.model, {n: tensors[f"parameter.{n}"] for n in trainer.average})
    for name, parameter in trainer.model.named_parameters():
        moments = {key: tensors[f"{key}.{name}"] for key in _MOMENTS if f"{key}.{name}" in tensors}
        if moments:
            trainer.optimizer.state[parameter] = moments
    return [f"The run goes on with {now}; it was begun with {was}." for _, was, now in changes]


def _changes(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(name, what it was, what it is) of each option that has changed, as NAME=VALUE."""
    return [(name, f"{name}={before[name]}", f"{name}={now[name]}")
            for name in now if name in before and before[name] != now[name]]
