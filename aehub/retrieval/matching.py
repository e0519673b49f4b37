"""Places of a query in the clips of an index: time, orientation and speed.

    cosines of all segments -> the clips worth a look -> similarity of each picture to each segment
        -> times of the query against times of the clip: offset, speed, the part that matches

Cosines and similarities are sums of integers, and orientations are compared by value: turned
queries and turned clips get the same scores, bit by bit.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from aehub.media.orientation import COMPOSITION, ORDER
from aehub.retrieval.fingerprint import SIGNATURE_LENGTH, Fingerprints, signature_scores
from aehub.retrieval.nearest import nearest_cosines
from aehub.retrieval.sampling import QUERY_STEP
from aehub.retrieval.store import Library, StoredContent, in_units

EDITS = ("", "--flip horizontal", "--flip vertical", "--rotate 180", "--transpose", "--rotate 90",
         "--rotate 270", "--rotate 90 --flip vertical")
"""Flags of `aehub edit` that turn by each element of `aehub.media.orientation`."""


@dataclass(frozen=True)
class MatchSettings:
    """Constants of matching; chosen on 50 queries of a second, changed in 11 ways, and 38 whose
    clips are not there, in six films of 25 snippets each.

    Attributes:
        neutral: similarity at which a picture speaks neither for nor against a match: above that of
            most pairs of different clips, below those of degraded copies.
        outside: evidence of a picture of the query that would lie outside the clip.
        window: pictures of the query, a second, that choose clips to look at together.
        shortlist: clips that each of these windows chooses; more where more matches are wanted.
        seeds: segments most similar to a picture of the query that offsets are tried from.
        seed_pictures: pictures of the query that have seeds.
        speeds: of the query's content against the clip's; -1 is backward.
        speed_cost: evidence a picture by which a speed other than 1 must be better.
        fine_step: seconds between offsets that are tried at last: a quarter of the frame distance
            of queries would not be told apart.
        reach: seconds around a coarse offset that are tried.
        gap: seconds between two matches in one clip, at least.
        extension: seconds by which a match grows to the query's ends.
        matches: in one clip, at most.
        of_signature: weight of the similarity of signatures in the argument of the score's logistic
            function, by logistic regression on the calibration part of `docs/measure/retrieval.py`
            (two libraries of sources that training never saw); the cosine told no more.
        per_halving: taken off for each halving of the share that matches, as 0 to 2 do equally well
            there: of two parts of a clip the longer one should win.
        bias: taken off, so that two of 820 matches of a score of 0.5 or more are wrong; larger
            libraries hold more that is alike.
    """

    neutral: float = 0.62
    outside: float = -0.3
    window: int = 10
    shortlist: int = 32
    seeds: int = 3
    seed_pictures: int = 60
    speeds: tuple[float, ...] = (1.0, 0.8, 0.86, 0.93, 1.08, 1.16, 1.25, -1.0)
    speed_cost: float = 0.02
    fine_step: float = 0.05
    reach: float = 0.4
    gap: float = 0.6
    extension: float = 0.5
    matches: int = 8
    of_signature: float = 36.7
    per_halving: float = 1.0
    bias: float = 29.5


SETTINGS = MatchSettings()
DEFAULT_THRESHOLD = 0.5
"""Least score of a match where none is named."""
_UNIT = 1 << 16
"""Evidence is counted in 1 / _UNIT, by integers."""
MOST_PICTURES = 600
"""Pictures of a query that are aligned at once: with a clip of two hours, 45 MB an array."""


class Features(NamedTuple):
    """Properties of a match from which its score is computed.

    Attributes:
        cosine: of the vectors, mean over the pictures of the matching part.
        signature: similarity of the signatures, likewise.
        pictures: of the query, in the matching part.
        share: of the query's pictures, or of as many as a window has if there are more, at most 1.
        speed: of the query's content against the clip's, -1 backward.
    """

    cosine: float
    signature: float
    pictures: int
    share: float
    speed: float


class Alignment(NamedTuple):
    """A part of a clip that matches a part of the query.

    Attributes:
        start: in seconds of the clip.
        end: in seconds of the clip, not before `start`.
        begins: first matching second of the query.
        ends: last matching second of the query.
        turn: element of `aehub.media.orientation` that turns the clip into the query.
        features: for the score.
    """

    start: float
    end: float
    begins: float
    ends: float
    turn: int
    features: Features

    @property
    def score(self) -> float:
        """Confidence from 0 to 1."""
        return score(self.features)


def score(features: Features, settings: MatchSettings = SETTINGS) -> float:
    """Confidence from 0 to 1 that a match is one."""
    argument = (settings.of_signature * features.signature
                + settings.per_halving * np.log2(features.share) - settings.bias)
    return round(float(1 / (1 + np.exp(-argument))), 6)


def shortlist(best: np.ndarray, settings: MatchSettings = SETTINGS) -> list[int]:
    """Contents that may match a query, from the cosines [m, n] of `nearest_cosines`.

    Each window of the query chooses the nearest ones, so that a query of many clips finds each.
    """
    chosen: set[int] = set()
    for begin in range(0, len(best), settings.window):
        near = best[begin:begin + settings.window].astype(np.float64).mean(0)
        if len(near) > settings.shortlist:
            least = np.partition(near, -settings.shortlist)[-settings.shortlist]
            above, equal = np.flatnonzero(near > least), np.flatnonzero(near == least)
            # Many equal ones, such as black pictures, tell nothing.
            chosen.update(above.tolist(), equal[:3 * settings.shortlist].tolist())
        else:
            chosen.update(range(len(near)))
    return sorted(chosen)


def thinned(query: Fingerprints, step: float) -> Fingerprints:
    """Fingerprints of pictures with at least `step` seconds between them."""
    kept = [0]
    for place, time in enumerate(query.times.tolist()):
        if time - query.times[kept[-1]] >= step - 1e-3:
            kept.append(place)
    return Fingerprints(*(values[kept] for values in query))


def search(library: Library, query: Fingerprints, step: float, limit: int = 0,
           settings: MatchSettings = SETTINGS
           ) -> Generator[int, None, list[tuple[StoredContent, Alignment]]]:
    """Matches of a query in an index, the best first; yields how many of its pictures are done.

    A long query is compared in parts, whose matches are joined where they go on.

    Args:
        library: an index.
        query: fingerprints of a clip at short distances, or of one picture.
        step: seconds that its last picture stands for.
        limit: number of contents that are compared with each window of the query, at least.
        settings: constants.

    Raises:
        FormatError: the index is damaged.
    """
    settings = replace(settings, shortlist=max(settings.shortlist, limit))
    query = query._replace(vectors=in_units(query.vectors))
    found: dict[int, list[Alignment]] = {}
    for places in np.array_split(np.arange(len(query.times)),
                                 -(-len(query.times) // MOST_PICTURES)):
        part = Fingerprints(*(values[places] for values in query))
        for number in shortlist(nearest_cosines(library, part.vectors), settings):
            content = library.contents[number]
            found.setdefault(number, []).extend(align(
                part, library.fingerprints(content), step, content.seconds, settings))
            yield int(places[0])
        yield int(places[-1]) + 1
    if len(query.times) > MOST_PICTURES:
        found = {number: _joined(matches, settings) for number, matches in found.items()}
    placed = [(library.contents[number], match) for number, matches in found.items()
              for match in matches]
    return sorted(placed, key=lambda item: (-item[1].score, item[0].number, item[1].start))


def _joined(matches: list[Alignment], settings: MatchSettings) -> list[Alignment]:
    """The best matches in one clip, those of successive parts of a query as one where the clip goes
    on as the query does."""
    kept: list[Alignment] = []
    for match in sorted(matches, key=lambda match: (match.begins, -match.score)):
        before = next((one for one in kept if _goes_on(one, match, settings)), None)
        if before is None:
            kept.append(match)
        else:
            kept[kept.index(before)] = _union(before, match)
    kept.sort(key=lambda match: (-match.score, match.start))
    return kept[:settings.matches]


def _goes_on(one: Alignment, other: Alignment, settings: MatchSettings) -> bool:
    backward = one.features.speed < 0
    gap = one.start - other.end if backward else other.start - one.end
    return (one.turn == other.turn and backward == (other.features.speed < 0)
            and abs(other.begins - one.ends) <= settings.gap and abs(gap) <= settings.gap)


def _union(one: Alignment, other: Alignment) -> Alignment:
    """One match of two, its properties means over the pictures of both."""
    pictures = np.array([match.features.pictures for match in (one, other)])
    both = np.array([match.features for match in (one, other)])
    cosine, signature, _, share, speed = np.average(both, axis=0, weights=pictures).tolist()
    features = Features(cosine, signature, int(pictures.sum()), share, speed)
    return Alignment(min(one.start, other.start), max(one.end, other.end), one.begins, other.ends,
                     one.turn, features)


def align(query: Fingerprints, clip: Fingerprints, step: float, seconds: float,
          settings: MatchSettings = SETTINGS) -> list[Alignment]:
    """Parts of a clip that match parts of a query, the best first.

    Args:
        query: n pictures; vectors in the units of the index.
        clip: likewise, m segments.
        step: seconds that the query's last picture stands for.
        seconds: duration of the clip.
        settings: constants.
    """
    cosines = query.vectors.astype(np.float32) @ clip.vectors.astype(np.float32).T
    candidates: list[_Candidate] = []
    for turn in _turns(cosines, query.signatures, clip.signatures, settings):
        signatures = signature_scores(query.signatures, clip.signatures, turn)
        grid = _Similarities(turn, query.times, clip.times, seconds, cosines, signatures, settings)
        candidates += grid.candidates()
    # By value; of equal ones the simplest orientation, and a speed of 1.
    candidates.sort(key=lambda found: (-found.evidence, found.grid.turn, abs(found.speed - 1)))
    kept: list[Alignment] = []
    for candidate in candidates:
        if len(kept) == settings.matches or candidate.evidence <= 0:
            break
        if not any(_overlap(candidate.span, (one.start, one.end), settings.gap) for one in kept):
            match = candidate.grid.refined(candidate, step)
            if not any(_overlap((match.start, match.end), (one.start, one.end), settings.gap)
                       for one in kept):
                kept.append(match)
    return sorted(kept, key=lambda match: (-match.score, match.start))


def _overlap(spans: tuple[Any, Any], other: tuple[float, float], gap: float) -> Any:
    """True where spans overlap one that grew by `gap` at either end by half of the shorter."""
    shared = np.minimum(spans[1], other[1] + gap) - np.maximum(spans[0], other[0] - gap)
    return shared >= np.minimum(spans[1] - spans[0], other[1] - other[0]) / 2


def _turns(cosines: np.ndarray, query: np.ndarray, clip: np.ndarray, settings: MatchSettings
           ) -> list[int]:
    """Orientations that the nearest segments speak for: two, or more that are equal."""
    nearest = cosines.argmax(1)
    pairs = clip[nearest].astype(np.int32)
    similar = np.stack([
        np.einsum("ngk,ngk->n", query.astype(np.int32), pairs[:, COMPOSITION[:, turn]])
        for turn in range(ORDER)]) / (ORDER * SIGNATURE_LENGTH**2)
    near = cosines[np.arange(len(nearest)), nearest]
    evidence = np.rint(np.maximum((similar + near) / 2 - settings.neutral, 0) * _UNIT).astype(
        np.int64).sum(1)
    least = np.sort(evidence)[-2]
    return [turn for turn in range(ORDER) if evidence[turn] >= max(least, 1)]


def _interpolated(similar: np.ndarray, times: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Values [k, n] of the rows [n, m] of an array, given at times [m], at other times [k, n]."""
    last = len(times) - 1
    left = np.clip(np.searchsorted(times, there, "right") - 1, 0, max(last - 1, 0))
    right = np.minimum(left + 1, last)
    width = np.where(right > left, times[right] - times[left], 1)
    part = np.clip((there - times[left]) / width, 0, 1)
    rows = np.arange(len(similar))
    return (1 - part) * similar[rows, left] + part * similar[rows, right]


