"""Groups of copies in an index, and parts that otherwise different clips share, such as intros.

Some segments of each clip are compared with all others; pairs of clips with common ones are
aligned. A match that covers most of both clips makes them copies, one that covers most of the
shorter makes it an excerpt, and any other a shared part.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from aehub.media.orientation import IDENTITY
from aehub.results import Progress
from aehub.retrieval.fingerprint import Fingerprints
from aehub.retrieval.matching import DEFAULT_THRESHOLD, Alignment, align
from aehub.retrieval.nearest import best_cosines
from aehub.retrieval.store import Library, StoredContent

PROBE_STEP = 1.0
"""Seconds between the segments of a clip that are compared with all others: two of them are alike
in a shared part of two seconds."""
LEAST_PROBES = 4
_BLOCK = 256
"""Segments compared at once: 25 MB of cosines to 24,000 clips."""
_NEAREST = 16
"""Other clips that a segment may point to."""
_MOST_NEAREST = 64
"""Likewise, where many are equally near."""
_LEAST_COSINE = 0.8
"""Cosine from which on it does: most pairs of different clips are below."""
_MOST = 0.6
"""Share of a clip that makes most of it."""
_LEAST_PICTURES = 3
"""Segments of a shared part, at least: one alike is chance."""
MAX_PICTURES = 600
"""Segments of the shorter clip that are aligned."""


class Part(NamedTuple):
    """A part of a content.

    Attributes:
        content: place in the index.
        start: in seconds.
        end: in seconds.
    """

    content: int
    start: float
    end: float


class Copy(NamedTuple):
    """A content of a group of copies.

    Attributes:
        part: that matches the first content of the group.
        turn: element of `aehub.media.orientation` that turns the first into this one.
        score: confidence from 0 to 1.
    """

    part: Part
    turn: int
    score: float


@dataclass
class Sets:
    """Disjoint sets of keys, which links join."""

    parents: dict[Hashable, Hashable] = field(default_factory=dict)

    def find(self, key: Hashable) -> Hashable:
        """The key that stands for the set of another."""
        parents = self.parents
        parents.setdefault(key, key)
        while parents[key] != key:
            parents[key] = parents[parents[key]]
            key = parents[key]
        return key

    def join(self, one: Hashable, two: Hashable) -> None:
        """Join the sets of two keys."""
        self.parents[self.find(one)] = self.find(two)

    def members(self) -> list[list[Hashable]]:
        """The sets, in the order of their first keys."""
        found: dict[Hashable, list[Hashable]] = {}
        for key in self.parents:
            found.setdefault(self.find(key), []).append(key)
        return list(found.values())


class Relations:
    """Copies, excerpts and shared parts found so far among the contents of an index."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.copies, self.parts = Sets(), Sets()
        self.excerpts: dict[int, list[tuple[int, list[Alignment]]]] = {}
        self._parts_of: dict[int, list[Part]] = {}

    def seconds(self, place: int) -> float:
        """Duration of a content, at least that of a segment."""
        content = self.library.contents[place]
        return max(content.seconds, float(content.times[-1]), 0.1)

    def compare(self, one: int, two: int) -> None:
        """Align two contents and note what they have in common."""
        long, short = sorted((one, two), key=lambda place: (-self.seconds(place), place))
        matches = matches_of(self.library, short, long)
        if not matches:
            return
        covered = sum(match.ends - match.begins for match in matches) / self.seconds(short)
        of_long = sum(match.end - match.start for match in matches) / self.seconds(long)
        single = len(self.library.contents[short].times) == 1
        if single or covered >= _MOST:
            both = len(self.library.contents[long].times) == 1 if single else of_long >= _MOST
            if both:
                self.copies.join(long, short)
            else:
                self.excerpts.setdefault(short, []).append((long, matches))
            return
        self.share(short, long, matches)

    def share(self, short: int, long: int, matches: Iterable[Alignment]) -> None:
        """Note the parts that two contents share."""
        for match in matches:
            if match.features.pictures >= _LEAST_PICTURES:
                self.parts.join(self._part(Part(short, match.begins, match.ends)),
                                self._part(Part(long, match.start, match.end)))

    def _part(self, part: Part) -> Part:
        """A known part of the content that is mostly the same, or this one."""
        known = self._parts_of.setdefault(part.content, [])
        for other in known:
            shared = min(part.end, other.end) - max(part.start, other.start)
            if shared >= max(part.end - part.start, other.end - other.start) / 2:
                return other
        known.append(part)
        return part

    def is_known(self, one: int, two: int, times: tuple[list[float], list[float]]) -> bool:
        """Return whether contents are linked already where their segments at `times` are alike."""
        if self.copies.find(one) == self.copies.find(two):
            return True
        around = [{self.parts.find(part) for part in self._parts_of.get(place, ())
                   if all(part.start - PROBE_STEP <= time <= part.end + PROBE_STEP
                          for time in found)}
                  for place, found in zip((one, two), times, strict=True)]
        return bool(around[0] & around[1])


