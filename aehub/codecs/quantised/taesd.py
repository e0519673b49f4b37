"""The TAESD family in its own published layout: tensors named by places in two sequences.

    0.weight 1.conv.0.weight ... 14.bias      of encoder and decoder, with that prefix

Names and shapes say what each place is; the rest are the family's conventions. A block has `conv`
(three convolutions), `skip` if its channels change, and in taef2 a pooled branch `pool`. Further
convolutions of the encoder halve the picture if they have no bias, or a rectifier after them.
Places without tensors hold, in the decoder, first a soft limit of the latents, then a rectifier
after the first convolution, and upsamplings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from aehub.codecs.quantised.autoencoder import FrameAutoencoder, FrameRules
from aehub.codecs.quantised.weights import fill, on_meta_device
from aehub.errors import WeightsError
from aehub.weights.device import Device, resolve_device, resolve_dtype, torch_defaults

_RULES = FrameRules("TAESD", batched=True, darkest=0.0)
_MAX_PLACES = 64
"""Places of a sequence; the longest published one has 26."""
_POOL_GROUPS = 4
_NAME = re.compile(r"(encoder|decoder)\.(\d{1,2})\.(.+)")


class SoftLimit(nn.Module):
    """Latents softly limited to -3..3."""

    def forward(self, latents: Tensor) -> Tensor:
        """Limit latents of any shape."""
        return torch.tanh(latents / 3) * 3


class Block(nn.Module):
    """Three convolutions with a skip, and in the middle of taef2 a branch pooled by statistics."""

    def __init__(self, given: int, made: int, skip: bool, pooled: int) -> None:
        """Build a block.

        Args:
            given: channels of its input.
            made: channels of its output.
            skip: convolve on the skip.
            pooled: channels within the pooled branch; 0 for none.
        """
        super().__init__()
        self.conv = nn.Sequential(_convolution(given, made), nn.ReLU(), _convolution(made, made),
                                  nn.ReLU(), _convolution(made, made))
        self.skip = nn.Conv2d(given, made, 1, bias=False) if skip else nn.Identity()
        self.pool = nn.Sequential(
            nn.Conv2d(given, pooled, 1, bias=False), nn.GroupNorm(_POOL_GROUPS, pooled), nn.ReLU(),
            nn.Conv2d(pooled, given, 1, bias=False)) if pooled else None

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H, W]."""
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + self.skip(x))


class Taesd(nn.Module):
    """Encoder and decoder of pictures in 0..1."""

    def __init__(self, encoder: nn.Sequential, decoder: nn.Sequential) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def encode(self, pictures: Tensor) -> Tensor:
        """[T, 3, H, W] -> latents [T, C, h, w]."""
        return self.encoder(pictures)

    def decode(self, latents: Tensor) -> Tensor:
        """[T, C, h, w] -> [T, 3, H, W]."""
        return self.decoder(latents)


def is_taesd(names: Mapping[str, object]) -> bool:
    """Return whether tensors of these names are laid out as those of the family."""
    return bool(names) and all(_NAME.fullmatch(name) for name in names)


@torch_defaults()
def load(tensors: Mapping[str, Tensor], *, device: Device = "cpu",
         dtype: torch.dtype = torch.float32) -> FrameAutoencoder:
    """Load an autoencoder of the family; its architecture is inferred from names and shapes.

    Args:
        tensors: those of both files, with the prefixes "encoder." and "decoder.".
        device: to compute on.
        dtype: to compute in.

    Raises:
        WeightsError: a tensor is missing, unknown or of another shape.
    """
    on, dtype = resolve_device(device), resolve_dtype(dtype)
    places: dict[str, dict[int, dict[str, Tensor]]] = {"encoder": {}, "decoder": {}}
    for name, tensor in tensors.items():
        found = _NAME.fullmatch(name)
        if found is None or int(found[2]) >= _MAX_PLACES:
            raise WeightsError(f"the weights hold an unknown {name[:80]!r}; an autoencoder of the "
                               "TAESD family has encoder.0.weight, decoder.1.weight and so on.")
        places[found[1]].setdefault(int(found[2]), {})[found[3]] = tensor
    with on_meta_device():
        network = Taesd(_encoder(places["encoder"]), _decoder(places["decoder"]))
    skeleton = fill(network, dict(tensors), on, dtype)
    return FrameAutoencoder(network, skeleton, _RULES, mean=torch.zeros(1, 1),
                            std=torch.ones(1, 1), device=on, dtype=dtype)


def _convolution(given: int, made: int, *, halve: bool = False, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(given, made, 3, 2 if halve else 1, 1, bias=bias)


def _encoder(places: Mapping[int, Mapping[str, Tensor]]) -> nn.Sequential:
    modules: list[nn.Module] = []
    for place in range(max(places, default=-1) + 1):
        if place not in places:
            modules.append(nn.ReLU())
        else:
            halve = place + 1 not in places and place < max(places) or "bias" not in places[place]
            modules.append(_module(places[place], f"encoder.{place}", halve=halve))
    return nn.Sequential(*modules)


def _decoder(places: Mapping[int, Mapping[str, Tensor]]) -> nn.Sequential:
    modules: list[nn.Module] = []
    for place in range(max(places, default=-1) + 1):
        if place in places:
            modules.append(_module(places[place], f"decoder.{place}"))
        else:
            modules.append(SoftLimit() if place == 0 else nn.ReLU() if place == 2
                           else nn.Upsample(scale_factor=2))
    return nn.Sequential(*modules)


def _module(tensors: Mapping[str, Tensor], place: str, *, halve: bool = False) -> nn.Module:
    """The convolution or block at one place, by its tensors."""
    block = "conv.0.weight" in tensors
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    weight = shapes.get("conv.0.weight" if block else "weight", ())
    if len(weight) != 4:
        raise WeightsError(f"the weights lack '{place}.weight' of a convolution; download the "
                           "model again.")
    if not block:
        return _convolution(weight[1], weight[0], halve=halve, bias="bias" in tensors)
    pooled = shapes.get("pool.0.weight", (0,))[0]
    if pooled % _POOL_GROUPS:
        raise WeightsError(f"'{place}.pool.0.weight' has {pooled} channels; expected is a multiple "
                           f"of {_POOL_GROUPS}.")
    return Block(weight[1], weight[0], "skip.weight" in tensors, pooled)
