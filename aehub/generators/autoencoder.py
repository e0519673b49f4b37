"""A loaded autoencoder of small pictures: pictures to latents and back.

    model = Autoencoder.from_pretrained(folder)
    latents  = model.encode(frames)          # float32 [T, K]
    pictures = model.decode(latents)         # uint8 [S, S, 3] each
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aehub.errors import InputError, WeightsError
from aehub.generators.base import PictureNetwork, check_picture, fit_square, over_white
from aehub.weights import stored_network
from aehub.weights.device import HALF_TYPES, Device, with_inference

# Rec. 601 luma, as Pillow's mode L.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class Autoencoder(stored_network.LoadedNetwork):
    """An autoencoder of square pictures, a `GenerativeModel`; safe to use from several threads.

    Attributes:
        batch: pictures per forward pass.
    """

    batch = 32
    network: PictureNetwork

    def __init__(self, stored: stored_network.StoredNetwork, device: Device = "cpu",
                 dtype: torch.dtype = torch.float32) -> None:
        if not isinstance(stored.network, PictureNetwork):
            raise WeightsError(f"{stored.name} is no autoencoder of pictures; name another model.")
        super().__init__(stored, device, dtype)

    @property
    def side(self) -> int:
        """Pixels on a side of its square pictures."""
        return self.network.side

    @property
    def latent(self) -> int:
        """Length K of a latent."""
        return self.network.latent

    @property
    def gaussian(self) -> bool:
        """True if latents are distributed as N(0, 1)."""
        return self.network.gaussian

    @with_inference
    def encode(self, frames: Iterable[np.ndarray]) -> np.ndarray:
        """Pictures -> latents.

        Args:
            frames: uint8 [T, H, W, 3] in RGB, or [H, W, 3] each; other sizes are resized to the
                model's square, transparent ones [H, W, 4] are composited over white.

        Returns:
            float32 [T, K].

        Raises:
            InputError: a frame is no picture.
        """
        pictures = [self._network_input(over_white(check_picture(frame))) for frame in frames]
        latents = [np.empty((0, self.latent), np.float32)]
        for begin in range(0, len(pictures), self.batch):
            batch = torch.from_numpy(np.stack(pictures[begin:begin + self.batch]))
            with self._autocast():
                encoded = self.network.to_latents(batch.to(self.device, self.parameter_dtype) / 255)
            latents.append(encoded.float().cpu().numpy())
        return np.concatenate(latents)

    @with_inference
    def decode(self, latents: Any) -> list[np.ndarray]:
        """Latents -> pictures.

        Args:
            latents: [T, K], an array or a tensor.

        Returns:
            uint8 [S, S, 3] each, in RGB.

        Raises:
            InputError: they are not latents of this model.
        """
        values = torch.as_tensor(latents, device=None if isinstance(latents, Tensor) else "cpu")
        if values.ndim != 2 or values.shape[1] != self.latent:
            raise InputError(f"latents have the shape {list(values.shape)}; {self.name} takes "
                             f"[pictures, {self.latent}].")
        if not torch.isfinite(values).all():
            raise InputError("latents hold numbers that are not finite; leave those out.")
        pictures: list[np.ndarray] = []
        for part in values.to(self.device, self.parameter_dtype).split(self.batch):
            with self._autocast():
                decoded = self.network.to_pictures(part).to(self.parameter_dtype)
            rounded = decoded.clamp(0, 1).mul(255).round().to(torch.uint8)
            rgb = rounded.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).contiguous()
            pictures += list(rgb.cpu().numpy())
        return pictures

    def to_latents(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """`encode`, as a `LatentModel`."""
        return self.encode(pictures)

    def to_pictures(self, latents: np.ndarray, size: tuple[int, int]) -> list[np.ndarray]:
        """`decode`, as a `LatentModel`; the size is always that of the model's square."""
        return self.decode(latents)

    @with_inference
    def sample(self, seeds: Iterable[int], truncation: float = 1.0) -> np.ndarray:
        """Random latents float32 [seeds, K], the same for the same seed."""
        samples = [self.network.sample(1, torch.Generator().manual_seed(seed), truncation)
                   for seed in seeds]
        return torch.cat(samples).float().cpu().numpy()

    def _autocast(self) -> AbstractContextManager[Any]:
        """In it the network computes in `dtype`."""
        short = self.dtype in HALF_TYPES
        return torch.autocast(self.device.type, self.dtype) if short else nullcontext()

    def _network_input(self, picture: np.ndarray) -> np.ndarray:
        """RGB uint8 [H, W, 3] -> input of the network, float32 [C, S, S]."""
        picture = fit_square(picture, self.side)
        if self.network.channels == 1:
            return (picture @ _LUMA)[None]
        return np.ascontiguousarray(picture.transpose(2, 0, 1))
