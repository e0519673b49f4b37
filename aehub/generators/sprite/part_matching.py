"""What a still shows: the parts that together look most like it.

A still is explained slot by slot: of all parts that fit there, the one is taken with which the
composed picture is nearest to the still. Hair is drawn as a mean of all hair that is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from aehub.generators.sprite.parts import (
    CLASSES,
    HAIR_AND_HATS,
    SLOTS,
    ColouredPart,
    PartDictionary,
)
from aehub.generators.sprite.pixel_art import BACKGROUND, luma
from aehub.generators.sprite.stills import HEIGHT

# Large things first: what they hide is not looked for.
_FIRST = ("body", "head", "hair", "torso", "legs", "feet", "suit", "cape", "belt", "beard", "eyes",
          "nose", "ears")
_ROUNDS = 3
# Squared errors count no further than this: a wrong pixel is wrong. A part has to earn what it
# costs, and a palette that is read off the still what its colours cost; hair and hats that look
# like each other in other colours are told apart by that.
_MAX_ERROR, _LEAST_PIXELS = 6000, 4
_PART_COST = {"hair": 20000, "head": 20000, "cape": 60000, "belt": 10000, "beard": 10000,
              "eyes": 4000, "nose": 4000, "ears": 4000}
_COLOUR_COST, _OTHER_COLOURS_COST = 4000, {"hair": 40000, "head": 40000}
# How hair is weighed: shares fall by e with so much error; rows near count, others a little; and
# so much squared difference (of colours in 0..1) is left unexplained.
_TEMPERATURE, _ROW_SIGMA, _FAR_WEIGHT, _RIDGE = 3e5, 4.0, 0.05, 1.0


@dataclass(frozen=True)
class PartMatch:
    """What a still shows.

    Attributes:
        worn: what the character wears, bottom first, hair and hats aside.
        tops: ways of hair and hats on top of it, the likeliest first.
        shares: of the ways, float32 [N, H]: those of a row sum to 1, some may be negative.
        unexplained: share of the still's opaque pixels that the first of the ways does not explain.
    """

    worn: list[ColouredPart]
    tops: list[list[ColouredPart]]
    shares: np.ndarray
    unexplained: float


def match_parts(parts: PartDictionary, still: np.ndarray) -> PartMatch:
    """Which parts, in which colours, a still shows.

    Args:
        parts: that are known.
        still: uint8 [H, W, 3], the stage on white.
    """
    return _CoordinateDescent(parts, still, new_colours=True).match()


def snap_to_parts(parts: PartDictionary, still: np.ndarray) -> np.ndarray:
    """The still uint8 [H, W, 3] that known parts in their own colours make of a rough one."""
    search = _CoordinateDescent(parts, still, new_colours=False)
    search.run()
    return parts.render_still(_bottom_up(search.worn))


def body_error(parts: PartDictionary, still: np.ndarray) -> float:
    """Squared error between a still and the body that fits it best: least where it stands right.

    Args:
        parts: that are known.
        still: uint8 [H, W, 3], the stage on white.
    """
    search = _CoordinateDescent(parts, still, new_colours=True)
    search.fill("body")
    return search.error()


def redraw_with_parts(parts: PartDictionary, still: np.ndarray) -> np.ndarray:
    """A still that resizing or lossy coding has blurred, in the pixels of the parts it shows.

    Args:
        parts: that are known.
        still: uint8 [H, W, 3], the stage on white; where no part is near to it, it stays.
    """
    search = _CoordinateDescent(parts, still, new_colours=True)
    search.run()
    return search.redrawn().reshape(still.shape).astype(np.uint8)


class _CoordinateDescent:
    """Coordinate descent over the slots for one still.

    Args:
        parts: that are known.
        still: uint8 [H, W, 3], the stage on white.
        new_colours: whether parts may have colours that they are not known in.
    """

    def __init__(self, parts: PartDictionary, still: np.ndarray, new_colours: bool) -> None:
        self.new_colours = new_colours
        self.parts, self.still = parts.unpacked, still.reshape(-1, 3).astype(np.int64)
        self.colours, self.index = np.unique(self.still, axis=0, return_inverse=True)
        self.index = self.index.ravel()
        self.apart = _squared_error(self.colours[:, None], self.colours[None])
        self.worn: dict[str, ColouredPart] = {}
        self._errors: dict[int, np.ndarray] = {}

    def run(self) -> None:
        """Fill the slots."""
        for number in range(_ROUNDS):
            for slot in SLOTS if number else _FIRST:
                self.fill(slot)

    def error(self) -> float:
        """Squared error of what is worn, all together."""
        return float(_squared_error(self._composed(len(SLOTS)), self.still).sum())

    def redrawn(self) -> np.ndarray:
        """What is worn where it is near to the still, the still elsewhere: int64 [P, 3]."""
        drawn = self._composed(len(SLOTS))
        is_near = _squared_error(drawn, self.still) < _MAX_ERROR
        return np.where(is_near[:, None], drawn, self.still)

    def match(self) -> PartMatch:
        """What is worn, and how the ways of hair and hats share each row of the picture.

        How long hair is behind does not show from the front. What looks alike there may look alike
        from all sides, most of all at the same height: each row is the mean of all ways that fits
        the rows of the still around it best, by ridge regression.
        """
        self.run()
        drawn = self._composed(len(SLOTS))
        opaque = (self.still != BACKGROUND).any(1)
        wrong = float((drawn[opaque] != self.still[opaque]).any(1).mean()) if opaque.any() else 1.0
        ways = sorted(self._hair_candidates(), key=lambda way: way[0])
        costs = np.array([cost for cost, _ in ways])
        fronts = np.stack([self._composed(len(SLOTS), self.worn | top) for _, top in ways])
        prior = np.exp((costs[0] - costs) / _TEMPERATURE)
        shares = row_weights(prior / prior.sum(), fronts / 255, self.still / 255)
        worn = {slot: one for slot, one in self.worn.items() if slot not in HAIR_AND_HATS}
        tops = [_bottom_up({slot: (self.worn | top).get(slot) for slot in HAIR_AND_HATS})
                for _, top in ways]
        return PartMatch(_bottom_up(worn), tops, shares, wrong)

    def _composed(self, place: int, worn: Mapping[str, ColouredPart | None] | None = None
                  ) -> np.ndarray:
        """What the slots below a place compose: int64 [P, 3]."""
        worn = self.worn if worn is None else worn
        picture = np.broadcast_to(BACKGROUND, self.still.shape).astype(np.int64)
        for slot in SLOTS[:place]:
            if one := worn.get(slot):
                shown = self.parts.still_shown[one.part]
                picture[shown] = one.colours[self.parts.still_classes[one.part][shown]]
        return picture

    def _uncovered(self, place: int) -> np.ndarray:
        """Which pixels no slot above a place covers: bool [P]."""
        covered = np.zeros(len(self.still), bool)
        for slot in SLOTS[place + 1:]:
            if slot in self.worn:
                covered |= self.parts.still_shown[self.worn[slot].part]
        return ~covered

    def _compatible(self, slot: str) -> list[int]:
        """PartDictionary of a slot that go with the body."""
        fits = self.parts.fits
        build = fits[self.worn["body"].part] if "body" in self.worn and slot != "body" else 255
        return [part for part in self.parts.of_slot[slot] if fits[part] & build]

    def fill(self, slot: str) -> None:
        """The part that explains best, or none, given all other slots."""
        place = SLOTS.index(slot)
        free, error = self._uncovered(place), _squared_error(self._composed(place), self.still)
        best, found = 0.0, None
        for part in self._compatible(slot):
            without = error[free & self.parts.still_shown[part]].sum()
            cost, colours = self._best_colours(part, slot, error, free)
            gain = without - cost - _PART_COST.get(slot, 0)
            if gain > best:
                best, found = gain, ColouredPart(part, colours)
        self.worn.pop(slot, None)
        if found:
            self.worn[slot] = found

    def _best_colours(self, part: int, slot: str, error: np.ndarray, free: np.ndarray
                      ) -> tuple[float, np.ndarray]:
        """(error, colours [K, 3]) of a part in the colours that suit it best.

        Those of hair go from dark to bright in all its kinds, so what the still shows of it tells
        them all; those of other parts are each read off the still.
        """
        counts = self._class_counts(part, free)
        seen = np.flatnonzero(counts.any(1))
        palettes = self.parts.palettes[part]
        if not len(seen):
            return np.inf, palettes[0]
        costs = np.einsum("nkc,kc->n", self._error_of(part)[:, seen], counts[seen])
        best, colours = float(costs.min()), palettes[costs.argmin()]
        if not self.new_colours or slot == "body":
            return best, colours
        cost, read = self._observed_colours(part, counts)
        choices = [(best, colours), (cost + _OTHER_COLOURS_COST.get(slot, 0), read)]
        if slot == "hair":
            choices.append(self._ramp_colours(part, counts, error, free))
        return min(choices, key=lambda choice: choice[0])

    def _ramp_colours(self, part: int, counts: np.ndarray, error: np.ndarray, free: np.ndarray
                ) -> tuple[float, np.ndarray]:
        """(error and cost, colours [K, 3]): from dark to bright as the still's hair goes."""
        where = free & (error > 0) & self.parts.hair_region
        found, times = np.unique(self.index[where], return_counts=True)
        found = found[times >= _LEAST_PIXELS]
        if len(found) < 2:
            return np.inf, self.parts.palettes[part][0]
        ramp = self.colours[found]
        bright = luma(ramp)
        share = self.parts.class_luma(part)
        wanted = bright.min() + share * (bright.max() - bright.min())
        near = np.abs(wanted[:, None] - bright).argmin(1)
        cost = (counts * self.apart[found[near]]).sum() + _COLOUR_COST * len(found)
        return float(cost), ramp[near].astype(np.uint8)

    def _error_of(self, part: int) -> np.ndarray:
        """Errors of a part's palettes against the still's colours: [n, K, colours]."""
        if part not in self._errors:
            palettes = self.parts.palettes[part]
            self._errors[part] = _squared_error(palettes[:, :, None], self.colours[None, None])
        return self._errors[part]

    def _class_counts(self, part: int, free: np.ndarray) -> np.ndarray:
        """How often each class of a part meets each colour of the still: [K, colours]."""
        seen = free & self.parts.still_shown[part]
        pairs = self.parts.still_classes[part][seen].astype(np.int64) * len(self.colours)
        counts = np.bincount(pairs + self.index[seen], minlength=CLASSES * len(self.colours))
        return np.asarray(counts.reshape(CLASSES, len(self.colours)))

    def _observed_colours(self, part: int, counts: np.ndarray) -> tuple[float, np.ndarray]:
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
        near = _squared_error(own[:, None], own[seen][None]).argmin(1)
        colours = self.colours[most][near] + own - own[seen][near]
        colours[seen] = self.colours[most]
        return float(cost), colours.clip(0, 255).astype(np.uint8)

    def _hair_candidates(self) -> list[tuple[float, dict[str, ColouredPart | None]]]:
        """Each other hair and hat in place of what is worn, and none: (error and cost, what)."""
        others: list[tuple[float, dict[str, ColouredPart | None]]] = []
        for slot in HAIR_AND_HATS:
            place = SLOTS.index(slot)
            free, error = self._uncovered(place), _squared_error(self._composed(place), self.still)
            covered = float(_squared_error(self._composed(len(SLOTS)), self.still)[~free].sum())
            others.append((covered + float(error[free].sum()), {slot: None}))
            for part in self._compatible(slot):
                cost, colours = self._best_colours(part, slot, error, free)
                left = float(error[free & ~self.parts.still_shown[part]].sum())
                others.append((covered + left + cost + _PART_COST[slot],
                               {slot: ColouredPart(part, colours)}))
        return others


