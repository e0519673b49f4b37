"""Pictures of frames from their integers: prediction, means, g_s, post-filter, upscaler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from aehub.codecs.d4.frame import decode_frame, show_frame
from aehub.codecs.d4.frame_coding import FrameSyntax
from aehub.codecs.d4.motion.compensate import predict
from aehub.codecs.d4.motion.field import Motion
from aehub.codecs.d4.network import FrameNetwork, InterCondition, quality_tensor
from aehub.codecs.d4.planes import PlaneBatch, unshuffle
from aehub.codecs.d4.quantisation import frame_quality
from aehub.codecs.d4.reference_buffer import motion_tensors
from aehub.codecs.d4.runtime import Runtime
from aehub.codecs.d4.upscaler import Upscaler


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


def pixel_condition(references: Sequence[PlaneBatch], motion: Motion) -> InterCondition:
    """Condition of the float networks of a predicted frame; the context is left out."""
    vectors, modes = motion_tensors([motion], references[0].y.device)
    prediction = unshuffle(predict(references, vectors, modes))
    return InterCondition(prediction, prediction.new_empty(0), 0)
