"""How the synthesis of predicted frames is trained alone, on what the encoder makes of clips.

A step runs one network of one frame, not all networks of a chain of frames: where time is short,
that is ten times as many pictures. Codes, tables and motion stay those of the base, and so does the
entropy hash. The loss is the distortion of `recipes.d4_codec`, at the same weight.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from aehub.codec.model import Codec
from aehub.models import store
from aehub.models.d4_codec import D4Codec, planes_of
from aehub.models.layers import step
from aehub.training.data import FrameStore
from aehub.training.harvest import CHANNELS, Harvest
from aehub.training.recipes.d4_codec import distortion
from aehub.training.recipes.d4_codec import qualities as all_qualities
from aehub.training.recipes.d4_inter import LAST, inter_of, without_flat_areas

NAME = "d4-synthesis"
LEARNING_RATE = 2e-3


@dataclass(frozen=True)
class Options:
    """What `--set` may change.

    Attributes:
        base: folder of the model whose synthesis is trained.
        blocks: residual blocks; if the base has another number, all but the linear path starts
            anew.
        anew: 1 starts it anew in any case.
        clips: training clips to encode.
        size: side of a training crop in luma samples, a multiple of 8.
        batch: crops per step.
        fit_steps: nothing is fitted before step 0.
        report_seconds: between reports and checkpoints.
    """

    base: str = "weights/d4-codec"
    blocks: int = 1
    anew: int = 1
    clips: int = 100
    size: int = 128
    batch: int = 8
    fit_steps: int = 0
    report_seconds: float = 120.0


def build(options: Options) -> D4Codec:
    """The base, its synthesis of predicted frames to be trained."""
    base = store.load(Path(options.base)).network
    model = D4Codec(**base.config | {"inter_synthesis_blocks": options.blocks})
    anew = options.anew or base.config["inter_synthesis_blocks"] != options.blocks
    kept = {name: value for name, value in base.state_dict().items()
            if not anew or not name.startswith("inter.synthesis.") or ".linear." in name}
    model.load_state_dict(kept, strict=not anew)
    if anew:
        without_flat_areas(inter_of(model).synthesis)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("inter.synthesis."))
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def open_material(data: Path, cache: Path, options: Options, leader: bool) -> Harvest:
    """What the base makes of the clips below `data`, encoded once into `cache`."""
    cut = {"size": options.size, "batch": options.batch}
    if not leader:
        return Harvest.wait(cache, **cut)
    frames = FrameStore.build(data, cache)
    codec = Codec(store.load(Path(options.base)))

    def qualities(n: int) -> list[float]:
        return all_qualities(n, torch.Generator().manual_seed(0)).tolist()

    with torch.inference_mode():
        return Harvest.build(frames, codec, cache, clips=options.clips, qualities=qualities, **cut)


def groups(model: D4Codec) -> dict[float, list[torch.nn.Parameter]]:
    """Parameters by factor on the learning rate, see `d4_inter.groups`."""
    parts: dict[float, list[torch.nn.Parameter]] = {1.0: [], LAST: []}
    for name, parameter in inter_of(model).synthesis.named_parameters():
        parts[LAST if name.startswith(("tail.", "linear.")) else 1.0].append(parameter)
    return parts


def fitted(model: D4Codec) -> Iterator[torch.nn.Parameter]:
    """Nothing."""
    yield from ()


def values(model: D4Codec, batch: list[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """The `loss` to minimise, which is the `cost` too; `psnr` to watch.

    Args:
        model: the network.
        batch: as `Harvest` makes them.
        generator: not used.
    """
    seen, wanted, quality = batch
    latent, prediction = seen.float().contiguous(
        memory_format=torch.channels_last).split(CHANNELS, 1)
    shown = prediction + inter_of(model).synthesis(latent, quality, prediction)
    planes = planes_of(shown.float().clamp(-0.5, 0.5))
    error = distortion(planes_of(wanted / 255 - 0.5), planes, quality)
    typical = 0.28 * torch.exp2(2.5 * quality / 100)
    cost = (error / (0.08 * step(quality) ** 2) / typical).mean()
    return {"loss": cost, "cost": cost.detach(),
            "psnr": (10 * torch.log10(255**2 / error.detach())).mean()}


def export(model: D4Codec, material: Harvest, folder: Path, options: Options) -> None:
    """Write the model folder; all but the synthesis is the base's."""
    base = store.load(Path(options.base))
    model = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    store.save(folder, base.name, model, base.tables, encoder=base.config.get("encoder", {}),
               probe=base.probe, inter_tables=base.inter_tables)
