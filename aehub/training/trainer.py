"""The training loop: budget, schedule, moving average, held-out cost, early stopping, checkpoints.

A recipe (`aehub.training.recipes`) defines model, data and loss. The same loop runs on CPU and GPU,
in one process or several. A run's folder holds, all without pickles:

    state.safetensors   parameters, their moving average and the optimiser's moments
    start.safetensors   the parameters of step 0, which training is measured against
    best.safetensors    the moving average with the lowest held-out cost
    log.jsonl           one line per report; curves.png shows training and held-out cost
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialised
from torch import Tensor, nn

from aehub.errors import InputError
from aehub.files import open_output
from aehub.weights.device import has_fast_bfloat16

WARM_UP_STEPS = 300
EMA_DECAY = 0.999
MAX_GRADIENT_NORM = 1.0
# Reports without a lower held-out cost before the run stops: about an hour.
PATIENCE = 60
HELD_OUT_BATCHES = 12
HELD_OUT_SEED = 7
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def copy_parameters(model: nn.Module) -> dict[str, Tensor]:
    """Copies of all parameters by name."""
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@torch.no_grad()
def set_parameters(model: nn.Module, values: dict[str, Tensor]) -> None:
    """Set all parameters by name."""
    for name, parameter in model.named_parameters():
        parameter.copy_(values[name])


def write_tensors(path: Path, tensors: dict[str, Tensor],
                  state: Mapping[str, Any] | None = None) -> None:
    """Write a file atomically, so that a killed run leaves complete files only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_output(path, force=True) as file:
        file.write(serialised({n: t.contiguous() for n, t in tensors.items()},
                              {"state": json.dumps(state or {})}))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file."""
    return load_file(path)


def _changes(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(old, new) of each option that has changed, as NAME=VALUE."""
    return [(f"{name}={before[name]}", f"{name}={now[name]}")
            for name in now if name in before and before[name] != now[name]]


def append_log(log: Path, report: dict[str, float]) -> None:
    """Append a report to `log.jsonl`."""
    with open(log, "a") as lines:
        lines.write(json.dumps(report) + "\n")


