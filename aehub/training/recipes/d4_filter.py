"""How the post-filters are trained, on what the encoder makes of clips and pictures.

A step runs one filter on single frames, not all networks of a chain of frames: where time is short,
that is many times as many pictures. Codes, tables and motion stay those of the base, and so does
the entropy hash. The cost is what PSNR and MS-SSIM gain, in dB below zero: a filter that minds
squared error alone smooths away what structure is left.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from aehub.codec.model import Codec
from aehub.errors import InputError
from aehub.models import store
from aehub.models.d4_codec import D4Codec
from aehub.models.planes import PlaneBatch, clipped, planes_of
from aehub.training.cache import Cache
from aehub.training.data import FrameStore
from aehub.training.harvest import CHANNELS, Harvest
from aehub.training.recipes.d4_codec import distortion
from aehub.training.recipes.d4_codec import qualities as all_qualities
from aehub.training.similarity import dissimilarity

NAME = "d4-filter"
LEARNING_RATE = 2e-3
# At the full rate biases outrun the weights, and where that silences a layer it never learns again.
_BIASES = 0.1
_DB = 10 / math.log(10)
# Of the cost; the rest is PSNR's. Identical pictures would have no bound.
_SIMILARITY, _LEAST = 0.7, 1e-5
_HALVES = {"still": "post_filter.", "predicted": "inter.post_filter."}


@dataclass(frozen=True)
class Options:
    """What `--set` may change.

    Attributes:
        base: folder of the model whose filters are trained on.
        fields: width of the filters in regular fields of 8 channels.
        layers: hidden layers of the filters.
        anew: halves whose filters start anew though the base has them: "still", "predicted", "all".
        clips: training clips to encode; all pictures are.
        size: side of a training crop in luma samples, a multiple of 32.
        batch: crops per step.
        fit_steps: nothing is fitted before step 0.
        report_seconds: between reports and checkpoints.
    """

    base: str = "weights/d4-codec"
    fields: int = 4
    layers: int = 4
    anew: str = ""
    clips: int = 240
    size: int = 128
    batch: int = 8
    fit_steps: int = 0
    report_seconds: float = 120.0


def build(options: Options) -> D4Codec:
    """The base with its own filters, or new ones that change nothing: all if they differ in shape,
    else those of `options.anew`.

    Raises:
        InputError: `options.anew` names no half.
    """
    base = store.load(Path(options.base)).network
    if options.anew not in ("", "all", *_HALVES):
        raise InputError(f"anew is {options.anew!r}; give all, {' or '.join(_HALVES)}.")
    model = D4Codec(**base.config | {"filter_fields": options.fields,
                                     "filter_layers": options.layers})
    known = base.state_dict()
    if base.config != model.config or options.anew == "all":
        known = {name: value for name, value in known.items() if "post_filter." not in name}
    elif options.anew:
        lost = _HALVES[options.anew]
        known = {name: value for name, value in known.items() if not name.startswith(lost)}
    model.load_state_dict(known, strict=False)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("post_filter." in name)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def open_material(data: Path, cache: Cache, options: Options) -> Harvest:
    """What the base makes of the clips and pictures below `data`, encoded once into `cache`."""
    frames = FrameStore.build(data, cache)
    codec = Codec(store.load(Path(options.base)))
    with torch.inference_mode():
        harvest = Harvest.build(frames, codec, cache, clips=options.clips,
                                qualities=all_qualities, size=options.size, batch=options.batch)
    harvest.notes = frames.notes
    return harvest


def groups(model: D4Codec) -> dict[float, list[torch.nn.Parameter]]:
    """Parameters by factor on the learning rate."""
    parts: dict[float, list[torch.nn.Parameter]] = {1.0: [], _BIASES: []}
    for half in (model, model.inter):
        for name, parameter in half.post_filter.named_parameters():
            parts[_BIASES if "bias" in name else 1.0].append(parameter)
    return parts


def fitted(model: D4Codec) -> Iterator[torch.nn.Parameter]:
    """Nothing."""
    yield from ()


def values(model: D4Codec, batch: list[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """The `loss` to minimise, which is the `cost` too; gains in dB of PSNR and MS-SSIM to watch.

    Args:
        model: the network.
        batch: as `Harvest` makes them.
        generator: not used.
    """
    seen, wanted, quality, predicted = batch
    decoded, prediction = (planes_of(x) for x in seen.float().split(CHANNELS, 1))
    if predicted:
        mended = model.inter.post_filter(decoded, quality, prediction)
    else:
        mended = model.post_filter(decoded, quality)
    original = planes_of(wanted / 255 - 0.5)
    error, unlikeness = (_gain(*(of(original, clipped(p), quality) for p in (decoded, mended)))
                         for of in (distortion, _unlikeness))
    cost = (1 - _SIMILARITY) * error + _SIMILARITY * unlikeness
    return {"loss": cost, "cost": cost.detach(), "psnr_gain": -error.detach(),
            "ms_ssim_gain": -unlikeness.detach()}


def _unlikeness(planes: PlaneBatch, decoded: PlaneBatch, quality: Tensor) -> Tensor:
    return dissimilarity(planes.y, decoded.y).clamp(min=_LEAST)


def _gain(before: Tensor, after: Tensor) -> Tensor:
    """dB that a distortion [B] grew, in the mean."""
    return _DB * (after.log() - before.log()).mean()


def export(model: D4Codec, material: Harvest, folder: Path, options: Options) -> None:
    """Write the model folder; all but the filters is the base's."""
    base = store.load(Path(options.base))
    model = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    store.save(folder, base.name, model, base.tables, encoder=base.config.get("encoder", {}),
               probe=base.probe, inter_tables=base.inter_tables)
