"""States of a run on disk, as safetensors: nothing here can be unpickled."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialised
from torch import Tensor, nn

from aehub.errors import InputError
from aehub.files import written

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass
class TrainState:
    """A run between two steps.

    Attributes:
        recipe: module of `aehub.training.recipes`.
        options: its `Options`.
        out: folder of the run.
        device: where the model is.
        model: the parameters that are trained.
        average: their moving average by name.
        optimizer: with its moments.
        step: steps done.
        seconds: of training.
        best: lowest held-out cost.
        stale: reports since then.
    """

    recipe: ModuleType
    options: Any
    out: Path
    device: torch.device
    model: nn.Module
    average: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    best: float = math.inf
    stale: int = 0


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


def save(run: TrainState) -> None:
    """Write all that a run needs to go on."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in run.model.named_parameters():
        tensors[f"parameter.{name}"] = parameter.detach().clone()
        tensors[f"average.{name}"] = run.average[name]
        for key in _MOMENTS:
            moment = run.optimizer.state.get(parameter, {}).get(key)
            if moment is not None:
                tensors[f"{key}.{name}"] = moment.detach().clone()
    write(run.out / "state.safetensors", tensors, {
        "step": run.step, "seconds": run.seconds, "best": run.best,
        "stale": run.stale, "recipe": run.recipe.NAME, "options": asdict(run.options)})


def restore(run: TrainState) -> list[str]:
    """Set a run to the last state of its folder.

    Returns:
        A sentence for each option that differs from the run that wrote the state.

    Raises:
        InputError: the folder holds none, or one of another recipe or model.
    """
    path = run.out / "state.safetensors"
    if not path.exists():
        raise InputError(f"{run.out} holds no run to resume; leave --resume out.")
    tensors = load_file(path, device=str(run.device))
    with safe_open(path, "pt") as opened:
        state = json.loads(opened.metadata()["state"])
    changes = _changes(asdict(run.options), state.get("options", {}))
    known = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    wanted = {f"parameter.{name}": tuple(tensor.shape) for name, tensor in run.average.items()}
    if state.get("recipe", run.recipe.NAME) != run.recipe.NAME or any(
            known.get(name) != shape for name, shape in wanted.items()):
        began = f", begun with {', '.join(was for _, was, _ in changes)}" if changes else ""
        raise InputError(f"the run in {run.out} is of another model{began}; choose another "
                         "--out.")
    run.step, run.seconds = int(state["step"]), float(state["seconds"])
    run.best, run.stale = float(state["best"]), int(state["stale"])
    run.average = {n: tensors[f"average.{n}"] for n in run.average}
    put(run.model, {n: tensors[f"parameter.{n}"] for n in run.average})
    for name, parameter in run.model.named_parameters():
        moments = {key: tensors[f"{key}.{name}"] for key in _MOMENTS if f"{key}.{name}" in tensors}
        if moments:
            run.optimizer.state[parameter] = moments
    return [f"The run goes on with {now}; it was begun with {was}." for _, was, now in changes]


def _changes(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(name, what it was, what it is) of each option that has changed, as NAME=VALUE."""
    return [(name, f"{name}={before[name]}", f"{name}={now[name]}")
            for name in now if name in before and before[name] != now[name]]
