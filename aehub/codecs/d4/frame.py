"""A frame through the networks, in the letters of Balle et al. 2018 and Minnen et al. 2018.

    encode_frame    x ──g_a──> y ──h_a──> z,    z_hat = Q(z),    y_hat = Q(y - mu) + mu
    decode_frame    z_hat, Q(y - mu) ──h_s──> y_hat = Q(y - mu) + mu ──g_s──> x_hat

`code_latents` runs the entropy model (h_s and its context), which gives the mean mu and the
frequency table of each code, and a `FrameCoder` gives the code: it quantises, reads, repeats or
rates. Encoder, decoder, editor, trainer, self-test and ablations all call these functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from aehub.codecs.d4.entropy_model import SparseBlocks
from aehub.codecs.d4.flat_cells import FlatCells
from aehub.codecs.d4.integer_conv import QUALITY_RESOLUTION
from aehub.codecs.d4.network import Codes, CodingPass, FrameNetwork, InterCondition
from aehub.codecs.d4.planes import PlaneBatch, clipped


class FrameCoder(Protocol):
    """Source of the codes of a frame.

    Attributes:
        coded: coded-block flags [B, 1, h/4, w/4], 0 where all codes are zero and none is written;
            None where all are coded.
    """

    coded: Tensor | None

    def hyper(self, index: Tensor) -> Tensor:
        """Return z_hat, [B, 24, h/4, w/4], for the indices of its tables, of the same shape."""
        ...

    def latent(self, coding_pass: CodingPass, mean: Tensor, index: Tensor) -> Tensor:
        """Return Q(y - mu) of a coding pass, [B, C', h, w]; 0 where nothing is written.

        Args:
            coding_pass: channels and positions.
            mean: mu in steps, [B, C', h, w]; [1] where none is predicted.
            index: of the tables; 0 where nothing is written.
        """
        ...


class FrameLatents(NamedTuple):
    """Quantised latents of frames.

    Attributes:
        codes: integers, z_hat and Q(y - mu).
        tables: indices of their tables, of the same shapes; 0 where nothing is written.
        y_hat: codes plus means, in steps, [B, 96, h, w].
    """

    codes: Codes
    tables: Codes
    y_hat: Tensor


def encode_frame(network: FrameNetwork, x: PlaneBatch, quality: Tensor,
                 quantise: Callable[[Tensor, Tensor], FrameCoder],
                 condition: InterCondition | None = None,
                 flat: Tensor | None = None) -> FrameLatents:
    """Encode frames of one type and size.

    Args:
        network: of the frame type.
        x: pictures, sides multiples of 32.
        quality: [B] or [1], 0..100.
        quantise: (y, z) in steps to the coder that quantises them.
        condition: of inter frames.
        flat: latents of flat cells, [1, 96, 1, 1].
    """
    y, z = network.analyse(x, quality, condition)                                # g_a, h_a
    return code_latents(network, quantise(y, z), z, quality, condition, flat)    # Q, h_s


def decode_frame(network: FrameNetwork, codes: Codes, quality: Tensor,
                 condition: InterCondition | None = None, flat: FlatCells | None = None, *,
                 coarse: bool = False) -> PlaneBatch:
    """Decode frames of one type and size: x_hat as later frames refer to it.

    Args:
        network: of the frame type.
        codes: integers, z_hat and Q(y - mu).
        quality: [B] or [1], 0..100.
        condition: of inter frames.
        flat: flat cells of an intra frame.
        coarse: as for `FrameNetwork.synthesise`; intra frames only.
    """
    y_hat = dequantise(network, codes, quality, condition, flat)                 # h_s
    return reconstruct(network, y_hat, quality, condition, flat, coarse=coarse)  # g_s


def reconstruct(network: FrameNetwork, y_hat: Tensor, quality: Tensor,
                condition: InterCondition | None = None, flat: FlatCells | None = None, *,
                coarse: bool = False) -> PlaneBatch:
    """x_hat as later frames refer to it: clipped, before the post-filter."""
    x_hat = clipped(network.synthesise(y_hat, quality, condition, coarse=coarse))
    return x_hat if flat is None else flat.fill(x_hat)


def show_frame(network: FrameNetwork, x_hat: PlaneBatch, quality: Tensor,
               condition: InterCondition | None = None, flat: FlatCells | None = None
               ) -> PlaneBatch:
    """x_hat after the post-filter."""
    shown = network.apply_post_filter(x_hat, quality, condition)
    return shown if flat is None else flat.fill(shown)


def code_latents(network: FrameNetwork, coder: FrameCoder, like: Tensor, quality: Tensor,
                 condition: InterCondition | None = None, flat: Tensor | None = None, *,
                 means: bool = True) -> FrameLatents:
    """Entropy model: z_hat first, then y in four passes, each conditioned on all earlier ones.

    Args:
        network: of the frame type.
        coder: gives the codes.
        like: of the shape of z, and of the type of codes.
        quality: [B] or [1], 0..100.
        condition: of inter frames.
        flat: latents of intra frames where none is coded, [1, 96, 1, 1].
        means: predict mu; without, only integer networks run and y_hat equals the codes.
    """
    hundredths = (quality * (QUALITY_RESOLUTION / 100)).round().to(torch.int64)
    temporal = None if condition is None else (condition.context, condition.distance_class)
    distance = None if condition is None else condition.distance_class
    z_index = network.scales.hyper_index(hundredths, distance).expand_as(like)
    sparse = coded = None
    if coder.coded is not None:
        z_index = z_index * coder.coded
        sparse = SparseBlocks.of(coder.coded) if not isinstance(distance, tuple) else None
        coded = _upsampled(coder.coded)
    z_hat = coder.hyper(z_index)
    scales = network.scales.features(z_hat, hundredths, temporal, sparse)
    predicted = _Means(network, z_hat, quality, condition) if means else None
    codes, indices, y_hat = list[Tensor](), list[Tensor](), list[Tensor]()
    height, width = (4 * n for n in like.shape[-2:])
    for part in network.coding_passes(height, width, like.device):
        mu = like.new_zeros(1) if predicted is None else predicted(part, y_hat)
        index = network.scales(part.number, scales, _joined(codes).detach() if codes else None,
                               part.mask, hundredths, sparse, coded)
        new = coder.latent(part, mu, index)
        _add(indices, index, part)
        _add(codes, new, part)
        if predicted is not None:
            _add(y_hat, _with_flat(new + mu * part.mask, part, coded, flat), part)
    latent = _joined(codes)
    return FrameLatents(Codes(z_hat, latent), Codes(z_index, _joined(indices)),
                        _joined(y_hat) if y_hat else latent)


def _add(parts: list[Tensor], new: Tensor, coding_pass: CodingPass) -> None:
    """Add what a pass has; pass 1 has the same channels as pass 0, at the other positions."""
    parts.append(parts.pop() + new if coding_pass.number == 1 else new)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def dequantise(network: FrameNetwork, codes: Codes, quality: Tensor,
               condition: InterCondition | None = None, flat: FlatCells | None = None) -> Tensor:
    """Codes -> y_hat in steps, [B, 96, h, w]: adds mu pass by pass; only float networks run."""
    means, y_hat = _Means(network, codes.hyper, quality, condition), list[Tensor]()
    coded = filling = None
    if flat is not None:
        coded = _upsampled(torch.from_numpy(flat.coded).to(codes.latent)[None, None])
        filling = flat.latents(network, quality)
    height, width = codes.latent.shape[-2:]
    for part in network.coding_passes(height, width, codes.latent.device):
        hat = (codes.latent[:, part.begin:part.end] + means(part, y_hat)) * part.mask
        _add(y_hat, _with_flat(hat, part, coded, filling), part)
    return torch.cat(y_hat, 1)


def _upsampled(cells: Tensor) -> Tensor:
    """[B, 1, h/4, w/4] -> [B, 1, h, w]."""
    return cells.repeat_interleave(4, 2).repeat_interleave(4, 3)


def _with_flat(hat: Tensor, part: CodingPass, coded: Tensor | None, flat: Tensor | None) -> Tensor:
    """Latents of a pass, in cells that are not coded those of a flat picture."""
    if coded is None or flat is None:
        return hat
    return hat * coded + flat[:, part.begin:part.end] * part.mask * (1 - coded)


class _Means:
    """The mean mu of each pass of frames, in steps."""

    def __init__(self, network: FrameNetwork, z_hat: Tensor, quality: Tensor,
                 condition: InterCondition | None) -> None:
        self._network, self._quality = network, quality
        self._gains = network.gains(quality, condition)
        prediction = None if condition is None else condition.prediction
        self._features = network.means.features(z_hat / network.hyper_gains(quality), prediction)

    def __call__(self, part: CodingPass, y_hat: list[Tensor]) -> Tensor:
        """mu of a pass from the latents of earlier ones: [B, C', h, w]; [1] where it is 0."""
        mu = self._network.means(part.number, self._features, y_hat, self._gains, self._quality)
        if mu is None:
            return self._gains.new_zeros(1)
        return mu * self._gains[:, part.begin:part.end]


class KnownCodes:
    """A `FrameCoder` that repeats codes."""

    coded: Tensor | None = None

    def __init__(self, codes: Codes) -> None:
        self.codes = codes

    def hyper(self, index: Tensor) -> Tensor:
        """z_hat as known."""
        return self.codes.hyper

    def latent(self, coding_pass: CodingPass, mean: Tensor, index: Tensor) -> Tensor:
        """Codes as known, of the pass."""
        return self.codes.latent[:, coding_pass.begin:coding_pass.end] * coding_pass.mask
