"""Samples of a decoded picture as arrays: depth, chroma grid and transparency, all in numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aehub.clips.frames import Planes

if TYPE_CHECKING:
    import av


def depth_of(pixels: av.VideoFormat) -> int:
    """Bits of the deepest component."""
    return max(component.bits for component in pixels.components)


def samples_of(frame: av.VideoFrame) -> list[np.ndarray]:
    """Copy the planes of a planar frame without the padding: uint8, or uint16 above 8 bits."""
    kind = np.dtype("<u2") if depth_of(frame.format) > 8 else np.dtype(np.uint8)
    arrays = []
    for plane in frame.planes:
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        used = rows[: plane.height, : plane.width * kind.itemsize]
        copied = np.array(used, order="C")
        arrays.append(copied if kind.itemsize == 1 else copied.view(kind))
    return arrays


def halved(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bring a plane to the chroma grid of a picture `height` x `width`: float32.

    Finer planes are averaged, coarser ones (4:1:1, 4:1:0) repeated. The last row or column of an
    odd size stands for its missing twin.
    """
    fitted = plane.astype(np.float32)
    for size in (height, width):
        # Each round works on the rows and transposes, so two rounds do both axes.
        wanted = (size + 1) // 2
        if fitted.shape[0] == size > wanted:
            if size % 2:
                fitted = np.concatenate([fitted, fitted[-1:]])
            fitted = (fitted[0::2] + fitted[1::2]) * np.float32(0.5)
        elif fitted.shape[0] < wanted:
            fitted = np.repeat(fitted, -(-wanted // fitted.shape[0]), axis=0)[:wanted]
        fitted = fitted.T
    return fitted


def to_8_bits(plane: np.ndarray, depth: int, full_range: bool) -> np.ndarray:
    """Round samples of `depth` bits to uint8; in limited range a step is a power of two."""
    if plane.dtype == np.uint8:
        return plane
    scale = 255 / ((1 << depth) - 1) if full_range else 2.0 ** (8 - depth)
    scaled = plane * np.float32(scale)
    scaled += 0.5
    return np.minimum(scaled, 255).astype(np.uint8)


def over_white(rgba: np.ndarray) -> tuple[np.ndarray, bool]:
    """Lay uint8 [H, W, 4] over white: uint8 [H, W, 3], and whether anything was transparent."""
    colour, alpha = rgba[..., :3], rgba[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(colour), False
    return _mixed(colour, alpha, 255), True


def planes_over_white(picture: Planes, opacity: np.ndarray, full_range: bool) -> Planes:
    """Lay planes over white; `opacity` is uint8 [H, W]. The mix is affine, so YUV may do it."""
    height, width = opacity.shape
    small = to_8_bits(halved(opacity, height, width), 8, full_range=True)
    return Planes(
        _mixed(picture.y, opacity, 255 if full_range else 235),
        _mixed(picture.u, small, 128),
        _mixed(picture.v, small, 128),
    )


def _mixed(plane: np.ndarray, alpha: np.ndarray, white: int) -> np.ndarray:
    """`plane` where alpha is 255, `white` where it is 0, rounded in between."""
    weighted = plane.astype(np.uint32) * alpha + (255 - alpha).astype(np.uint32) * white
    return ((weighted + 127) // 255).astype(np.uint8)


def neutral_chroma(luma: np.ndarray, depth: int) -> list[np.ndarray]:
    """The two chroma planes of a grey picture."""
    half = tuple((size + 1) // 2 for size in luma.shape)
    return [np.full(half, 1 << (depth - 1), luma.dtype) for _ in range(2)]
