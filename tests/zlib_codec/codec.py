"""Every frame by itself: its planes, quantised by a step that follows from the quality, by zlib."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aehub.bitstream import FileHeader, Group, GroupHeader
from aehub.codecs.base import CodedFrame, FrameCodes, MiniGop
from aehub.config import DEFAULT_EFFORT
from aehub.errors import DamagedError
from aehub.media.picture import Picture
from aehub.weights import stored_network

ARCHITECTURE = "zlib-planes"
HASHES = {"entropy_hash": "7a6c69622d653031", "synthesis_hash": "7a6c69622d733031"}
"""Without tables and networks, 8 bytes of our choice each: other arithmetic gets other ones."""


class ZlibCodec:
    """The loaded model, a `Codec`."""

    payload_formats, pictures, grid, editor, scales = (100,), None, 1, None, ()
    entropy_hash, synthesis_hash = map(bytes.fromhex, HASHES.values())
    device = torch.device("cpu")

    def __init__(self, config: dict[str, Any]) -> None:
        self.config, self.name = config, config["name"]

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: Any, dtype: Any) -> ZlibCodec:
        return cls(stored_network.read(Path(folder), ARCHITECTURE)[0])

    def save_pretrained(self, folder: str | Path) -> None:
        stored_network.write(Path(folder), {}, name=self.name, architecture=ARCHITECTURE, **HASHES)

    def group_encoder(self, header: FileHeader, *, measure: bool = False,
                      effort: int = DEFAULT_EFFORT) -> ZlibEncoder:
        return ZlibEncoder(header, measure, effort)

    def decode_group(self, header: FileHeader, group: Group,
                     frames: Collection[int] | None = None, scale: Fraction = Fraction(1)
                     ) -> Iterator[tuple[int, Picture]]:
        for number, levels in read_levels(header, group, frames):
            # Joined files have groups of several qualities.
            yield number, dequantise(levels, group.header.quality)

    def codes(self, header: FileHeader, group: Group) -> Iterator[FrameCodes]:
        for number, levels in read_levels(header, group):
            yield FrameCodes(number, True, tuple(p[None].astype(np.int32) for p in levels))


class ZlibEncoder:
    """Encoder of one group, a `GroupEncoder`."""

    def __init__(self, header: FileHeader, measure: bool, effort: int) -> None:
        self.quality, self.measure, self.level = header.quality, measure, effort
        self.payload, self.n_frames = b"", 0

    def add(self, mini_gop: MiniGop) -> Iterator[CodedFrame]:
        for frame in mini_gop.frames:
            levels = quantise(frame.picture, self.quality)
            packed = zlib.compress(b"".join(plane.tobytes() for plane in levels), self.level)
            self.payload += len(packed).to_bytes(4, "little") + packed
            picture = dequantise(levels, self.quality) if self.measure else None
            yield CodedFrame(self.n_frames, 4 + len(packed), picture)
            self.n_frames += 1

    def finish(self) -> tuple[GroupHeader, bytes]:
        return GroupHeader(self.n_frames, self.quality), self.payload


def sixteenths(quality: int, peak: int) -> int:
    """Step of the quantiser in sixteenths: 1 at quality 100, a quarter of the peak at 0."""
    return 16 + 16 * peak * (10_000 - quality) ** 2 // (4 * 10_000**2)


def quantise(picture: Picture, quality: int) -> Picture:
    step, dtype = sixteenths(quality, picture.format.peak), picture.format.dtype.newbyteorder("<")
    levels = [(16 * plane.astype(np.int32) + step // 2) // step for plane in picture]
    return Picture([plane.astype(dtype) for plane in levels], picture.format)


def dequantise(levels: Picture, quality: int) -> Picture:
    form, step = levels.format, sixteenths(quality, levels.format.peak)
    planes = [(step * plane.astype(np.int32) + 8) // 16 for plane in levels]
    return Picture([np.clip(plane, form.lowest, form.lowest + form.peak).astype(form.dtype)
                    for plane in planes], form)


def read_levels(header: FileHeader, group: Group, frames: Collection[int] | None = None
                ) -> Iterator[tuple[int, Picture]]:
    form, size = header.pictures, (header.width, header.height)
    n_bytes, end = form.n_samples(size) * form.dtype.itemsize, 0
    for number in range(group.header.n_frames):
        begin = end + 4
        end = begin + int.from_bytes(group.payload[end:begin], "little")
        if frames is not None and number not in frames:
            continue
        try:
            data = zlib.decompressobj().decompress(group.payload[begin:end], n_bytes + 1)
        except zlib.error:
            data = b""
        if len(data) != n_bytes:
            raise DamagedError("a group does not decode: its bytes are not a stream of planes.")
        samples = np.frombuffer(data, form.dtype.newbyteorder("<"))
        yield number, Picture.from_samples(samples, size, form)
