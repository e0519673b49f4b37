"""Recipe of `fingerprint`: contrastive learning on changed views of the same picture.

Each training example is a window of a frame, and a second one of a frame near in time, cropped,
recoloured, blurred, compressed, written over or with noise. Vectors of the two are drawn together
and away from all others of the batch, signatures too, where another orientation of the same
picture is another picture.

    loss = InfoNCE(vectors) + InfoNCE(signatures) - 0.1 log(distance to the nearest other vector)

Source: Oord et al. 2018 (InfoNCE); Pizzi et al. 2022 (SSCD: the entropy term spreads vectors, so
that one threshold fits all pictures).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from aehub.retrieval.fingerprint import FingerprintModel
from aehub.retrieval.network import FingerprintNetwork, orientations
from aehub.training.data import Cache, FrameStore
from aehub.training.views import ViewPairs
from aehub.weights.stored_network import save

NAME = "fingerprint"
LEARNING_RATE = 2e-3
_TEMPERATURE = 0.06
"""Of the softmax over similarities."""
_ENTROPY = 0.1
_LEAST_DISTANCE = 1e-3


@dataclass(frozen=True)
class Options:
    """Options that `--set` may change.

    Attributes:
        start: folder of a model to train further; empty for a new one.
        width: channels at 16x16 of a new one.
        vector: numbers of a vector of a new one.
        signature: numbers of a signature of a new one in one orientation.
        held_out: share of the sources that training never sees.
        batch: pairs of views per step, of different sources.
        turns: orientations of a picture that a step looks at, of eight.
        report_seconds: between reports and checkpoints.
    """

    start: str = ""
    width: int = 40
    vector: int = 64
    signature: int = 24
    held_out: float = 0.25
    batch: int = 96
    turns: int = 4
    report_seconds: float = 120.0


def build(options: Options) -> FingerprintNetwork:
    """A new network, or that of `options.start`."""
    if options.start:
        model = FingerprintModel.from_pretrained(options.start).network
    else:
        model = FingerprintNetwork(options.width, options.vector, options.signature)
    model = model.train().requires_grad_(True)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def open_dataset(data: Path, cache: Cache, options: Options) -> ViewPairs:
    """Views of the clips and pictures below `data`."""
    return ViewPairs(FrameStore.build(data, cache), batch=options.batch, turns=options.turns,
                     held_out=options.held_out)


def losses(model: FingerprintNetwork, batch: list[Tensor], generator: torch.Generator
           ) -> dict[str, Tensor]:
    """The `loss` to minimise; `cost` (without the entropy) and shares of right matches.

    Args:
        model: the network.
        batch: uint8 [N, 2, 3, S, S] views, int64 [G] orientations to look at.
        generator: not used.
    """
    views, turns = batch
    turned = orientations(views.flatten(0, 1) / 255 - 0.5)[:, turns]
    vectors, signatures = model(turned)
    vectors, signatures = vectors.unflatten(0, (-1, 2)), signatures.unflatten(0, (-1, 2))
    by_turn = signatures.transpose(1, 2).flatten(0, 1)
    vector_cost, vector_hits = _contrast(vectors[:, 0], vectors[:, 1])
    signature_cost, signature_hits = _contrast(by_turn[:, 0], by_turn[:, 1])
    cost = vector_cost + signature_cost
    return {"loss": cost - _ENTROPY * _spread(vectors.flatten(0, 1)), "cost": cost.detach(),
            "vector_hits": vector_hits, "signature_hits": signature_hits}


def _contrast(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """InfoNCE of rows [N, D] of length 1 that belong together, and the share of nearest rows that
    do; all other rows of both are negatives."""
    rows = torch.cat([first, second])
    similarity = rows @ rows.T / _TEMPERATURE
    similarity.fill_diagonal_(-torch.inf)
    partner = torch.arange(len(rows), device=rows.device).roll(len(first))
    return (F.cross_entropy(similarity, partner),
            (similarity.argmax(1) == partner).float().mean().detach())


def _spread(vectors: Tensor) -> Tensor:
    """Mean log distance of each vector to the nearest one that is not its pair: [2 N, D], pairs
    beside each other."""
    similarity = vectors @ vectors.T
    n = len(vectors)
    pairs = torch.arange(n, device=vectors.device)
    similarity = similarity.index_put((pairs, pairs), similarity.new_tensor(-1.0))
    similarity = similarity.index_put((pairs, pairs ^ 1), similarity.new_tensor(-1.0))
    distance = (2 - 2 * similarity.max(1).values).clamp(min=_LEAST_DISTANCE).sqrt()
    return distance.log().mean()


def export(model: FingerprintNetwork, dataset: ViewPairs, folder: Path, options: Options) -> None:
    """Write the model folder."""
    save(folder, NAME, model)


