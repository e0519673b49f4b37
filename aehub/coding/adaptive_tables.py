"""Frequency tables that learn while they are used, in integers: both sides count the same.

For small alphabets whose habits differ from clip to clip, such as flags and motion. Tables change
only after a whole batch of symbols was coded, so that the order inside a batch does not matter.

Source: P. Howard and J. Vitter, "Practical implementations of arithmetic coding", 1992, section 4
(counts with a start and a halving).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import constriction
import numpy as np

from aehub.coding.range_coder import TOTAL

GAIN = 32
"""What one symbol adds to its count."""

LIMIT = 1 << 15
"""Counts of a context are halved until their sum is at most this: about the last 1000 symbols."""

FLOOR = 8
"""A count never falls below this: a symbol long unseen is still worth a quarter of one."""

MAX_SYMBOLS = 32

_Categorical = constriction.stream.model.Categorical
# Rows are short and batches small: lists of Python's integers are quicker here than arrays.
_Row = list[int]


class AdaptiveTables:
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

    def copy(self) -> AdaptiveTables:
        """Tables that know the same and go their own way."""
        other = AdaptiveTables.__new__(AdaptiveTables)
        other.counts, other._models = self.counts.copy(), {}
        return other

    def frequencies(self) -> np.ndarray:
        """The tables in use: int64 [contexts, symbols], at least 1, each row sums to 2^24."""
        return np.array([_frequencies(row) for row in self.counts.tolist()])

    def write(self, coder: Any, symbols: np.ndarray, contexts: np.ndarray) -> None:
        """Write int32 symbols [n] with uint8 contexts [n] to a `RangeEncoder`, then learn them."""
        symbols = symbols.astype(np.int32, copy=False)
        for context, places in _groups(contexts):
            found = symbols[places]
            coder.encode(found, self._model(context))
            self._learn(context, found)

    def read(self, coder: Any, contexts: np.ndarray) -> np.ndarray:
        """Read int32 symbols [n] from a `RangeDecoder`, given the contexts that they had."""
        n = len(contexts)
        symbols = np.empty(n, np.int32)
        for context, places in _groups(contexts):
            found = coder.decode(self._model(context), n if places is _ALL else len(places))
            symbols[places] = found
            self._learn(context, found)
        return symbols

    def bits(self, symbols: np.ndarray, contexts: np.ndarray) -> float:
        """What writing the symbols in one batch would cost; nothing is learnt.

        Equal symbols are added up first: the same number, to the last bit, in any order.
        """
        n = self.counts.shape[1]
        pairs = contexts.astype(np.intp) * n + symbols
        seen = np.bincount(pairs, minlength=self.counts.size).reshape(-1, n)
        used = np.flatnonzero(seen.any(axis=1))
        rows = self.counts[used].tolist()
        tables = np.array([_frequencies(row) for row in rows]).reshape(-1, n)
        return float(-(seen[used] * np.log2(tables / TOTAL)).sum())

    def learn(self, symbols: np.ndarray, contexts: np.ndarray) -> None:
        """Count symbols [n] as `write` and `read` do after each batch."""
        for context, places in _groups(contexts):
            self._learn(context, symbols[places])

    def _learn(self, context: int, symbols: np.ndarray) -> None:
        """Count symbols of one context: no other context of their batch looks at it."""
        row: _Row = self.counts[context].tolist()
        seen = np.bincount(symbols, minlength=len(row)).tolist()
        self.counts[context] = _halved([old + GAIN * new for old, new in zip(row, seen)])
        self._models.pop(context, None)

    def _model(self, context: int) -> Any:
        if context not in self._models:
            table = np.array(_frequencies(self.counts[context].tolist()), np.float64) - 1
            self._models[context] = _Categorical(table, perfect=False)
        return self._models[context]


_ALL = slice(None)


def _groups(contexts: np.ndarray) -> list[tuple[int, Any]]:
    """Contexts in use, ascending, and where each is."""
    if not len(contexts):
        return []
    found: list[int] = np.bincount(contexts).nonzero()[0].tolist()
    if len(found) == 1:
        return [(found[0], _ALL)]
    return [(context, (contexts == context).nonzero()[0]) for context in found]


def _halved(counts: _Row) -> _Row:
    while sum(counts) > LIMIT:
        counts = [max(count >> 1, FLOOR) for count in counts]
    return counts


def _frequencies(counts: _Row) -> _Row:
    """Counts -> integers from 1 that sum to 2^24; what rounding leaves goes to the largest."""
    total = sum(counts)
    table = [count * TOTAL // total for count in counts]
    table[counts.index(max(counts))] += TOTAL - sum(table)
    return table


_uniform = lru_cache(maxsize=64)(constriction.stream.model.Uniform)


def write_uniform(coder: Any, values: np.ndarray, size: int) -> None:
    """Write int32 values [n] in 0 .. size - 1, all equally likely, to a `RangeEncoder`."""
    coder.encode(values.astype(np.int32, copy=False), _uniform(size))


def read_uniform(coder: Any, n: int, size: int) -> np.ndarray:
    """Read n int32 values in 0 .. size - 1 from a `RangeDecoder`."""
    return np.asarray(coder.decode(_uniform(size), n), np.int32)
