"""Range coder for latent codes, with static integer frequency tables; independent of any network.

Table `i` holds the frequencies of codes for which the scale network gives index `i`. Codes of
index 0 are always 0 and not written. A code beyond its table is written as the escape symbol plus
its excess in Elias gamma form.

The range coder is constriction's; it takes probabilities as floats, but `(f - 1) / (2^24 - n)`
rounds back to exactly the integers `f` when they are at least 1 and sum to 2^24, as a test checks.
`CompiledDecoder` is its decoder in compiled loops, which read the symbols of many tables in one
call.

Source: J. Duda 2013 and R. Bamler 2022 (constriction); escape codes as in H.264 9.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any

import constriction
import numpy as np

from aehub.compiled import compiled, numba_is_loaded

TOTAL = 1 << 24
"""Sum of the frequencies of a table."""
N_TABLES = 64
SCALE_MIN, SCALE_MAX = 0.12, 200.0
"""Standard deviations of tables 0 and 63, in quantiser steps; geometric in between."""
_MAX_SYMBOL = 255
"""Largest magnitude of any table without escape."""
_ESCAPE_BITS = 24
"""Largest excess of an escaped code, in bits."""

_Categorical = constriction.stream.model.Categorical
_Uniform = constriction.stream.model.Uniform


def scale_of(index: np.ndarray | float) -> np.ndarray | float:
    """Standard deviation of table `index` (real-valued) in quantiser steps."""
    return SCALE_MIN * (SCALE_MAX / SCALE_MIN) ** (index / (N_TABLES - 1))


@lru_cache
def max_magnitude(index: int) -> int:
    """Largest magnitude that table `index` holds without escape."""
    return int(min(_MAX_SYMBOL, math.ceil(10 * scale_of(index)) + 3))


def _erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf, otypes=[float])(x)


def prior_histogram(index: int) -> np.ndarray:
    """Prior probability of magnitudes 0, 1, ..., m and above, m = `max_magnitude`: float64 [m + 2].

    Half Gaussian, half Laplacian of the table's standard deviation; counts of training data replace
    it (`ScaleTables.fit`).
    """
    scale, largest = scale_of(index), max_magnitude(index)
    edges = np.arange(largest + 1) + 0.5
    inside = 0.5 * _erf(edges / scale / math.sqrt(2))
    inside += 0.5 * (1 - np.exp(-math.sqrt(2) * edges / scale))
    return np.diff(np.concatenate([[0.0], inside, [1.0]]))


class ScaleTables:
    """Static frequency tables of a model.

    Args:
        frequencies: int32 [n], all tables one after another. Table `i` (from 1) holds magnitudes
            0 .. max_magnitude(i), then the escape; a magnitude's frequency counts each sign, and
            `f[0] + 2 sum(f[1:-1]) + f[-1] = 2^24`, every f at least 1.
    """

    def __init__(self, frequencies: np.ndarray) -> None:
        self.frequencies = np.asarray(frequencies, np.int32)
        ends = np.cumsum([max_magnitude(i) + 2 for i in range(1, N_TABLES)])
        if self.frequencies.shape != (ends[-1],):
            raise ValueError(f"tables hold {self.frequencies.shape} numbers, not {(ends[-1],)}")
        self._tables = np.split(self.frequencies, ends[:-1])
        for table in self._tables:
            if table.min() < 1 or int(_mirror(table).sum(dtype=np.int64)) != TOTAL:
                raise ValueError("a frequency table does not sum to 2^24 with entries from 1")

    @classmethod
    def fit(cls, counts: dict[int, np.ndarray] | None = None, *, prior_weight: float = 500
            ) -> ScaleTables:
        """Tables from histograms of magnitudes per index, shrunk towards the prior.

        Args:
            counts: for each index, int [m + 2] counts of magnitudes 0 .. m (both signs) and above,
                m = `max_magnitude`.
            prior_weight: of the prior, in counts.
        """
        tables = []
        for index in range(1, N_TABLES):
            weights = prior_histogram(index) * prior_weight
            if counts is not None and index in counts:
                weights = weights + counts[index]
            tables.append(_frequencies(weights))
        return cls(np.concatenate(tables))

    @cached_property
    def models(self) -> list[object]:
        """constriction's entropy model of each table, from index 1."""
        return [
            _Categorical((_mirror(t) - 1).astype(np.float64), perfect=False) for t in self._tables
        ]

    @cached_property
    def edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Left ends of the symbols of all tables and 2^24 after each table, int32; and where each
        table begins among them, with the end of the last one, int64 [65]."""
        edges = [np.concatenate([[0], np.cumsum(_mirror(table))]) for table in self._tables]
        # There is no table 0.
        begins = np.cumsum([0, 0, *map(len, edges)])
        return np.concatenate(edges).astype(np.int32), begins

    def magnitude_bits(self, index: int) -> np.ndarray:
        """Bits of one code of magnitude 0, 1, ..., `max_magnitude` by table `index`: float64."""
        return -np.log2(self._tables[index - 1][:-1] / TOTAL)

    def bits(self, codes: np.ndarray, indices: np.ndarray) -> float:
        """Bits of writing the codes (of an escaped code, those of the escape symbol only)."""
        total = 0.0
        for index in np.unique(indices[indices > 0]):
            table = self._tables[index - 1]
            magnitudes = np.abs(codes[indices == index]).clip(max=len(table) - 1)
            total -= float(np.log2(table[magnitudes] / TOTAL).sum())
        return total


def _mirror(table: np.ndarray) -> np.ndarray:
    """Frequencies of magnitudes 0..m, escape -> of symbols -m..m, escape."""
    return np.concatenate([table[-2:0:-1], table[:-1], table[-1:]])


def _frequencies(weights: np.ndarray) -> np.ndarray:
    """Weights of magnitudes (both signs) -> per-symbol integers that sum to 2^24 when mirrored."""
    copies = np.full(len(weights), 2)
    copies[[0, -1]] = 1
    share = np.maximum(weights, 0) / weights.sum() * (TOTAL - 2 * len(weights))
    table = np.maximum(1, np.floor(share / copies)).astype(np.int64)
    # The remainder of rounding goes to zero, the frequent symbol without a sign.
    table[0] += TOTAL - int((table * copies).sum())
    return table.astype(np.int32)


def _by_table(indices: np.ndarray) -> tuple[np.ndarray, list[tuple[int, slice]]]:
    """Positions of written codes ordered by table, and the slice of each table among them."""
    positions = indices.nonzero()[0]
    tables = indices[positions]
    order = positions[tables.argsort(kind="stable")]
    counts = np.bincount(tables)
    used, ends = counts.nonzero()[0], counts.cumsum()
    return order, [(i, slice(end - n, end)) for i, n, end in
                   zip(used.tolist(), counts[used].tolist(), ends[used].tolist(), strict=True)]


def range_encoder() -> Any:
    """A range encoder with an empty stream."""
    return constriction.stream.queue.RangeEncoder()


def stream_of(coder: Any) -> bytes:
    """The stream of a range encoder: little-endian words of 32 bits."""
    return bytes(coder.get_compressed().astype("<u4").tobytes())


def range_decoder(stream: bytes, *, loops: bool = False) -> Any:
    """A range decoder of a stream.

    Args:
        stream: from `stream_of`.
        loops: read in compiled loops; without, only if Numba is imported already, for that takes
            longer than reading a picture.

    Raises:
        ValueError: the bytes are no words.
    """
    words = np.frombuffer(stream, "<u4").astype(np.uint32)
    if loops or numba_is_loaded():
        return CompiledDecoder(words)
    return constriction.stream.queue.RangeDecoder(words)


class Encoder:
    """Encoder of codes; those that share a table go in one call of the range coder.

    Args:
        tables: frequency tables.
        coder: of another encoder, to append to its stream; a new stream by default.
    """

    def __init__(self, tables: ScaleTables, coder: Any = None) -> None:
        self._tables = tables
        self._coder = range_encoder() if coder is None else coder

    @property
    def coder(self) -> Any:
        """constriction's `RangeEncoder`, for symbols of other tables in the same stream."""
        return self._coder

    def write(self, codes: np.ndarray, indices: np.ndarray) -> None:
        """Write int32 codes [n] with uint8 table indices [n]; codes of index 0 must be 0."""
        order, slices = _by_table(indices)
        values = codes[order].astype(np.int32, copy=False)
        for index, part in slices:
            largest = max_magnitude(index)
            symbols = values[part] + largest
            # Viewed as unsigned, symbols below the table are above it too.
            outside = (symbols.view(np.uint32) > 2 * largest).nonzero()[0]
            symbols[outside] = 2 * largest + 1
            self._coder.encode(symbols, self._tables.models[index - 1])
            for code in values[part][outside].tolist():
                self._escape(code, largest)

    def _escape(self, code: int, largest: int) -> None:
        excess = abs(code) - largest
        length = excess.bit_length()
        if length > _ESCAPE_BITS:
            raise ValueError(f"code {code} exceeds its table by {_ESCAPE_BITS} bits or more")
        self._bits(2 * (length - 1) + (code < 0), 2 * _ESCAPE_BITS)
        if length > 1:
            self._bits(excess - (1 << (length - 1)), 1 << (length - 1))

    def _bits(self, value: int, size: int) -> None:
        self._coder.encode(np.array([value], np.int32), _Uniform(size))

    def finish(self) -> bytes:
        """The stream."""
        return stream_of(self._coder)


