"""Frames of AV1 through the restorer: alignment, network, mixture."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial

import numpy as np
import torch

from aehub.codecs.sandwich import alignment, mixing
from aehub.codecs.sandwich.network import FOLD, Restorer
from aehub.media.picture import Picture
from aehub.media.scaling import upscale
from aehub.schedule import Task, run_tasks


class Restoration:
    """Restorer of the frames of one group.

    Args:
        network: on its device and of its type.
        size: (width, height) of the frames that it gives.
        picture: returns a decoded frame by its number.
        quantisers: base_q_idx of the frames, in the order of times.
    """

    def __init__(self, network: Restorer, size: tuple[int, int],
                 picture: Callable[[int], Picture], quantisers: Sequence[int]) -> None:
        self.network, self.size, self.picture = network, size, picture
        self.quantisers = quantisers

    @torch.inference_mode()
    def corrections(self, number: int, weights: np.ndarray | None = None
                    ) -> tuple[np.ndarray, np.ndarray]:
        """Frame and corrections of it, at the size that they are given in.

        Args:
            number: of the frame.
            weights: int8 [3, n_classes, K] (`mixing`): mixtures instead of the candidates.

        Returns:
            (uint8 [6, h, w]; grey levels, float32 [candidates or n_classes, 6, h, w]).
        """
        current = self.picture(number)
        height, width = (-(-n // FOLD) * FOLD for n in current[0].shape)
        references = alignment.choose_references(self.quantisers, number)
        folded = [mixing.fold(current, height, width)]
        for reference in references[:self.network.frames - 1]:
            other = self.picture(reference)
            if reference != number:
                other = alignment.compensate(other, alignment.vectors(current[0], other[0]))
            folded.append(mixing.fold(other, height, width))
        device = self.network.tail.weight.device
        frames = torch.from_numpy(np.stack(folded))[None].to(device, torch.float32)
        quantisers = [self.quantisers[n] for n in (number, *references)][:self.network.frames]
        mixture = None if weights is None else torch.from_numpy(
            weights * np.float32(mixing.UNIT)).to(device)
        found = self.network(frames, torch.tensor([quantisers], dtype=torch.float32,
                                                  device=device), mixture)
        base = folded[0]
        if self.network.scale == 2:
            base = mixing.fold(upscale(current), 2 * height, 2 * width)
        return base, found[0].cpu().numpy()

    def restored(self, number: int, weights: np.ndarray | None) -> Picture:
        """A frame, restored with these weights (`mixing`); without, as AV1 decodes it."""
        if weights is None:
            current = self.picture(number)
            doubled = upscale(current) if self.network.scale == 2 else current
            shapes = doubled.format.shapes(self.size)
            return Picture([plane[:rows, :columns] for plane, (rows, columns) in
                            zip(doubled, shapes, strict=True)])
        return mixing.unfold(mixing.corrected(*self.corrections(number, weights)), self.size)


_AHEAD = 4
"""Restored frames that wait for the caller."""


def restored_frames(network: Restorer, size: tuple[int, int], decoded: Iterator[Picture],
                    quantisers: Sequence[int], wanted: Collection[int], weights: np.ndarray | None
                    ) -> Iterator[tuple[int, Picture]]:
    """Restore frames side by side, holding those decoded frames that they refer to.

    Args:
        network: on its device and of its type.
        size: (width, height) of the frames that it gives.
        decoded: frames from the first on, in the order of times.
        quantisers: base_q_idx of all frames.
        wanted: numbers of the frames to restore.
        weights: int8 [3, n_classes, K], or None.

    Yields:
        (number, picture), in the order of times.
    """
    held: dict[int, Picture] = {}
    restoration = Restoration(network, size, held.__getitem__, quantisers)
    arriving = enumerate(decoded)

    def tasks() -> Iterator[Task]:
        arrived = -1
        for number in sorted(wanted):
            while arrived < min(number + alignment.MAX_DISTANCE, len(quantisers) - 1):
                arrived, picture = next(arriving)
                held[arrived] = picture
            yield Task(partial(restoration.restored, number, weights), yields=True)

    on_cpu = network.tail.weight.device.type == "cpu"
    restored = run_tasks(tasks(), _AHEAD, side_by_side=on_cpu)
    for number, picture in zip(sorted(wanted), restored, strict=True):
        yield number, picture
        for old in [n for n in held if n <= number - alignment.MAX_DISTANCE]:
            del held[old]
