"""Opponents of the measurement of retrieval: vPDQ, average hash, colour histogram.

All see the library at the same times and queries ten times a second, and give back the best window
of each film. A window's score is the mean over the frames of the query of their similarity to the
most similar frame of the window, which is as long as the query; `start` comes from the most
similar pair of frames. vPDQ is the exception: by its published rule its score is the share of the
query's frames that match any frame of the film (quality of both >= 50, Hamming distance <= 31 of
256), ties in favour of the larger share of the film's frames, then of the nearest pair.

PDQ hashes need `pdqhash`, which is not among this project's dependencies:

    python -m pip install --target FOLDER pdqhash
"""

from __future__ import annotations

import importlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from PIL import Image
from retrieval_protocol import TURNS

STEP, QUERY_STEP = 0.4, 0.1
"""Seconds between frames of the library, and of a query."""
VPDQ_STEP = 1.0
"""Seconds between hashed frames in vPDQ by default."""
PDQ_QUALITY, PDQ_DISTANCE, PDQ_BITS = 50, 31, 256
_SLACK = 0.2
"""Seconds that a window is longer than the query."""
_TOLERANCE = 1e-3
_DIHEDRAL = ("", "--rotate 270", "--rotate 180", "--rotate 90", "--flip vertical",
             "--flip horizontal", "--transpose", "--transpose --rotate 180")
"""The order of `pdqhash.compute_dihedral`."""
_UNDONE = {"--rotate 90": "--rotate 270", "--rotate 270": "--rotate 90"}
"""Turns that are not their own opposite: what turns a query into the film undoes what turned it."""


class Found(NamedTuple):
    """A match, as `aehub.search` gives it."""

    path: str
    start: float
    end: float
    orientation: str
    score: float


class Hashes(NamedTuple):
    """Descriptors [n, turns, D] of frames at times [n], and their qualities [n]."""

    times: np.ndarray
    rows: np.ndarray
    quality: np.ndarray
    seconds: float


_DESCRIBED: dict[tuple[str, str, float, bool], Hashes] = {}
"""What several matchers share: of a way to describe, a path, a step, and whether turned."""


def sampled(path: str, step: float) -> Iterator[tuple[float, np.ndarray]]:
    """(time, uint8 [H, W, 3]) of frames at least `step` seconds apart."""
    if path.endswith(".png"):
        yield 0.0, np.asarray(Image.open(path).convert("RGB"))
        return
    last = -step
    with av.open(path) as container:
        stream = container.streams.video[0]
        for frame in container.decode(stream):
            time = float(frame.time) - float((stream.start_time or 0) * (stream.time_base or 0))
            if time - last >= step - _TOLERANCE:
                last = time
                yield time, frame.to_ndarray(format="rgb24")


def seconds_of(path: str) -> float:
    """Length of a clip; 0 of a picture."""
    if path.endswith(".png"):
        return 0.0
    with av.open(path) as container:
        return float(container.duration or 0) / av.time_base


class Matcher(ABC):
    """Descriptors of frames, compared window by window.

    Args:
        turned: look at the query in its eight orientations.
        step: seconds between frames of the library.
    """

    name = ""

    def __init__(self, *, turned: bool = False, step: float = STEP) -> None:
        self.turned, self.step = turned, step
        self.library: dict[str, Hashes] = {}

    @abstractmethod
    def describe(self, frame: np.ndarray, turned: bool) -> tuple[np.ndarray, float]:
        """(descriptors [1 or 8, D] of a frame and its turns in the order of `turns`, quality)."""

    @abstractmethod
    def similarities(self, query: np.ndarray, library: np.ndarray) -> np.ndarray:
        """Similarity [n, m] of descriptors [n, D] and [m, D], larger is more similar."""

    @property
    def turns(self) -> tuple[str, ...]:
        """Flags of the orientations that `describe` gives."""
        return tuple(TURNS)

    def undone(self, turn: int) -> str:
        """Flags that turn the film into the query, of a turn of the query into the film."""
        return _UNDONE.get(self.turns[turn], self.turns[turn])

    def index(self, films: list[str]) -> None:
        """Describe the frames of a library."""
        self.library = {film: self._hashes(film, self.step, False) for film in films}

    def search(self, path: str) -> list[Found]:
        """The best place of each film, best first."""
        query = self._hashes(path, QUERY_STEP, self.turned)
        found = [self.best(query, film, hashes) for film, hashes in self.library.items()]
        return sorted(found, key=lambda one: -one.score)

    def best(self, query: Hashes, film: str, library: Hashes) -> Found:
        """The best window of a film in any orientation."""
        return max((self._best_window(query, turn, film, library)
                    for turn in range(query.rows.shape[1])), key=lambda one: one.score)

    def _best_window(self, query: Hashes, turn: int, film: str, library: Hashes) -> Found:
        table = self.similarities(query.rows[:, turn], library.rows[:, 0])
        ends = np.searchsorted(library.times, library.times + query.seconds + _SLACK, "right")
        scores = [table[:, begin:end].max(1).mean() for begin, end in enumerate(ends)]
        begin = int(np.argmax(scores))
        part = table[:, begin:ends[begin]]
        frame, place = np.unravel_index(part.argmax(), part.shape)
        start = max(0.0, library.times[begin + place] - query.times[frame])
        return Found(film, start, start + query.seconds, self.undone(turn), float(scores[begin]))

    def _hashes(self, path: str, step: float, turned: bool) -> Hashes:
        key = type(self).describe.__qualname__, path, step, turned
        if key not in _DESCRIBED:
            _DESCRIBED[key] = self._described(path, step, turned)
        return _DESCRIBED[key]

    def _described(self, path: str, step: float, turned: bool) -> Hashes:
        times, rows, qualities = [], [], []
        for time, frame in sampled(path, step):
            found, quality = self.describe(frame, turned)
            times.append(time)
            rows.append(found)
            qualities.append(quality)
        return Hashes(np.array(times), np.stack(rows), np.array(qualities), seconds_of(path))


