"""A character that tests draw themselves: front-facing, in a cell of 64x64 pixels."""

from __future__ import annotations

import numpy as np

SKIN, SHADE, HAIR, SHIRT, BELT, TROUSERS, BOOTS, EYES = (
    (236, 190, 150), (200, 150, 115), (120, 70, 30), (60, 110, 190), (110, 80, 40), (80, 70, 90),
    (60, 40, 30), (30, 60, 40))


def knight() -> np.ndarray:
    """uint8 [64, 64, 4]: hair, a face with eyes, a shirt with arms, trousers and boots."""
    sprite = np.zeros((64, 64, 4), np.uint8)

    def box(top: int, bottom: int, left: int, right: int, colour: tuple[int, int, int]) -> None:
        sprite[top:bottom, left:right] = (*colour, 255)

    box(14, 33, 23, 41, HAIR)
    box(20, 33, 25, 39, SKIN)
    box(31, 33, 25, 39, SHADE)
    box(24, 27, 27, 29, EYES)
    box(24, 27, 35, 37, EYES)
    box(33, 48, 24, 40, SHIRT)
    box(33, 45, 20, 24, SHIRT)
    box(33, 45, 40, 44, SHIRT)
    box(45, 48, 20, 24, SKIN)
    box(45, 48, 40, 44, SKIN)
    box(46, 48, 24, 40, BELT)
    box(48, 57, 25, 31, TROUSERS)
    box(48, 57, 33, 39, TROUSERS)
    box(57, 62, 24, 31, BOOTS)
    box(57, 62, 33, 40, BOOTS)
    return sprite
