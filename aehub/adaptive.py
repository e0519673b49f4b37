"""Frequency tables that learn while they are used, in integers: both sides count the same.

For small alphabets whose habits differ from clip to clip, such as flags and motion. Tables change
only after a whole batch of symbols was coded, so that the order inside a batch does not matter.

Source: P. Howard and J. Vitter, "Practical implementations of arithmetic coding", 1992, section 4
(counts with a start and a halving).
"""

from __future__ import annotations

from typing import Any

import constriction
import numpy as np

from aehub.entropy import TOTAL

GAIN = 32
"""What one symbol adds to its count."""

LIMIT = 1 << 15
"""Counts of a context are halved until their sum is at most this: about the last 1000 symbols."""

FLOOR = 8
"""A count never falls below this: a symbol long unseen is still worth a quarter of one."""

MAX_SYMBOLS = 32

_Categorical = constriction.stream.model.Categorical
_Uniform = constriction.stream.model.Uniform


class Counts:
    """Adaptive tables, one per context.

    Args:
        start: int [contexts, symbols], what the counts are at first; each at least `FLOOR`, at
            most `MAX_SYMBOLS` symbols, each row's sum at most `LIMIT`.
    """

    def __init__(self, start: np.ndarray) -> None:
        self.counts = np.asarray(start, np.int64).copy()
        if self.counts.ndim != 2 or not 2 <= self.counts.shape[1] <= MAX_SYMBOLS:
            raise ValueError(f"counts {self.counts.shape} are not [contexts, 2..{MAX_SYMBOLS}]")
        if self.counts.min() < FLOOR or self.counts.sum(axis=1).max() > LIMIT:
            raise ValueError(f"counts start below {FLOOR} or sum to more than {LIMIT}")
        self._models: dict[int, Any] = {}

    def copy(self) -> Counts:
        """Tables that know the same and go their own way."""
        return Counts(self.counts)

    def frequencies(self) -> np.ndarray:
        """The tables in use: int64 [contexts, symbols], at least 1, each row sums to 2^24."""
        return np.stack([_frequencies(row) for row in self.counts])

    def write(self, coder: Any, symbols: np.ndarray, contexts: np.ndarray) -> None:
        """Write int32 symbols [n] with uint8 contexts [n] to a `RangeEncoder`, then learn them."""
        for context, places in _groups(contexts):
            coder.encode(symbols[places].astype(np.int32), self._model(context))
        self.learn(symbols, contexts)

    def read(self, coder: Any, contexts: np.ndarray) -> np.ndarray:
        """Read int32 symbols [n] from a `RangeDecoder`, given the contexts that they had."""
        symbols = np.empty(len(contexts), np.int32)
        for context, places in _groups(contexts):
            symbols[places] = coder.decode(self._model(context), _size(places, len(contexts)))
        self.learn(symbols, contexts)
        return symbols

    def bits(self, symbols: np.ndarray, contexts: np.ndarray) -> float:
        """What writing the symbols in one batch would cost; nothing is learnt.

        Equal symbols are added up first: the same number, to the last bit, in any order.
        """
        seen = self._histogram(symbols, contexts)
        used = np.flatnonzero(seen.any(axis=1))
        tables = np.array([_frequencies(self.counts[context]) for context in used]).reshape(
            -1, seen.shape[1]
        )
        return float(-(seen[used] * np.log2(tables / TOTAL)).sum())

    def learn(self, symbols: np.ndarray, contexts: np.ndarray) -> None:
        """Count symbols [n] as `write` and `read` do after each batch."""
        if not len(symbols):
            return
        seen = self._histogram(symbols, contexts)
        for context in np.flatnonzero(seen.any(axis=1)).tolist():
            self.counts[context] = _grown(self.counts[context] + GAIN * seen[context])
            self._models.pop(context, None)

    def _histogram(self, symbols: np.ndarray, contexts: np.ndarray) -> np.ndarray:
        n = self.counts.shape[1]
        pairs = contexts.astype(np.intp) * n + symbols
        return np.bincount(pairs, minlength=self.counts.size).reshape(-1, n)

    def _model(self, context: int) -> Any:
        if context not in self._models:
            table = (_frequencies(self.counts[context]) - 1).astype(np.float64)
            self._models[context] = _Categorical(table, perfect=False)
        return self._models[context]


def _groups(contexts: np.ndarray) -> list[tuple[int, Any]]:
    """Contexts in use, ascending, and where each is."""
    if not len(contexts):
        return []
    found = np.flatnonzero(np.bincount(contexts)).tolist()
    if len(found) == 1:
        return [(found[0], slice(None))]
    return [(context, np.flatnonzero(contexts == context)) for context in found]


def _size(places: Any, everything: int) -> int:
    return everything if isinstance(places, slice) else len(places)


def _grown(counts: np.ndarray) -> np.ndarray:
    while counts.sum() > LIMIT:
        counts = np.maximum(counts >> 1, FLOOR)
    return counts


def _frequencies(counts: np.ndarray) -> np.ndarray:
    """Counts -> integers from 1 that sum to 2^24; what rounding leaves goes to the largest."""
    table = counts * TOTAL // counts.sum()
    table[counts.argmax()] += TOTAL - table.sum()
    return table


def write_uniform(coder: Any, values: np.ndarray, size: int) -> None:
    """Write int32 values [n] in 0 .. size - 1, all equally likely, to a `RangeEncoder`."""
    coder.encode(values.astype(np.int32), _Uniform(size))


def read_uniform(coder: Any, n: int, size: int) -> np.ndarray:
    """Read n int32 values in 0 .. size - 1 from a `RangeDecoder`."""
    return np.asarray(coder.decode(_Uniform(size), n), np.int32)
