"""Symbol coders: one coding loop writes, reads, or counts bits.

The loop hands over the symbols to write, or None where it reads, and gets the coded ones back.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from aehub.coding.adaptive_tables import AdaptiveTables, read_uniform, write_uniform

Tables = dict[str, AdaptiveTables]


class SymbolCoder(Protocol):
    """Back end of the coding loop."""

    tables: Tables

    def symbols(self, name: str, to_write: np.ndarray | None, contexts: np.ndarray) -> np.ndarray:
        """Code int32 symbols [n] with contexts uint8 [n] by the table `name`."""

    def uniform(self, to_write: np.ndarray | None, n: int, size: int | np.ndarray) -> np.ndarray:
        """Code n int32 values in 0 .. size - 1, all equally likely; there may be a size for each,
        [n]."""


class SymbolWriter:
    """Write to a `RangeEncoder`."""

    def __init__(self, coder: Any, tables: Tables) -> None:
        self.coder = coder
        self.tables = tables

    def symbols(self, name: str, to_write: np.ndarray | None, contexts: np.ndarray) -> np.ndarray:
        assert to_write is not None
        self.tables[name].write(self.coder, to_write, contexts)
        return to_write

    def uniform(self, to_write: np.ndarray | None, n: int, size: int | np.ndarray) -> np.ndarray:
        assert to_write is not None
        write_uniform(self.coder, to_write, size)
        return to_write


class SymbolReader:
    """Read from a range decoder, `aehub.coding.range_coder.Decoder.coder`."""

    def __init__(self, coder: Any, tables: Tables) -> None:
        self.coder = coder
        self.tables = tables

    def symbols(self, name: str, to_write: np.ndarray | None, contexts: np.ndarray) -> np.ndarray:
        return self.tables[name].read(self.coder, contexts)

    def uniform(self, to_write: np.ndarray | None, n: int, size: int | np.ndarray) -> np.ndarray:
        return read_uniform(self.coder, n, size)


class BitCounter:
    """Count in `bits` what a `SymbolWriter` would write; the given tables are not changed."""

    def __init__(self, tables: Tables) -> None:
        self.tables, self._own = dict(tables), set[str]()
        self.bits = 0.0

    def symbols(self, name: str, to_write: np.ndarray | None, contexts: np.ndarray) -> np.ndarray:
        assert to_write is not None
        if name not in self._own:
            self.tables[name] = self.tables[name].copy()
            self._own.add(name)
        self.bits += self.tables[name].bits(to_write, contexts)
        self.tables[name].update(to_write, contexts)
        return to_write

    def uniform(self, to_write: np.ndarray | None, n: int, size: int | np.ndarray) -> np.ndarray:
        assert to_write is not None
        self.bits += float(np.log2(np.full(n, size)).sum())
        return to_write
