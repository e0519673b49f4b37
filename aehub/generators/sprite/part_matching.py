"""Matching of dictionary parts to a still by coordinate descent.

Slot by slot, the part is chosen that brings the composed picture nearest to the still. Hair is
rendered as a weighted mean of all hair in the dictionary.

Dimension letters: P = H * W pixels of the crop, K colour classes of a part, C colours of the still,
N candidates for hair and hats.
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

# Order of the first round: large parts first, so that parts they hide are not matched.
_FIRST_ROUND = ("body", "head", "hair", "torso", "legs", "feet", "suit", "cape", "belt", "beard",
                "eyes", "nose", "ears")
_ROUNDS = 3
# Squared error of a pixel is clipped here: beyond, a colour is simply wrong.
_MAX_ERROR = 6000
# Fewest pixels from which colours are observed.
_MIN_PIXELS = 4
# Costs in squared error, of a part and of each observed colour: a regularisation that separates
# hair and hats that would look alike in other colours.
_PART_COST = {"hair": 20000, "head": 20000, "cape": 60000, "belt": 10000, "beard": 10000,
              "eyes": 4000, "nose": 4000, "ears": 4000}
_COLOUR_COST, _OTHER_COLOURS_COST = 4000, {"hair": 40000, "head": 40000}
# Weights of hair: error by which the prior falls by a factor of e; deviation in rows of the
# smoothing kernel, and its floor for distant rows; ridge, in squared error of colours in 0..1.
_TEMPERATURE, _ROW_SIGMA, _FAR_WEIGHT, _RIDGE = 3e5, 4.0, 0.05, 1.0


@dataclass(frozen=True)
class PartMatch:
    """The parts matched to a still.

    Attributes:
        layers: parts of the character, bottom first, without hair and hats.
        candidates: hair and hats on top of them, the most likely first.
        row_weights: of the candidates, float32 [N, H]: they sum to 1 in each row, some may be
            negative.
        unexplained: share of the still's opaque pixels that the first candidate does not reproduce.
    """

    layers: list[ColouredPart]
    candidates: list[list[ColouredPart]]
    row_weights: np.ndarray
    unexplained: float


def match_parts(parts: PartDictionary, still: np.ndarray) -> PartMatch:
    """Match parts and their colours to a still.

    Args:
        parts: the dictionary.
        still: uint8 [H, W, 3], its crop on white.
    """
    return _CoordinateDescent(parts, still, new_colours=True).match()


def snap_to_parts(parts: PartDictionary, still: np.ndarray) -> np.ndarray:
    """A rough still, replaced by the nearest parts in stored colours: uint8 [H, W, 3]."""
    search = _CoordinateDescent(parts, still, new_colours=False)
    search.run()
    return parts.render_still(_bottom_up(search.chosen))


def body_error(parts: PartDictionary, still: np.ndarray) -> float:
    """Squared error between a still and its best body, which is least at the right position.

    Args:
        parts: the dictionary.
        still: uint8 [H, W, 3], its crop on white.
    """
    search = _CoordinateDescent(parts, still, new_colours=True)
    search.fill("body")
    return search.error()


def redraw_with_parts(parts: PartDictionary, still: np.ndarray) -> np.ndarray:
    """A still blurred by resizing or lossy coding, redrawn in the pixels of its parts.

    Args:
        parts: the dictionary.
        still: uint8 [H, W, 3], its crop on white; pixels without a similar part are kept.
    """
    search = _CoordinateDescent(parts, still, new_colours=True)
    search.run()
    return search.redrawn().reshape(still.shape).astype(np.uint8)


class _CoordinateDescent:
    """Coordinate descent over the slots of one still.

    Args:
        parts: the dictionary.
        still: uint8 [H, W, 3], its crop on white.
        new_colours: whether parts may have colours other than those of their palettes.
    """

    def __init__(self, parts: PartDictionary, still: np.ndarray, new_colours: bool) -> None:
        self.new_colours = new_colours
        self.parts, self.still = parts.unpacked, still.reshape(-1, 3).astype(np.int64)
        self.colours, self.index = np.unique(self.still, axis=0, return_inverse=True)
        self.index = self.index.ravel()
        self.colour_errors = _squared_error(self.colours[:, None], self.colours[None])
        self.chosen: dict[str, ColouredPart] = {}
        self._palette_errors: dict[int, np.ndarray] = {}

    def run(self) -> None:
        """Fill all slots, several times."""
        for number in range(_ROUNDS):
            for slot in SLOTS if number else _FIRST_ROUND:
                self.fill(slot)

    def error(self) -> float:
        """Squared error of the composition of the chosen parts."""
        return float(_squared_error(self._composed(len(SLOTS)), self.still).sum())

    def redrawn(self) -> np.ndarray:
        """The composition where it is near to the still, the still elsewhere: int64 [P, 3]."""
        composed = self._composed(len(SLOTS))
        is_near = _squared_error(composed, self.still) < _MAX_ERROR
        return np.where(is_near[:, None], composed, self.still)

    def match(self) -> PartMatch:
        """The chosen parts, and the weights of hair and hats in each row of the picture.

        The front does not show how long hair is behind. Hair that looks alike from the front may
        look alike from all sides, most of all at the same height: each row is the weighted mean of
        all candidates that fits the rows of the still around it best, by ridge regression.
        """
        self.run()
        composed = self._composed(len(SLOTS))
        opaque = (self.still != BACKGROUND).any(1)
        unexplained = 1.0
        if opaque.any():
            unexplained = float((composed[opaque] != self.still[opaque]).any(1).mean())
        candidates = sorted(self._hair_candidates(), key=lambda candidate: candidate[0])
        costs = np.array([cost for cost, _ in candidates])
        fronts = np.stack([self._composed(len(SLOTS), self.chosen | top) for _, top in candidates])
        prior = np.exp((costs[0] - costs) / _TEMPERATURE)
        weights = row_weights(prior / prior.sum(), fronts / 255, self.still / 255)
        below = {slot: part for slot, part in self.chosen.items() if slot not in HAIR_AND_HATS}
        tops = [_bottom_up({slot: (self.chosen | top).get(slot) for slot in HAIR_AND_HATS})
                for _, top in candidates]
        return PartMatch(_bottom_up(below), tops, weights, unexplained)

    def _composed(self, n_slots: int, chosen: Mapping[str, ColouredPart | None] | None = None
                  ) -> np.ndarray:
        """The composition of the lowest `n_slots` slots: int64 [P, 3]."""
        chosen = self.chosen if chosen is None else chosen
        picture = np.broadcast_to(BACKGROUND, self.still.shape).astype(np.int64)
        for slot in SLOTS[:n_slots]:
            if layer := chosen.get(slot):
                mask = self.parts.still_masks[layer.part]
                picture[mask] = layer.colours[self.parts.still_classes[layer.part][mask]]
        return picture

    def _uncovered(self, slot_number: int) -> np.ndarray:
        """The pixels that no higher slot covers: bool [P]."""
        covered = np.zeros(len(self.still), bool)
        for slot in SLOTS[slot_number + 1:]:
            if slot in self.chosen:
                covered |= self.parts.still_masks[self.chosen[slot].part]
        return ~covered

    def _compatible(self, slot: str) -> list[int]:
        """Parts of a slot that fit the chosen body."""
        fits = self.parts.fits
        build = fits[self.chosen["body"].part] if "body" in self.chosen and slot != "body" else 255
        return [part for part in self.parts.of_slot[slot] if fits[part] & build]

    def fill(self, slot: str) -> None:
        """Choose the best part for a slot, or none, given all other slots."""
        number = SLOTS.index(slot)
        free = self._uncovered(number)
        error = _squared_error(self._composed(number), self.still)
        best_gain, best = 0.0, None
        for part in self._compatible(slot):
            without = error[free & self.parts.still_masks[part]].sum()
            cost, colours = self._best_colours(part, slot, error, free)
            gain = without - cost - _PART_COST.get(slot, 0)
            if gain > best_gain:
                best_gain, best = gain, ColouredPart(part, colours)
        self.chosen.pop(slot, None)
        if best:
            self.chosen[slot] = best

    def _best_colours(self, part: int, slot: str, error: np.ndarray, free: np.ndarray
                      ) -> tuple[float, np.ndarray]:
        """(error, colours [K, 3]) of a part in its best colours.

        Those of hair form a ramp from dark to bright in all its kinds, so the hair in the still
        determines them all; those of other parts are each observed in the still.
        """
        counts = self._class_counts(part, free)
        visible = np.flatnonzero(counts.any(1))
        palettes = self.parts.palettes[part]
        if not len(visible):
            return np.inf, palettes[0]
        costs = np.einsum("nkc,kc->n", self._errors_of(part)[:, visible], counts[visible])
        best, colours = float(costs.min()), palettes[costs.argmin()]
        if not self.new_colours or slot == "body":
            return best, colours
        cost, observed = self._observed_colours(part, counts)
        choices = [(best, colours), (cost + _OTHER_COLOURS_COST.get(slot, 0), observed)]
        if slot == "hair":
            choices.append(self._ramp_colours(part, counts, error, free))
        return min(choices, key=lambda choice: choice[0])

    def _ramp_colours(self, part: int, counts: np.ndarray, error: np.ndarray, free: np.ndarray
                      ) -> tuple[float, np.ndarray]:
        """(error and cost, colours [K, 3]) of hair in the ramp of the still's hair, by luma."""
        region = free & (error > 0) & self.parts.hair_region
        colours, pixel_counts = np.unique(self.index[region], return_counts=True)
        colours = colours[pixel_counts >= _MIN_PIXELS]
        if len(colours) < 2:
            return np.inf, self.parts.palettes[part][0]
        ramp = self.colours[colours]
        ramp_luma = luma(ramp)
        share = self.parts.class_luma(part)
        wanted = ramp_luma.min() + share * (ramp_luma.max() - ramp_luma.min())
        nearest = np.abs(wanted[:, None] - ramp_luma).argmin(1)
        cost = (counts * self.colour_errors[colours[nearest]]).sum() + _COLOUR_COST * len(colours)
        return float(cost), ramp[nearest].astype(np.uint8)

    def _errors_of(self, part: int) -> np.ndarray:
        """Squared errors of a part's palettes against the colours of the still: [n, K, C]."""
        if part not in self._palette_errors:
            palettes = self.parts.palettes[part]
            self._palette_errors[part] = _squared_error(palettes[:, :, None],
                                                        self.colours[None, None])
        return self._palette_errors[part]

    def _class_counts(self, part: int, free: np.ndarray) -> np.ndarray:
        """Pixels of each class of a part that have each colour of the still: [K, C]."""
        visible = free & self.parts.still_masks[part]
        pairs = self.parts.still_classes[part][visible].astype(np.int64) * len(self.colours)
        counts = np.bincount(pairs + self.index[visible], minlength=CLASSES * len(self.colours))
        return np.asarray(counts.reshape(CLASSES, len(self.colours)))

    def _observed_colours(self, part: int, counts: np.ndarray) -> tuple[float, np.ndarray]:
        """(error and cost, colours [K, 3]): each class in its most frequent colour of the still.

        A class that is not visible differs from the nearest visible one as in the part's first
        palette.
        """
        visible = np.flatnonzero(counts.any(1))
        if counts.sum() < _MIN_PIXELS:
            return np.inf, self.parts.palettes[part][0]
        most_frequent = counts[visible].argmax(1)
        errors = (counts[visible] * self.colour_errors[most_frequent]).sum()
        palette = self.parts.palettes[part][0].astype(np.int64)
        nearest = _squared_error(palette[:, None], palette[visible][None]).argmin(1)
        colours = self.colours[most_frequent][nearest] + palette - palette[visible][nearest]
        colours[visible] = self.colours[most_frequent]
        return float(errors + _COLOUR_COST * len(visible)), colours.clip(0, 255).astype(np.uint8)

    def _hair_candidates(self) -> list[tuple[float, dict[str, ColouredPart | None]]]:
        """(error and cost, slot and part) of each hair and hat, or none, instead of the chosen."""
        candidates: list[tuple[float, dict[str, ColouredPart | None]]] = []
        for slot in HAIR_AND_HATS:
            number = SLOTS.index(slot)
            free = self._uncovered(number)
            error = _squared_error(self._composed(number), self.still)
            covered = float(_squared_error(self._composed(len(SLOTS)), self.still)[~free].sum())
            candidates.append((covered + float(error[free].sum()), {slot: None}))
            for part in self._compatible(slot):
                cost, colours = self._best_colours(part, slot, error, free)
                rest = float(error[free & ~self.parts.still_masks[part]].sum())
                candidates.append((covered + rest + cost + _PART_COST[slot],
                                   {slot: ColouredPart(part, colours)}))
        return candidates