class AverageHash(Matcher):
    """64 bits of a frame: which of its 8x8 means are above their mean."""

    name = "average hash, 64 bits"

    def describe(self, frame: np.ndarray, turned: bool) -> tuple[np.ndarray, float]:
        means = np.asarray(Image.fromarray(frame).convert("L").resize(
            (8, 8), Image.Resampling.BOX), np.float32)
        wanted = TURNS.values() if turned else [TURNS[""]]
        return np.stack([(turn(means) > means.mean()).ravel() for turn in wanted]), 1.0

    def similarities(self, query: np.ndarray, library: np.ndarray) -> np.ndarray:
        return 1 - (query[:, None] != library[None]).mean(2)


class ColourHistogram(Matcher):
    """8x4x4 bins of hue, saturation and value; similar as far as histograms intersect."""

    name = "HSV histogram, 8x4x4"

    def describe(self, frame: np.ndarray, turned: bool) -> tuple[np.ndarray, float]:
        return hsv_histogram(frame)[None], 1.0

    def similarities(self, query: np.ndarray, library: np.ndarray) -> np.ndarray:
        return np.minimum(query[:, None], library[None]).sum(2)


def hsv_histogram(frame: np.ndarray) -> np.ndarray:
    """Shares [128] of the pixels in 8 x 4 x 4 bins of hue, saturation and value."""
    hsv = np.asarray(Image.fromarray(frame).convert("HSV")).reshape(-1, 3) >> np.array([5, 6, 6])
    bins = hsv @ np.array([16, 4, 1])
    return np.bincount(bins, minlength=128).astype(np.float32) / len(bins)


class PDQ(Matcher):
    """PDQ hashes of frames, by mean Hamming distance over windows."""

    name = "PDQ, mean distance"

    def __init__(self, *, turned: bool = False, step: float = STEP,
                 folder: Path | None = None) -> None:
        super().__init__(turned=turned, step=step)
        self.pdqhash = load_pdqhash(folder)

    @property
    def turns(self) -> tuple[str, ...]:
        return _DIHEDRAL

    def describe(self, frame: np.ndarray, turned: bool) -> tuple[np.ndarray, float]:
        frame = np.ascontiguousarray(frame)
        if turned:
            rows, quality = self.pdqhash.compute_dihedral(frame)
            return np.stack(rows).astype(np.float32), quality
        row, quality = self.pdqhash.compute(frame)
        return row[None].astype(np.float32), quality

    def similarities(self, query: np.ndarray, library: np.ndarray) -> np.ndarray:
        return 1 - distances(query, library) / PDQ_BITS


class VPDQ(PDQ):
    """vPDQ by its published rule, with the percentage of the query as the threshold to sweep."""

    name = "vPDQ"

    def search(self, path: str) -> list[Found]:
        return [one for one in super().search(path) if one.score > 0]

    def best(self, query: Hashes, film: str, library: Hashes) -> Found:
        good, known = query.quality >= PDQ_QUALITY, library.quality >= PDQ_QUALITY
        if not good.any() or not known.any():
            return Found(film, 0.0, query.seconds, "", 0.0)
        found = []
        for turn in range(query.rows.shape[1]):
            table = distances(query.rows[good, turn], library.rows[known, 0])
            matches = table <= PDQ_DISTANCE
            frame, place = np.unravel_index(table.argmin(), table.shape)
            start = max(0.0, library.times[known][place] - query.times[good][frame])
            # The second and third part only order equal shares of the query.
            score = (matches.any(1).mean() + 1e-3 * matches.any(0).mean()
                     - 1e-6 * table.min() / PDQ_BITS) if matches.any() else 0.0
            found.append(Found(film, start, start + query.seconds, self.undone(turn), float(score)))
        return max(found, key=lambda one: one.score)


def distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Hamming distances [n, m] of bits [n, D] and [m, D] as floats."""
    return first.sum(1)[:, None] + second.sum(1)[None] - 2 * first @ second.T


def load_pdqhash(folder: Path | None) -> Any:
    """The module, from a folder it was installed into, if given."""
    if folder is not None:
        sys.path.append(str(folder))
    try:
        return importlib.import_module("pdqhash")
    except ImportError:
        raise SystemExit("PDQ hashes need pdqhash: install it with python -m pip install --target "
                         "FOLDER pdqhash and give --pdqhash FOLDER, or leave pdq out of "
                         "--opponents.") from None


def opponents(names: list[str], pdqhash: Path | None) -> dict[str, Matcher]:
    """Matchers by the names of their rows."""
    found: dict[str, Matcher] = {}
    if "pdq" in names:
        found["vPDQ, a frame a second"] = VPDQ(folder=pdqhash, step=VPDQ_STEP)
        found["vPDQ, a frame in 0.4 s"] = VPDQ(folder=pdqhash)
        found["vPDQ, dihedral hashes of the query"] = VPDQ(folder=pdqhash, turned=True)
        found["PDQ, mean distance, dihedral"] = PDQ(folder=pdqhash, turned=True)
    if "ahash" in names:
        found[AverageHash.name] = AverageHash()
        found[f"{AverageHash.name}, query in 8 turns"] = AverageHash(turned=True)
    if "hsv" in names:
        found[ColourHistogram.name] = ColourHistogram()
    return found
