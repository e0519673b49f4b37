"""Models with latents: what a walk needs of any, the network of small pictures, their conversion.

Dimension letters: `B` pictures, `C` channels, `S` side in pixels, `K` numbers of a latent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from aehub.errors import InputError
from aehub.media import conversion


@runtime_checkable
class LatentModel(Protocol):
    """Any autoencoder between whose latents `aehub.animate` walks, a codec among them.

    Attributes:
        name: of the model, for messages and recipes.
        device: where it computes.
        gaussian: whether latents are distributed as N(0, 1), so that slerp between them is
            meaningful.
        side: pixels on a side of its square pictures; None if they keep the size of those given,
            and so the model walks only between pictures.
        latent: length K if a latent is a vector, which is small enough for a recipe and may be a
            keyframe itself; None for any other shape.
        batch: latents decoded at once.
    """

    @property
    def name(self) -> str: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def gaussian(self) -> bool: ...
    @property
    def side(self) -> int | None: ...
    @property
    def latent(self) -> int | None: ...
    @property
    def batch(self) -> int: ...

    def to_latents(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Pictures uint8 [H, W, 3] in RGB, all of one size unless `side` is set -> [N, ...]."""
        ...

    def to_pictures(self, latents: np.ndarray, size: tuple[int, int]) -> list[np.ndarray]:
        """Latents [N, ...], also such as no picture gives -> pictures uint8 [H, W, 3].

        Args:
            latents: float32 or float64.
            size: (width, height) of the pictures: (`side`, `side`), or that of the encoded ones.
        """
        ...


@runtime_checkable
class GenerativeModel(LatentModel, Protocol):
    """A model of squares and vectors that also draws pictures of its own."""

    @property
    def side(self) -> int: ...
    @property
    def latent(self) -> int: ...

    def sample(self, seeds: Iterable[int], truncation: float = 1.0) -> np.ndarray:
        """Random latents float32 [seeds, K], the same for the same seed."""
        ...


class PictureNetwork(nn.Module):
    """Base of the autoencoders of pictures.

    Subclasses set the attributes, the last five on the class or in the constructor, and implement
    `to_latents` and `to_pictures`. Only named parameters are stored.

    Attributes:
        ARGUMENTS: of the constructor: name -> (minimum, maximum); a config has all of them.
        STORED: dtype of the parameters on disk.
        config: arguments that the network was built with.
        side: pixels on a side of a picture.
        channels: 1 or 3.
        latent: length K of a latent.
        gaussian: whether latents are distributed as N(0, 1), so that samples of it and slerp
            between them are meaningful.
    """

    ARGUMENTS: ClassVar[dict[str, tuple[float, float]]] = {}
    STORED: ClassVar[torch.dtype] = torch.float32

    config: dict[str, int | float]
    side: int
    channels: int
    latent: int
    gaussian: bool = True

    def to_latents(self, pictures: Tensor) -> Tensor:
        """Pictures [B, C, S, S] in [0, 1] -> latents [B, K], the mean of the posterior if any."""
        raise NotImplementedError

    def to_pictures(self, latents: Tensor) -> Tensor:
        """Latents [B, K] -> pictures [B, C, S, S] in [0, 1]."""
        raise NotImplementedError

    def sample(self, n: int, generator: torch.Generator, truncation: float = 1.0) -> Tensor:
        """Random latents [n, K].

        Args:
            n: number of latents.
            generator: on the CPU; the same state gives the same latents.
            truncation: factor on the distance from the mean; below 1 there is less variety and
                there are fewer failures.
        """
        like = next(self.parameters())
        noise = torch.randn(n, self.latent, generator=generator, dtype=torch.float32, device="cpu")
        return truncation * noise.to(like)


MAX_SIDE = 16384
"""Pixels on the longer side of an input picture."""


def check_picture(picture: Any, name: str = "a picture") -> np.ndarray:
    """Check a picture and return it as uint8 [H, W, 3 or 4]; grey ones get three channels.

    Args:
        picture: uint8 [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] with alpha.
        name: for messages.

    Raises:
        InputError: it is none of these.
    """
    array = np.asarray(picture)
    if array.ndim == 2:
        array = array[..., None]
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (1, 3, 4) or (
            not array.size or max(array.shape) > MAX_SIDE):
        raise InputError(f"{name} is {array.dtype} of shape {list(array.shape)}; give uint8 "
                         f"[height, width, 3] in RGB, or 4 with alpha, at most {MAX_SIDE} on a "
                         "side.")
    return np.ascontiguousarray(np.repeat(array, 3, 2) if array.shape[2] == 1 else array)


def fit_square(picture: np.ndarray, side: int) -> np.ndarray:
    """Resize a picture to a square, float32 [side, side, 3] from 0 to 255.

    If the side is a whole multiple, pixels are repeated; larger pictures are averaged by area,
    others interpolated linearly. Pictures that are not square are padded with their border colour.

    Args:
        picture: uint8 [H, W, 3].
        side: pixels on a side of the square.
    """
    height, width = picture.shape[:2]
    if height != width:
        picture = _pad_square(picture)
    size = picture.shape[0]
    if size == side:
        return picture.astype(np.float32)
    if side % size == 0:
        return picture.repeat(side // size, 0).repeat(side // size, 1).astype(np.float32)
    channels = [Image.fromarray(picture[..., c].astype(np.float32)).resize(
        (side, side), Image.Resampling.BOX if size > side else Image.Resampling.BILINEAR)
                for c in range(3)]
    return np.stack([np.asarray(channel) for channel in channels], -1)


def _pad_square(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    side = max(height, width)
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    square = np.empty((side, side, 3), np.uint8)
    square[:] = np.median(border, axis=0).astype(np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top:top + height, left:left + width] = picture
    return square


def over_white(picture: np.ndarray) -> np.ndarray:
    """A frame uint8 [H, W, 3 or 4] composited over white, uint8 [H, W, 3]."""
    return picture if picture.shape[-1] == 3 else conversion.over_white(picture)[0]


def enlarge(picture: np.ndarray, times: int) -> np.ndarray:
    """A frame with each pixel repeated `times` x `times`."""
    return picture.repeat(times, 0).repeat(times, 1) if times > 1 else picture
