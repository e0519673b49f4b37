"""The one training loop: budget, schedule, moving average, checkpoints, held-out loss, resume.

A recipe (`aehub.training.recipes`) says what is trained on what; this file says how. The same code
runs on CPU and GPU, and under `torchrun` on several GPUs. A run's folder holds:

    state.safetensors   parameters, their moving average and the optimiser's moments
    state.json          steps and seconds done, best held-out cost so far
    start.safetensors   step 0, what training is measured against
    best.safetensors    the moving average with the lowest held-out cost
    log.jsonl           one line per report; curves.png is drawn from it
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from aehub.models.d4_codec import PlaneBatch
from aehub.training.curves import draw
from aehub.training.data import Crops, FrameStore

_WARM_UP = 300
_EMA = 0.999
_CLIP = 1.0
_HELD_OUT_BATCHES = 12


@dataclass
class Budget:
    """When to stop, and how far along a run is.

    Attributes:
        steps: optimiser steps in all, or None.
        minutes: training time in all, resumed parts included, or None.
    """

    steps: int | None
    minutes: float | None

    def share(self, step: int, seconds: float) -> float:
        """0 at the start, 1 when the budget is spent."""
        shares = [step / self.steps if self.steps else 0.0,
                  seconds / (60 * self.minutes) if self.minutes else 0.0]
        return min(1.0, max(shares))


@dataclass
class Settings:
    """One run of a recipe."""

    out: Path
    budget: Budget
    size: int
    batch: int
    learning_rate: float
    seed: int = 0
    workers: int = 1
    report_every: float = 60.0
    patience: int = 60


class _Batches(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
    def __init__(self, crops: Crops, first: int) -> None:
        self.crops, self.first = crops, first

    def __iter__(self) -> Iterator[Any]:
        return self.crops.batches(self.first)


class Trainer:
    """Trains `recipe` on the frames of `store`; `run` yields a report at each interval."""

    def __init__(self, recipe: ModuleType, model: nn.Module, store: FrameStore,
                 settings: Settings, device: torch.device) -> None:
        self.recipe, self.settings, self.device = recipe, settings, device
        self.store = store
        self.model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {n: p.detach().clone() for n, p in self.model.named_parameters()}
        groups = [{"params": list(ps), "scale": scale}
                  for scale, ps in recipe.groups(self.model).items()]
        self.optimizer = torch.optim.AdamW(groups, settings.learning_rate, betas=(0.9, 0.99),
                                           weight_decay=0.0, fused=True)
        self.step, self.seconds, self.best, self.stale = 0, 0.0, math.inf, 0
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.world = dist.get_world_size() if dist.is_initialized() else 1

    # The loop.

    def run(self) -> Iterator[dict[str, float]]:
        """Train until the budget is spent or the held-out cost stops falling; yields reports."""
        settings = self.settings
        held_out = self._held_out()
        if self.step == 0 and settings.budget.share(0, 0) < 1:
            self._fit()
        if self.step == 0:
            yield self._report({}, held_out)
            if self.rank == 0:
                _write(settings.out / "start.safetensors", dict(self.average), {})
        sums: dict[str, float] = {}
        count, last = 0, time.monotonic()
        reported = last
        for batch in self._loader(self.step):
            share = settings.budget.share(self.step, self.seconds)
            if share >= 1 or self.stale > settings.patience:
                break
            values = self._train_step(batch, share)
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + float(value)
            count += 1
            now = time.monotonic()
            self.seconds, last = self.seconds + now - last, now
            if now - reported >= settings.report_every:
                means = {name: value / count for name, value in sums.items()}
                yield self._report(means, held_out)
                sums, count = {}, 0
                last = reported = time.monotonic()
        yield self._report({n: v / max(count, 1) for n, v in sums.items()}, held_out)

    def _train_step(self, batch: list[Tensor], share: float) -> dict[str, Tensor]:
        rate = self.settings.learning_rate * min(1.0, (self.step + 1) / _WARM_UP)
        rate *= 0.5 * (1 + math.cos(math.pi * share))
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        self.model.train()
        generator = torch.Generator().manual_seed(
            (self.settings.seed * 1_000_003 + self.step) * self.world + self.rank)
        values = self._values(batch, generator)
        self.optimizer.zero_grad(set_to_none=True)
        values.pop("loss").backward()
        self._share_gradients()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), _CLIP)
        if torch.isfinite(norm):
            self.optimizer.step()
        self.step += 1
        self._constrain()
        self._follow()
        return {**values, "norm": norm.detach()}

    def _values(self, batch: list[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        planes = PlaneBatch(*(p.to(self.device, non_blocking=True)[:, None] / 255 - 0.5
                              for p in batch))
        quality = self.recipe.qualities(len(planes.y), generator).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            values: dict[str, Tensor] = self.recipe.loss(self.model, planes, quality)
        return values

    def _share_gradients(self) -> None:
        """Average gradients over the processes that `torchrun` started."""
        if self.world > 1:
            for parameter in self.model.parameters():
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.world

    def _constrain(self) -> None:
        if self.step % 50 == 0:
            for module in self.model.modules():
                constrain = getattr(module, "constrain", None)
                if constrain is not None:
                    constrain()

    @torch.no_grad()
    def _follow(self) -> None:
        decay = min(_EMA, (1 + self.step) / (10 + self.step))
        mine = list(self.average.values())
        theirs = [p.detach() for p in self.model.parameters()]
        torch._foreach_lerp_(mine, theirs, 1 - decay)

    def _fit(self) -> None:
        """Step 0: fit only what the recipe names (the classical codec's statistics)."""
        steps = getattr(self.recipe, "FIT_STEPS", 0)
        if not steps:
            return
        optimizer = torch.optim.Adam(list(self.recipe.fitted(self.model)), 0.1)
        self.model.train()
        for number, batch in enumerate(self._loader(0)):
            if number == steps:
                break
            for group in optimizer.param_groups:
                group["lr"] = 0.1 * (1 - number / steps)
            optimizer.zero_grad(set_to_none=True)
            self._values(batch, torch.Generator().manual_seed(number))["loss"].backward()
            optimizer.step()
        self.model.zero_grad(set_to_none=True)
        self.average = {n: p.detach().clone() for n, p in self.model.named_parameters()}

    # Data.

    def _loader(self, first: int) -> Iterator[list[Tensor]]:
        settings = self.settings
        crops = Crops(self.store, size=settings.size, batch=settings.batch,
                      seed=settings.seed * self.world + self.rank)
        workers = min(1, settings.workers)
        loader = torch.utils.data.DataLoader(
            _Batches(crops, first), batch_size=None, num_workers=workers,
            multiprocessing_context="fork" if workers else None,
            pin_memory=self.device.type == "cuda", prefetch_factor=8 if workers else None)
        return iter(loader)

    def _held_out(self) -> list[list[Tensor]]:
        crops = Crops(self.store, size=self.settings.size, batch=self.settings.batch, seed=7,
                      held_out=True, shrink=0.0)
        batches = crops.batches()
        return [[torch.from_numpy(p) for p in next(batches)] for _ in range(_HELD_OUT_BATCHES)]

    # Reports and files.

    def _report(self, means: dict[str, float], held_out: list[list[Tensor]]) -> dict[str, float]:
        cost = self.evaluate(held_out)
        report = {"step": self.step, "seconds": round(self.seconds, 1),
                  **{f"train_{n}": round(v, 5) for n, v in means.items()},
                  **{f"held_out_{n}": round(v, 5) for n, v in cost.items()}}
        improved = cost["cost"] < self.best
        self.stale = 0 if improved else self.stale + 1
        self.best = min(self.best, cost["cost"])
        if self.rank == 0:
            self.save(report, improved)
        return report

    @torch.no_grad()
    def evaluate(self, held_out: list[list[Tensor]]) -> dict[str, float]:
        """Mean cost of the moving average on held-out crops, at fixed qualities."""
        mine = {n: p.detach().clone() for n, p in self.model.named_parameters()}
        self._put(self.average)
        self.model.train()  # Real-valued indices, as in training, so that both curves compare.
        sums: dict[str, float] = {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            for number, batch in enumerate(held_out):
                values = self._values(batch, torch.Generator().manual_seed(number))
                for name in ("cost", "bpp", "psnr"):
                    sums[name] = sums.get(name, 0.0) + float(values[name]) / len(held_out)
        self._put(mine)
        return sums

    @torch.no_grad()
    def _put(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self.model.named_parameters():
            parameter.copy_(values[name])

    def save(self, report: dict[str, float], improved: bool) -> None:
        """Write the state so that a kill at any moment leaves a whole one."""
        out = self.settings.out
        out.mkdir(parents=True, exist_ok=True)
        names = [n for n, _ in self.model.named_parameters()]
        tensors = {f"parameter.{n}": p.detach().contiguous()
                   for n, p in self.model.named_parameters()}
        tensors |= {f"average.{n}": p for n, p in self.average.items()}
        for name, parameter in zip(names, self.model.parameters(), strict=True):
            for key in ("exp_avg", "exp_avg_sq", "step"):
                moment = self.optimizer.state.get(parameter, {}).get(key)
                if moment is not None:
                    tensors[f"{key}.{name}"] = moment.detach().clone().contiguous()
        meta = {"step": self.step, "seconds": self.seconds, "best": self.best,
                "stale": self.stale, "seed": self.settings.seed}
        _write(out / "state.safetensors", tensors, {"state": json.dumps(meta)})
        if improved:
            _write(out / "best.safetensors", dict(self.average), {"state": json.dumps(meta)})
        with open(out / "log.jsonl", "a") as log:
            log.write(json.dumps(report) + "\n")
        draw(out / "log.jsonl", out / "curves.png")

    def resume(self) -> None:
        """Continue from the folder's last state."""
        from safetensors import safe_open

        path = self.settings.out / "state.safetensors"
        tensors = load_file(path, device=str(self.device))
        with safe_open(path, "pt") as opened:
            meta = json.loads(opened.metadata()["state"])
        self.step, self.seconds = meta["step"], meta["seconds"]
        self.best, self.stale = meta["best"], meta["stale"]
        self.average = {n: tensors[f"average.{n}"] for n in self.average}
        self._put({n: tensors[f"parameter.{n}"] for n in self.average})
        for name, parameter in self.model.named_parameters():
            if f"exp_avg.{name}" in tensors:
                self.optimizer.state[parameter] = {
                    "step": tensors[f"step.{name}"].cpu(),
                    "exp_avg": tensors[f"exp_avg.{name}"],
                    "exp_avg_sq": tensors[f"exp_avg_sq.{name}"]}


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    temporary = path.with_suffix(".tmp")
    save_file(tensors, temporary, metadata)
    os.replace(temporary, path)


Progress = Callable[[int, int], None]
