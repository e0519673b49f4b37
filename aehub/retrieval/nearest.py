"""The nearest segments of an index: by an exact search, or in very large ones by a graph.

An exact search of 100,000 segments takes 3.5 ms on one core for a picture and 5.8 ms for a clip of
eight (`docs/measure/retrieval.py --speed`), so about 0.1 s for two million. From there on a graph
of usearch (extra `usearch`) finds the nearest faster, but not always all: it is a file beside the
vectors, which indexing keeps up to date where usearch is installed. Without it every search is
exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aehub.files import PendingOutput
from aehub.retrieval.store import Library, StoredContent

LEAST_SEGMENTS = 2_000_000
"""Segments from which on a graph is made and used."""
_GRAPH_NEAREST = 512
"""Segments that the graph finds for each vector: many of one clip may be alike."""
_ADDED = 4096
"""Segments added to a graph at once: half a second."""
_BLOCK = 1 << 14
"""Segments that are multiplied at once: 4 MB of float32."""


def nearest_cosines(library: Library, vectors: np.ndarray) -> np.ndarray:
    """Largest cosine of each vector to a segment of each content.

    Exact, or -1 for contents that the graph of a very large index did not find.

    Args:
        library: an index with n contents.
        vectors: float16 [m, D], in the units of the index.

    Returns:
        float32 [m, n].
    """
    graph = _opened(library)
    if graph is None:
        return best_cosines(library, vectors)
    starts = np.array([content.first for content in library.contents])
    ends = np.array([content.rows.stop for content in library.contents])
    # Segments that the graph lacks, as after an interruption, are compared exactly.
    behind = int(np.searchsorted(ends, len(graph), "right"))
    rest = library._replace(contents=library.contents[behind:])
    best = np.concatenate([np.full((len(vectors), behind), -1, np.float32),
                           best_cosines(rest, vectors)], axis=1)
    found = graph.search(vectors, _GRAPH_NEAREST)
    for number, rows in enumerate(np.atleast_2d(found.keys).astype(np.int64)):
        places = np.searchsorted(starts, rows, "right") - 1
        is_used = (places >= 0) & (rows < ends[places])
        rows, places = rows[is_used], places[is_used]
        cosines = library.vectors[rows].astype(np.float32) @ vectors[number].astype(np.float32)
        np.maximum.at(best[number], places, cosines)
    return best


def best_cosines(library: Library, vectors: np.ndarray) -> np.ndarray:
    """Largest cosine of each vector to a segment of each content, exactly.

    Args:
        library: an index with n contents.
        vectors: float16 [m, D], in the units of the index.

    Returns:
        float32 [m, n].
    """
    queries = torch.from_numpy(vectors.astype(np.float32))
    best = np.full((len(vectors), len(library.contents)), -1, np.float32)
    for first, contents in _runs(library.contents):
        ends = [content.rows.stop for content in contents]
        starts = np.array([content.first for content in contents])
        for begin in range(starts[0], ends[-1], _BLOCK):
            end = min(begin + _BLOCK, ends[-1])
            # Torch converts float16 in a tenth of numpy's time.
            rows = torch.from_numpy(np.array(library.vectors[begin:end])).float()
            cosines = (queries @ rows.T).numpy()
            low = int(np.searchsorted(starts, begin, "right")) - 1
            high = int(np.searchsorted(starts, end, "left"))
            found = np.maximum.reduceat(cosines, np.maximum(starts[low:high] - begin, 0), axis=1)
            place = best[:, first + low:first + high]
            np.maximum(place, found, out=place)
    return best


def _runs(contents: Sequence[StoredContent]) -> Iterator[tuple[int, Sequence[StoredContent]]]:
    """Contents whose rows follow each other, with the number of the first."""
    begin = 0
    for place in range(1, len(contents) + 1):
        if place == len(contents) or contents[place].first != contents[place - 1].rows.stop:
            yield begin, contents[begin:place]
            begin = place


def update_graph(library: Library) -> Iterator[int]:
    """Add the segments that the graph of a very large index lacks; yields how many are done.

    Does nothing for other indexes, and where usearch is not installed.
    """
    usearch, n = _usearch(), len(library.vectors)
    if usearch is None or n < LEAST_SEGMENTS:
        return
    path, graph = _path(library), _opened(library, change=True)
    if graph is None:
        graph = usearch.Index(ndim=library.vectors.shape[1], metric="ip", dtype="f16")
    if len(graph) >= n:
        return
    for begin in range(len(graph), n, _ADDED):
        rows = np.arange(begin, min(begin + _ADDED, n))
        graph.add(rows, np.array(library.vectors[rows[0]:rows[-1] + 1]))
        yield int(rows[-1]) + 1
    with PendingOutput(path) as stage:
        graph.save(str(stage.path))
    for old in library.folder.glob("vectors-*.usearch"):
        if old != path:
            with suppress(OSError):
                old.unlink()


def _opened(library: Library, *, change: bool = False) -> Any:
    """The graph of an index; None if there is none to be used."""
    usearch, path = _usearch(), _path(library)
    if usearch is None or len(library.vectors) < LEAST_SEGMENTS or not path.is_file():
        return None
    try:
        graph = usearch.Index.restore(str(path), view=not change)
    except Exception:
        # Whatever is wrong with it: an exact search does without.
        return None
    # It may know rows that nothing names any more: rows are not written twice under one number.
    return graph if graph is not None and graph.ndim == library.vectors.shape[1] else None


def _path(library: Library) -> Path:
    return library.folder / f"vectors-{library.generation}.usearch"


def _usearch() -> Any:
    """The module of that name; None if it is not installed."""
    try:
        return import_module("usearch.index")
    except ImportError:
        return None