class Decoder:
    """Decoder of the codes of `Encoder`; needs the same indices in the same calls.

    Args:
        tables: frequency tables.
        stream: the bytes, or the `coder` of another decoder, to continue in its stream.
        loops: read in compiled loops; without, only if Numba is imported already, for that takes
            longer than reading a picture.
    """

    def __init__(self, tables: ScaleTables, stream: Any, *, loops: bool = False) -> None:
        self._tables = tables
        self._coder = range_decoder(stream, loops=loops) if isinstance(stream, bytes) else stream

    @property
    def coder(self) -> Any:
        """The range decoder, for symbols of other tables in the same stream."""
        return self._coder

    def read(self, indices: np.ndarray) -> np.ndarray:
        """uint8 table indices -> int32 codes of the same shape; those of a batch [B, C, h, w] may
        lie in memory as [B, h, w, C].

        Raises:
            AssertionError: the stream is damaged.
        """
        if isinstance(self._coder, CompiledDecoder):
            batch = indices if indices.ndim == 4 else indices.reshape(1, 1, 1, -1)
            rows = np.ascontiguousarray(batch.transpose(0, 2, 3, 1))
            found = np.zeros(rows.shape, np.int32)
            self._coder.run(_read_codes, *self._tables.edges, rows.ravel(), *batch.shape[:2],
                            found.ravel())
            found = found.transpose(0, 3, 1, 2)
            return found if indices.ndim == 4 else found.reshape(indices.shape)
        order, slices = _by_table(indices.ravel())
        values = np.empty(len(order), np.int32)
        for index, part in slices:
            largest = max_magnitude(index)
            symbols = self._coder.decode(self._tables.models[index - 1], part.stop - part.start)
            values[part] = symbols - largest
            for at in (symbols == 2 * largest + 1).nonzero()[0].tolist():
                values[part.start + at] = self._unescape(largest)
        codes = np.zeros(indices.size, np.int32)
        codes[order] = values
        return codes.reshape(indices.shape)

    def _unescape(self, largest: int) -> int:
        prefix = self._bits(2 * _ESCAPE_BITS)
        length, negative = prefix // 2 + 1, prefix % 2
        excess = (1 << (length - 1)) + (self._bits(1 << (length - 1)) if length > 1 else 0)
        return -(largest + excess) if negative else largest + excess

    def _bits(self, size: int) -> int:
        return int(self._coder.decode(_Uniform(size), 1)[0])


