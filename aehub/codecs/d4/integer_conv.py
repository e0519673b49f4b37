"""Integer convolutions that float32 computes exactly, for the network that chooses tables.

A decoder that disagrees with the encoder about one probability decodes noise from there on, and
floating-point sums differ between machines. Here weights are int8, activations 0..31, biases and
sums integers, and requantisation is a shift: in whatever order a machine adds, float32 carries the
sum exactly while it stays below 2^24 (2^19 where a library may use Winograd's algorithm for 3x3
kernels). `IntegerConv2d.bound` proves it for given weights. On CPUs the same sums come from
convolutions of bytes, two to four times as fast, where these prove to be exact.

In training the same numbers are rounded with straight-through gradients.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aehub.codecs.d4 import latent_kernels, plane_kernels
from aehub.codecs.d4.symmetry import Representation
from aehub.codecs.d4.tied_conv import Freezable, TiedConv2d
from aehub.errors import WeightsError

ACTIVATION_MAX = 31
SHIFT = 8
"""Activations and table indices are `sum / 2^8`, rounded down."""
EXACT_LIMIT = 2**19
"""Sums of a convolution stay below it."""
BIAS_LIMIT = 2**23
"""Biases stay below it, and so their sum with a convolution's below 2^24."""
QUALITY_RESOLUTION = 10_000
"""Integer networks take quality in units of 1/10000 of its range, that is in hundredths."""
KNOTS = 8
"""Knots of values that are piecewise linear in quality, equally spaced over 0..100."""
_KNOT_UNIT = 16
"""Weights of knots are multiples of 1/16."""

# round(4 log2(1 + m)), at most 31, as the smallest magnitude of each level: stored, so that no
# machine computes a logarithm.
_LEVEL_STARTS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 17, 20, 24, 29, 34, 41, 49, 58, 69, 82,
                 98, 117, 139, 165, 197)
_LEVELS = (0, 4, 6, 8, *range(9, 32))


@lru_cache
def _level_table(device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):  # Training may be the next to use it.
        table = torch.zeros(256, dtype=dtype, device="cpu")
        for begin, level in zip(_LEVEL_STARTS, _LEVELS, strict=True):
            table[begin:] = level
        return table.to(device)


@lru_cache
def level_array(dtype: torch.dtype) -> np.ndarray:
    """Level of each magnitude 0..255, for compiled loops."""
    array: np.ndarray = _level_table(torch.device("cpu"), dtype).numpy()
    return array


def _level(magnitudes: Tensor) -> Tensor:
    """Level of each magnitude 0..255; tensors [B, C, H, W] become channels_last."""
    table = _level_table(magnitudes.device, magnitudes.dtype)
    is_batch = magnitudes.dim() == 4
    index = magnitudes.to(torch.int32)
    index = index.permute(0, 2, 3, 1) if is_batch else index
    level = table.index_select(0, index.reshape(-1)).view(index.shape)
    return level.permute(0, 3, 1, 2) if is_batch else level


def log_levels(codes: Tensor, *, signed: bool = False) -> Tensor:
    """Log magnitude of integer codes, about 4 log2(1 + |q|): 0..31, or -31..31 if `signed`."""
    level = _level(codes.detach().abs().clamp_(max=255))
    level = level * codes.detach().sign() if signed else level
    if not codes.requires_grad:
        return level
    # Training: the gradient of the curve that the table samples.
    smooth = 4 * torch.log2(1 + codes.abs())
    smooth = smooth * codes.detach().sign() if signed else smooth
    return level + (smooth - smooth.detach())


def knot_weights(quality: Tensor) -> Tensor:
    """Quality in hundredths (integers 0..10000) [B] -> integer weights of the knots [B, KNOTS].

    Hat functions in sixteenths: each row sums to 16. Integer arithmetic only.
    """
    position = quality.to(torch.int64) * ((KNOTS - 1) * _KNOT_UNIT) // QUALITY_RESOLUTION
    knot, fraction = position // _KNOT_UNIT, position % _KNOT_UNIT
    weights = F.one_hot(knot, KNOTS + 1) * (_KNOT_UNIT - fraction)[:, None]
    weights = weights + F.one_hot(knot + 1, KNOTS + 1) * fraction[:, None]
    return weights[:, :KNOTS]


def _round(x: Tensor) -> Tensor:
    return x + (x.round() - x).detach()


