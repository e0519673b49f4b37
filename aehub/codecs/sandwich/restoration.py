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


def network_inputs(picture: Callable[[int], Picture], quantisers: Sequence[int], number: int,
                   n: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Inputs of a restorer for one frame.

    Args:
        picture: returns a decoded frame by its number.
        quantisers: base_q_idx of the frames of the group, in the order of times.
        number: of the frame.
        n: references on either side.

    Returns:
        (frame, uint8 [6, h, w]; differences of the references from it, int8 [2 n, 6, h, w], in
        steps of `alignment`; base_q_idx of the frame and of the references).
    """
    current = picture(number)
    height, width = (-(-n // FOLD) * FOLD for n in current[0].shape)
    frame = mixing.fold(current, height, width)
    references = alignment.choose_references(quantisers, number, n)
    found = {number: np.zeros(frame.shape, np.int8)}
    for r in {*references} - {number}:
        found[r] = mixing.fold(alignment.differences(current, picture(r)), height, width)
    differences = np.array([found[r] for r in references], np.int8).reshape(-1, *frame.shape)
    return frame, differences, [quantisers[r] for r in (number, *references)]


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
        frame, differences, quantisers = network_inputs(
            self.picture, self.quantisers, number, self.network.references)
        device = self.network.tail.weight.device
        mixture = None if weights is None else torch.from_numpy(
            weights * np.float32(mixing.UNIT)).to(device)
        found = self.network(
            torch.from_numpy(frame)[None].to(device, torch.float32),
            torch.from_numpy(differences)[None].to(device, torch.float32) / alignment.PRECISION,
            torch.tensor([quantisers], dtype=torch.float32, device=device), mixture)
        if self.network.scale == 2:
            height, width = (2 * FOLD * n for n in frame.shape[1:])
            frame = mixing.fold(upscale(self.picture(number)), height, width)
        return frame, found[0].cpu().numpy()

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
