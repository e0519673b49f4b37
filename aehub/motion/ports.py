"""Three ends for one coding loop: it writes, it reads, or it only counts what writing would cost.

Each `symbols` call takes what is to be written and returns what the other side will see; a reader
is given None and returns what the stream says.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from aehub.adaptive import Counts, read_uniform, write_uniform

Tables = dict[str, Counts]


class Port(Protocol):
    """Where symbols go to or come from."""

    tables: Tables

    def symbols(self, name: str, wanted: np.ndarray | None, contexts: np.ndarray) -> np.ndarray:
        """Pass int32 symbols [n] with contexts uint8 [n] through the table `name`."""

    def uniform(self, wanted: np.ndarray | None, n: int, size: int) -> np.ndarray:
        """Pass n int32 values in 0 .. size - 1 through."""


class WritePort:
    """To a `RangeEncoder`."""

    def __init__(self, coder: Any, tables: Tables) -> None:
        self.coder = coder
        self.tables = tables

    def symbols(self, name: str, wanted: np.ndarray | None, contexts: np.ndarray) -> np.ndarray:
        assert wanted is not None
        self.tables[name].write(self.coder, wanted, contexts)
        return wanted

    def uniform(self, wanted: np.ndarray | None, n: int, size: int) -> np.ndarray:
        assert wanted is not None
        write_uniform(self.coder, wanted, size)
        return wanted


class ReadPort:
    """From a `RangeDecoder`."""

    def __init__(self, coder: Any, tables: Tables) -> None:
        self.coder = coder
        self.tables = tables

    def symbols(self, name: str, wanted: np.ndarray | None, contexts: np.ndarray) -> np.ndarray:
        return self.tables[name].read(self.coder, contexts)

    def uniform(self, wanted: np.ndarray | None, n: int, size: int) -> np.ndarray:
        return read_uniform(self.coder, n, size)


class TallyPort:
    """To nowhere: `bits` is what a `WritePort` would have written; the tables given stay as is."""

    def __init__(self, tables: Tables) -> None:
        self.tables, self._own = dict(tables), set[str]()
        self.bits = 0.0

    def symbols(self, name: str, wanted: np.ndarray | None, contexts: np.ndarray) -> np.ndarray:
        assert wanted is not None
        if name not in self._own:
            self.tables[name] = self.tables[name].copy()
            self._own.add(name)
        self.bits += self.tables[name].bits(wanted, contexts)
        self.tables[name].learn(wanted, contexts)
        return wanted

    def uniform(self, wanted: np.ndarray | None, n: int, size: int) -> np.ndarray:
        assert wanted is not None
        self.bits += n * (size.bit_length() - 1)
        return wanted
