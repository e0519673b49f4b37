"""Recipe of `sprite-motion`: three losses on disjoint parts of one network.

- Frames: cross-entropy of each pixel's colour among the colours of the still.
- Poses: cycles of other lengths pass through the same poses, and the second cycle repeats those of
  the first.
- Stills: evidence lower bound of a variational autoencoder over the most frequent colours.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aehub.errors import InputError
from aehub.generators.sprite.network import SpriteNetwork, crop
from aehub.generators.sprite.pixel_art import nearest_index
from aehub.generators.sprite.poses import CYCLE, N_DIRECTIONS, resample_cycle
from aehub.training.data import Cache
from aehub.training.layer_library import Characters, LayerLibrary
from aehub.training.sprite_dataset import SpriteBatches
from aehub.weights import stored_network

NAME = "sprite-motion"
LEARNING_RATE = 1e-3
_POSE_NOISE = 0.05
_CYCLE_LENGTHS = (3, 17)
# Added to the variance of every latent, so that unused ones keep the covariance regular.
_MIN_VARIANCE = 1e-3
_POSE_STEPS, _POSE_RATE = 3000, 3e-3


@dataclass(frozen=True)
class Options:
    """Options that `--set` may change.

    Attributes:
        width: channels at 1/2; twice as many at 1/4, thrice at 1/8.
        pose: dimensions of a pose latent.
        hidden: dimensions of the recurrent state.
        latent: dimensions of an identity latent.
        colours: number of colours of new characters.
        batch: characters per step.
        frames: per character, all in one direction.
        composed: share of characters composed from the layers of others.
        part: "motion" or "still", the halves, which share no parameter; or "all".
        base: folder of a model to start from, such as one whose other half is trained.
        report_seconds: between reports and checkpoints.
    """

    width: int = 48
    pose: int = 16
    hidden: int = 64
    latent: int = 64
    colours: int = 384
    batch: int = 16
    frames: int = 3
    composed: float = 0.7
    part: str = "all"
    base: str = ""
    report_seconds: float = 120.0


def build(options: Options) -> SpriteNetwork:
    """The untrained network."""
    if options.part not in ("all", "motion", "still"):
        raise InputError(f"part is {options.part!r}; give motion, still or all.")
    model = SpriteNetwork(options.width, options.pose, options.hidden, options.latent,
                          options.colours)
    if options.base:
        base = stored_network.load(Path(options.base)).network.state_dict()
        model.load_state_dict({name: value for name, value in base.items()
                               if not name.startswith("parts.")}, strict=False)
    for name, parameter in model.named_parameters():
        is_still = name.startswith("still.")
        parameter.requires_grad_(parameter.requires_grad
                                 and options.part in ("all", "still" if is_still else "motion"))
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class CharacterBatches(SpriteBatches):
    """Sprite batches, and the colours of new characters: `still_colours` uint8 [N, 3]."""

    def __init__(self, characters: Characters, options: Options,
                 library: LayerLibrary | None = None) -> None:
        super().__init__(characters, batch=options.batch, frames=options.frames,
                         library=library, composed=options.composed)
        self.still_colours = frequent_colours(self.stills(), options.colours)

    def batches(self, first: int, seed: int, *, held_out: bool = False
                ) -> Iterator[list[np.ndarray]]:
        """As `SpriteBatches`, and the stills as indices into `still_colours`, int64 [B, S, S]."""
        for batch in super().batches(first, seed, held_out=held_out):
            yield [*batch, nearest_index(batch[-1], self.still_colours)]


def frequent_colours(stills: np.ndarray, most: int) -> np.ndarray:
    """The most frequent colours, the background first: uint8 [most, 3], padded with white."""
    colours, counts = np.unique(stills.reshape(-1, 3), axis=0, return_counts=True)
    ranked = colours[np.argsort(-counts)][:most]
    table = np.full((most, 3), 255, np.uint8)
    table[1:len(ranked)] = ranked[(ranked != 255).any(1)][:len(ranked) - 1]
    return table


def open_dataset(data: Path, cache: Cache, options: Options) -> CharacterBatches:
    """The walk cycles below `data`."""
    characters = Characters.read(data)
    library = LayerLibrary.build(characters, cache) if options.composed else None
    return CharacterBatches(characters, options, library)


def losses(model: SpriteNetwork, batch: list[Tensor], generator: torch.Generator
           ) -> dict[str, Tensor]:
    """The `loss` to minimise; `cost`, `exact` (share of pixels) and `still` (nats) to report.

    Args:
        model: the network.
        batch: of `CharacterBatches`.
        generator: of the cycle length and the noise of the latents.
    """
    direction, stills, indices = batch[3], batch[6], batch[7]
    loss, metrics = torch.zeros((), device=direction.device), {}
    if model.still.colour.weight.requires_grad:
        still, nats = still_loss(model, stills, indices, generator)
        loss, metrics = loss + still, {"cost": still.detach(), "still": nats.detach()}
    if model.poses.learnt.requires_grad:
        frames = frame_loss(model, batch)
        poses = pose_loss(model, direction, generator)
        metrics = {**metrics, "exact": frames["exact"], "poses": poses.detach(),
                   "cost": metrics.get("cost", 0) + frames["loss"].detach()}
        loss = loss + frames["loss"] + poses
    return {"loss": loss, **metrics}


def frame_loss(model: SpriteNetwork, batch: list[Tensor]) -> dict[str, Tensor]:
    """Cross-entropy and share of exact pixels of the frames of a batch."""
    index, palette, present, direction, frames, targets, *_ = batch
    known = model.encode_still(index.long(), palette.float() / 255, present)
    poses = model.poses.learnt[direction][:, frames]
    if torch.is_grad_enabled():
        # So that interpolated poses are valid poses.
        poses = poses + _POSE_NOISE * torch.randn_like(poses)
    logits = model.logits(known, direction, poses)
    wanted = crop(targets).flatten(2).long()
    loss = F.cross_entropy(logits.flatten(0, 2), wanted.flatten())
    exact = (logits.detach().argmax(-1) == wanted).float().mean()
    return {"loss": loss, "exact": exact}


def pose_loss(model: SpriteNetwork, direction: Tensor, generator: torch.Generator) -> Tensor:
    """Squared error of two cycles of the recurrent network, of random length, to learnt poses."""
    length = CYCLE
    if torch.rand((), generator=generator) < 0.5:
        length = int(torch.randint(*_CYCLE_LENGTHS, (1,), generator=generator))
    wanted = resample_cycle(model.poses.learnt[direction][:, 1:].detach(), length)
    predicted = model.poses(direction, 2 * length, length)
    return F.mse_loss(predicted, torch.cat([wanted, wanted], 1))


def still_loss(model: SpriteNetwork, stills: Tensor, indices: Tensor, generator: torch.Generator
               ) -> tuple[Tensor, Tensor]:
    """(loss, nats per picture without the divergence) of the variational autoencoder."""
    pictures = stills.permute(0, 3, 1, 2).float() / 255
    mean, logarithm = model.still.posterior(pictures)
    noise = torch.randn(mean.shape, generator=generator).to(mean.device)
    latents = mean + noise * torch.exp(0.5 * logarithm)
    logits = model.still.logits(latents).float()
    nats = F.cross_entropy(logits.flatten(0, 2), crop(indices).flatten(), reduction="sum")
    nats = nats / len(stills)
    divergence = 0.5 * (mean.square() + logarithm.exp() - 1 - logarithm).sum(1).mean()
    return (nats + divergence) / 1000, nats


def with_parts(model: SpriteNetwork, library: LayerLibrary | None) -> SpriteNetwork:
    """The model with the parts that training characters are composed of."""
    if library is None:
        return model
    packed = library.packed_parts()
    sizes: dict[str, Any] = {"parts": len(packed["slot"]), "palettes": len(packed["owner"]),
                             "cover": len(packed["cover"]), "pixels": len(packed["classes"])}
    grown = SpriteNetwork(**(model.config | sizes))
    weights = {name: value for name, value in model.state_dict().items()
               if not name.startswith("parts.")}
    grown.load_state_dict(weights, strict=False)
    grown.parts.fill(packed)
    return grown


@torch.enable_grad()
def train_pose_network(model: SpriteNetwork) -> None:
    """Train the recurrent network further, on poses that are fixed now."""
    parameters = [*model.poses.begin.parameters(), *model.poses.cell.parameters(),
                  *model.poses.pose.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(parameters, _POSE_RATE)
    generator, facing = torch.Generator().manual_seed(0), torch.arange(N_DIRECTIONS)
    for number in range(_POSE_STEPS):
        for group in optimizer.param_groups:
            group["lr"] = _POSE_RATE * (1 - number / _POSE_STEPS)
        optimizer.zero_grad()
        pose_loss(model, facing, generator).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    model.requires_grad_(False)


def export(model: SpriteNetwork, dataset: CharacterBatches, folder: Path, options: Options) -> None:
    """Write the model folder, with the colours and the latent statistics of new characters."""
    model = with_parts(copy.deepcopy(model).cpu().float(), dataset.library).eval()
    model.requires_grad_(False)
    model.still.palette.copy_(torch.from_numpy(dataset.still_colours) / 255)
    train_pose_network(model)
    stills = torch.from_numpy(dataset.stills()).permute(0, 3, 1, 2) / 255
    latents = torch.cat([model.still.posterior(part)[0] for part in stills.split(64)])
    covariance = latents.T.cov() + _MIN_VARIANCE * torch.eye(latents.shape[1])
    model.still.centre.copy_(latents.mean(0))
    model.still.spread.copy_(torch.linalg.cholesky(covariance))
    stored_network.save(folder, NAME, model)