class QualityDependent(Freezable):
    """Values that depend on quality; a frozen layer caches those of the few qualities of a clip."""

    values: nn.Parameter

    def forward(self, quality: Tensor) -> Tensor:
        # Reading the key from a GPU takes longer than computing; autocast may round.
        if quality.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
            return self.evaluate(quality)
        key = (quality.dtype, *quality.tolist()) if self.frozen else None
        return self.cached(key, lambda: self.evaluate(quality))

    def evaluate(self, quality: Tensor) -> Tensor:
        """Compute the values."""
        raise NotImplementedError


class QualityBias(QualityDependent):
    """Integer bias per channel, piecewise linear in quality; the channels of an orbit share it."""

    orbits: Tensor

    def __init__(self, outputs: Representation) -> None:
        super().__init__()
        orbits = torch.as_tensor(outputs.orbits())
        self.register_buffer("orbits", orbits, persistent=False)
        self.values = nn.Parameter(torch.zeros(KNOTS, int(orbits.max()) + 1))

    def evaluate(self, quality: Tensor) -> Tensor:
        """int64 [B] in hundredths -> integers in the values' dtype [B, C, 1, 1], times 2^SHIFT."""
        weights = knot_weights(quality).to(self.values.dtype)[:, :, None]
        # Not a matrix product: autocast and TF32 would round it.
        return (weights * _round(self.values * _KNOT_UNIT)).sum(1)[:, self.orbits, None, None]

    def check_bound(self, name: str) -> None:
        """Refuse biases that, added to a convolution, float32 might not carry exactly.

        Raises:
            WeightsError: one reaches 2^23.
        """
        if (bound := int(self.values.double().abs().max() * 2**SHIFT)) >= BIAS_LIMIT:
            raise WeightsError(f"the integer bias {name!r} reaches {bound}, exact is below "
                               f"{BIAS_LIMIT}; refuse the weights.")


class IntegerConv2d(TiedConv2d):
    """Tied convolution on integers: activations of magnitude at most 31 in, sums times 2^8 out.

    Parameters are real numbers for training; every use rounds `256 theta` to int8.

    Args:
        inputs: as for `TiedConv2d`.
        outputs: as for `TiedConv2d`.
        kernel: as for `TiedConv2d`.
        scale: as for `TiedConv2d`.
        signed: activations may be below 0.
    """

    def __init__(self, inputs: Representation, outputs: Representation, kernel: int = 3, *,
                 scale: float = 1.0, signed: bool = False) -> None:
        super().__init__(inputs, outputs, kernel, scale=scale, exact=True)
        self.signed = signed

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
        if self.signed or torch.is_grad_enabled() or not in_bytes(x):
            return super()._convolve(x, weight, bias, padding)
        packed = self.cached(("bytes", padding), lambda: packed_bytes(weight, padding))
        return convolved_bytes(x, packed, self.shape, bias, padding)

    def orbit_values(self) -> Tensor:
        """The parameters rounded to int8, with straight-through gradients."""
        scaled = self.theta * 2.0**SHIFT
        return scaled + (scaled.round().clamp(-127, 127) - scaled).detach()

    def bound(self) -> int:
        """The largest magnitude the sum can reach on any input, without the bias."""
        with torch.no_grad():
            return int(self.dense().double().abs().sum((1, 2, 3)).max()) * ACTIVATION_MAX

    def check_bound(self, name: str) -> None:
        """Refuse weights whose sums float32 might not carry exactly.

        Raises:
            WeightsError: some input could reach 2^19.
        """
        if (bound := self.bound()) >= EXACT_LIMIT:
            raise WeightsError(f"sums of the integer layer {name!r} can reach {bound}, exact is "
                               f"below {EXACT_LIMIT}; refuse the weights.")

    @torch.no_grad()
    def constrain(self) -> None:
        """Scale all weights down where the bound is not met (seen only early in training)."""
        excess = self.bound() / EXACT_LIMIT
        if excess >= 1:
            self.theta.mul_(0.98 / excess)
            self.clear_cache()


def packed_bytes(weight: Tensor, padding: int) -> Tensor:
    """Integer weights [O, C, k, k] of magnitude at most 127, as `convolved_bytes` takes them."""
    packed: Tensor = torch.ops.onednn.qconv_prepack(
        weight.to(torch.int8), _unscaled(len(weight))[0], 1.0, 0, [1, 1], [padding] * 2, [1, 1],
        1)
    return packed


