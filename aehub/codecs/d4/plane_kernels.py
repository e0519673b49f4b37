"""Compiled loops over planes and latents on the CPU: one pass where tensor operations take many.

The functions that call them keep a form in tensor operations for training and other devices; where
numbers are integers both give the same, else they differ by rounding. Tensors [B, C, h, w] come as
arrays [B, h, w, C], planes [B, 1, H, W] as arrays [B, H, W].
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from aehub.compiled import compiled, numba_is_loaded

# Loops index by unsigned integers, for the reason that `motion.kernels` gives.
_UINT = np.uintp
_2, _4, _8 = (np.uintp(n) for n in (2, 4, 8))


def fit(*tensors: Tensor) -> bool:
    """Return whether the loops can take these tensors: on the CPU, float or bytes, without
    gradients, and without autocast, which makes half types of what they are multiplied by."""
    return not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu") and all(
        t.device.type == "cpu" and t.dtype in (torch.float32, torch.float64, torch.uint8)
        for t in tensors)


def at_hand(*tensors: Tensor) -> bool:
    """Return whether the loops can take these tensors and Numba is imported already.

    For loops whose results are those of tensor operations bit by bit: a single picture is decoded
    in less time than Numba takes to import.
    """
    return numba_is_loaded() and fit(*tensors)


def channels_last(x: Tensor) -> np.ndarray:
    """[B, C, h, w] -> [B, h, w, C], without a copy where the layout is that already."""
    array: np.ndarray = x.detach().permute(0, 2, 3, 1).contiguous().numpy()
    return array


def rows_of(plane: Tensor) -> np.ndarray:
    """[B, 1, H, W] -> [B, H, W]."""
    array: np.ndarray = plane.detach()[:, 0].contiguous().numpy()
    return array


def new_channels_last(dtype: torch.dtype, batch: int, channels: int, height: int, width: int
                      ) -> tuple[Tensor, np.ndarray]:
    """An empty tensor [B, C, h, w] in the layout channels_last, and the array of its numbers."""
    x = torch.empty(batch, height, width, channels, dtype=dtype, device="cpu")
    return x.permute(0, 3, 1, 2), x.numpy()


@compiled
def unshuffle(y: np.ndarray, u: np.ndarray, v: np.ndarray, out: np.ndarray) -> None:
    """Fill [B, h, w, 96] with the samples of 8x8 blocks: of y [B, H, W], of u and v [B, H/2, W/2].
    """
    blocks = _UINT(out.shape[2])
    for b in range(out.shape[0]):
        for i in range(y.shape[1]):
            row, first = out[b, i >> 3], _UINT((i & 7) << 3)
            for j in range(blocks):
                for k in range(_8):
                    row[j, first + k] = y[b, i, j * _8 + k]
        for i in range(u.shape[1]):
            row, first, second = out[b, i >> 2], _UINT(64 + ((i & 3) << 2)), _UINT(
                80 + ((i & 3) << 2))
            for j in range(blocks):
                for k in range(_4):
                    row[j, first + k] = u[b, i, j * _4 + k]
                    row[j, second + k] = v[b, i, j * _4 + k]


@compiled
def shuffle(samples: np.ndarray, y: np.ndarray, u: np.ndarray, v: np.ndarray) -> None:
    """The inverse of `unshuffle`: fill y, u and v."""
    blocks = _UINT(samples.shape[2])
    for b in range(samples.shape[0]):
        for i in range(y.shape[1]):
            row, first = samples[b, i >> 3], _UINT((i & 7) << 3)
            for j in range(blocks):
                for k in range(_8):
                    y[b, i, j * _8 + k] = row[j, first + k]
        for i in range(u.shape[1]):
            row, first, second = samples[b, i >> 2], _UINT(64 + ((i & 3) << 2)), _UINT(
                80 + ((i & 3) << 2))
            for j in range(blocks):
                for k in range(_4):
                    u[b, i, j * _4 + k] = row[j, first + k]
                    v[b, i, j * _4 + k] = row[j, second + k]


@compiled
def _half_rows(y: np.ndarray, u: np.ndarray, v: np.ndarray, i: int, rows: np.ndarray) -> None:
    """Row i of a picture at half of luma's resolution: rows [6, w]."""
    first, second, at = y[2 * i], y[2 * i + 1], _UINT(i)
    for j in range(_UINT(rows.shape[1])):
        rows[0, j], rows[1, j] = first[_2 * j], first[_2 * j + _UINT(1)]
        rows[2, j], rows[3, j] = second[_2 * j], second[_2 * j + _UINT(1)]
        rows[4, j], rows[5, j] = u[at, j], v[at, j]


@compiled
def _downscale(y: np.ndarray, small: np.ndarray) -> None:
    """Means of 2x2 samples."""
    quarter = y.dtype.type(0.25)
    for i in range(small.shape[0]):
        first, second = y[2 * i], y[2 * i + 1]
        for j in range(_UINT(small.shape[1])):
            a, b = _2 * j, _2 * j + _UINT(1)
            small[i, j] = ((first[a] + first[b]) + (second[a] + second[b])) * quarter


