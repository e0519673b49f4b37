"""Codes to bytes and back, with integer frequency tables: nothing here knows a float network.

Table `i` says how often each code occurs where the scale network answers index `i`. Codes of
index 0 are always 0 and are not written. A code beyond its table is written as the escape symbol
plus its distance in Elias gamma form.

The range coder is constriction's; it takes probabilities as floats, but `(f - 1) / (2^24 - n)`
rounds back to exactly the integers `f` when they are at least 1 and sum to 2^24: a test probes it.

Source: J. Duda 2013 and R. Bamler 2022 (constriction); escape codes as in H.264 9.1.
"""

from __future__ import annotations

import math
from functools import cached_property, lru_cache
from typing import Any

import constriction
import numpy as np

# Stored in the file head; a change of anything that moves a bit of the stream makes another one.
# 1 was never released.
PAYLOAD_FORMAT = 2
TOTAL = 1 << 24
N_TABLES = 64
SCALE_MIN = 0.12
SCALE_MAX = 200.0
_MAX_SYMBOL = 255
_ESCAPE_BITS = 24

_Categorical = constriction.stream.model.Categorical
_Uniform = constriction.stream.model.Uniform


def scale_of(index: np.ndarray | float) -> np.ndarray | float:
    """Standard deviation in steps that table `index` (real, at its middle) stands for."""
    return SCALE_MIN * (SCALE_MAX / SCALE_MIN) ** (index / (N_TABLES - 1))


@lru_cache
def max_magnitude(index: int) -> int:
    """Largest magnitude that table `index` holds without escape."""
    return int(min(_MAX_SYMBOL, math.ceil(10 * scale_of(index)) + 3))


def _erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf, otypes=[float])(x)


def prior_histogram(index: int) -> np.ndarray:
    """Probability of magnitudes 0, 1, ..., reach, beyond: float64 [reach + 2].

    Half Gaussian, half Laplacian of the table's standard deviation; the trainer replaces it by
    counts (`ScaleTables.fit`).
    """
    scale, reach = scale_of(index), max_magnitude(index)
    edges = np.arange(reach + 1) + 0.5
    inside = 0.5 * _erf(edges / scale / math.sqrt(2))
    inside += 0.5 * (1 - np.exp(-math.sqrt(2) * edges / scale))
    return np.diff(np.concatenate([[0.0], inside, [1.0]]))


class ScaleTables:
    """The frequency tables of a model.

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
    def fit(cls, counts: dict[int, np.ndarray] | None = None, *, trust: float = 500) -> ScaleTables:
        """Tables from histograms of magnitudes per index, shrunk towards the start.

        Args:
            counts: for each index, int [reach + 2] counts of magnitudes (both signs), the last
                entry beyond reach.
            trust: how many counts the start's shape is worth.
        """
        tables = []
        for index in range(1, N_TABLES):
            weights = prior_histogram(index) * trust
            if counts is not None and index in counts:
                weights = weights + counts[index]
            tables.append(_frequencies(weights))
        return cls(np.concatenate(tables))

    @cached_property
    def models(self) -> list[object]:
        """constriction's model of each table, from index 1."""
        return [
            _Categorical((_mirror(t) - 1).astype(np.float64), perfect=False) for t in self._tables
        ]

    def magnitude_bits(self, index: int) -> np.ndarray:
        """Bits of one code of magnitude 0, 1, ..., reach under table `index`: float64."""
        return -np.log2(self._tables[index - 1][:-1] / TOTAL)

    def bits(self, codes: np.ndarray, indices: np.ndarray) -> float:
        """What writing the codes costs by the tables, in bits (escapes at their table's price)."""
        total = 0.0
        for index in np.unique(indices[indices > 0]):
            table = self._tables[index - 1]
            magnitudes = np.abs(codes[indices == index]).clip(max=len(table) - 1)
            total -= float(np.log2(table[magnitudes] / TOTAL).sum())
        return total


def _mirror(table: np.ndarray) -> np.ndarray:
    """Magnitudes and escape -> frequencies of symbols -reach..reach, escape."""
    return np.concatenate([table[-2:0:-1], table[:-1], table[-1:]])


