"""A reader written from docs/format.md alone reads the golden files.

Plain Python, symbol by symbol, with a range decoder of its own. What the page leaves to a model it
is given: table indices, which come from integer networks, and the frequencies of static tables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aehub.bitstream import Group, open_reader
from aehub.coding.range_coder import ScaleTables
from golden_files import CLIPS, GOLDEN
from page_streams import Cell, Stream, passes
from predicted_files import frames_of, tiny

PAGE = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
KINDS = {"modes": 1, "modes alike": 1, "cells": 3, "cells alike": 1}
LONGEST = 2048


def start_counts() -> dict[str, list[list[int]]]:
    """The weights of the page's table."""
    tables = {}
    for name, given in re.findall(r"^\| `([a-z ]+)`(?: \([^)]*\))? \| ([\d., :;a-z]+) \|$", PAGE,
                                  re.MULTILINE):
        if name == "cells alike":
            rows = [[8.0, 1, 1], [8, 1, 1], [1, 0.25, 8]]
            assert given == "kinds 0 and 1: 8 1 1; kind 2: 1 .25 8"
        else:
            rows = [[float(w) for w in row.split()] for row in given.split(", ")]
        if name.endswith(" size"):
            rows = [row + [0.25] * (14 - len(row)) for row in rows]
        tables[name] = [[max(8, round(32 * w)) for w in row]
                        for _ in range(KINDS.get(name, 3)) for row in rows]
    return tables


def grid_passes(n: int, m: int, frames: list[int]) -> Iterator[list[tuple[int, Cell, list[Cell]]]]:
    for cells in passes(list(range(n)), list(range(m))):
        yield [(frame, cell, around) for frame in frames for cell, around in cells]


def labels(stream: Stream, name: str, n_frames: int, n: int, m: int, kind: int = 0) -> np.ndarray:
    alike = stream.set(f"{name} alike", [kind] * n_frames)
    found = np.array([np.full((n, m), max(0, common - 1)) for common in alike])
    for cells in grid_passes(n, m, [frame for frame, common in enumerate(alike) if not common]):
        contexts = [sum(2**label for label in {int(found[frame][at]) for at in around}) + 4 * kind
                    for frame, _, around in cells]
        for (frame, cell, _), label in zip(cells, stream.set(name, contexts), strict=True):
            found[frame][cell] = label
    return found


def cut(total: int) -> int:
    """Half, cut towards zero."""
    return abs(total) // 2 * (1 if total > 0 else -1)