class CompiledDecoder:
    """constriction's `RangeDecoder` for compiled loops, symbol by symbol the same.

    Args:
        words: of the stream, uint32.
    """

    def __init__(self, words: np.ndarray) -> None:
        first, second = [*words[:2].tolist(), 0, 0][:2]
        self._words = words
        # Lower end and size of the interval, the point in it, and the number of words read.
        self._state = np.array([0, 2**64 - 1, first << 32 | second, 2], np.uint64)

    def run(self, loop: Callable[..., bool], *arguments: Any) -> None:
        """Read symbols by `loop(state, words, *arguments)`.

        Raises:
            AssertionError: it returned False, for the stream is damaged.
        """
        if not loop(self._state, self._words, *arguments):
            raise AssertionError("the stream is damaged")


# Numba makes floats of unsigned and signed integers together: all are unsigned here.
_LOWER, _RANGE, _POINT, _NEXT = range(4)
_ONE, _PRECISION, _WORD_BITS = np.uint64(1), np.uint64(24), np.uint64(32)
_LEAST_RANGE = np.uint64(1 << 32)


@compiled
def next_quantile(state: np.ndarray) -> np.int64:
    """The place of the next symbol among 2^24; not less than that if the stream is damaged."""
    return np.int64((state[_POINT] - state[_LOWER]) // (state[_RANGE] >> _PRECISION))


@compiled
def skip_symbol(state: np.ndarray, words: np.ndarray, left: int, frequency: int) -> None:
    """Go on behind a symbol of this frequency; `left` is the sum of those of the symbols before."""
    scale = state[_RANGE] >> _PRECISION
    state[_LOWER] += scale * np.uint64(left)
    state[_RANGE] = scale * np.uint64(frequency)
    if state[_RANGE] < _LEAST_RANGE:
        for part in (_LOWER, _RANGE, _POINT):
            state[part] <<= _WORD_BITS
        if state[_NEXT] < np.uint64(len(words)):
            state[_POINT] |= np.uint64(words[state[_NEXT]])
        state[_NEXT] += _ONE


@compiled
def next_uniform(state: np.ndarray, words: np.ndarray, size: int) -> int:
    """Read a value in 0 .. size - 1, all equally likely; -1 if the stream is damaged."""
    quantile, frequency = next_quantile(state), TOTAL // size
    if quantile >= TOTAL:
        return -1
    value = min(quantile // frequency, size - 1)
    left = value * frequency
    skip_symbol(state, words, left, TOTAL - left if value == size - 1 else frequency)
    return value


@compiled
def sort_keys(keys: np.ndarray, first: int = 0, batch: int = 1, channels: int = 1
              ) -> tuple[np.ndarray, np.ndarray]:
    """Sort the places of keys that are not below the first.

    Args:
        keys: uint8 [n], of an array [B, h, w, C].
        first: key.
        batch: B.
        channels: C.

    Returns:
        The places by key, those of one key in the order of an array [B, C, h, w]; and where each
        key begins among them, [257].
    """
    begins = np.zeros(257, np.int64)
    for key in keys:
        if key >= first:
            begins[int(key) + 1] += 1
    begins[:] = np.cumsum(begins)
    order, places, size = np.empty(begins[256], np.int64), begins.copy(), len(keys) // batch
    for frame in range(0, len(keys), max(size, 1)):
        for channel in range(channels):
            for at in range(frame + channel, frame + size, channels):
                key = int(keys[at])
                if key >= first:
                    order[places[key]] = at
                    places[key] += 1
    return order, begins


@compiled
def _read_codes(state: np.ndarray, words: np.ndarray, edges: np.ndarray, begins: np.ndarray,
                indices: np.ndarray, batch: int, channels: int, codes: np.ndarray) -> bool:
    """Read codes as `Decoder.read`: table by table, the escapes of each after its symbols."""
    order, firsts = sort_keys(indices, 1, batch, channels)
    for table in range(1, N_TABLES):
        first, end = begins[table], begins[table + 1] - 1
        largest = (end - first) // 2 - 1
        for at in order[firsts[table]:firsts[table + 1]]:
            quantile = next_quantile(state)
            if quantile >= TOTAL:
                return False
            low, high = first, end
            while high - low > 1:
                middle = (low + high) >> 1
                if edges[middle] <= quantile:
                    low = middle
                else:
                    high = middle
            skip_symbol(state, words, edges[low], edges[low + 1] - edges[low])
            codes[at] = low - first - largest
        for at in order[firsts[table]:firsts[table + 1]]:
            if codes[at] > largest:
                codes[at] = _read_escape(state, words, largest)
                if codes[at] == 0:
                    return False
    return True


@compiled
def _read_escape(state: np.ndarray, words: np.ndarray, largest: int) -> int:
    """Read a code beyond a table; 0 if the stream is damaged."""
    prefix = next_uniform(state, words, 2 * _ESCAPE_BITS)
    if prefix < 0:
        return 0
    size = 1 << (prefix // 2)
    rest = next_uniform(state, words, size) if size > 1 else 0
    if rest < 0:
        return 0
    magnitude = largest + size + rest
    return -magnitude if prefix % 2 else magnitude
