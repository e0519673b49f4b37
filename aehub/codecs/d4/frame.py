"""A frame through the networks, in the letters of Balle et al. 2018 and Minnen et al. 2018.

    encode_frame    x ──g_a──> y ──h_a──> z,    z_hat = Q(z),    y_hat = Q(y - mu) + mu
    decode_frame    z_hat and Q(y - mu) are read,    x_hat = g_s(y_hat)

Both run `code_latents`, in which the entropy model (h_s and its context) gives the mean mu and the
frequency table of each code, and a `FrameCoder` the code: it quantises, reads, repeats or rates.
Encoder, decoder, editor, trainer, self-test and ablations all call these three functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from aehub.codecs.d4.entropy_model import SparseBlocks
from aehub.codecs.d4.integer_conv import QUALITY_RESOLUTION
from aehub.codecs.d4.network import Codes, CodingPass, FrameNetwork, InterCondition
from aehub.codecs.d4.planes import PlaneBatch, clipped


class FrameCoder(Protocol):
    """Source of the codes of a frame.

    Attributes:
        coded: coded-block flags [1, 1, h/4, w/4] of one frame, 0 where all codes are zero and none
            is written; None where all are coded.
    """

    coded: Tensor | None

    def hyper(self, index: Tensor) -> Tensor:
        """Return z_hat, [B, 24, h/4, w/4], for the indices of its tables, of the same shape."""
        ...

    def latent(self, coding_pass: CodingPass, mean: Tensor, index: Tensor) -> Tensor:
        """Return Q(y - mu) of a coding pass, [B, C', h, w]; ignored outside the pass.

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
                 condition: InterCondition | None = None) -> FrameLatents:
    """Encode frames of one type and size.

    Args:
        network: of the frame type.
        x: pictures, sides multiples of 32.
        quality: [B] or [1], 0..100.
        quantise: (y, z) in steps to the coder that quantises them.
        condition: of inter frames.
    """
    y, z = network.analyse(x, quality, condition)                                # g_a, h_a
    return code_latents(network, quantise(y, z), z, quality, condition)          # Q, h_s


def decode_frame(network: FrameNetwork, coder: FrameCoder, like: Tensor, quality: Tensor,
                 condition: InterCondition | None = None) -> tuple[FrameLatents, PlaneBatch]:
    """Decode frames of one type and size: latents, and x_hat as later frames refer to it.

    Args:
        network: of the frame type.
        coder: reads or repeats the codes.
        like: of the shape of z, and of the type of codes.
        quality: [B] or [1], 0..100.
        condition: of inter frames.
    """
    latents = code_latents(network, coder, like, quality, condition)             # h_s
    return latents, reconstruct(network, latents.y_hat, quality, condition)      # g_s


def reconstruct(network: FrameNetwork, y_hat: Tensor, quality: Tensor,
                condition: InterCondition | None = None) -> PlaneBatch:
    """x_hat as later frames refer to it: clipped, before the post-filter."""
    return clipped(network.synthesise(y_hat, quality, condition))


def code_latents(network: FrameNetwork, coder: FrameCoder, like: Tensor, quality: Tensor,
                 condition: InterCondition | None = None, *, means: bool = True) -> FrameLatents:
    """Entropy model: z_hat first, then y in four passes, each conditioned on all earlier ones.

    Args:
        network: of the frame type.
        coder: gives the codes.
        like: of the shape of z, and of the type of codes.
        quality: [B] or [1], 0..100.
        condition: of inter frames.
        means: predict mu; without, only integer networks run and y_hat equals the codes.
    """
    hundredths = (quality * (QUALITY_RESOLUTION / 100)).round().to(torch.int64)
    temporal = None if condition is None else (condition.context, condition.distance_class)
    distance = None if condition is None else condition.distance_class
    z_index = network.scales.hyper_index(hundredths, distance).expand_as(like)
    sparse = coded = None
    if coder.coded is not None:
        z_index = z_index * coder.coded
        sparse = SparseBlocks.of(coder.coded)
        coded = coder.coded.repeat_interleave(4, 2).repeat_interleave(4, 3)
    z_hat = coder.hyper(z_index)
    scales = network.scales.features(z_hat, hundredths, temporal, sparse)
    gains = network.gains(quality, condition if means else None)
    mu_features = network.means.features(
        z_hat / network.hyper_gains(quality), None if condition is None else condition.prediction
    ) if means else None
    codes: list[Tensor] = []
    indices: list[Tensor] = []
    y_hat: list[Tensor] = []
    height, width = (4 * n for n in like.shape[-2:])
    for part in network.coding_passes(height, width, like.device):
        earlier = torch.cat(codes, 1).detach() if codes else None
        mu = None if mu_features is None else network.means(
            part.number, mu_features, y_hat, gains, quality)
        mu = like.new_zeros(1) if mu is None else mu * gains[:, part.begin:part.end]
        index = network.scales(part.number, scales, earlier, part.mask, hundredths, sparse)
        index = index * part.mask if coded is None else index * part.mask * coded
        new = coder.latent(part, mu, index) * part.mask
        hat = new + mu * part.mask
        if part.number == 1:  # The same channels as pass 0, at the other positions.
            new, hat, index = codes.pop() + new, y_hat.pop() + hat, indices.pop() + index
        codes.append(new)
        y_hat.append(hat)
        indices.append(index)
    return FrameLatents(Codes(z_hat, torch.cat(codes, 1)), Codes(z_index, torch.cat(indices, 1)),
                        torch.cat(y_hat, 1))


class KnownCodes:
    """A `FrameCoder` that repeats codes."""

    coded: Tensor | None = None

    def __init__(self, codes: Codes) -> None:
        self.codes = codes

    def hyper(self, index: Tensor) -> Tensor:
        """z_hat as known."""
        return self.codes.hyper

    def latent(self, coding_pass: CodingPass, mean: Tensor, index: Tensor) -> Tensor:
        """Codes as known, of the channels of the pass."""
        return self.codes.latent[:, coding_pass.begin:coding_pass.end]