def middle(values: list[int]) -> int:
    found = sorted(values)
    n = len(found)
    return 0 if not n else found[n // 2] if n % 2 else cut(found[n // 2 - 1] + found[n // 2])


def spread_class(values: list[int]) -> int:
    if not values:
        return 4
    spread = max(values) - min(values)
    return (spread > 0) + (spread > 2) + (spread > 8)


def scaled(vectors: np.ndarray, distance: int, span: int) -> np.ndarray:
    rounded = (2 * np.abs(vectors) * abs(distance) + abs(span)) // (2 * abs(span))
    return np.minimum(rounded, LONGEST) * np.sign(vectors) * np.sign(distance * span)


Vector = tuple[int, int]


def differences(stream: Stream, name: str, contexts: list[int], classes: list[Vector],
                merges: Callable[[int, int], Vector]) -> list[Vector]:
    symbols = stream.set(name, contexts)
    found = [list(merges(at, symbol)) if symbol > 2 else [0, 0] for at, symbol in
             enumerate(symbols)]
    there = [{0: [], 1: [], 2: [0, 1]}.get(symbol, []) for symbol in symbols]
    for at, symbol in enumerate(symbols):
        if symbol == 1:
            there[at] = [stream.uniform(2)]
    places = [(at, part) for part in range(2) for at, parts in enumerate(there) if part in parts]
    bins = stream.set(f"{name} size", [classes[at][part] for at, part in places])
    for size in sorted(set(bins)):
        for (at, part), own in zip(places, bins, strict=True):
            if own == size:
                raw = stream.uniform(max(2, 2**size))
                first = 1 if size == 0 else 2 ** (size - 1) + 1
                found[at][part] = (-1) ** (raw % 2) * (first + raw // 2)
    return [(down, right) for down, right in found]


@dataclass
class Read:
    """A frame as it is read, by names of the page."""

    offset: int
    codes: tuple[np.ndarray, np.ndarray]
    vectors: np.ndarray | None = None
    modes: np.ndarray | None = None
    coded: np.ndarray | None = None
    colour: tuple[int, ...] | None = None
    parents: list[np.ndarray] = field(default_factory=list)
    span: int = 0


class Reader:
    """The integers of a group."""

    def __init__(self, group: Group, coder: int, size: tuple[int, int],
                 tables: dict[int, Any]) -> None:
        self.header, self.coder, self.given = group.header, coder, tables
        words = np.frombuffer(group.payload, "<u4").tolist()
        ends = np.cumsum([0, *group.header.stream_words]).tolist()
        self.streams = [Stream(words[a:b], start_counts())
                        for a, b in pairwise([*ends, len(words)])]
        self.references = group.header.resolved_references
        self.h, self.w = size[1] // 8, size[0] // 8
        self.frames: dict[int, Read] = {}

    def batches(self) -> Iterator[tuple[int, list[int]]]:
        """(stream, frames) in an order in which they can be read."""
        layers: dict[int, int | None] = {}
        keys = [n for n, used in enumerate(self.references) if len(used) < 2]
        if len(self.streams) == 1:
            left = list(range(self.header.n_frames))
            done = set[int]()
            while left:
                frame = next(n for n in left if done.issuperset(self.references[n]))
                left.remove(frame)
                done.add(frame)
                yield 0, [frame]
            return
        yield 0, [0]
        for first, last in pairwise(keys):
            layers, depth = {first: None, last: 0}, 0
            yield 0, [last]
            while True:
                known = sorted(layers)
                found = [(a + b) // 2 for a, b in pairwise(known) if b - a > 1]
                if not found:
                    break
                depth += 1
                layers.update(dict.fromkeys(found, depth))
                yield min(depth, 3), found

    def read(self) -> dict[int, Read]:
        for stream, frames in self.batches():
            self.batch(self.streams[stream], frames)
        return self.frames

    def batch(self, stream: Stream, frames: list[int]) -> None:
        n_references, offset = len(self.references[frames[0]]), stream.uniform(64)
        n, m = self.h // 4, self.w // 4
        found: list[dict[str, Any]] = [{} for _ in frames]
        if n_references:
            self.motion(stream, frames, found)
        elif self.coder == 3:
            coded = labels(stream, "cells", 1, n, m, 2)[0]
            if not coded.all():
                found[0] = {"coded": coded, "colour": tuple(stream.uniform(256) for _ in "YUV")}
        tables = (tiny().runtime.inter_tables if n_references else tiny().runtime.tables)
        parts = half_tables(tables)
        hyper = np.concatenate([self.given[number][0] for number in frames])
        index = np.concatenate([self.given[number][1] for number in frames])
        hyper_codes = stream.codes(hyper, parts)
        codes = np.zeros(index.shape, int)
        rows, columns = np.indices(index.shape[-2:]) % 4
        quincunx = np.isin(rows, (0, 3)) == np.isin(columns, (0, 3))
        for begin, end, mask in ((0, 22, quincunx), (0, 22, ~quincunx), (22, 60, True),
                                 (60, 96, True)):
            codes[:, begin:end] += stream.codes(index[:, begin:end] * mask, parts)
        for at, number in enumerate(frames):
            self.frames[number] = Read(offset, (hyper_codes[at], codes[at]), **found[at])

    def motion(self, stream: Stream, frames: list[int], found: list[dict[str, Any]]) -> None:
        references = [self.references[number] for number in frames]
        n, m, n_references = self.h // 2, self.w // 2, len(references[0])
        modes = np.zeros((len(frames), n, m), int)
        if n_references == 2:
            modes = labels(stream, "modes", len(frames), n, m)
        for r in range(n_references):
            bases = [self.base(number, used, r, own)
                     for number, used, own in zip(frames, references, found, strict=True)]
            used = [(own == r) | (own == 2) for own in modes]
            fields = self.field(stream, r + (n_references == 2), bases, used)
            for own, (parents, vectors) in zip(found, fields, strict=True):
                own.setdefault("parents", []).append(parents)
                own.setdefault("vectors", []).append(vectors)
        coded = labels(stream, "cells", len(frames), self.h // 4, self.w // 4, n_references - 1)
        for at, own in enumerate(found):
            own.update(modes=modes[at] + 1, coded=coded[at], vectors=np.stack(own["vectors"]),
                       span=frames[at] - references[at][0])

    def base(self, number: int, used: tuple[int, ...], r: int, own: dict[str, Any]) -> np.ndarray:
        distance = number - used[r]
        if r:
            return scaled(own["parents"][0], distance, number - used[0])
        for reference in reversed(used):
            frame = self.frames[reference]
            if frame.parents:
                return scaled(frame.parents[0], distance, frame.span)
        return np.zeros((2, self.h // 2, self.w // 2), int)

    def field(self, stream: Stream, kind: int, given: list[np.ndarray], used: list[np.ndarray]
              ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Vectors of 16x16 blocks, and of 8x8 blocks, of each frame."""
        forms = stream.set("form", [kind] * len(given))
        bases = [0 * base if form & 2 else base for form, base in zip(forms, given, strict=True)]
        others = [base if form & 2 else 0 * base for form, base in zip(forms, given, strict=True)]
        parents = [base.copy() for base in bases]
        coded = [frame for frame, form in enumerate(forms) if form & 1]
        n, m = used[0].shape
        delta: dict[tuple[int, Cell], Vector] = {}
        split_context: dict[tuple[int, Cell], int] = {}
        for cells in grid_passes(n, m, coded):
            self.deltas(stream, kind, cells, used, bases, others, delta, split_context)
        for frame, cell in delta:
            vector = bases[frame][:, *cell] + delta[frame, cell]
            parents[frame][:, *cell] = (
                vector if used[frame][cell] else vector.clip(-LONGEST, LONGEST))
        vectors = [own.repeat(2, 1).repeat(2, 2) for own in parents]
        blocks = [(frame, cell) for frame in coded for cell in product(range(n), range(m))
                  if used[frame][cell]]
        flags = stream.set("split", [split_context[block] for block in blocks])
        split = [block for block, flag in zip(blocks, flags, strict=True) if flag]
        if split:
            small = [(frame, (2 * i + a, 2 * j + b)) for frame, (i, j) in split
                     for a, b in product(range(2), repeat=2)]
            residuals = differences(stream, "child", [kind] * len(small),
                                    [(kind, kind)] * len(small), lambda at, symbol: (0, 0))
            for (frame, cell), residual in zip(small, residuals, strict=True):
                vectors[frame][:, *cell] += residual
        for frame, (i, j) in split:
            for part in range(2):
                four = vectors[frame][part, 2 * i:2 * i + 2, 2 * j:2 * j + 2]
                parents[frame][part, i, j] = middle(four.ravel().tolist())
        return list(zip(parents, vectors, strict=True))

    def deltas(self, stream: Stream, kind: int, cells: list[tuple[int, Cell, list[Cell]]],
               used: list[np.ndarray], bases: list[np.ndarray], others: list[np.ndarray],
               delta: dict[tuple[int, Cell], Vector], split_context: dict[tuple[int, Cell], int]
               ) -> None:
        """One scan pass."""
        inside = []
        for frame, cell, around in cells:
            known = [delta[frame, at] for at in around]
            predicted = middle([v[0] for v in known]), middle([v[1] for v in known])
            delta[frame, cell] = predicted
            if used[frame][cell]:
                spreads = tuple(spread_class([v[part] for v in known]) for part in range(2))
                inside.append((frame, cell, known, predicted, spreads))

        def merged(at: int, symbol: int) -> Vector:
            frame, cell, known, predicted, _ = inside[at]
            wanted: Vector = (0, 0)
            if symbol == 4:
                wanted = tuple((others[frame] - bases[frame])[:, *cell].tolist())
            if symbol > 4:
                lengths = [abs(a) + abs(b) for a, b in known]
                best = (min if symbol == 5 else max)(lengths, default=0)
                ends = {v for v, length in zip(known, lengths, strict=True) if length == best}
                wanted = ends.pop() if len(ends) == 1 else predicted
            return wanted[0] - predicted[0], wanted[1] - predicted[1]

        residuals = differences(
            stream, "parent",
            [10 * kind + 2 * max(s) + (p != (0, 0)) for *_, p, s in inside],
            [(5 * kind + s[0], 5 * kind + s[1]) for *_, s in inside], merged)
        for (frame, cell, _, predicted, spreads), residual in zip(inside, residuals, strict=True):
            delta[frame, cell] = predicted[0] + residual[0], predicted[1] + residual[1]
            split_context[frame, cell] = 10 * kind + 2 * max(spreads) + (residual != (0, 0))


def half_tables(tables: ScaleTables) -> list[list[int]]:
    """For each table the frequencies of the magnitudes 0..R, then the escape."""
    found, at, numbers = [[]], 0, tables.frequencies.tolist()
    for i in range(1, 64):
        most = min(255, int(np.ceil(10 * (0.12 * (200 / 0.12) ** (i / 63)))) + 3)
        found.append(numbers[at:at + most + 2])
        at += most + 2
    assert at == len(numbers)
    return found


def test_the_page_gives_the_weights_of_all_tables() -> None:
    assert set(start_counts()) == {"modes alike", "modes", "cells alike", "cells", "form", "parent",
                                   "parent size", "child", "child size", "split"}


@pytest.mark.parametrize("name", CLIPS)
def test_a_reader_made_from_the_page_reads_what_the_codec_reads(name: str) -> None:
    with open_reader(GOLDEN / name) as reader:
        header, groups = reader.header, list(reader.groups())
    for group in groups:
        wanted = {frame.number: frame for frame in frames_of(tiny(), group, header)}
        given = {number: tuple(part.numpy().astype(int) for part in frame.tables)
                 for number, frame in wanted.items()}
        size = header.coded_size(32, group.header.crop)
        found = Reader(group, header.coder, size, given).read()
        assert found.keys() == wanted.keys()
        for number, frame in wanted.items():
            ours = found[number]
            assert ours.offset == frame.quality_offset
            assert np.array_equal(ours.codes[0], frame.codes.hyper[0].numpy())
            assert np.array_equal(ours.codes[1], frame.codes.latent[0].numpy())
            if frame.motion is not None:
                assert np.array_equal(ours.modes, frame.motion.modes)
                assert np.array_equal(ours.vectors, frame.motion.vectors)
                assert np.array_equal(ours.coded, frame.motion.coded_flags)
            elif frame.flat is not None:
                assert ours.colour == frame.flat.colour
                assert np.array_equal(ours.coded, frame.flat.coded)
            else:
                assert ours.colour is None