def _frequencies(weights: np.ndarray) -> np.ndarray:
    """Weights of magnitudes (both signs) -> per-symbol integers that sum to 2^24 when mirrored."""
    copies = np.full(len(weights), 2)
    copies[[0, -1]] = 1
    share = np.maximum(weights, 0) / weights.sum() * (TOTAL - 2 * len(weights))
    table = np.maximum(1, np.floor(share / copies)).astype(np.int64)
    # What rounding left over goes to zero, the one symbol that exists once and is frequent.
    table[0] += TOTAL - int((table * copies).sum())
    return table.astype(np.int32)


def _runs(indices: np.ndarray) -> tuple[np.ndarray, list[tuple[int, slice]]]:
    """Places ordered by table, and the run of each table among them."""
    places = indices.nonzero()[0]
    tables = indices[places]
    order = places[tables.argsort(kind="stable")]
    counts = np.bincount(tables)
    found, ends = counts.nonzero()[0], counts.cumsum()
    return order, [(i, slice(end - n, end)) for i, n, end in
                   zip(found.tolist(), counts[found].tolist(), ends[found].tolist(), strict=True)]


class Encoder:
    """Writes codes; symbols that share a table go in one call.

    Args:
        tables: frequency tables.
        coder: of another encoder, to write into its stream; a new stream by default.
    """

    def __init__(self, tables: ScaleTables, coder: Any = None) -> None:
        self._tables = tables
        self._coder = constriction.stream.queue.RangeEncoder() if coder is None else coder

    @property
    def coder(self) -> Any:
        """constriction's `RangeEncoder`, for symbols of other tables in the same stream."""
        return self._coder

    def write(self, codes: np.ndarray, indices: np.ndarray) -> None:
        """Write int32 codes [n] with uint8 table indices [n]; codes of index 0 must be 0."""
        order, runs = _runs(indices)
        values = codes[order].astype(np.int32, copy=False)
        for index, run in runs:
            reach = max_magnitude(index)
            symbols = values[run] + reach
            # Seen as unsigned, what is below the table is beyond it too.
            outside = (symbols.view(np.uint32) > 2 * reach).nonzero()[0]
            symbols[outside] = 2 * reach + 1
            self._coder.encode(symbols, self._tables.models[index - 1])
            for code in values[run][outside].tolist():
                self._escape(code, reach)

    def _escape(self, code: int, reach: int) -> None:
        rest = abs(code) - reach
        length = rest.bit_length()
        if length > _ESCAPE_BITS:
            raise ValueError(f"code {code} is beyond what the stream can hold")
        self._bits(2 * (length - 1) + (code < 0), 2 * _ESCAPE_BITS)
        if length > 1:
            self._bits(rest - (1 << (length - 1)), 1 << (length - 1))

    def _bits(self, value: int, size: int) -> None:
        self._coder.encode(np.array([value], np.int32), _Uniform(size))

    def finish(self) -> bytes:
        """The stream: little-endian 32-bit words."""
        return bytes(self._coder.get_compressed().astype("<u4").tobytes())


class Decoder:
    """Reads what `Encoder` wrote, given the same indices in the same calls.

    Args:
        tables: frequency tables.
        stream: the bytes, or the `coder` of another decoder, to read on in its stream.
    """

    def __init__(self, tables: ScaleTables, stream: Any) -> None:
        self._tables = tables
        if isinstance(stream, bytes):
            words = np.frombuffer(stream, "<u4").astype(np.uint32)
            stream = constriction.stream.queue.RangeDecoder(words)
        self._coder = stream

    @property
    def coder(self) -> Any:
        """constriction's `RangeDecoder`, for symbols of other tables in the same stream."""
        return self._coder

    def read(self, indices: np.ndarray) -> np.ndarray:
        """uint8 table indices [n] -> int32 codes [n]."""
        codes = np.zeros(len(indices), np.int32)
        order, runs = _runs(indices)
        values = np.empty(len(order), np.int32)
        for index, run in runs:
            reach = max_magnitude(index)
            symbols = self._coder.decode(self._tables.models[index - 1], run.stop - run.start)
            values[run] = symbols - reach
            for at in (symbols == 2 * reach + 1).nonzero()[0].tolist():
                values[run.start + at] = self._unescape(reach)
        codes[order] = values
        return codes

    def _unescape(self, reach: int) -> int:
        prefix = self._bits(2 * _ESCAPE_BITS)
        length, negative = prefix // 2 + 1, prefix % 2
        rest = (1 << (length - 1)) + (self._bits(1 << (length - 1)) if length > 1 else 0)
        return -(reach + rest) if negative else reach + rest

    def _bits(self, size: int) -> int:
        return int(self._coder.decode(_Uniform(size), 1)[0])