@compiled
def _mean_row(plane: np.ndarray, i: int, reach: int, sums: np.ndarray, shares: np.ndarray,
              means: np.ndarray) -> None:
    """Means of the windows around row i.

    Args:
        plane: [h, w].
        i: row.
        reach: positions on either side.
        sums: scratch [w + 2 reach], zero in the margins.
        shares: one over the columns in each window, [w].
        means: [w], filled.
    """
    begin, end, margin = max(0, i - reach), min(plane.shape[0], i + reach + 1), _UINT(reach)
    width = _UINT(plane.shape[1])
    for j in range(width):
        sums[j + margin] = plane[_UINT(begin), j]
    for k in range(begin + 1, end):
        at = _UINT(k)
        for j in range(width):
            sums[j + margin] += plane[at, j]
    share = plane.dtype.type(1) / plane.dtype.type(end - begin)
    for j in range(width):
        means[j] = sums[j]
    for k in range(_UINT(1), _UINT(2 * reach + 1)):
        for j in range(width):
            means[j] += sums[j + k]
    for j in range(width):
        means[j] *= shares[j] * share


@compiled
def filter_inputs(y: np.ndarray, u: np.ndarray, v: np.ndarray, py: np.ndarray, pu: np.ndarray,
                  pv: np.ndarray, steps: np.ndarray, shares: np.ndarray, reach: int,
                  position: np.ndarray, sample_scale: float, limit: float, channels: int,
                  out: np.ndarray) -> None:
    """Inputs of the post-filter of inter frames, as `PostFilter` has them in tensor operations.

    Args:
        y: [B, H, W].
        u: [B, H/2, W/2].
        v: likewise.
        py: of the prediction, like the next two.
        pu: likewise.
        pv: likewise.
        steps: factor of differences, [B].
        shares: one over the columns of the window around each position, [w].
        reach: of the window of the local mean, positions on either side.
        position: in the 8x8 block, [4, 4, 3].
        sample_scale: factor of samples.
        limit: of the texture.
        channels: that are filled; the others are zero.
        out: activations of `winograd.empty`, filled.
    """
    height, width = small_shape = u.shape[1:]
    kind, small = y.dtype.type, np.empty(small_shape, y.dtype)
    half, means = np.empty((6, width), y.dtype), np.empty((3, width), y.dtype)
    lines, sums = np.zeros((out.shape[4], width), y.dtype), np.zeros(width + 2 * reach, y.dtype)
    for b in range(len(out)):
        step = kind(steps[b])
        _downscale(y[b], small)
        for i in range(height):
            _half_rows(y[b], u[b], v[b], i, half)
            for plane, mean in ((small, means[0]), (u[b], means[1]), (v[b], means[2])):
                _mean_row(plane, i, reach, sums, shares, mean)
            _sample_lines(half, means, kind(sample_scale), step, kind(limit), lines)
            _half_rows(py[b], pu[b], pv[b], i, lines[12:18])
            _difference_lines(half, step, lines[12:18])
            _interleave(lines, position[i & 3], channels - 3, out[b, i + 1])


@compiled
def _sample_lines(half: np.ndarray, means: np.ndarray, scale: float, step: float, limit: float,
                  lines: np.ndarray) -> None:
    """Scaled samples and texture of a row."""
    low = -limit
    for c in range(_UINT(6)):
        mean = means[max(int(c) - 3, 0)]
        for j in range(_UINT(half.shape[1])):
            lines[c, j] = half[c, j] * scale
            lines[c + _UINT(6), j] = min(max((half[c, j] - mean[j]) * step, low), limit)


@compiled
def _difference_lines(half: np.ndarray, step: float, predicted: np.ndarray) -> None:
    """Difference from the prediction of a row, in its place."""
    for c in range(_UINT(6)):
        for j in range(_UINT(half.shape[1])):
            predicted[c, j] = (half[c, j] - predicted[c, j]) * step


@compiled
def _interleave(lines: np.ndarray, position: np.ndarray, begin: int, row: np.ndarray) -> None:
    """Fill a row of activations [4, w/4 + 1, C] with lines [C, w] and the position in the block."""
    first, channels = _UINT(begin), _UINT(len(lines))
    for j in range(_UINT(lines.shape[1])):
        at = row[(j + _UINT(1)) & _UINT(3), (j + _UINT(1)) >> _2]
        for c in range(channels):
            at[c] = lines[c, j]
        for c in range(_UINT(3)):
            at[first + c] = position[j & _UINT(3), c]


@compiled
def add_correction(y: np.ndarray, u: np.ndarray, v: np.ndarray, correction: np.ndarray,
                   steps: np.ndarray, new_y: np.ndarray, new_u: np.ndarray, new_v: np.ndarray
                   ) -> None:
    """Add the last activations of the post-filter, times `steps` [B], to planes."""
    one = _UINT(1)
    for b in range(len(correction)):
        step = y.dtype.type(steps[b])
        for i in range(u.shape[1]):
            row, up, down = correction[b, i + 1], _UINT(2 * i), _UINT(2 * i + 1)
            for j in range(_UINT(u.shape[2])):
                at, x = row[(j + one) & _UINT(3), (j + one) >> _2], _2 * j
                new_y[b, up, x] = y[b, up, x] + at[0] * step
                new_y[b, up, x + one] = y[b, up, x + one] + at[1] * step
                new_y[b, down, x] = y[b, down, x] + at[2] * step
                new_y[b, down, x + one] = y[b, down, x + one] + at[3] * step
                new_u[b, i, j] = u[b, i, j] + at[4] * step
                new_v[b, i, j] = v[b, i, j] + at[5] * step
