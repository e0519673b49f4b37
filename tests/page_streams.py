"""Entropy streams and scan passes, written from docs/format.md alone: plain Python, slow."""

from __future__ import annotations

from itertools import product

import numpy as np

Tables = dict[str, list[list[int]]]


def shares(counts: list[int]) -> list[int]:
    """Frequencies of counts, of 2^24."""
    found = [count * 2**24 // sum(counts) for count in counts]
    found[counts.index(max(counts))] += 2**24 - sum(found)
    return found


class Stream:
    """An entropy stream: range decoder and adaptive tables."""

    def __init__(self, words: list[int], tables: Tables) -> None:
        self.words, self.at, self.point = words, 0, 0
        for _ in range(2):
            self.shift()
        self.lower, self.range, self.tables = 0, 2**64 - 1, tables

    def shift(self) -> None:
        word = self.words[self.at] if self.at < len(self.words) else 0
        self.at += 1
        self.point = (self.point << 32 | word) % 2**64

    def symbol(self, frequencies: list[int]) -> int:
        scale = self.range >> 24
        quantile = (self.point - self.lower) % 2**64 // scale
        number = 0
        while quantile >= frequencies[number]:
            quantile -= frequencies[number]
            number += 1
        self.lower = (self.lower + scale * sum(frequencies[:number])) % 2**64
        self.range = scale * frequencies[number]
        if self.range < 2**32:
            self.lower, self.range = self.lower * 2**32 % 2**64, self.range * 2**32
            self.shift()
        return number

    def uniform(self, n: int) -> int:
        # Sums of equal frequencies, without a list of millions.
        each, scale = 2**24 // n, self.range >> 24
        number = min((self.point - self.lower) % 2**64 // scale // each, n - 1)
        self.lower = (self.lower + scale * each * number) % 2**64
        self.range = scale * (each if number < n - 1 else 2**24 - each * (n - 1))
        if self.range < 2**32:
            self.lower, self.range = self.lower * 2**32 % 2**64, self.range * 2**32
            self.shift()
        return int(number)

    def set(self, name: str, contexts: list[int]) -> list[int]:
        symbols = [0] * len(contexts)
        for context in sorted(set(contexts)):
            counts = self.tables[name][context]
            at = [place for place, own in enumerate(contexts) if own == context]
            frequencies = shares(counts)
            for place in at:
                symbols[place] = self.symbol(frequencies)
            for place in at:
                counts[symbols[place]] += 32
            while sum(counts) > 2**15:
                counts[:] = [max(8, count // 2) for count in counts]
        return symbols

    def codes(self, index: np.ndarray, tables: list[list[int]]) -> np.ndarray:
        """Codes of a part, in the order of the page, for indices of any shape."""
        flat, found = index.ravel(), np.zeros(index.size, int)
        for table in sorted(set(flat.tolist()) - {0}):
            half = tables[table]
            most, places = len(half) - 2, np.flatnonzero(flat == table)
            frequencies = half[-2:0:-1] + half
            symbols = [self.symbol(frequencies) for _ in places]
            found[places] = np.array(symbols) - most
            for place, symbol in zip(places, symbols, strict=True):
                if symbol > 2 * most:
                    prefix = self.uniform(48)
                    bits, negative = prefix // 2 + 1, prefix % 2
                    excess = 2 ** (bits - 1) + (self.uniform(2 ** (bits - 1)) if bits > 1 else 0)
                    found[place] = (-1) ** negative * (most + excess)
        return found.reshape(index.shape)


Cell = tuple[int, int]
Pass = list[tuple[Cell, list[Cell]]]


def passes(rows: list[int], columns: list[int]) -> list[Pass]:
    """Cells of a grid with their neighbours, pass by pass."""
    def coarse(side: list[int]) -> list[bool]:
        n = len(side)
        return [abs(2 * i - (n - 1)) // 2 % 2 == 0 for i in range(n)]

    down, right = coarse(rows), coarse(columns)
    if len(rows) * len(columns) <= 4 or all(down) and all(right):
        return [[(cell, []) for cell in product(rows, columns)]]
    kinds = {(i, j): down[i] + right[j] for i in range(len(rows)) for j in range(len(columns))}

    def one(kind: int, steps: list[Cell], known: set[int]) -> Pass:
        return [((rows[i], columns[j]),
                 [(rows[i + a], columns[j + b]) for a, b in steps
                  if kinds.get((i + a, j + b)) in known])
                for (i, j), own in kinds.items() if own == kind]

    below = passes([n for n, even in zip(rows, down, strict=True) if even],
                   [n for n, even in zip(columns, right, strict=True) if even])
    diagonal = one(0, [(-1, -1), (-1, 1), (1, -1), (1, 1)], {2})
    cross = one(1, [(-1, 0), (1, 0), (0, -1), (0, 1)], {0, 2})
    return [*below, *(cells for cells in (diagonal, cross) if cells)]
