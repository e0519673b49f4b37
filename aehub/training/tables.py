"""Frequency tables of a trained `d4-codec`: how often each code really occurs under each index."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from aehub.clips.frames import Planes
from aehub.codec.model import Codec
from aehub.entropy import N_TABLES, ScaleTables, reach_of
from aehub.models.store import StoredModel


def count(model: Codec, pictures: Iterator[tuple[list[Planes], float]]) -> dict[int, np.ndarray]:
    """Histograms of code magnitudes per table index over pictures, each with its quality."""
    counts = {i: np.zeros(reach_of(i) + 2, np.int64) for i in range(1, N_TABLES)}

    def note(codes: np.ndarray, indices: np.ndarray) -> None:
        for index in np.unique(indices[indices > 0]):
            magnitudes = np.abs(codes[indices == index])
            reach = reach_of(int(index))
            counts[int(index)] += np.bincount(magnitudes.clip(max=reach + 1), minlength=reach + 2)

    for frames, quality in pictures:
        codes = model.encode_planes(frames, quality)
        model.visit_codes(codes, quality, note)
    return counts


def fit(stored: StoredModel, pictures: Iterator[tuple[list[Planes], float]]) -> ScaleTables:
    """Tables counted on training pictures, encoded as the encoder will."""
    with torch.inference_mode():
        return ScaleTables.fit(count(Codec(stored), pictures))