def convolved_bytes(x: Tensor, packed: Tensor, shape: tuple[int, int, int, int],
                    bias: Tensor | None, padding: int) -> Tensor:
    """Convolve integers 0..255, float32 or uint8 [B, C, H, W], in oneDNN's kernels for bytes:
    float32 sums.

    Args:
        x: integers.
        packed: weights, from `packed_bytes`.
        shape: of the weights, [O, C, k, k].
        bias: integers [O], or None.
        padding: zeros around x.
    """
    levels = x.to(torch.uint8).contiguous(memory_format=torch.channels_last)
    total: Tensor = torch.ops.onednn.qconv2d_pointwise(
        levels, 1.0, 0, packed, *_unscaled(shape[0]), bias, [1, 1], [padding] * 2, [1, 1], 1, 1.0,
        0, torch.float32, "none", [], "")
    return total


@lru_cache
@torch.inference_mode(False)
def _unscaled(channels: int) -> tuple[Tensor, Tensor]:
    """Scales and zero points of integers that stand for themselves."""
    return (torch.ones(channels, dtype=torch.float32, device="cpu"),
            torch.zeros(channels, dtype=torch.int32, device="cpu"))


def in_bytes(x: Tensor) -> bool:
    """Return whether activations of this type and device are convolved in bytes."""
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.uint8) and has_exact_bytes()


@lru_cache
def has_exact_bytes() -> bool:
    """Return whether torch has these kernels here and they give the sums of int64, also the largest
    ones: processors without instructions for bytes add pairs of products in 16 bits."""
    generator = torch.Generator("cpu").manual_seed(0)
    options: dict[str, Any] = {"generator": generator, "device": "cpu"}
    shape = (16, 120, 3, 3)
    bias = torch.full((16,), 1 - BIAS_LIMIT, dtype=torch.float32, device="cpu")
    try:
        for extreme, padding in ((False, 1), (True, 0)):
            weight = torch.randint(-127, 128, shape, **options)
            x = torch.randint(0, ACTIVATION_MAX + 1, (1, shape[1], 9, 8), **options)
            if extreme:
                weight, x = weight.sign() * 127, torch.full_like(x, ACTIVATION_MAX)
            exact = F.conv2d(x.double(), weight.double(), bias.double(), padding=padding)
            found = convolved_bytes(x.float(), packed_bytes(weight, padding), shape, bias, padding)
            if not torch.equal(found.double(), exact):
                return False
    except (AttributeError, RuntimeError):
        return False  # Another build of torch.
    return True


class _GradientClamp(torch.autograd.Function):
    """Clamp that passes gradients that lead back inside (lower bound of Balle et al. 2018)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.limits = (low, high)
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None]:
        (x,), (low, high) = ctx.saved_tensors, ctx.limits
        inward = ((x >= low) | (grads[0] < 0)) & ((x <= high) | (grads[0] > 0))
        return grads[0] * inward, None, None


def gradient_clamp(x: Tensor, low: float, high: float) -> Tensor:
    """`x.clamp(low, high)` with gradients that lead values outside back inside."""
    return cast(Tensor, _GradientClamp.apply(x, low, high))


def requantise(total: Tensor) -> Tensor:
    """Sums of 2^8 -> activations 0..31, rounded down; the gradient passes straight through."""
    if not torch.is_grad_enabled():
        return shift_down(total, ACTIVATION_MAX, to_bytes=in_bytes(total))
    x = total.mul_(2.0**-SHIFT)
    return (x + (x.floor() - x).detach()).clamp_(0, ACTIVATION_MAX)


def shift_down(total: Tensor, most: int, *, to_bytes: bool = True) -> Tensor:
    """Sums of 2^8 -> integers 0..most, rounded down, in place or to bytes; without gradients."""
    if not plane_kernels.at_hand(total):
        return total.mul_(2.0**-SHIFT).floor_().clamp_(0, most)
    total = _dense(total)
    levels = torch.empty_like(total, dtype=torch.uint8) if to_bytes else total
    latent_kernels.shift_down(_flat(total), 2.0**-SHIFT, most, _flat(levels))
    return levels


def _dense(x: Tensor) -> Tensor:
    """[B, C, H, W] in one of the two layouts without gaps."""
    return x if x.is_contiguous() else x.contiguous(memory_format=torch.channels_last)


def _flat(dense: Tensor) -> np.ndarray:
    """All numbers in the order of memory, a view."""
    array: np.ndarray = dense.detach().as_strided((dense.numel(),), (1,)).numpy()
    return array
