"""A loaded `d4-codec`: pictures to codes and latents, and back.

    model = D4Codec.from_pretrained(folder)
    latents = model.encode(frames, quality=50)
    frames  = model.decode(latents)

Bytes are written and read by `aehub.codecs.d4.frame_coding`, in groups of frames.

Codes together with the quality they were encoded at, for programs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aehub.arguments import check_number
from aehub.codecs.d4 import checkpoint
from aehub.codecs.d4.encoder import code_pictures
from aehub.codecs.d4.frame_coding import run_passes
from aehub.codecs.d4.network import HYPER_LATENTS, Codes, quality_tensor
from aehub.codecs.d4.planes import PlaneBatch, clipped, from_batch
from aehub.codecs.d4.runtime import Runtime
from aehub.errors import InputError
from aehub.media.colour import from_rgb, to_rgb
from aehub.media.picture import Colour, Planes
from aehub.weights.device import Device, resolve_device, resolve_dtype, with_inference


class Latents(Codes):
    """Codes that say at which quality they were made.

    Attributes:
        quality: 0..100; None if it is not known.
    """

    quality: float | None = None

    @classmethod
    def of(cls, codes: Codes, quality: float) -> Latents:
        """These codes, made at `quality`."""
        latents = cls(*codes)
        latents.quality = quality
        return latents


def check_quality(quality: float) -> float:
    """`quality` if it can be used.

    Raises:
        InputError: it is not a number from 0 to 100.
    """
    return round(check_number("quality", quality, 0, 100), 2)


def resolve_quality(codes: Codes, given: float | None) -> float:
    """The quality at which to decode codes: their own, or the one that is given."""
    known = codes.quality if isinstance(codes, Latents) else None
    if given is None and known is None:
        raise InputError("the codes do not say their quality; give the one they were made at.")
    quality = check_quality(given if given is not None else known or 0.0)
    if known is not None and quality != known:
        raise InputError(f"the codes were made at quality {known:g} and cannot be decoded at "
                         f"{quality:g}; leave the quality out, or encode again.")
    return quality


def padded_size(codes: Codes) -> tuple[int, int]:
    """(width, height) of the padded pictures that codes hold."""
    hyper, latent = map(tuple, (part.shape for part in codes))
    rows, columns = latent[-2:]
    if len(latent) != 4 or hyper != (latent[0], HYPER_LATENTS.channels, rows // 4, columns // 4):
        raise InputError(f"codes of the shapes {list(hyper)} and {list(latent)} are not what "
                         "encode returns; give those as they are.")
    return columns * 8, rows * 8


# Frames that go through the networks together.
_BATCH = 8


class D4Codec:
    """A model that compresses pictures; safe to use from several threads.

    Attributes:
        name: what files call it.
        stored: networks, tables and config as loaded.
        device: where the networks run.
        dtype: what float networks compute in.
        runtime: what readers and writers of groups are given.
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
            WeightsError: anything does not.
        """
        return cls(checkpoint.load(Path(folder)), device, dtype)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the model folder: config.json and model.safetensors, as they were loaded."""
        checkpoint.save(Path(folder), self.name, self.network, self.stored.tables,
                        encoder=self.stored.config.get("encoder", {}),
                        self_test=self.stored.self_test,
                        inter_tables=self.stored.inter_tables)

    # Frames and latents, for programs.

    def encode(self, frames: Sequence[np.ndarray], *, quality: float = 50) -> Latents:
        """Encode frames, each as a picture that stands alone; `aehub.compress` predicts them.

        Args:
            frames: RGB, uint8 [H, W, 3] each, of one size.
            quality: 0..100.

        Returns:
            The integer codes of the padded pictures, and the quality that they were made at.

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
            quality: that they were made at, where they do not say it themselves.
            size: (width, height) of the frames, to cut the padding off.

        Returns:
            RGB frames, uint8 [H, W, 3] each.

        Raises:
            InputError: the quality is missing or another, or the codes are not of this model.
        """
        quality = resolve_quality(latents, quality)
        whole = padded_size(latents)
        if size is not None and not all(0 < n <= most for n, most in zip(size, whole, strict=True)):
            raise InputError(f"the size is {size}; the codes hold {whole} (width, height).")
        planes = from_batch(self.decode_codes(latents, quality), (0, 0), size or whole)
        return [to_rgb(p, Colour(6)) for p in planes]

    # Planes and latents, for walks between pictures.

    @with_inference
    def encode_latents(self, frames: Sequence[Planes], quality: float) -> Tensor:
        """4:2:0 frames of one size -> what a decoder makes of their codes, float [T, C, h, w]."""
        return self._encode(frames, quality)[1]

    @with_inference
    def decode_latents(self, latents: Tensor, quality: float, size: tuple[int, int]
                       ) -> list[Planes]:
        """Latents, not necessarily of any codes -> frames of `size` (width, height)."""
        frames: list[Planes] = []
        for part in latents.to(self.device, self.runtime.code_dtype).split(_BATCH):
            frames += from_batch(self._shown(part, quality_tensor(quality, part)), (0, 0), size)
        return frames

    # Planes and codes.

    @with_inference
    def encode_planes(self, frames: Sequence[Planes], quality: float) -> Codes:
        """4:2:0 frames of one size -> their integer codes, chosen by rate and distortion."""
        return self._encode(frames, quality)[0]

    @with_inference
    def decode_codes(self, codes: Codes, quality: float) -> PlaneBatch:
        """Integer codes -> decoded planes, unrounded."""
        level = quality_tensor(quality, codes.latent)
        latents = run_passes(self.network.code_passes(codes.hyper, level),
                         lambda stage, mean, index: codes.latent[:, stage.begin:stage.end])[1]
        return self._shown(latents, level)

    def _shown(self, latents: Tensor, level: Tensor) -> PlaneBatch:
        decoded = clipped(self.network.synthesise(latents, level))
        return self.network.apply_post_filter(decoded, level)

    def _encode(self, frames: Sequence[Planes], quality: float) -> tuple[Codes, Tensor]:
        found = [code_pictures(self.runtime, frames[begin:begin + _BATCH], quality)
                 for begin in range(0, len(frames), _BATCH)]
        codes = zip(*(part.codes for part in found), strict=True)
        return Codes(*map(torch.cat, codes)), torch.cat([part.latents for part in found])
