"""Rounding by rate and distortion: a code is lowered where the bits it saves outweigh the error.

Between magnitudes k - 1 and k the cheaper choice changes where

    (v - (k - 1))^2 + lambda bits(k - 1) = (v - k)^2 + lambda bits(k)
    v = k - 1/2 + lambda / 2 (bits(k) - bits(k - 1))        [v in steps, lambda in steps^2 per bit]

The decoder knows nothing of it. Two thresholds per table suffice: below and above 1. Where texture
masks errors, lambda may be larger.

Source: H. Everett 1963 (Lagrange multipliers); as in the "trellis" of x264, without the trellis.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from aehub.entropy import N_TABLES, ScaleTables, reach_of

_LIMIT = 0.45


class Quantiser:
    """Rounds latents to codes.

    Args:
        tables: frequency tables, for the bits.
        settings: `"lambda"`, steps^2 per bit, as measured for the model (config.json, "encoder").
        device: where latents are.
    """

    def __init__(self, tables: ScaleTables, settings: Mapping[str, float],
                 device: torch.device) -> None:
        weight = settings.get("lambda", 0.0)
        first = np.zeros(N_TABLES)
        later = np.zeros(N_TABLES)
        for index in range(1, N_TABLES):
            bits = tables.magnitude_bits(index)
            first[index] = weight / 2 * (bits[1] - bits[0])
            reach = min(reach_of(index), 8)
            later[index] = weight / 2 * float(np.diff(bits[1:reach + 1]).mean())
        self._first = torch.from_numpy(first.clip(0, _LIMIT)).float().to(device)
        self._later = torch.from_numpy(later.clip(0, _LIMIT)).float().to(device)

    def __call__(self, values: Tensor, index: Tensor, weight: Tensor | None = None) -> Tensor:
        """Latents minus mean, in steps, and integer table indices -> codes of the same shape.

        `weight` multiplies lambda, place by place: [B, 1, h, w].
        """
        tables = index.to(torch.int32)
        magnitude = values.abs()
        threshold = torch.where(magnitude < 1.5, self._first[tables], self._later[tables])
        if weight is not None:
            threshold = (threshold * weight).clamp(max=_LIMIT)
        codes = (magnitude + 0.5 - threshold.to(values.dtype)).floor().clamp(min=0)
        return codes * values.sign() * (tables > 0)
