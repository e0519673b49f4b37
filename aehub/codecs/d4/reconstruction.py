"""Pictures of frames from their integers, at their size, at 1/2, 1/4 or 1/8 of it, or at twice.

    at their size    prediction, means, g_s, post-filter
    smaller          key pictures as at their size (intra frames at 1/4 and 1/8 without the residual
                     network of g_s), then averaged, so that errors cannot add up along the group;
                     B-frames by the same vectors from small references, plus low frequencies of g_s
    twice            upscaler after the post-filter

Small references have twice the resolution that is shown at 1/4 and 1/8: on two clips pictures at
1/8 are 2 and 5 dB closer for that, in hardly more time. What a small B-frame lacks, against
averaging the whole picture: means of its latents, detail of its references below a small sample,
and the post-filter. Texture masking needs the variance inside 8x8 blocks, which small planes do not
show: it is kept as a plane of its own and moves along the vectors too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aehub.codecs.d4.frame import decode_frame, show_frame
from aehub.codecs.d4.frame_coding import FrameSyntax
from aehub.codecs.d4.motion import kernels
from aehub.codecs.d4.motion.compensate import OBMC_MARGIN, PRECISION, predict
from aehub.codecs.d4.motion.field import Motion
from aehub.codecs.d4.network import FrameNetwork, InterCondition, quality_tensor
from aehub.codecs.d4.planes import PlaneBatch, clipped, unshuffle
from aehub.codecs.d4.quantisation import frame_quality, masking_shares
from aehub.codecs.d4.reference_buffer import motion_tensors
from aehub.codecs.d4.runtime import Runtime
from aehub.codecs.d4.tied_conv import TiedConv2d
from aehub.codecs.d4.upscaler import Upscaler

_BLOCK = 8
_TAPS = 4
_CORRELATION = 0.95
"""Of adjacent luma samples, for which the interpolation of small planes is optimal."""


class Reconstruction:
    """Reconstruction of the frames of a group at their size; called side by side.

    Args:
        runtime: the model's networks.
        quality: of the group, 0..100.
    """

    def __init__(self, runtime: Runtime, quality: float) -> None:
        self.runtime, self.quality = runtime, quality

    def decode(self, frame: FrameSyntax, references: Sequence[Any]) -> tuple[Any, Any]:
        """Decode a frame.

        Args:
            frame: integers.
            references: the first result of each frame that it refers to.

        Returns:
            What later frames need of it; and what `show` needs.
        """
        condition = (None if frame.motion is None
                     else pixel_condition(references, frame.motion))
        network, quality = self.network_of(frame), self.quality_of(frame)
        x_hat = decode_frame(network, frame.codes, quality, condition, frame.flat)
        return x_hat, (frame, x_hat, condition)

    def show(self, decoded: Any) -> PlaneBatch:
        """Planes of a decoded frame as they are shown."""
        frame, x_hat, condition = decoded
        return show_frame(self.network_of(frame), x_hat, self.quality_of(frame), condition,
                          frame.flat)

    def network_of(self, frame: FrameSyntax) -> FrameNetwork:
        """The networks of a frame."""
        network = self.runtime.network
        return network if frame.motion is None else network.inter

    def quality_of(self, frame: FrameSyntax) -> Tensor:
        """The quality of a frame, [1]."""
        return quality_tensor(frame_quality(self.quality, frame.quality_offset),
                              frame.codes.latent)


class UpscaledReconstruction(Reconstruction):
    """Reconstruction at twice the size: later frames refer to frames at their own.

    Args:
        runtime: the model's networks.
        quality: of the group, 0..100.
        upscaler: of the model.
    """

    def __init__(self, runtime: Runtime, quality: float, upscaler: Upscaler) -> None:
        super().__init__(runtime, quality)
        self._upscaler = upscaler

    def show(self, decoded: Any) -> PlaneBatch:
        """Planes of a decoded frame, as shown at its own size, at twice that."""
        return self._upscaler(super().show(decoded), self.quality_of(decoded[0]))


class SmallFrame(NamedTuple):
    """A decoded frame as later ones refer to it.

    Attributes:
        planes: small.
        variance: of luma inside 8x8 blocks that `planes` does not show, [1, 1, h, w].
        whole: the frame at full size; key pictures only.
    """

    planes: PlaneBatch
    variance: Tensor
    whole: PlaneBatch | None


class ScaledReconstruction(Reconstruction):
    """Reconstruction of the frames of a group at 1/n.

    Args:
        runtime: the model's networks.
        quality: of the group, 0..100.
        n: 2, 4 or 8.
        keys: numbers of the key pictures.
    """

    def __init__(self, runtime: Runtime, quality: float, n: int, keys: Collection[int]) -> None:
        super().__init__(runtime, quality)
        self._keys, self._coarse = frozenset(keys), n > 2
        # Luma samples along a sample of luma and of chroma, as later frames refer to them; and
        # samples along one that is shown.
        side = max(2, n // 2)
        self._sides, self._shown = (side, 2 * side), n // side

    def decode(self, frame: FrameSyntax, references: Sequence[Any]) -> tuple[Any, Any]:
        """Decode a frame; key pictures at full size."""
        if frame.motion is None:
            small = self._averaged(decode_frame(
                self.network_of(frame), frame.codes, self.quality_of(frame), flat=frame.flat,
                coarse=self._coarse))
        elif frame.number in self._keys and all(r.whole is not None for r in references):
            whole, _ = super().decode(frame, [reference.whole for reference in references])
            small = self._averaged(whole)
        else:
            small = self._predicted(frame, frame.motion, references)
        return small, small.planes

    def show(self, decoded: Any) -> PlaneBatch:
        """Planes as they are shown; no filter is applied."""
        return PlaneBatch(*(F.avg_pool2d(plane, self._shown) for plane in decoded))

    def _averaged(self, whole: PlaneBatch) -> SmallFrame:
        luma, chroma = self._sides
        planes = PlaneBatch(F.avg_pool2d(whole.y, luma), *(
            F.avg_pool2d(plane, chroma // 2) for plane in whole[1:]))
        shown = F.avg_pool2d(planes.y.square(), _BLOCK // luma)
        variance = F.avg_pool2d(whole.y.square(), _BLOCK) - shown
        return SmallFrame(planes, variance, whole)

    def _predicted(self, frame: FrameSyntax, motion: Motion, references: Sequence[SmallFrame]
                   ) -> SmallFrame:
        luma, chroma = self._sides
        moved = [self._moved([r.planes[at] for r in references], motion, side)
                 for at, side in enumerate((luma, chroma, chroma))]
        variance = self._moved([r.variance for r in references], motion, _BLOCK).clamp_(min=0)
        residual = self._residual(frame, moved[0], variance)
        planes = clipped(PlaneBatch(*(a + b for a, b in zip(moved, residual, strict=True))))
        return SmallFrame(planes, variance, None)

    def _moved(self, references: Sequence[Tensor], motion: Motion, side: int) -> Tensor:
        """Motion-compensated prediction of a plane whose samples are `side` luma samples wide."""
        first, last = (references[at][0, 0].contiguous().numpy() for at in (0, -1))
        total = np.zeros(first.shape, first.dtype)
        kernels.predict_plane(first, last, motion.vectors.astype(np.int32), motion.modes,
                              _fraction_taps(side).astype(first.dtype), 2 * _BLOCK // side,
                              OBMC_MARGIN // side, total)
        return torch.from_numpy(total)[None, None]

    def _residual(self, frame: FrameSyntax, luma: Tensor, variance: Tensor) -> list[Tensor]:
        """Residual of the planes from the low frequencies of the codes."""
        network, (cells, chroma_cells) = self.network_of(frame), (_BLOCK // n for n in self._sides)
        means = F.avg_pool2d(luma, cells)
        squares = variance + F.avg_pool2d(luma.square(), cells)
        shares = masking_shares(255 * means[0, 0].numpy(), 255**2 * squares[0, 0].numpy(),
                                network.masking_exponent)
        # Steps per unit of latent are divided by the factor of masking: these are its inverses.
        gains = network.gains(self.quality_of(frame)) * torch.from_numpy(shares)
        linear: TiedConv2d = network.synthesis.linear
        weight = linear.cached(("averaged", cells), lambda: _averaged_weight(
            linear.weight(), *self._sides))
        samples = F.conv2d(frame.codes.latent / gains, weight, padding=1)
        sides = cells, chroma_cells, chroma_cells
        return [F.pixel_shuffle(part, side) for part, side in zip(
            samples.split([side**2 for side in sides], 1), sides, strict=True)]


def _averaged_weight(weight: Tensor, luma: int, chroma: int) -> Tensor:
    """Weights of a convolution to the 96 samples of a block -> to means of its areas.

    Args:
        weight: [96, C, 3, 3].
        luma: samples along an area of luma.
        chroma: luma samples along an area of chroma.
    """
    rows = []
    for part, side, area in zip(weight.split((64, 16, 16)), (8, 4, 4),
                                (luma, chroma // 2, chroma // 2), strict=True):
        n = side // area
        blocks = part.reshape(n, area, n, area, *part.shape[1:])
        rows.append(blocks.mean((1, 3)).reshape(n * n, *part.shape[1:]))
    return torch.cat(rows).contiguous(memory_format=torch.channels_last)


@lru_cache
def _fraction_taps(side: int) -> np.ndarray:
    """Interpolation of means of `side` samples at quarters of a sample: float64 [4 side, 4].

    The least-squares estimate of the shifted mean from the four around it, taps of sum 1, for
    samples of an exponential correlation. Mirrored phases mirror each other.
    """
    phases, samples = PRECISION * side, PRECISION * np.arange(side)
    places = np.concatenate([samples + phases * j for j in range(-1, _TAPS - 1)])

    def covariance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        power = np.abs(a[:, None] - b) / PRECISION
        means = (_CORRELATION**power).reshape(-1, side, len(b) // side, side).mean((1, 3))
        return np.asarray(means)

    known = covariance(places, places)
    bordered = np.block([[known, np.ones((_TAPS, 1))], [np.ones((1, _TAPS)), np.zeros((1, 1))]])
    taps = np.zeros((phases, _TAPS))
    taps[0, 1] = 1
    for phase in range(1, phases // 2 + 1):
        wanted = np.append(covariance(places, samples + phase), 1)
        taps[phase] = np.linalg.solve(bordered, wanted)[:_TAPS]
        taps[phases - phase] = taps[phase][::-1]
    middle = phases // 2
    taps[middle] = (taps[middle] + taps[middle][::-1]) / 2
    return taps


def pixel_condition(references: Sequence[PlaneBatch], motion: Motion) -> InterCondition:
    """Condition of the float networks of a predicted frame; the context is left out."""
    vectors, modes = motion_tensors([motion], references[0].y.device)
    prediction = unshuffle(predict(references, vectors, modes))
    return InterCondition(prediction, prediction.new_empty(0), 0)
