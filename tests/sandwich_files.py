"""Tiny models of `sandwich-av1`, what its payloads hold, and its golden file.

    AEHUB_REGENERATE=1 python -m pytest tests/codecs/test_same_streams.py

writes the golden file anew, which is right only when a new payload format comes.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

import aehub
from aehub.bitstream import GroupHeader, Writer, open_reader
from aehub.codecs.sandwich import av1, obu
from aehub.codecs.sandwich.codec import SandwichCodec, save
from aehub.codecs.sandwich.group_decoder import half_size
from aehub.codecs.sandwich.network import SAMPLES, SandwichNetwork
from aehub.codecs.sandwich.side_information import SideInformation, unpack
from aehub.media.colour import from_rgb
from aehub.media.picture import Colour, Picture
from aehub.media.scaling import halve
from golden_files import GOLDEN
from material import moving_picture


def random_sandwich(folder: Path, name: str = "tiny-sandwich") -> Path:
    """A model folder whose corrections sharpen, average with the references, or are random."""
    torch.manual_seed(0)
    network = _tiny_network()
    with torch.no_grad():
        for part in (network.restorer, network.upscaler):
            part.head.weight.zero_()
            for layer in part.hidden:
                layer.weight[:2 * SAMPLES] = 0
            part.tail.weight.normal_(0, 0.05)
            weights, _ = part.last_layer()
            weights[:2] = 0
            for sample in range(SAMPLES):
                part.head.weight[sample, SAMPLES + sample, 1, 1] = 1
                part.head.weight[SAMPLES + sample, 3 * SAMPLES + 3 + sample, 1, 1] = 1
                for out in range(sample * part.scale**2, (sample + 1) * part.scale**2):
                    weights[0, out, sample, 1, 1] = weights[1, out, SAMPLES + sample, 1, 1] = 1
    save(folder, name, network)
    return folder


def _tiny_network() -> SandwichNetwork:
    return SandwichNetwork(width=16, layers=1, upscaler_width=16, upscaler_layers=0, candidates=3)


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


# Files that must decode to the same streams for ever.

GOLDEN_MODEL, GOLDEN_FILE = GOLDEN / "tiny-sandwich", GOLDEN / "sandwich.aev"
EXPECTED, RESTORED = GOLDEN / "sandwich.json", GOLDEN / "sandwich.npz"
SHOWN = 2
"""The frame of each group whose restored planes are kept."""
SIZE = (97, 75)
# Frames, rate factor, classes and corrections of the weights, at half the size, level of grain.
GROUPS = ((6, 35, 0, 0, False, 0), (5, 30, 1, 3, False, 0), (5, 20, 4, 2, True, 0),
          (4, 40, 2, 1, False, 40))


def _golden_model() -> SandwichCodec:
    """Save a small model none of whose parts is zero."""
    torch.manual_seed(7)
    network = _tiny_network()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("tail.weight"):  # The largest part: most of it is zero.
                parameter.normal_(0, 0.1).mul_(torch.rand(parameter.shape) < 0.1)
            elif parameter.ndim < 4:
                parameter.normal_(0, 0.1)
            # Coarse numbers, so that the repository can pack them.
            parameter.copy_((parameter * 256).round() / 256)
    save(GOLDEN_MODEL, "tiny-sandwich", network)
    return SandwichCodec.from_pretrained(GOLDEN_MODEL)


def _golden_group(number: int) -> tuple[int, bytes]:
    """(frames, payload) of one group; weights are chosen, not solved."""
    n, crf, classes, corrections, halved, grain = GROUPS[number]
    pictures = [from_rgb(picture, Colour(6)) for picture in moving_picture(n, *SIZE, seed=number)]
    if grain:
        noise = np.random.default_rng(number)
        pictures = [Picture([np.clip(plane + noise.normal(0, 4, plane.shape).round(), 16, 235)
                             .astype(np.uint8) for plane in picture]) for picture in pictures]
    size = half_size(SIZE) if halved else SIZE
    encoder = av1.Av1Encoder(size, Fraction(25), crf, 8, grain=grain)
    if halved:
        pictures = [halve(av1.padded(p, (2 * size[0], 2 * size[1]))) for p in pictures]
    stream = b"".join([*(encoder.add(picture) for picture in pictures), encoder.finish()])
    weights = None if not classes else (
        np.arange(3 * classes * corrections) * 37 % 22 - 11).astype(np.int8).reshape(
        3, classes, corrections)
    return n, SideInformation(weights, halved, bool(grain)).pack() + stream


def regenerate() -> None:
    """Write model, file and what it decodes to: right only where a new payload format comes."""
    codec, first = _golden_model(), io.BytesIO()
    aehub.compress(np.stack(moving_picture(1, *SIZE)), first, model=codec)
    first.seek(0)
    with open_reader(first) as reader, GOLDEN_FILE.open("wb") as file:
        with Writer(file, reader.header) as writer:
            for number in range(len(GROUPS)):
                n, payload = _golden_group(number)
                writer.group(GroupHeader(n, 4000 + number, atomic=True), payload)
    EXPECTED.write_text(json.dumps(integers_of(GOLDEN_FILE, codec), indent=2) + "\n")
    np.savez_compressed(RESTORED, **{
        f"{number} {name}": plane for number, picture in enumerate(restored(GOLDEN_FILE, codec))
        for name, plane in zip("yuv", picture, strict=True)})


def integers_of(path: Path, codec: SandwichCodec) -> dict[str, list[str]]:
    """Side information of each group, and SHA-256 of the pictures of its stream and its codes."""
    with open_reader(path) as reader:
        codes = [[part for frame in codec.codes(reader.header, group) for part in frame.latents]
                 for group in reader.groups()]
    return {"side": [side.pack().hex() for side, _ in payloads(path, codec)],
            "pictures": [_digest(plane for picture in group for plane in picture)
                         for group in av1_pictures(path, codec)],
            "codes": [_digest(group) for group in codes]}


def restored(path: Path, codec: SandwichCodec) -> list[Picture]:
    """Picture `SHOWN` of each group."""
    with open_reader(path) as reader:
        return [dict(codec.decode_group(reader.header, group, {SHOWN}))[SHOWN]
                for group in reader.groups()]


def _digest(parts: Iterable[np.ndarray]) -> str:
    total = hashlib.sha256()
    for values in parts:
        total.update(f"{values.shape}".encode() + values.astype("<i4").tobytes())
    return total.hexdigest()
