"""What a device must reproduce before it may choose tables: codes, and their table indices.

A picture's worth of codes, half of them large, drives the integer networks to their limits.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from aehub.models.d4_codec import Coder, D4Codec
from aehub.models.dct import start

_TENSORS = {
    "hyper": (torch.int16, (1, 24, 3, 3)),
    "codes": (torch.int16, (1, 96, 12, 12)),
    # The low band is written in two stages.
    "index": (torch.uint8, (1, 96 + start().bands[0], 12, 12)),
    "inter_context": (torch.uint8, (1, 99, 12, 12)),
    "inter_index": (torch.uint8, (1, 96 + start().bands[0], 12, 12)),
}
_QUALITY = 62.5
_KIND = 2


def is_probe(tensors: dict[str, Tensor]) -> bool:
    """Whether these are the tensors of a probe, by name, type and shape."""
    return {n: (t.dtype, tuple(t.shape)) for n, t in tensors.items()} == _TENSORS


def _indices(coder: Coder, probe: dict[str, Tensor]) -> Tensor:
    """All table indices of given codes, as uint8 [1, 118, h, w] in order of the stages."""
    like = coder.scales.unfold.theta
    hyper, codes = (probe[n].to(like.device, like.dtype) for n in ("hyper", "codes"))
    quality = torch.full((1,), round(_QUALITY * 100), device=like.device)
    given = (probe["inter_context"].to(like), _KIND) if coder.conditional else None
    features = coder.scales.features(hyper, quality, given)
    found = []
    for stage in coder.stages(codes.shape[-2], codes.shape[-1], like.device):
        known = codes[:, :(0, stage.end, stage.begin, stage.begin)[stage.number]]
        if stage.number == 1:
            known = known * (1 - stage.mask)
        found.append(coder.scales(stage.number, features, known if stage.number else None,
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
    probe = {"hyper": hyper.short(), "codes": codes.short()}
    probe["index"] = _indices(exact, probe)
    context = torch.randint(0, 32, (1, 99, 12, 12), generator=generator)
    probe["inter_context"] = context.to(torch.uint8)
    probe["inter_index"] = _indices(exact.inter, probe)
    return probe


@torch.no_grad()
def reproduces_probe(network: D4Codec, probe: dict[str, Tensor]) -> bool:
    """Whether the device that the network is on computes the stored indices exactly."""
    return (torch.equal(_indices(network, probe), probe["index"])
            and torch.equal(_indices(network.inter, probe), probe["inter_index"]))