def row_weights(prior: np.ndarray, fronts: np.ndarray, still: np.ndarray) -> np.ndarray:
    """Weight of each candidate in each row, by ridge regression around the prior: float32 [N, H].

    Args:
        prior: [N], sums to 1.
        fronts: the candidates seen from the front, [N, P, 3] in 0..1.
        still: [P, 3] in 0..1.
    """
    mean = np.tensordot(prior, fronts, 1)
    features = ((fronts - mean) * np.sqrt(prior)[:, None, None]).reshape(len(prior), HEIGHT, -1)
    residual = (still - mean).reshape(HEIGHT, -1)
    gram = np.matmul(features.transpose(1, 0, 2), features.transpose(1, 2, 0))
    correlation = np.einsum("nhx,hx->hn", features, residual)
    rows = np.arange(HEIGHT)
    kernel = _FAR_WEIGHT + np.exp(-np.square((rows[:, None] - rows) / _ROW_SIGMA) / 2)
    gram = np.tensordot(kernel, gram, 1) + _RIDGE * np.eye(len(prior))
    weights = np.linalg.solve(gram, (kernel @ correlation)[..., None])[..., 0] * np.sqrt(prior)
    return np.asarray((prior * (1 - weights.sum(1, keepdims=True)) + weights).T, np.float32)


def _bottom_up(chosen: Mapping[str, ColouredPart | None]) -> list[ColouredPart]:
    """The parts of all slots, bottom first."""
    return [part for slot in SLOTS if (part := chosen.get(slot))]


def _squared_error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared error of colours [..., 3], clipped at `_MAX_ERROR`."""
    difference = np.square(a.astype(np.int64) - b.astype(np.int64)).sum(-1)
    return np.minimum(difference, _MAX_ERROR)