class _Candidate(NamedTuple):
    """The times t of a query at speed * t + offset of a clip; `span` is in seconds of the clip."""

    grid: _Similarities
    evidence: int
    speed: float
    offset: float
    span: tuple[float, float]


class _Similarities:
    """Similarities of each picture of a query to each segment of a clip in one orientation."""

    def __init__(self, turn: int, times: np.ndarray, clip_times: np.ndarray, seconds: float,
                 cosines: np.ndarray, signatures: np.ndarray, settings: MatchSettings) -> None:
        self.turn, self.times, self.clip_times = turn, times, clip_times
        self.seconds, self.cosines, self.signatures = seconds, cosines, signatures
        self.settings = settings
        self.similar = cosines + signatures
        self.similar /= np.float32(2)
        gaps = np.diff(clip_times)
        self.margin = float(np.median(gaps)) / 2 if len(gaps) else 0.2
        self.half_step = float(np.median(np.diff(times))) / 2 if len(times) > 1 else 0.0

    def candidates(self) -> list[_Candidate]:
        """The best speeds and offsets, one for each part of the clip."""
        speeds, offsets = self._seeds()
        if not len(speeds):
            return []
        begin, end, evidence = self._evidence(speeds, offsets)
        ends = np.sort([speeds * self.times[place] + offsets for place in (begin, end)], axis=0)
        found: list[_Candidate] = []
        while len(found) < 2 * self.settings.matches:
            k = int(evidence.argmax())
            if evidence[k] <= 0:
                break
            span = float(ends[0, k]), float(ends[1, k])
            found.append(_Candidate(self, int(evidence[k]), float(speeds[k]), float(offsets[k]),
                                    span))
            evidence[_overlap((ends[0], ends[1]), span, self.settings.gap)] = 0
            evidence[k] = 0
        return found

    def _seeds(self) -> tuple[np.ndarray, np.ndarray]:
        """Speeds [k] and offsets [k] at which a picture lies on one of its nearest segments."""
        rows = np.unique(np.linspace(0, len(self.times) - 1, self.settings.seed_pictures)
                         .round().astype(int))
        n_seeds = min(self.settings.seeds, len(self.clip_times))
        columns = np.argsort(-self.similar[rows], axis=1, kind="stable")[:, :n_seeds]
        near = np.take_along_axis(self.similar[rows], columns, 1) > self.settings.neutral
        at = np.broadcast_to(self.times[rows, None], columns.shape)[near]
        there = self.clip_times[columns][near]
        if len(self.times) == 1:
            # Segments, such as pictures of a folder, may be closer than offsets of clips.
            exact = np.unique(there)
            return np.ones(len(exact)), exact
        speeds = self.settings.speeds
        offsets = [there - speed * at for speed in speeds]
        tenths = [np.unique(np.rint(10 * values)) for values in offsets]
        return np.repeat(speeds, [len(values) for values in tenths]), np.concatenate(tenths) / 10

    def _values(self, similar: np.ndarray, speeds: np.ndarray, offsets: np.ndarray
                ) -> tuple[np.ndarray, np.ndarray]:
        """Similarities [k, n] of the query's pictures where they would lie, interpolated between
        segments, and whether they lie in the clip."""
        there = speeds[:, None] * self.times + offsets[:, None]
        inside = (there >= self.clip_times[0] - self.margin) & (
            there <= max(self.seconds, self.clip_times[-1]) + self.margin)
        return _interpolated(similar, self.clip_times, there), inside

    def _on_segments(self, similar: np.ndarray, speed: float, offsets: np.ndarray,
                     part: slice) -> np.ndarray:
        """Mean similarity [k] to the segments of the clip at which a part of the query would lie,
        interpolated between pictures of the query; -1 where there is none."""
        there = (self.clip_times - offsets[:, None]) / speed
        first, last = self.times[part][[0, -1]]
        inside = (there >= first - self.half_step) & (there <= last + self.half_step)
        values = np.rint(_interpolated(similar.T, self.times, there) * _UNIT).astype(np.int64)
        count = inside.sum(1)
        return np.where(count, np.where(inside, values, 0).sum(1) / np.maximum(count, 1), -_UNIT)

    def _evidence(self, speeds: np.ndarray, offsets: np.ndarray
                  ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First and last picture [k] of the part of the query that speaks most for a match, and
        its evidence [k], integers."""
        values, inside = self._values(self.similar, speeds, offsets)
        each = np.where(inside, values - self.settings.neutral, self.settings.outside)
        each = each - self.settings.speed_cost * (speeds != 1)[:, None]
        sums = np.zeros((len(speeds), len(self.times) + 1), np.int64)
        np.cumsum(np.rint(each * _UNIT).astype(np.int64), axis=1, out=sums[:, 1:])
        gains = sums[:, 1:] - np.minimum.accumulate(sums, axis=1)[:, :-1]
        end = gains.argmax(1)
        evidence = np.take_along_axis(gains, end[:, None], 1)[:, 0]
        before = np.where(np.arange(len(self.times)) <= end[:, None], sums[:, :-1],
                          np.iinfo(np.int64).max)
        return before.argmin(1), end, evidence

    def refined(self, candidate: _Candidate, step: float) -> Alignment:
        """The alignment near a candidate, to a fraction of the distance of segments."""
        speed, offset = candidate.speed, candidate.offset
        if len(self.times) > 1:
            speed, offset = self._refined_speed(speed, offset)
        offset = self._refined_offset(speed, offset)
        one = np.array([speed]), np.array([offset])
        (begin,), (end,), _ = self._evidence(*one)
        part = slice(begin, end + 1)
        begins, ends = float(self.times[begin]), float(self.times[end]) + step
        # A first or last picture that is less alike, as by a fade, belongs to the query still.
        if begins - self.times[0] <= self.settings.extension:
            begins = float(self.times[0])
        if self.times[-1] + step - ends <= self.settings.extension:
            ends = float(self.times[-1]) + step
        if len(self.times) == 1 and self.seconds:
            ends = begins + 2 * self.margin
        # A frame is shown from its time on: backward, what it is shown for lies before it.
        shown = step / 2 if speed < 0 else 0
        low, high = sorted((speed * begins + offset + shown, speed * ends + offset + shown))
        low, high = (min(max(value, 0.0), self.seconds) for value in (low, high))
        cosine, signature = (self._mean(values, speed, offset, part)
                             for values in (self.cosines, self.signatures))
        n_pictures = int(end - begin + 1)
        share = min(1.0, n_pictures / min(len(self.times), self.settings.window))
        features = Features(cosine, signature, n_pictures, share, speed)
        return Alignment(low, high, begins, ends, self.turn, features)

    def _mean(self, similar: np.ndarray, speed: float, offset: float, part: slice) -> float:
        """Similarity of a part of the query, on segments: between them a clip is less like either.
        """
        one = np.array([offset])
        mean = float(self._on_segments(similar, speed, one, part)[0])
        if mean == -_UNIT:
            values = self._values(similar, np.array([speed]), one)[0][0, part]
            mean = float(np.rint(values * _UNIT).astype(np.int64).sum()) / len(values)
        return mean / _UNIT

    def _refined_speed(self, speed: float, offset: float) -> tuple[float, float]:
        """Narrow the speed down until it no longer moves the ends of the matching part."""
        change = 0.04
        while change * float(self.times[-1] - self.times[0]) > self.settings.fine_step:
            (begin,), (end,), _ = self._evidence(np.array([speed]), np.array([offset]))
            middle = float(self.times[begin] + self.times[end]) / 2
            speeds = speed + change * np.array([0.0, -1.0, 1.0])
            offsets = offset + (speed - speeds) * middle
            best = int(self._evidence(speeds, offsets)[2].argmax())
            speed, offset = float(speeds[best]), float(offsets[best])
            change /= 2
        return speed, offset

    def _refined_offset(self, speed: float, offset: float) -> float:
        """The offset of the most evidence, of pictures between segments and of those on them."""
        if len(self.times) == 1:
            return self._refined_picture(offset)
        reach, fine = self.settings.reach, self.settings.fine_step
        offsets = offset + np.arange(-reach, reach + fine / 2, fine)
        begin, end, evidence = self._evidence(np.full(len(offsets), speed), offsets)
        middle = len(offsets) // 2
        part = slice(begin[middle], end[middle] + 1)
        means = evidence / (part.stop - part.start) + self._on_segments(
            self.similar, speed, offsets, part)
        best = np.flatnonzero(means == means.max())
        return float(offsets[best[0]] + offsets[best[-1]]) / 2

    def _refined_picture(self, time: float) -> float:
        """The top of a parabola through the segment nearest to a time and its two neighbours."""
        best = int(np.abs(self.clip_times - time).argmin())
        near = float(self.clip_times[best])
        if not 0 < best < len(self.clip_times) - 1 or 2 * self.margin < QUERY_STEP:
            return near
        low, top, high = (float(value) for value in self.similar[0, best - 1:best + 2])
        bend = 2 * top - low - high
        if bend <= 0:
            return near
        side = (high - low) / (2 * bend)
        gap = float(self.clip_times[best + 1 if side > 0 else best] -
                    self.clip_times[best if side > 0 else best - 1])
        return near + gap * min(max(side, -0.5), 0.5)