def row_weights(prior: np.ndarray, fronts: np.ndarray, still: np.ndarray) -> np.ndarray:
    """What each way counts in each row: float32 [N, H].

    Args:
        prior: [N], sums to 1.
        fronts: what the ways look like from the front, [N, P, 3] in 0..1.
        still: [P, 3] in 0..1.
    """
    mean = np.tensordot(prior, fronts, 1)
    apart = ((fronts - mean) * np.sqrt(prior)[:, None, None]).reshape(len(prior), HEIGHT, -1)
    left = (still - mean).reshape(HEIGHT, -1)
    alike = np.matmul(apart.transpose(1, 0, 2), apart.transpose(1, 2, 0))
    told = np.einsum("nhx,hx->hn", apart, left)
    rows = np.arange(HEIGHT)
    near = _FAR_WEIGHT + np.exp(-np.square((rows[:, None] - rows) / _ROW_SIGMA) / 2)
    alike = np.tensordot(near, alike, 1) + _RIDGE * np.eye(len(prior))
    weights = np.linalg.solve(alike, (near @ told)[..., None])[..., 0] * np.sqrt(prior)
    shares = prior * (1 - weights.sum(1, keepdims=True)) + weights
    return np.asarray(shares.T, np.float32)


def _bottom_up(worn: Mapping[str, ColouredPart | None]) -> list[ColouredPart]:
    """What is worn, bottom first."""
    return [one for slot in SLOTS if (one := worn.get(slot))]


def _squared_error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared error of colours [..., 3], as far as it counts."""
    apart = np.square(a.astype(np.int64) - b.astype(np.int64)).sum(-1)
    return np.minimum(apart, _MAX_ERROR)
