"""What a device must reproduce before it may choose tables: codes, and their table indices.

A picture's worth of codes, half of them large, drives the integer networks to their limits.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from aehub.models.d4_codec import D4Codec
from aehub.models.dct import start

_TENSORS = {
    "hyper": (torch.int16, (1, 24, 3, 3)),
    "codes": (torch.int16, (1, 96, 12, 12)),
    # The low band is written in two stages.
    "index": (torch.uint8, (1, 96 + start().bands[0], 12, 12)),
}
_QUALITY = 62.5


def is_probe(tensors: dict[str, Tensor]) -> bool:
    """Whether these are the tensors of a probe, by name, type and shape."""
    return tensors.keys() == _TENSORS.keys() and all(
        (t.dtype, tuple(t.shape)) == _TENSORS[n] for n, t in tensors.items())


def _indices(network: D4Codec, hyper: Tensor, codes: Tensor) -> Tensor:
    """All table indices of given codes, as uint8 [1, 118, h, w] in order of the stages."""
    device = next(network.scales.parameters()).device
    dtype = next(network.scales.parameters()).dtype
    hyper, codes = hyper.to(device, dtype), codes.to(device, dtype)
    quality = torch.full((1,), round(_QUALITY * 100), device=device)
    features = network.scales.features(hyper, quality)
    found = []
    for stage in network.stages(codes.shape[-2], codes.shape[-1], device):
        known = codes[:, :(0, stage.end, stage.begin, stage.begin)[stage.number]]
        if stage.number == 1:
            known = known * (1 - stage.mask)
        found.append(network.scales(stage.number, features, known if stage.number else None,
                                    stage.mask, quality))
    return torch.cat(found, 1).to(torch.uint8).cpu().contiguous()


@torch.no_grad()
def make_probe(network: D4Codec) -> dict[str, Tensor]:
    """Codes that drive the integer networks to their limits, and the indices they must give."""
    generator = torch.Generator().manual_seed(0)
    hyper = torch.randint(-300, 301, (1, 24, 3, 3), generator=generator)
    hyper *= torch.rand((1, 24, 3, 3), generator=generator) < 0.5
    codes = torch.randint(-300, 301, (1, 96, 12, 12), generator=generator)
    codes *= torch.rand((1, 1, 12, 12), generator=generator) < 0.5
    exact = copy.deepcopy(network).cpu().double().eval()
    return {"hyper": hyper.short(), "codes": codes.short(),
            "index": _indices(exact, hyper, codes)}


@torch.no_grad()
def reproduces_probe(network: D4Codec, probe: dict[str, Tensor]) -> bool:
    """Whether the device that the network is on computes the stored indices exactly."""
    found = _indices(network, probe["hyper"], probe["codes"])
    return torch.equal(found, probe["index"])
