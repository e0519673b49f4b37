"""Which pictures of a set are variants of one another, and which of them training may see.

A set of emoji holds the same drawing many times: skin tones, genders, colours, hours of a clock.
Whole families are held out, by a hash of what their members share, and what still looks like a
held-out picture is left out of training by looking at the pixels.
"""

from __future__ import annotations

import hashlib
import re

import numpy as np

TEST_SHARE, WATCH_SHARE = 0.10, 0.05
"""Of the families: for the numbers on the card, and for the held-out cost during training."""
NEAR = 0.01
"""Mean squared error in [0, 1] below which two pictures show the same."""
ALIKE = 0.93
"""Correlation of brightness above which one picture is another in other colours."""

_JOINED = ("ZERO WIDTH JOINER", "EMOJI MODIFIER", "VARIATION SELECTOR", "FEMALE SIGN", "MALE SIGN",
           "BLACK RIGHTWARDS ARROW")
_KINDS = ("KEYCAP", "MOON", "ARROW ABOVE", "CLOCK FACE", "REGIONAL INDICATOR", "SQUARED", "DIGIT",
          "ARROW", "TRIANGLE", "MEDAL", "GLOBE", "ARROWS")
_PEOPLE = frozenset("MAN WOMAN BOY GIRL ADULT CHILD PERSON MENS WOMANS WOMENS MANS".split())
_VARYING = frozenset(
    "BLACK WHITE RED BLUE GREEN YELLOW ORANGE PURPLE BROWN LARGE SMALL MEDIUM HEAVY ZERO ONE TWO "
    "THREE FOUR FIVE SIX SEVEN EIGHT NINE TEN ELEVEN TWELVE OCLOCK THIRTY FIRST SECOND THIRD LEFT "
    "RIGHT UP DOWN LEFTWARDS RIGHTWARDS UPWARDS DOWNWARDS POINTING OPEN CLOSED OLDER YOUNGER OLD "
    "WITH AND OF FOR IN".split())
# Skin tones, the joiner, gender signs and the variation selector, as files are named by them.
_CODES = re.compile(r"(?<![0-9a-f])(1f3f[b-f]|200d|2640|2642|fe0f)(?![0-9a-f])")


def family_of(name: str) -> str:
    """What the variants of a picture share.

    Args:
        name: Unicode names joined by " + ", or the name of a file.

    Example:
        >>> family_of("RUNNER + ZERO WIDTH JOINER + FEMALE SIGN")
        'RUNNER'
        >>> family_of("emoji_u1f3c3_1f3fb_200d_2640")
        'EMOJI U1F3C3'
    """
    name = _CODES.sub("", name).replace("_", " ").strip().upper()
    parts = [part.strip() for part in name.split(" + ")]
    others = [part for part in parts[1:] if not part.startswith(_JOINED)]
    for kind in _KINDS:
        if any(re.search(rf"\b{kind}\b", part) for part in (parts[0], *others)):
            return kind
    base = others[0] if others and parts[0] in _PEOPLE else parts[0]
    words = {"PERSON" if word in _PEOPLE else word for word in re.split(r"[ -]+", base)}
    return " ".join(sorted(words - _VARYING)) or base


def part_of(family: str) -> str:
    """"test", "watch" or "training": decided by the family alone, so it never moves."""
    place = int(hashlib.sha256(family.encode()).hexdigest()[:8], 16) / 2**32
    return ("test" if place < TEST_SHARE else
            "watch" if place < TEST_SHARE + WATCH_SHARE else "training")


def look_alike(pictures: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which pictures show the same as any of the others, or its mirror image.

    Args:
        pictures: uint8 [N, H, W, 3].
        others: uint8 [M, H, W, 3].

    Returns:
        bool [N].
    """
    if not len(others) or not len(pictures):
        return np.zeros(len(pictures), bool)
    both = np.concatenate([others, others[:, :, ::-1]])
    a, b = (p.reshape(len(p), -1).astype(np.float32) / 255 for p in (pictures, both))
    distance = (np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * a @ b.T) / a.shape[1]
    c, d = (_standard(p) for p in (pictures, both))
    return np.asarray((distance.min(1) < NEAR) | ((c @ d.T).max(1) > ALIKE))


def _standard(pictures: np.ndarray) -> np.ndarray:
    """Brightness [N, H W] of mean 0 and length 1."""
    grey = pictures.astype(np.float32).mean(3).reshape(len(pictures), -1)
    grey -= grey.mean(1, keepdims=True)
    return np.asarray(grey / np.maximum(np.linalg.norm(grey, axis=1, keepdims=True), 1e-6))