def matches_of(library: Library, short: int, long: int) -> list[Alignment]:
    """Matches of a content in another that do not overlap in either, the best first."""
    contents = library.contents
    query = library.fingerprints(contents[short])
    every = -(-len(query.times) // MAX_PICTURES)
    query = Fingerprints(*(values[::every] for values in query))
    step = float(np.median(np.diff(query.times))) if len(query.times) > 1 else 0.0
    found: list[Alignment] = []
    for match in align(query, library.fingerprints(contents[long]), step, contents[long].seconds):
        apart = all(min(match.ends, one.ends) - max(match.begins, one.begins) <= step
                    for one in found)
        if match.score >= DEFAULT_THRESHOLD and apart:
            found.append(match)
    return found


def find_copies(library: Library) -> Generator[
        Progress, None, tuple[list[list[Copy]], list[list[Part]]]]:
    """Groups of copies, the longest content first, and shared parts; yields progress.

    Raises:
        FormatError: the index is damaged.
    """
    relations, n = Relations(library), len(library.contents)
    pairs = yield from _pairs(library)
    # Those with the most in common first: copies, which make others superfluous.
    order = sorted(pairs, key=lambda pair: (-len(pairs[pair][0]) - len(pairs[pair][1]), pair))
    for number, pair in enumerate(order):
        if not relations.is_known(*pair, pairs[pair]):
            relations.compare(*pair)
        yield Progress(n + number + 1, n + len(order))
    for short, found in relations.excerpts.items():
        wholes = {relations.copies.find(long) for long, _ in found}
        if len(wholes - {relations.copies.find(short)}) == 1:
            relations.copies.join(short, found[0][0])
        else:
            for long, matches in found:
                relations.share(short, long, matches)
    groups = [_group(relations, [place for place in group if isinstance(place, int)])
              for group in relations.copies.members() if len(group) > 1]
    parts = [sorted(part for part in group if isinstance(part, Part))
             for group in relations.parts.members()]
    return groups, [group for group in parts if len({
        relations.copies.find(part.content) for part in group}) > 1]


def _pairs(library: Library) -> Generator[
        Progress, None, dict[tuple[int, int], tuple[list[float], list[float]]]]:
    """Pairs of contents with segments alike -> times of these in both."""
    probes = [(place, row) for place, content in enumerate(library.contents)
              for row in _probes(content)]
    pairs: dict[tuple[int, int], tuple[list[float], list[float]]] = {}
    for begin in range(0, len(probes), _BLOCK):
        block = probes[begin:begin + _BLOCK]
        rows = np.array([library.contents[place].first + row for place, row in block])
        best = best_cosines(library, library.vectors[rows])
        best[np.arange(len(block)), [place for place, _ in block]] = -1
        n_nearest = min(_NEAREST, best.shape[1])
        least = np.partition(best, -n_nearest, axis=1)[:, -n_nearest]
        near = (best >= _LEAST_COSINE) & (best >= least[:, None])
        for (place, row), others in zip(block, map(np.flatnonzero, near), strict=True):
            if len(others) > _MOST_NEAREST:
                # Equal ones, such as black pictures and intros: each with the next, all are linked.
                others = np.roll(others, -int(np.searchsorted(others, place)))[:_NEAREST]
            for other in others.tolist():
                key = min(place, other), max(place, other)
                times = pairs.setdefault(key, ([], []))
                times[int(place > other)].append(float(library.contents[place].times[row]))
        yield Progress(block[-1][0], len(library.contents))
    return {key: times for key, times in pairs.items() if _is_common(library, key, times)}


def _probes(content: StoredContent) -> list[int]:
    n = len(content.times)
    wanted = max(LEAST_PROBES, int(content.seconds / PROBE_STEP) + 1)
    return sorted(set(np.linspace(0, n - 1, min(n, wanted)).round().astype(int).tolist()))


def _is_common(library: Library, pair: tuple[int, int], times: tuple[list[float], list[float]]
               ) -> bool:
    """Return whether the segments alike are too many for chance."""
    fewest = min(len(library.contents[place].times) for place in pair)
    return max(map(len, times)) >= min(2, fewest)


def _group(relations: Relations, group: list[int]) -> list[Copy]:
    """The copies of a group, each compared with the longest."""
    first, *others = sorted(group, key=lambda place: (-relations.seconds(place), place))
    found = [whole_of(relations.library, first)]
    for place in others:
        matches = matches_of(relations.library, place, first)
        seconds = relations.library.contents[place].seconds
        if matches:
            part = Part(place, min(match.begins for match in matches),
                        min(max(match.ends for match in matches), seconds))
            found.append(Copy(part, matches[0].turn, matches[0].score))
        else:
            # Alike only through another of the group.
            found.append(Copy(Part(place, 0.0, seconds), IDENTITY, DEFAULT_THRESHOLD))
    return found


def whole_of(library: Library, place: int) -> Copy:
    """A whole content, as the first of a group."""
    return Copy(Part(place, 0.0, library.contents[place].seconds), IDENTITY, 1.0)
