"""Tiny models of `sandwich-av1`, and what its payloads hold."""

from __future__ import annotations

from pathlib import Path

import torch

from aehub.bitstream import open_reader
from aehub.codecs.sandwich import av1, obu
from aehub.codecs.sandwich.codec import SandwichCodec, save
from aehub.codecs.sandwich.group_decoder import half_size
from aehub.codecs.sandwich.network import SandwichNetwork
from aehub.codecs.sandwich.side_information import SideInformation, unpack
from aehub.media.picture import Picture


def random_sandwich(folder: Path, name: str = "tiny-sandwich") -> Path:
    """A model folder whose corrections are random, but small."""
    torch.manual_seed(0)
    network = SandwichNetwork(width=8, layers=1, upscaler_width=8, upscaler_layers=0)
    with torch.no_grad():
        for part in (network.restorer, network.upscaler):
            part.tail.weight.normal_(0, 0.05)
    save(folder, name, network)
    return folder


def payloads(path: Path, codec: SandwichCodec
             ) -> list[tuple[SideInformation, list[obu.TemporalUnit]]]:
    """Side information and temporal units of every group of a file."""
    with open_reader(path) as reader:
        split = [unpack(bytes(group.payload), codec.network.restorer.candidates)
                 for group in reader.groups()]
    return [(side, list(obu.temporal_units(stream))) for side, stream in split]


def av1_pictures(path: Path, codec: SandwichCodec) -> list[list[Picture]]:
    """Pictures of the streams of every group, before the restorer and without grain."""
    with open_reader(path) as reader:
        size = reader.header.width, reader.header.height
    return [list(av1.decode(units, half_size(size) if side.halved else size))
            for side, units in payloads(path, codec)]
