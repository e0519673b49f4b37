"""Frequency tables of a trained `d4-codec`, counted on training data, and their smooth model.

In training, the bits of a code are a smooth function of a real table index. The distribution is
the prior of the tables, half Gaussian and half Laplacian (`range_coder.prior_histogram`).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import count, pairwise

import numpy as np
import torch
from torch import Tensor

from aehub.bitstream import FileHeader
from aehub.codecs.base import MiniGop
from aehub.codecs.d4.checkpoint import StoredModel
from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.d4.encoder import encode_intra
from aehub.codecs.d4.frame_coding import GroupReader, to_array
from aehub.codecs.d4.network import Codes
from aehub.codecs.gop import MINI_GOP
from aehub.coding.range_coder import N_TABLES, SCALE_MAX, SCALE_MIN, ScaleTables, max_magnitude
from aehub.media.picture import Frame, Picture

_LOG_STEP = math.log(SCALE_MAX / SCALE_MIN) / (N_TABLES - 1)
_MIN_PROBABILITY = 2.0**-20


def count_codes(model: D4Codec, pictures: Iterator[tuple[list[Picture], float]]
                ) -> dict[int, np.ndarray]:
    """Histograms of code magnitudes by table index, over (pictures, quality)."""
    counts = _empty_counts()
    for frames, quality in pictures:
        coded = encode_intra(model.runtime, frames, quality)
        _add_codes(counts, coded.codes, coded.tables)
    return counts


def _empty_counts() -> dict[int, np.ndarray]:
    """Zeros for the magnitudes of each table index, the last one for escaped magnitudes."""
    return {i: np.zeros(max_magnitude(i) + 2, np.int64) for i in range(1, N_TABLES)}


def _add_codes(counts: dict[int, np.ndarray], codes: Codes, tables: Codes) -> None:
    for part, indices in zip(codes, tables, strict=True):
        values, index_of = to_array(part, np.int32).ravel(), to_array(indices, np.uint8).ravel()
        for index in np.unique(index_of[index_of > 0]).tolist():
            magnitudes, limit = np.abs(values[index_of == index]), max_magnitude(index)
            counts[index] += np.bincount(magnitudes.clip(max=limit + 1), minlength=limit + 2)


def count_inter_codes(model: D4Codec, clips: Iterable[tuple[list[Picture], float]]
                      ) -> dict[int, np.ndarray]:
    """Histograms of code magnitudes by table index, over predicted frames of (clip, quality)."""
    counts = _empty_counts()
    for frames, quality in clips:
        width, height = frames[0].size
        # A model in training has no hashes yet.
        header = FileHeader(model.name, bytes(8), bytes(8), model.payload_formats[0], width, height,
                            Fraction(25), round(quality * 100), len(frames))
        encoder, pictures = model.group_encoder(header), list(map(Frame, frames, count()))
        for begin, end in pairwise([0, *range(1, len(frames), MINI_GOP), len(frames)]):
            deque(encoder.add(MiniGop(pictures[begin:end], False, None)), 0)
        group_header, payload = encoder.finish()
        size = header.coded_size(model.grid)
        for frame in GroupReader(model.runtime, payload, group_header, size, header.coder).frames():
            if frame.motion is not None:
                _add_codes(counts, frame.codes, frame.tables)
    return counts


def fit_inter_tables(stored: StoredModel, clips: Iterable[tuple[list[Picture], float]]
                     ) -> ScaleTables:
    """Count tables on the predicted frames of training clips, with the encoder's settings."""
    with torch.inference_mode():
        return ScaleTables.fit(count_inter_codes(D4Codec(stored), clips))


def fit_tables(stored: StoredModel, pictures: Iterator[tuple[list[Picture], float]]) -> ScaleTables:
    """Count tables on training pictures, with the encoder's settings."""
    with torch.inference_mode():
        return ScaleTables.fit(count_codes(D4Codec(stored), pictures))


def _cdf(x: Tensor) -> Tensor:
    """Cumulative distribution function for unit deviation."""
    laplace = 0.5 * torch.exp(-math.sqrt(2) * x.abs())
    laplace = torch.where(x > 0, 1 - laplace, laplace)
    return 0.5 * (torch.special.ndtr(x) + laplace)


def code_bits(codes: Tensor, index: Tensor) -> Tensor:
    """Bits of each code (real-valued in training) under a real table index, elementwise.

    An index between two integers selects the lower table, whose scale is that of its middle.
    """
    inverse = torch.exp(-_LOG_STEP * (index - 0.5)) / SCALE_MIN
    magnitude = codes.abs()
    mass = _cdf((0.5 - magnitude) * inverse) - _cdf((-0.5 - magnitude) * inverse)
    return -torch.log2(mass.clamp(min=_MIN_PROBABILITY))
