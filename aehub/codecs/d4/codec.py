"""A loaded `d4-codec`: groups of pictures to payloads, pictures to codes and latents, and back.

    model = D4Codec.from_pretrained(folder)
    latents = model.encode(frames, quality=50)
    frames  = model.decode(latents)

`group_encoder`, `decode_group`, `codes` and `editor` make it a `Codec` (`aehub.codecs.base`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aehub.bitstream import FileHeader, Group, key_pictures
from aehub.bitstream.chunk import MAX_PIXELS
from aehub.codecs.base import FrameCodes, Preview, check_quality
from aehub.codecs.d4 import PAYLOAD_FORMATS, checkpoint
from aehub.codecs.d4.decoder import GroupDecoder
from aehub.codecs.d4.encoder import encode_intra
from aehub.codecs.d4.frame import decode_frame, reconstruct
from aehub.codecs.d4.frame_coding import GroupReader, to_array
from aehub.codecs.d4.group_encoder import GroupEncoder
from aehub.codecs.d4.network import HYPER_LATENTS, Codes, quality_tensor
from aehub.codecs.d4.planes import GRID, PlaneBatch, from_batch
from aehub.codecs.d4.previews import CanonicalReader, previews
from aehub.codecs.d4.reconstruction import (
    Reconstruction,
    ScaledReconstruction,
    UpscaledReconstruction,
)
from aehub.codecs.d4.runtime import Runtime
from aehub.codecs.d4.settings import EFFORTS
from aehub.codecs.d4.transcode import GroupEditor
from aehub.config import DEFAULT_EFFORT
from aehub.errors import InputError
from aehub.media.colour import from_rgb, rgb_colour, to_rgb
from aehub.media.picture import YUV420, Colour, Picture
from aehub.media.scaling import SCALES, scaled_size
from aehub.weights.device import (
    Device,
    inference,
    resolve_device,
    resolve_dtype,
    with_inference,
)

_BATCH = 8
"""Frames that go through the networks together."""
_WALK_QUALITY = 90.0
"""Quality of walks' latents: below it they lack detail, above it nothing visible is gained."""


class Latents(Codes):
    """Codes with the quality that they were encoded at.

    Attributes:
        quality: 0..100; None if unknown.
    """

    quality: float | None = None

    @classmethod
    def of(cls, codes: Codes, quality: float) -> Latents:
        """These codes, encoded at `quality`."""
        latents = cls(*codes)
        latents.quality = quality
        return latents


def resolve_quality(codes: Codes, quality: float | None) -> float:
    """The quality to decode codes at: their own, or else the argument.

    Raises:
        InputError: both are missing, or they differ.
    """
    own = codes.quality if isinstance(codes, Latents) else None
    if quality is None and own is None:
        raise InputError("the codes carry no quality; give the one they were encoded at.")
    quality = check_quality(quality if quality is not None else own or 0.0)
    if own is not None and quality != own:
        raise InputError(f"the codes were encoded at quality {own:g} and cannot be decoded at "
                         f"{quality:g}; leave the quality out, or encode again.")
    return quality


