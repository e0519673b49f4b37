"""What a still shows: the parts that together look most like it.

A still is explained slot by slot: of all parts that fit there, the one is taken with which the
composed picture is nearest to the still.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from aehub.models.parts import CLASSES, SLOTS, Parts, Worn
from aehub.models.pixelart import BACKGROUND

# Large things first: what they hide is not looked for.
_FIRST = ("body", "head", "torso", "legs", "feet", "suit", "cape", "belt", "beard", "eyes", "nose",
          "ears")
_ROUNDS = 3
# Squared errors count no further than this: a wrong pixel is wrong. A palette that is read off the
# still has to earn what its colours cost. The head's other explanations are weighed by their error.
_MOST, _COLOUR_COST, _LEAST_PIXELS = 6000, 4000, 4
_DOUBT, _OTHERS, _BEST = 5e4, 10, 0.1


@dataclass(frozen=True)
class Explanation:
    """What a still shows.

    Attributes:
        ways: of dressing the character, each with its share; the shares sum to 1.
        wrong: share of the still's opaque pixels that the first of the ways does not explain.
    """

    ways: list[tuple[float, list[Worn]]]
    wrong: float


def explain(parts: Parts, still: np.ndarray) -> Explanation:
    """Which parts, in which colours, a still shows.

    Args:
        parts: that are known.
        still: uint8 [H, W, 3], the stage on white.
    """
    return _Search(parts, still, new_colours=True).explanation()


def tidied(parts: Parts, still: np.ndarray) -> np.ndarray:
    """The still uint8 [H, W, 3] that known parts in their own colours make of a rough one."""
    search = _Search(parts, still, new_colours=False)
    search.run()
    return parts.standing(_dressed(search.worn))


class _Search:
    """Coordinate descent over the slots for one still.

    Args:
        parts: that are known.
        still: uint8 [H, W, 3], the stage on white.
        new_colours: whether parts may have colours that they are not known in.
    """

    def __init__(self, parts: Parts, still: np.ndarray, new_colours: bool) -> None:
        self.new_colours = new_colours
        self.parts, self.still = parts.unpacked, still.reshape(-1, 3).astype(np.int64)
        self.colours, self.index = np.unique(self.still, axis=0, return_inverse=True)
        self.index = self.index.ravel()
        self.apart = _error(self.colours[:, None], self.colours[None])
        self.worn: dict[str, Worn] = {}
        self._errors: dict[int, np.ndarray] = {}

    def run(self) -> None:
        """Fill the slots."""
        for number in range(_ROUNDS):
            for slot in SLOTS if number else _FIRST:
                self._fill(slot)

    def explanation(self) -> Explanation:
        self.run()
        drawn = self._below(len(SLOTS))
        opaque = (self.still != BACKGROUND).any(1)
        wrong = float((drawn[opaque] != self.still[opaque]).any(1).mean()) if opaque.any() else 1.0
        ways = [(_BEST, _dressed(self.worn))]
        for share, head in self._heads(_DOUBT * (1 + 50 * wrong)):
            ways.append(((1 - _BEST) * share, _dressed(self.worn | {"head": head})))
        return Explanation(ways, wrong)

    def _below(self, place: int) -> np.ndarray:
        """What the slots below a place compose: int64 [P, 3]."""
        picture = np.broadcast_to(BACKGROUND, self.still.shape).astype(np.int64)
        for slot in SLOTS[:place]:
            if slot in self.worn:
                one = self.worn[slot]
                shown = self.parts.still_shown[one.part]
                picture[shown] = one.colours[self.parts.still_classes[one.part][shown]]
        return picture

    def _free(self, place: int) -> np.ndarray:
        """Which pixels no slot above a place covers: bool [P]."""
        covered = np.zeros(len(self.still), bool)
        for slot in SLOTS[place + 1:]:
            if slot in self.worn:
                covered |= self.parts.still_shown[self.worn[slot].part]
        return ~covered

    def _fill(self, slot: str) -> None:
        """The part that explains best, or none, given all other slots."""
        place = SLOTS.index(slot)
        free, error = self._free(place), _error(self._below(place), self.still)
        best, found = 0.0, None
        for part in self.parts.of_slot[slot]:
            counts = self._counts(part, free)
            without = error[free & self.parts.still_shown[part]].sum()
            seen = np.flatnonzero(counts.any(1))
            palettes = self.parts.palettes[part]
            costs = np.einsum("nkc,kc->n", self._error_of(part)[:, seen], counts[seen])
            if len(seen) and without - costs.min() > best:
                best, found = without - costs.min(), Worn(part, palettes[costs.argmin()])
            if self.new_colours and slot != "body":
                cost, colours = self._read_off(part, counts)
                if without - cost > best:
                    best, found = without - cost, Worn(part, colours)
        self.worn.pop(slot, None)
        if found:
            self.worn[slot] = found

    def _error_of(self, part: int) -> np.ndarray:
        """Errors of a part's palettes against the still's colours: [n, K, colours]."""
        if part not in self._errors:
            palettes = self.parts.palettes[part]
            self._errors[part] = _error(palettes[:, :, None], self.colours[None, None])
        return self._errors[part]

    def _counts(self, part: int, free: np.ndarray) -> np.ndarray:
        """How often each class of a part meets each colour of the still: [K, colours]."""
        seen = free & self.parts.still_shown[part]
        pairs = self.parts.still_classes[part][seen].astype(np.int64) * len(self.colours)
        counts = np.bincount(pairs + self.index[seen], minlength=CLASSES * len(self.colours))
        return np.asarray(counts.reshape(CLASSES, len(self.colours)))

    def _read_off(self, part: int, counts: np.ndarray) -> tuple[float, np.ndarray]:
        """(error and cost, colours [K, 3]): each class in the colour that it meets most often.

        Classes that the still does not show differ from the nearest that it shows as they do in the
        part's own palette.
        """
        seen = np.flatnonzero(counts.any(1))
        if counts.sum() < _LEAST_PIXELS:
            return np.inf, self.parts.palettes[part][0]
        most = counts[seen].argmax(1)
        cost = (counts[seen] * self.apart[most]).sum() + _COLOUR_COST * len(seen)
        own = self.parts.palettes[part][0].astype(np.int64)
        near = _error(own[:, None], own[seen][None]).argmin(1)
        colours = self.colours[most][near] + own - own[seen][near]
        colours[seen] = self.colours[most]
        return float(cost), colours.clip(0, 255).astype(np.uint8)

    def _heads(self, doubt: float) -> list[tuple[float, Worn | None]]:
        """Other hair and hats; shares fall by e with every `doubt` of error."""
        place = SLOTS.index("head")
        free, error = self._free(place), _error(self._below(place), self.still)
        others: list[tuple[float, Worn | None]] = [(float(error[free].sum()), None)]
        for part in self.parts.of_slot["head"]:
            cost, colours = self._read_off(part, self._counts(part, free))
            left = error[free & ~self.parts.still_shown[part]].sum()
            others.append((float(left + cost), Worn(part, colours)))
        others = sorted(others, key=lambda other: other[0])[:_OTHERS]
        shares = np.exp((others[0][0] - np.array([cost for cost, _ in others])) / doubt)
        return list(zip((shares / shares.sum()).tolist(), (one for _, one in others), strict=True))


def _dressed(worn: Mapping[str, Worn | None]) -> list[Worn]:
    """What is worn, bottom first."""
    return [one for slot in SLOTS if (one := worn.get(slot))]


def _error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared error of colours [..., 3], as far as it counts."""
    apart = np.square(a.astype(np.int64) - b.astype(np.int64)).sum(-1)
    return np.minimum(apart, _MOST)