def draw_curves(log: Path, picture: Path) -> None:
    """Draw `log.jsonl` as a PNG, where matplotlib is installed (extra `plot`)."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, label, colour in (("train_cost", "training", "#9aa5b1"),
                                ("held_out_cost", "held out", "#d1495b")):
        points = [(r["step"], r[name]) for r in rows if name in r]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, color=colour)
    axes.set_xlabel("steps")
    axes.set_ylabel("cost")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(picture, dpi=110)


@dataclass
class Budget:
    """Length of a run.

    Attributes:
        steps: total optimiser steps, or None.
        minutes: total training time, before and after a resume, or None.
    """

    steps: int | None
    minutes: float | None

    def spent(self, step: int, seconds: float) -> float:
        """Fraction of the budget that is spent, 0..1."""
        shares = [step / self.steps if self.steps else 0.0,
                  seconds / (60 * self.minutes) if self.minutes else 0.0]
        return min(1.0, max(shares))

    def progress(self, step: int, seconds: float) -> tuple[int, int]:
        """(done, total) in seconds if `minutes` is given, else in steps."""
        if self.minutes is not None:
            return int(seconds), int(60 * self.minutes)
        return step, self.steps or 0


class _BatchStream(torch.utils.data.IterableDataset):
    def __init__(self, dataset: Any, first: int, seed: int) -> None:
        self.dataset, self.first, self.seed = dataset, first, seed

    def __iter__(self) -> Iterator[Any]:
        return iter(self.dataset.batches(self.first, self.seed))


class Trainer:
    """Trains the model of a recipe; `run` yields a report at each interval.

    Attributes:
        model: the network that is trained.
        average: moving average of its parameters by name.
        step: steps done.
        seconds: training time so far.
        best: lowest held-out cost.
        stale: reports since the lowest cost.

    Args:
        recipe: module of `aehub.training.recipes`.
        options: its `Options`.
        dataset: its data.
        out: folder of the run.
        budget: length of the run.
        device: of the model.
        seed: of all random choices.
    """

    def __init__(self, recipe: ModuleType, options: Any, dataset: Any, out: Path,
                 budget: Budget, device: torch.device, seed: int) -> None:
        torch.manual_seed(seed)
        self.recipe, self.options, self.dataset, self.out = recipe, options, dataset, out
        self.budget, self.device, self.seed = budget, device, seed
        self.model: nn.Module = recipe.build(options).to(device)
        self.average = copy_parameters(self.model)
        by_scale = recipe.parameter_groups(self.model) if hasattr(recipe, "parameter_groups") else {
            1.0: [p for p in self.model.parameters() if p.requires_grad]}
        groups = [{"params": parameters, "scale": scale} for scale, parameters in by_scale.items()]
        self.optimizer = torch.optim.AdamW(groups, recipe.LEARNING_RATE, betas=(0.9, 0.99),
                                           weight_decay=0.0, fused=True)
        self.step, self.seconds = 0, 0.0
        self.best, self.stale = math.inf, 0
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.world = dist.get_world_size() if dist.is_initialized() else 1

    # The loop.

    def run(self) -> Iterator[dict[str, float]]:
        """Train until the budget is spent or the held-out cost stops falling; yields reports."""
        if self.step == 0:
            if self.rank == 0:
                # Files of an earlier run in the same folder.
                for name in ("log.jsonl", "best.safetensors"):
                    (self.out / name).unlink(missing_ok=True)
            self._fit_start()
            if self.rank == 0:
                write_tensors(self.out / "start.safetensors", self.average)
            yield self._report({})
        sums: dict[str, float] = {}
        count, last = 0, time.monotonic()
        reported = last
        for batch in self._loader(self.step):
            share = self._spent()
            if share >= 1:
                break
            for name, value in self._train_step(batch, share).items():
                sums[name] = sums.get(name, 0.0) + float(value)
            count += 1
            now = time.monotonic()
            self.seconds, last = self.seconds + now - last, now
            if now - reported >= self.options.report_seconds or self._ends_epoch():
                yield self._report({name: value / count for name, value in sums.items()})
                sums, count = {}, 0
                last = reported = time.monotonic()
        if count:
            yield self._report({name: value / count for name, value in sums.items()})

    def _ends_epoch(self) -> bool:
        """Return True if the recipe requires a report after this step."""
        every = getattr(self.recipe, "steps_per_report", None)
        return every is not None and self.step % every(self.options) == 0

    def _spent(self) -> float:
        """Fraction of the budget that is spent, by the clock of the first process; 1 stops."""
        stop = self.stale > getattr(self.recipe, "PATIENCE", PATIENCE)
        share = 1.0 if stop else self.budget.spent(self.step, self.seconds)
        if self.world > 1:
            spent = torch.tensor([share], device=self.device)
            dist.broadcast(spent, 0)
            share = float(spent)
        return share

    def _train_step(self, batch: list[Tensor], share: float) -> dict[str, Tensor]:
        rate = self.recipe.LEARNING_RATE * min(1.0, (self.step + 1) / WARM_UP_STEPS)
        rate *= 0.5 * (1 + math.cos(math.pi * share))
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        seed = (self.seed * 1_000_003 + self.step) * self.world + self.rank
        values = self._backward(batch, seed)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRADIENT_NORM)
        if torch.isfinite(norm):
            self.optimizer.step()
        self.step += 1
        constrain = getattr(self.model, "constrain", None)
        if self.step % 50 == 0 and callable(constrain):
            constrain()
        self._update_average()
        return {**values, "norm": norm.detach()}

    def _backward(self, batch: list[Tensor], seed: int) -> dict[str, Tensor]:
        self.model.train()
        self.model.zero_grad(set_to_none=True)
        values = self._losses(batch, seed)
        values.pop("loss").backward()
        if self.world > 1:
            self._average_gradients()
        return values

    def _average_gradients(self) -> None:
        """Set the gradients to their mean over all processes."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten()
                          for p in parameters])
        dist.all_reduce(flat)
        flat /= self.world
        for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]),
                                   strict=True):
            parameter.grad = part.view_as(parameter)

    def _losses(self, batch: list[Tensor], seed: int) -> dict[str, Tensor]:
        moved = [part.to(self.device, non_blocking=True) for part in batch]
        generator = torch.Generator().manual_seed(seed)
        fast = has_fast_bfloat16(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=fast):
            values: dict[str, Tensor] = self.recipe.losses(self.model, moved, generator)
        return values

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(EMA_DECAY, (1 + self.step) / (10 + self.step))
        # Integer parameters are constants.
        pairs = [(self.average[name], parameter.detach())
                 for name, parameter in self.model.named_parameters()
                 if parameter.is_floating_point()]
        averages, parameters = map(list, zip(*pairs, strict=True))
        torch._foreach_lerp_(averages, parameters, 1 - decay)

    def _fit_start(self) -> None:
        """Fit the start parameters of the recipe: the statistics of the classical codec."""
        steps = getattr(self.options, "fit_steps", 0)
        if not steps or self.budget.spent(0, 0.0) >= 1:
            return
        optimizer = torch.optim.Adam(list(self.recipe.start_parameters(self.model)), 0.1)
        for number, batch in zip(range(steps), self._loader(0), strict=False):
            for group in optimizer.param_groups:
                group["lr"] = 0.1 * (1 - number / steps)
            self._backward(batch, number)
            optimizer.step()
        self.average = copy_parameters(self.model)

    def _loader(self, first: int) -> Iterator[list[Tensor]]:
        batches = _BatchStream(self.dataset, first, self.seed * self.world + self.rank)
        cuda = self.device.type == "cuda"
        return iter(torch.utils.data.DataLoader(
            batches, batch_size=None, num_workers=1, prefetch_factor=8, pin_memory=cuda,
            multiprocessing_context="spawn" if cuda else "fork"))

    # Held-out cost, reports and files.

    def _report(self, means: dict[str, float]) -> dict[str, float]:
        report = {"step": self.step, "seconds": round(self.seconds, 1),
                  **{f"train_{name}": round(value, 5) for name, value in means.items()}}
        if self.rank == 0:
            cost = self.evaluate()
            report |= {f"held_out_{name}": round(value, 5) for name, value in cost.items()}
            improved = cost["cost"] < self.best
            self.stale = 0 if improved else self.stale + 1
            self.best = min(self.best, cost["cost"])
            self.save()
            if improved:
                write_tensors(self.out / "best.safetensors", self.average)
            append_log(self.out / "log.jsonl", report)
            draw_curves(self.out / "log.jsonl", self.out / "curves.png")
        return report

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Mean cost of the moving average on a fixed set of held-out batches."""
        current = copy_parameters(self.model)
        set_parameters(self.model, self.average)
        # Training mode has real-valued table indices, so that both curves are comparable.
        self.model.train()
        sums: dict[str, float] = {}
        batches = self.dataset.batches(0, HELD_OUT_SEED, held_out=True)
        context = getattr(self.recipe, "evaluation_context", nullcontext)
        with torch.random.fork_rng(devices=[]), context():
            torch.manual_seed(1)
            for number, batch in zip(range(HELD_OUT_BATCHES), batches, strict=False):
                values = self._losses([torch.from_numpy(part) for part in batch], number)
                for name in values.keys() - {"loss"}:
                    sums[name] = sums.get(name, 0.0) + float(values[name]) / HELD_OUT_BATCHES
        set_parameters(self.model, current)
        return sums

    def save(self) -> None:
        """Write everything that a run needs to be resumed."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.model.named_parameters():
            tensors[f"parameter.{name}"] = parameter.detach().clone()
            tensors[f"average.{name}"] = self.average[name]
            for key in _MOMENTS:
                moment = self.optimizer.state.get(parameter, {}).get(key)
                if moment is not None:
                    tensors[f"{key}.{name}"] = moment.detach().clone()
        write_tensors(self.out / "state.safetensors", tensors, {
            "step": self.step, "seconds": self.seconds, "best": self.best,
            "stale": self.stale, "recipe": self.recipe.NAME, "options": asdict(self.options)})

    def resume(self) -> list[str]:
        """Continue from the last checkpoint of the folder.

        Returns:
            A sentence for each option that differs from the checkpoint.

        Raises:
            InputError: there is no checkpoint, or it is of another recipe or model.
        """
        path = self.out / "state.safetensors"
        if not path.exists():
            raise InputError(f"{self.out} holds no run to resume; leave --resume out.")
        tensors = load_file(path, device=str(self.device))
        with safe_open(path, "pt") as opened:
            state = json.loads(opened.metadata()["state"])
        changes = _changes(asdict(self.options), state.get("options", {}))
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        expected = {f"parameter.{name}": tuple(value.shape) for name, value in self.average.items()}
        if state.get("recipe", self.recipe.NAME) != self.recipe.NAME or any(
                shapes.get(name) != shape for name, shape in expected.items()):
            started = f", started with {', '.join(was for was, _ in changes)}" if changes else ""
            raise InputError(f"the run in {self.out} is of another model{started}; choose another "
                             "--out.")
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self.best, self.stale = float(state["best"]), int(state["stale"])
        self.average = {n: tensors[f"average.{n}"] for n in self.average}
        set_parameters(self.model, {n: tensors[f"parameter.{n}"] for n in self.average})
        for name, parameter in self.model.named_parameters():
            moments = {key: tensors[f"{key}.{name}"] for key in _MOMENTS
                       if f"{key}.{name}" in tensors}
            if moments:
                self.optimizer.state[parameter] = moments
        return [f"The run continues with {now}; it was started with {was}."
                for was, now in changes]

    def load_best(self) -> None:
        """Load the moving average with the lowest held-out cost into the model.

        Raises:
            InputError: no report had a finite held-out cost.
        """
        path = self.out / "best.safetensors"
        if not path.exists():
            raise InputError(f"the run in {self.out} never had a finite held-out cost, so there is "
                             "no model to export; change its options or its data.")
        set_parameters(self.model, read_tensors(path))
