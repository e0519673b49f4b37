"""Linear filters that, mixed for each group, explain most of what AV1 lost.

The optimum filters of single groups differ. The first filter is their mean, the others are the
directions in which they differ most, in squared error, most first: a principal component analysis
of filters in the metric of the inputs. By alternating least squares: weights of a group are solved
for given filters, then the filters for given weights, in turns.
"""

from __future__ import annotations

import torch
from torch import Tensor

_ROUNDS = 5
"""Turns of weights and filters, set by hand."""
_RIDGE = 1e-3
"""Share of the mean diagonal that is added to it, of filters and of weights."""
_SEED_GROUPS = 8
"""Groups whose common optimum starts a direction."""


def principal_filters(grams: Tensor, moments: Tensor, weights: Tensor, count: int) -> Tensor:
    """Filters [count, F, O].

    Args:
        grams: sums of products of inputs, [N, C, F, F], of each group and class.
        moments: of inputs and targets, [N, C, F, O].
        weights: of the groups, [N].
        count: of filters.
    """
    weight = weights[:, None, None, None]
    ridge = _RIDGE * (grams * weight).sum((0, 1)).diagonal().mean() * torch.eye(grams.shape[-1])
    mean = _solved((grams * weight).sum((0, 1)) + ridge, (moments * weight).sum((0, 1)))
    filters, n = mean[None].repeat(count, 1, 1), len(grams)
    generator = torch.Generator().manual_seed(0)
    for k in range(1, count):
        some = torch.randperm(n, generator=generator)[:_SEED_GROUPS]
        share = len(some) / n * 20  # Of few groups, nearer to the mean.
        gram = grams[some].sum((0, 1))
        filters[k] = _solved(gram + share * ridge, moments[some].sum((0, 1)) - gram @ mean)
    if count == 1:
        return filters
    flat, targets = grams.flatten(0, 1), moments.flatten(0, 1)
    each = weights.repeat_interleave(grams.shape[1])
    for _ in range(_ROUNDS):
        mixture = mixing_weights(filters, flat, targets)
        filters = _filters_for(mixture, flat, targets, each, ridge)
        # Mixtures vary around 1 of the first filter.
        middle = (each[:, None] * mixture).sum(0) / each.sum()
        filters[0] = torch.einsum("k,kfo->fo", middle, filters)
    mean_gram = (flat * each[:, None, None]).sum(0)
    return _ordered(filters, mixing_weights(filters, flat, targets), mean_gram)


def mixing_weights(filters: Tensor, grams: Tensor, moments: Tensor) -> Tensor:
    """Weights [N, K] of least squares, held near the first filter alone."""
    k = len(filters)
    filtered = torch.stack([grams @ one for one in filters], 1)
    gram = torch.einsum("nkfo,jfo->nkj", filtered, filters)
    moment = torch.einsum("nfo,kfo->nk", moments, filters)
    first = torch.eye(k)[0]
    ridge = torch.diag_embed(_RIDGE * gram.diagonal(dim1=1, dim2=2) + 1e-9)
    missing = moment - gram @ first
    return first + torch.linalg.solve(gram + ridge, missing[..., None])[..., 0]


def _filters_for(mixture: Tensor, grams: Tensor, moments: Tensor, each: Tensor, ridge: Tensor
                 ) -> Tensor:
    """Filters of least squares for given weights [N, K]."""
    (_, k), size = mixture.shape, grams.shape[-1]
    system = torch.zeros(k, size, k, size)
    right = torch.stack([torch.einsum("n,nfo->fo", each * mixture[:, a], moments)
                         for a in range(k)])
    for a in range(k):
        for b in range(a, k):
            part = torch.einsum("n,nfg->fg", each * mixture[:, a] * mixture[:, b], grams)
            system[a, :, b] = system[b, :, a] = part
        system[a, :, a] += ridge
    return _solved(system.view(k * size, -1), right.flatten(0, 1)).view(k, size, -1)


def _ordered(filters: Tensor, mixture: Tensor, gram: Tensor) -> Tensor:
    """The same mixtures by directions that are orthogonal in the metric of the inputs, the largest
    first, scaled to weights of a root mean square of 1, which bytes hold precisely."""
    directions = filters[1:]
    products = torch.einsum("kfo,fg,jgo->kj", directions, gram, directions).double()
    ridge = _RIDGE * torch.diag(products.diagonal()) + 1e-12 * torch.eye(len(products))
    lower = torch.linalg.cholesky(products + ridge)
    _, sizes, turn = torch.linalg.svd(mixture[:, 1:].double() @ lower, full_matrices=False)
    change = sizes[:, None] / len(mixture) ** 0.5 * turn @ torch.linalg.inv(lower)
    turned = torch.einsum("kj,jfo->kfo", change, directions.double())
    return torch.cat([filters[:1], turned.float()])


def _solved(matrix: Tensor, right: Tensor) -> Tensor:
    return torch.linalg.solve(matrix.double(), right.double()).float()
