"""Adaptive frequency tables in integers, updated alike by encoder and decoder.

For small alphabets whose statistics differ from clip to clip, such as flags and motion. A table
changes only after a whole batch of symbols, so that the order inside a batch does not matter.

Source: P. Howard and J. Vitter, "Practical implementations of arithmetic coding", 1992, section 4
(initial counts, and halving).
"""

from __future__ import annotations

from typing import Any

import constriction
import numpy as np

from aehub.coding.range_coder import (
    TOTAL,
    CompiledDecoder,
    next_quantile,
    next_uniform,
    skip_symbol,
    sort_keys,
)
from aehub.compiled import compiled

INCREMENT = 32
"""Added to the count of a symbol for each occurrence."""

MAX_TOTAL = 1 << 15
"""Counts of a context are halved until their sum is at most this: about the last 1000 symbols."""

MIN_COUNT = 8
"""Least count: a quarter of one occurrence, for symbols not seen for long."""

MAX_SYMBOLS = 32
"""Largest alphabet."""

_Categorical = constriction.stream.model.Categorical
# Rows are short and batches small: lists of Python's integers are faster here than arrays.
_Row = list[int]


class AdaptiveTables:
    """Adaptive tables, one per context.

    Args:
        initial: int [contexts, symbols], counts at first; each at least `MIN_COUNT`, at
            most `MAX_SYMBOLS` symbols, each row's sum at most `MAX_TOTAL`.
    """

    def __init__(self, initial: np.ndarray) -> None:
        self.counts = np.asarray(initial, np.int64).copy()
        if self.counts.ndim != 2 or not 2 <= self.counts.shape[1] <= MAX_SYMBOLS:
            raise ValueError(f"counts have the shape {self.counts.shape}; it must be [contexts, "
                             f"2..{MAX_SYMBOLS}]")
        if self.counts.min() < MIN_COUNT or self.counts.sum(axis=1).max() > MAX_TOTAL:
            raise ValueError(f"initial counts are below {MIN_COUNT}, or sum to more than "
                             f"{MAX_TOTAL}")
        self._models: dict[int, Any] = {}

    def copy(self) -> AdaptiveTables:
        """Return an independent copy."""
        other = AdaptiveTables.__new__(AdaptiveTables)
        other.counts, other._models = self.counts.copy(), {}
        return other

    def frequencies(self) -> np.ndarray:
        """The current tables: int64 [contexts, symbols], at least 1, each row sums to 2^24."""
        return np.array([_frequencies(row) for row in self.counts.tolist()])

    def write(self, coder: Any, symbols: np.ndarray, contexts: np.ndarray) -> None:
        """Write int32 symbols [n] with uint8 contexts [n] to a `RangeEncoder`, then count them."""
        symbols = symbols.astype(np.int32, copy=False)
        for context, index in _by_context(contexts):
            batch = symbols[index]
            coder.encode(batch, self._model(context))
            self._update(context, batch)

    def read(self, coder: Any, contexts: np.ndarray) -> np.ndarray:
        """Read int32 symbols [n] with uint8 contexts [n] from a range decoder, then count them.

        Raises:
            AssertionError: the stream is damaged.
        """
        n = len(contexts)
        symbols = np.empty(n, np.int32)
        if isinstance(coder, CompiledDecoder):
            coder.run(_read_symbols, contexts, self.counts, symbols)
            self._models.clear()
            return symbols
        for context, index in _by_context(contexts):
            batch = coder.decode(self._model(context), n if index is _ALL else len(index))
            symbols[index] = batch
            self._update(context, batch)
        return symbols

    def bits(self, symbols: np.ndarray, contexts: np.ndarray) -> float:
        """Bits of writing the symbols in one batch; the tables do not change.

        Equal symbols are counted first, so the result is the same to the last bit in any order.
        """
        n = self.counts.shape[1]
        pairs = contexts.astype(np.intp) * n + symbols
        occurrences = np.bincount(pairs, minlength=self.counts.size).reshape(-1, n)
        used = np.flatnonzero(occurrences.any(axis=1))
        rows = self.counts[used].tolist()
        tables = np.array([_frequencies(row) for row in rows]).reshape(-1, n)
        return float(-(occurrences[used] * np.log2(tables / TOTAL)).sum())

    def update(self, symbols: np.ndarray, contexts: np.ndarray) -> None:
        """Count symbols [n], as `write` and `read` do after each batch."""
        for context, index in _by_context(contexts):
            self._update(context, symbols[index])

    def _update(self, context: int, symbols: np.ndarray) -> None:
        """Count the symbols of one context; other contexts of the batch do not depend on it."""
        row: _Row = self.counts[context].tolist()
        added = np.bincount(symbols, minlength=len(row)).tolist()
        self.counts[context] = _halved([old + INCREMENT * new for old, new in zip(row, added)])
        self._models.pop(context, None)

    def _model(self, context: int) -> Any:
        if context not in self._models:
            table = np.array(_frequencies(self.counts[context].tolist()), np.float64) - 1
            self._models[context] = _Categorical(table, perfect=False)
        return self._models[context]