def padded_size(codes: Codes) -> tuple[int, int]:
    """(width, height) of the padded pictures of these codes."""
    hyper, latent = map(tuple, (part.shape for part in codes))
    rows, columns = latent[-2:]
    if len(latent) != 4 or hyper != (latent[0], HYPER_LATENTS.channels, rows // 4, columns // 4):
        raise InputError(f"codes of shapes {list(hyper)} and {list(latent)} do not belong "
                         "together; give codes as encode returns them.")
    return columns * 8, rows * 8


class D4Codec:
    """Loaded model; safe to use from several threads.

    Attributes:
        name: in file headers.
        stored: networks, tables and config as loaded.
        device: where the networks run.
        dtype: of the float networks' convolutions.
        runtime: networks and tables for readers and writers of groups.
    """

    def __init__(self, stored: checkpoint.StoredModel, device: Device = "cpu",
                 dtype: torch.dtype = torch.float32) -> None:
        self.stored, self.name, self.config = stored, stored.name, stored.config
        self.device, self.dtype = resolve_device(device), resolve_dtype(dtype)
        self.runtime = Runtime.of(stored, self.device, self.dtype)
        self.network = self.runtime.network

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: Device = "cpu",
                        dtype: torch.dtype = torch.float32) -> D4Codec:
        """Load a model folder strictly: hashes, names, shapes and types must agree.

        Raises:
            WeightsError: they do not.
        """
        return cls(checkpoint.load(Path(folder)), device, dtype)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the model folder: config.json and model.safetensors, as they were loaded."""
        checkpoint.save(Path(folder), self.stored)

    # Groups: a `Codec`.

    payload_formats = PAYLOAD_FORMATS
    pictures = YUV420
    grid = GRID

    @property
    def entropy_hash(self) -> bytes:
        """Of integer networks and tables, 8 bytes."""
        return self.stored.entropy_hash

    @property
    def synthesis_hash(self) -> bytes:
        """Of the float decoder, 8 bytes."""
        return self.stored.synthesis_hash

    @property
    def editor(self) -> GroupEditor | None:
        """Editor of its groups: its latents turn with the picture."""
        return GroupEditor(self.runtime)

    def group_encoder(self, header: FileHeader, *, measure: bool = False,
                      effort: int = DEFAULT_EFFORT) -> GroupEncoder:
        """Begin a group.

        Raises:
            InputError: the coded planes would be too large.
        """
        width, height = header.coded_size(GRID)
        if width * height > MAX_PIXELS:
            raise InputError(f"pictures of {header.width}x{header.height} are padded to {width}x"
                             f"{height}; {self.name} codes at most {MAX_PIXELS} samples. Make them "
                             "smaller.")
        runtime = replace(self.runtime, settings=EFFORTS[effort])
        return GroupEncoder(runtime, header, measure=measure)

    @property
    def scales(self) -> tuple[Fraction, ...]:
        """1/8, 1/4 and 1/2 on the CPU, 2 where the model has an upscaler."""
        small = SCALES[:3] if self.device.type == "cpu" else ()
        return (*small, Fraction(2)) if self.stored.upscaler is not None else small

    def decode_group(self, header: FileHeader, group: Group,
                     frames: Collection[int] | None = None, scale: Fraction = Fraction(1)
                     ) -> Iterator[tuple[int, Picture]]:
        """Decode frames and those that they depend on, in coding order.

        Raises:
            DamagedError: the payload is no stream of this model.
            FormatError: it asks for more memory than a group of any encoder.
        """
        reader, upscaler = self._reader(header, group), self.stored.upscaler
        quality, n = reader.quality, scale.denominator
        x, y = (at * scale.numerator // n for at in group.header.crop)
        size = scaled_size((header.width, header.height), scale)
        reconstruction = Reconstruction(self.runtime, quality)
        if scale < 1:
            reconstruction = ScaledReconstruction(self.runtime, quality, n,
                                                  key_pictures(group.header))
        elif scale > 1 and upscaler is not None:
            reconstruction = UpscaledReconstruction(self.runtime, quality, upscaler)
        return GroupDecoder(reader, lambda planes: from_batch(planes, (x, y), size)[0],
                            reconstruction).pictures(frames)

    def codes(self, header: FileHeader, group: Group) -> Iterator[FrameCodes]:
        """Read the integers of all frames in coding order; only the integer network runs."""
        frames = self._reader(header, group).frames()
        while True:
            with inference(self.device):
                frame = next(frames, None)
            if frame is None:
                return
            latents = frame.codes.latent, frame.codes.hyper
            yield FrameCodes(frame.number, frame.motion is None,
                                  tuple(to_array(part[0], np.int32) for part in latents))

    def previews(self, header: FileHeader, group: Group, frames: Collection[int], n: int
                 ) -> Iterator[Preview]:
        """Decode frames at 1/n in an orientation that the codes choose, in coding order.

        Raises:
            DamagedError: the payload is no stream of this model.
            FormatError: it asks for more memory than a group of any encoder.
        """
        reader = CanonicalReader(self.runtime, group.payload, group.header,
                                 header.coded_size(GRID, group.header.crop), header.coder)
        return previews(reader, header, frames, n)

    def _reader(self, header: FileHeader, group: Group) -> GroupReader:
        return GroupReader(self.runtime, group.payload, group.header,
                           header.coded_size(GRID, group.header.crop), header.coder)

    # Frames and latents, for programs.

    def encode(self, frames: Sequence[np.ndarray], *, quality: float = 50) -> Latents:
        """Encode frames, each as an intra frame; `aehub.compress` uses inter prediction.

        Args:
            frames: RGB, uint8 [H, W, 3] each, of one size.
            quality: 0..100.

        Returns:
            The integer codes of the padded pictures, with the quality.

        Raises:
            InputError: there are no frames, they differ in size, or an argument is out of range.
        """
        quality = check_quality(quality)
        planes = [from_rgb(np.asarray(f), Colour(6)) for f in frames]
        sizes = {p.size for p in planes}
        if len(sizes) != 1:
            raise InputError(f"{len(planes)} frames of {len(sizes)} sizes were given; give at "
                             "least one frame, and all in one size.")
        return Latents.of(self.encode_planes(planes, quality), quality)

    def decode(self, latents: Codes, *, quality: float | None = None,
               size: tuple[int, int] | None = None) -> list[np.ndarray]:
        """Decode what `encode` returned.

        Args:
            latents: the codes.
            quality: that they were encoded at, if they do not carry it.
            size: (width, height) of the frames, to crop the padding.

        Returns:
            RGB frames, uint8 [H, W, 3] each.

        Raises:
            InputError: the quality is missing or differs, or the codes are not of this model.
        """
        quality = resolve_quality(latents, quality)
        padded = padded_size(latents)
        if size is not None and not all(0 < n <= m for n, m in zip(size, padded, strict=True)):
            raise InputError(f"the size {size} does not fit into the codes' {padded} (width, "
                             "height); give at most that.")
        planes = from_batch(self.decode_codes(latents, quality), (0, 0), size or padded)
        return [to_rgb(p, Colour(6)) for p in planes]

    # Latents as decoded (y_hat), for walks: a `LatentModel`.

    gaussian = False
    side: int | None = None
    latent: int | None = None
    batch = _BATCH

    @with_inference
    def to_latents(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """RGB pictures uint8 [H, W, 3] of one size -> their latents, float32 [N, C, h, w]."""
        colour = rgb_colour(len(pictures[0]))
        planes = [from_rgb(picture, colour) for picture in pictures]
        return self._encode(planes, _WALK_QUALITY)[1].float().cpu().numpy()

    @with_inference
    def to_pictures(self, latents: np.ndarray, size: tuple[int, int]) -> list[np.ndarray]:
        """Latents, also such as no codes give -> RGB pictures of `size` (width, height)."""
        colour, pictures = rgb_colour(size[1]), []
        values = torch.from_numpy(latents).to(self.device, self.runtime.code_dtype)
        for part in values.split(_BATCH):
            planes = self._reconstruct(part, quality_tensor(_WALK_QUALITY, part))
            pictures += [to_rgb(frame, colour) for frame in from_batch(planes, (0, 0), size)]
        return pictures

    # Planes and codes.

    @with_inference
    def encode_planes(self, frames: Sequence[Picture], quality: float) -> Codes:
        """4:2:0 frames of one size -> their integer codes, by RDOQ."""
        return self._encode(frames, quality)[0]

    @with_inference
    def decode_codes(self, codes: Codes, quality: float) -> PlaneBatch:
        """Integer codes -> decoded planes, unrounded."""
        at = quality_tensor(quality, codes.latent)
        return self.network.apply_post_filter(decode_frame(self.network, codes, at), at)

    def _reconstruct(self, latents: Tensor, quality: Tensor) -> PlaneBatch:
        decoded = reconstruct(self.network, latents, quality)
        return self.network.apply_post_filter(decoded, quality)

    def _encode(self, frames: Sequence[Picture], quality: float) -> tuple[Codes, Tensor]:
        batches = [encode_intra(self.runtime, frames[begin:begin + _BATCH], quality)
                   for begin in range(0, len(frames), _BATCH)]
        codes = zip(*(batch.codes for batch in batches), strict=True)
        return Codes(*map(torch.cat, codes)), torch.cat([batch.y_hat for batch in batches])
