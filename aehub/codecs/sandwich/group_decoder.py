"""Decoder of a group of `sandwich-av1`: frames of AV1, restored, as they are shown."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from aehub.codecs.sandwich import av1, obu
from aehub.codecs.sandwich.alignment import MAX_DISTANCE
from aehub.codecs.sandwich.network import Restorer, SandwichNetwork
from aehub.codecs.sandwich.restoration import restored_frames
from aehub.codecs.sandwich.side_information import SideInformation
from aehub.media.picture import YUV420, Picture


def half_size(size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of pictures that are coded at half their size."""
    width, height = (-(-n // 2) for n in size)
    return width, height


def part_of(network: SandwichNetwork, halved: bool) -> Restorer:
    """The network of frames that were coded at half their size, or of others."""
    return network.upscaler if halved else network.restorer


def shown_frames(network: SandwichNetwork, size: tuple[int, int], side: SideInformation,
                 units: Sequence[obu.TemporalUnit], wanted: Collection[int]
                 ) -> Iterator[tuple[int, Picture]]:
    """Decode frames and those that they need; yields (number, picture) in the order of times.

    Args:
        network: on its device and of its type.
        size: (width, height) of the pictures.
        side: of the group.
        units: of the stream.
        wanted: numbers of frames.

    Raises:
        DamagedError: the stream is not one of AV1 of pictures of this size.
    """
    needed = units[:max(wanted, default=-1) + 1 + MAX_DISTANCE]
    part, coded = part_of(network, side.halved), half_size(size) if side.halved else size
    restored = restored_frames(
        part, size, av1.decode(needed, coded), [unit.base_q_idx for unit in units], wanted,
        side.weights)
    return _with_grain(restored, needed, size) if side.grain and not side.halved else restored


def _with_grain(restored: Iterator[tuple[int, Picture]], units: Sequence[obu.TemporalUnit],
                size: tuple[int, int]) -> Iterator[tuple[int, Picture]]:
    """Add the film grain of AV1, which the restorer must not see: the difference that its synthesis
    makes."""
    pairs = enumerate(zip(av1.decode(units, size, grain=True), av1.decode(units, size),
                          strict=True))
    for number, picture in restored:
        at, (grainy, plain) = next(pairs)
        while at < number:
            at, (grainy, plain) = next(pairs)
        yield number, Picture(
            np.clip(shown.astype(np.int16) + with_grain - without, 0, YUV420.peak).astype(np.uint8)
            for shown, with_grain, without in zip(picture, grainy, plain, strict=True))
