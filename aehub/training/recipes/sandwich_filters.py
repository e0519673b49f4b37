"""Linear filters that, mixed for each group, explain most of what AV1 lost.

The optimum filters of single groups differ. The first filter is given; the others are the
directions in which the optima differ from it most, in squared error, most first: a principal
component analysis of filters in the metric of the inputs. By alternating least squares: weights of
a group are solved for given filters, then the directions for given weights, in turns.
"""

from __future__ import annotations

import torch
from torch import Tensor

_ROUNDS = 5
"""Turns of weights and directions, set by hand."""
_RIDGE = 1e-3
"""Share of the diagonal that is added to it: of its mean for filters, of each of its entries for
weights and directions."""
_SEED_GROUPS, _SEED_RIDGE = 8, 20
"""Groups whose common optimum starts a direction, fewer than half of all; times the ridge of
filters for as many groups, so that it stays near the first."""


def principal_filters(first: Tensor, grams: Tensor, moments: Tensor, weights: Tensor, count: int
                      ) -> Tensor:
    """Filters [count, F, O].

    Args:
        first: filter, [F, O].
        grams: sums of products of inputs, [N, C, F, F], of each group and class.
        moments: of inputs and targets, [N, C, F, O].
        weights: of the groups, [N].
        count: of filters, 1 or more.
    """
    if count == 1:
        return first[None]
    total = torch.einsum("n,ncfg->fg", weights, grams)
    ridge = _RIDGE * total.diagonal().mean() * torch.eye(len(total))
    generator, filters = torch.Generator().manual_seed(0), [first]
    for _ in range(1, count):
        n_some = max(1, min(_SEED_GROUPS, len(grams) // 2))
        some = torch.randperm(len(grams), generator=generator)[:n_some]
        gram = torch.einsum("n,ncfg->fg", weights[some], grams[some])
        missing = torch.einsum("n,ncfo->fo", weights[some], moments[some]) - gram @ first
        filters.append(_solved(gram + _SEED_RIDGE * n_some / len(grams) * ridge, missing))
    found, flat, targets = torch.stack(filters), grams.flatten(0, 1), moments.flatten(0, 1)
    each = weights.repeat_interleave(grams.shape[1])
    for _ in range(_ROUNDS):
        mixture = mixing_weights(found, flat, targets)
        found[1:] = _directions_for(first, mixture, flat, targets, each, ridge)
    return _ordered(found, mixing_weights(found, flat, targets), total)


def mixing_weights(filters: Tensor, grams: Tensor, moments: Tensor) -> Tensor:
    """Weights [N, K] of least squares, held near the first filter alone."""
    filtered = torch.einsum("nfg,kgo->nkfo", grams, filters)
    gram = torch.einsum("nkfo,jfo->nkj", filtered, filters)
    moment = torch.einsum("nfo,kfo->nk", moments, filters)
    first = torch.eye(len(filters))[0]
    ridge = torch.diag_embed(_RIDGE * gram.diagonal(dim1=1, dim2=2) + 1e-9)
    missing = moment - gram @ first
    return first + torch.linalg.solve(gram + ridge, missing[..., None])[..., 0]


def _directions_for(first: Tensor, mixture: Tensor, grams: Tensor, moments: Tensor, each: Tensor,
                    ridge: Tensor) -> Tensor:
    """Directions [K - 1, F, O] of least squares for given weights [N, K]."""
    own, others = mixture[:, :1], mixture[:, 1:]
    k, size = others.shape[1], len(ridge)
    shares = each[:, None, None] * others[:, :, None] * others[:, None]
    system = torch.einsum("nab,nfg->afbg", shares, grams)
    system += torch.einsum("ab,fg->afbg", torch.eye(k), ridge)
    right = torch.einsum("na,nfo->afo", each[:, None] * others, moments)
    right -= torch.einsum("na,nfg->afg", each[:, None] * others * own, grams) @ first
    return _solved(system.reshape(k * size, -1), right.flatten(0, 1)).view(k, size, -1)


def _ordered(filters: Tensor, mixture: Tensor, gram: Tensor) -> Tensor:
    """The same mixtures by directions that are orthogonal in the metric of the inputs, the largest
    first, scaled to weights of a root mean square of 1, which bytes hold precisely."""
    directions = filters[1:]
    products = torch.einsum("kfo,fg,jgo->kj", directions, gram, directions).double()
    ridge = _RIDGE * torch.diag(products.diagonal()) + 1e-12 * torch.eye(len(products))
    lower = torch.linalg.cholesky(products + ridge)
    spread = (mixture[:, 1:].double() @ lower) / len(mixture) ** 0.5
    squares, turn = torch.linalg.eigh(spread.T @ spread)
    sizes = squares.flip(0).clamp_min(0).sqrt()
    change = sizes[:, None] * turn.flip(1).T @ torch.linalg.inv(lower)
    turned = torch.einsum("kj,jfo->kfo", change, directions.double())
    return torch.cat([filters[:1], turned.float()])


def _solved(matrix: Tensor, right: Tensor) -> Tensor:
    return torch.linalg.solve(matrix.double(), right.double()).float()