_ALL = slice(None)


def _by_context(contexts: np.ndarray) -> list[tuple[int, Any]]:
    """Contexts that occur, ascending, each with the index of its symbols."""
    if not len(contexts):
        return []
    used: list[int] = np.bincount(contexts).nonzero()[0].tolist()
    if len(used) == 1:
        return [(used[0], _ALL)]
    return [(context, (contexts == context).nonzero()[0]) for context in used]


def _halved(counts: _Row) -> _Row:
    while sum(counts) > MAX_TOTAL:
        counts = [max(count >> 1, MIN_COUNT) for count in counts]
    return counts


def _frequencies(counts: _Row) -> _Row:
    """Counts -> integers from 1 that sum to 2^24; the remainder of rounding goes to the largest."""
    total = sum(counts)
    table = [count * TOTAL // total for count in counts]
    table[counts.index(max(counts))] += TOTAL - sum(table)
    return table


_uniform = constriction.stream.model.Uniform()


def write_uniform(coder: Any, values: np.ndarray, size: int | np.ndarray) -> None:
    """Write int32 values [n] in 0 .. size - 1, all equally likely, to a `RangeEncoder`; there may
    be a size for each, [n]."""
    sizes = np.full(len(values), size, np.int32)
    coder.encode(values.astype(np.int32, copy=False), _uniform, sizes)


def read_uniform(coder: Any, n: int, size: int | np.ndarray) -> np.ndarray:
    """Read n int32 values in 0 .. size - 1 from a range decoder; there may be a size for each, [n].

    Raises:
        AssertionError: the stream is damaged.
    """
    sizes = np.full(n, size, np.int32)
    if isinstance(coder, CompiledDecoder):
        values = np.empty(n, np.int32)
        coder.run(_read_uniform, sizes, values)
        return values
    return np.asarray(coder.decode(_uniform, sizes), np.int32)


@compiled
def _read_uniform(state: np.ndarray, words: np.ndarray, sizes: np.ndarray, values: np.ndarray
                  ) -> bool:
    for at in range(len(values)):
        values[at] = next_uniform(state, words, sizes[at])
        if values[at] < 0:
            return False
    return True


@compiled
def _read_symbols(state: np.ndarray, words: np.ndarray, contexts: np.ndarray, counts: np.ndarray,
                  symbols: np.ndarray) -> bool:
    """Read and count symbols as `AdaptiveTables.read`, context by context."""
    order, begins = sort_keys(contexts)
    table = np.empty(counts.shape[1], np.int64)
    for context in range(len(counts)):
        places, row = order[begins[context]:begins[context + 1]], counts[context]
        if len(places) == 0:
            continue
        table[:] = row * TOTAL // row.sum()
        table[row.argmax()] += TOTAL - table.sum()
        for at in places:
            quantile, left, symbol = next_quantile(state), 0, 0
            if quantile >= TOTAL:
                return False
            while left + table[symbol] <= quantile:
                left += table[symbol]
                symbol += 1
            skip_symbol(state, words, left, table[symbol])
            symbols[at] = symbol
        for at in places:
            row[symbols[at]] += INCREMENT
        while row.sum() > MAX_TOTAL:
            row[:] = np.maximum(row >> 1, MIN_COUNT)
    return True
