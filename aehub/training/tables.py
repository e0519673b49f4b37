"""Frequency tables of a trained `d4-codec`: how often each code really occurs under each index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from aehub.clips.frames import Planes
from aehub.codec.inter import GroupEncoder, code_pictures
from aehub.codec.model import Codec
from aehub.codec.predicted import GroupReader
from aehub.codec.shots import SPAN
from aehub.codec.structure import Pyramid
from aehub.codec.symbols import flat
from aehub.container import GroupHead
from aehub.container.filehead import ceil_grid
from aehub.container.grouphead import chain_types
from aehub.entropy import N_TABLES, ScaleTables, reach_of
from aehub.models.d4_codec import Codes
from aehub.models.store import StoredModel


def count(model: Codec, pictures: Iterator[tuple[list[Planes], float]]) -> dict[int, np.ndarray]:
    """Histograms of code magnitudes per table index over pictures, each with its quality."""
    counts = {i: np.zeros(reach_of(i) + 2, np.int64) for i in range(1, N_TABLES)}

    for frames, quality in pictures:
        coded = code_pictures(model.runtime, frames, quality)
        _note(counts, coded.codes, coded.tables)
    return counts


def _note(counts: dict[int, np.ndarray], codes: Codes, tables: Codes) -> None:
    for part, indices in zip(codes, tables, strict=True):
        values, index_of = flat(part, np.int32), flat(indices, np.uint8)
        for index in np.unique(index_of[index_of > 0]).tolist():
            magnitudes, reach = np.abs(values[index_of == index]), reach_of(index)
            counts[index] += np.bincount(magnitudes.clip(max=reach + 1), minlength=reach + 2)


def count_predicted(model: Codec, clips: Iterable[tuple[list[Planes], float]]
                    ) -> dict[int, np.ndarray]:
    """The same of the predicted frames of clips, each with its quality."""
    counts = {i: np.zeros(reach_of(i) + 2, np.int64) for i in range(1, N_TABLES)}
    for frames, quality in clips:
        encoder, pyramid, begin = GroupEncoder(model.runtime, quality), Pyramid(), 0
        while begin < len(frames):
            run = frames[begin:begin + (SPAN if begin else 1)]
            for place in pyramid.extend(len(run)):
                encoder.add(place.number, run[place.number - begin], place.references,
                            place.level, show=False)
            begin += len(run)
            encoder.keep([begin - 1])
        types = chain_types(len(frames))
        head = GroupHead(len(frames), round(quality * 100), frame_types=types,
                         references=pyramid.references)
        size = (ceil_grid(frames[0].size[0]), ceil_grid(frames[0].size[1]))
        for frame in GroupReader(model.runtime, encoder.finish(), head, size).frames():
            if frame.motion is not None:
                _note(counts, frame.codes, frame.tables)
    return counts


def fit_predicted(stored: StoredModel, clips: Iterable[tuple[list[Planes], float]]) -> ScaleTables:
    """Tables counted on predicted frames of training clips, encoded as the encoder will."""
    with torch.inference_mode():
        return ScaleTables.fit(count_predicted(Codec(stored), clips))


def fit(stored: StoredModel, pictures: Iterator[tuple[list[Planes], float]]) -> ScaleTables:
    """Tables counted on training pictures, encoded as the encoder will."""
    with torch.inference_mode():
        return ScaleTables.fit(count(Codec(stored), pictures))
