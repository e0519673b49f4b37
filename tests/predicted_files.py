"""Clips with known motion, and groups of predicted frames made of them with the tiny model."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import torch

import aehub
from aehub.bitstream import FileHeader, Group, GroupHeader, open_reader
from aehub.bitstream.group_header import chain_types
from aehub.codecs.d4 import PAYLOAD_FORMATS
from aehub.codecs.d4.checkpoint import StoredModel, make_self_test
from aehub.codecs.d4.classical_init import init_classical, init_classical_inter
from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.d4.decoder import GroupDecoder
from aehub.codecs.d4.encoder import FrameEncoder
from aehub.codecs.d4.frame_coding import FrameSyntax, GroupReader
from aehub.codecs.d4.network import D4Network
from aehub.codecs.d4.planes import GRID, PlaneBatch
from aehub.codecs.d4.transcode import GroupEditor
from aehub.codecs.gop import HierarchicalGop
from aehub.coding.range_coder import ScaleTables
from aehub.media.colour import from_rgb
from aehub.media.picture import Colour, Picture
from golden_files import MODEL, pan
from material import moving_picture

__all__ = [
    "Encoded", "begins_of", "classical", "compressed", "encoded", "equal_frames", "frames_of",
    "groups_of", "luma_psnr", "orbit", "pan", "planes_of", "planes_psnr", "tiny", "turned_group",
]


@cache
def tiny(dtype: torch.dtype = torch.float32) -> D4Codec:
    """The tiny model with predicted frames."""
    return D4Codec.from_pretrained(MODEL, dtype=dtype)


@cache
def classical() -> D4Codec:
    """A model of predicted frames at step 0, undisturbed: a plain hybrid codec."""
    torch.manual_seed(0)
    network = D4Network(1, 0, 0, filter_fields=1, filter_layers=1)
    init_classical(network)
    init_classical_inter(network.inter)
    network.constrain()
    network.eval().requires_grad_(False)
    encoder = {"lambda": 0.05, "inter_lambda": 0.05}
    return D4Codec(StoredModel("classical", network, ScaleTables.fit(), {"encoder": encoder},
                               make_self_test(network)))


def orbit(n: int, width: int, height: int, seed: int = 0, radius: int = 8, period: int = 32
          ) -> list[np.ndarray]:
    """A camera on a circle: all parts of the clip are equally hard."""
    (picture,) = moving_picture(1, width + 2 * radius, height + 2 * radius, seed)
    turns = 2 * np.pi * np.arange(n) / period
    places = np.stack([radius + radius * np.sin(turns), radius + radius * np.cos(turns)], 1)
    return [picture[y:y + height, x:x + width] for y, x in places.round().astype(int).tolist()]


def planes_of(pictures: Sequence[np.ndarray]) -> list[Picture]:
    return [from_rgb(picture, Colour(6)) for picture in pictures]


class Encoded(NamedTuple):
    """A group, its integers and its decoded frames as the encoder had them."""

    header: GroupHeader
    payload: bytes
    size: tuple[int, int]
    written: list[FrameSyntax]
    decoded: dict[int, PlaneBatch]

    def reader(self, codec: D4Codec) -> GroupReader:
        return GroupReader(codec.runtime, self.payload, self.header, self.size, PAYLOAD_FORMATS[0])

    def frames(self, codec: D4Codec) -> list[FrameSyntax]:
        with torch.inference_mode():
            return list(self.reader(codec).frames())

    def decoder(self, codec: D4Codec) -> GroupDecoder[PlaneBatch]:
        return GroupDecoder(self.reader(codec), lambda planes: planes)

    def pictures(self, codec: D4Codec) -> dict[int, PlaneBatch]:
        return dict(self.decoder(codec).pictures())


def encoded(frames: Sequence[Picture], quality: float, mini_gops: Sequence[int],
            codec: D4Codec | None = None) -> Encoded:
    """Encode a group of an intra frame and then mini-GOPs of so many frames."""
    encoder, gop = FrameEncoder((codec or tiny()).runtime, quality), HierarchicalGop()
    decoded: dict[int, PlaneBatch] = {}
    written: list[FrameSyntax] = []
    write = encoder.writer.write

    def watched(frames: Sequence[FrameSyntax], *where: Any) -> Any:
        motions = write(frames, *where)
        written.extend(frame._replace(motion=motion)
                       for frame, motion in zip(frames, motions, strict=True))
        return motions

    encoder.writer.write = watched  # type: ignore[method-assign]
    for length in (1, *mini_gops):
        for layer in gop.extend(length):
            coded = [encoder.encode(slot, frames[slot.number]) for slot in layer]
            encoder.write(coded)
            decoded.update((frame.slot.number, encoder.shown(frame)) for frame in coded)
    n, (width, height) = gop.n_frames, frames[0].size
    assert n == len(frames)
    words, payload = encoder.finish()
    header = GroupHeader(n, round(quality * 100), frame_types=chain_types(n),
                         references=gop.references, stream_words=words)
    size = (-(-width // GRID) * GRID, -(-height // GRID) * GRID)
    return Encoded(header, payload, size, written, decoded)


def compressed(pictures: Sequence[np.ndarray], **settings: object) -> bytes:
    """The file of a clip."""
    stream = io.BytesIO()
    aehub.compress(np.stack(pictures), stream, model=tiny(), **settings)  # type: ignore[arg-type]
    return stream.getvalue()


def groups_of(data: bytes) -> tuple[FileHeader, list[Group]]:
    with open_reader(io.BytesIO(data)) as reader:
        return reader.header, list(reader.groups())


def frames_of(codec: D4Codec, group: Group, header: FileHeader) -> list[FrameSyntax]:
    """The integers of a group of a file, in coding order."""
    size = header.coded_size(32, group.header.crop)
    with torch.inference_mode():
        return list(GroupReader(codec.runtime, group.payload, group.header, size,
                                header.coder).frames())


def turned_group(codec: D4Codec, payload: bytes, header: GroupHeader, file_header: FileHeader,
                 g: int) -> tuple[bytes, GroupHeader]:
    """The payload of a whole group turned, and its header."""
    after, turned = GroupEditor(codec.runtime).rewrite(
        file_header, Group(header, payload, 0, 0), turn=g)
    return turned, after


def begins_of(groups: Sequence[Group]) -> list[int]:
    """Numbers of the first frames of the groups."""
    return [0, *accumulate(group.header.n_frames for group in groups)][:-1]


def luma_psnr(decoded: PlaneBatch, planes: Picture) -> float:
    width, height = planes.size
    found = (decoded.y[0, 0, :height, :width].double().numpy() + 0.5) * 255
    return float(10 * np.log10(255**2 / np.mean((found - planes[0]) ** 2)))


def planes_psnr(first: PlaneBatch, second: PlaneBatch) -> float:
    """Of planes as numbers, unrounded."""
    error = torch.cat([(a.double() - b.double()).flatten() for a, b in zip(first, second)])
    return float(-10 * torch.log10(error.square().mean().clamp(min=1e-30)))


def equal_frames(first: FrameSyntax, second: FrameSyntax) -> bool:
    """Whether codes, their tables and motion are the same, bit for bit."""
    if (first.number, first.quality_offset) != (second.number, second.quality_offset):
        return False
    if first.flat is None or second.flat is None:
        if first.flat is not second.flat:
            return False
    elif (first.flat.colour != second.flat.colour
          or not np.array_equal(first.flat.coded, second.flat.coded)):
        return False
    for ours, theirs in ((first.codes, second.codes), (first.tables, second.tables)):
        if not all(torch.equal(a.double(), b.double()) for a, b in zip(ours, theirs, strict=True)):
            return False
    if first.motion is None or second.motion is None:
        return first.motion is second.motion
    return all(np.array_equal(getattr(first.motion, name), getattr(second.motion, name))
               for name in ("vectors", "modes", "coded_flags"))
