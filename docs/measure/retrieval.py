"""Retrieval on sources that training never saw, beside vPDQ, average hash and colour histogram.

    python docs/measure/retrieval.py SNIPPETS [--eval CLIPS] --work FOLDER [--part test]
        [--seeds 0,1,2] [--opponents pdq,ahash,hsv] [--pdqhash FOLDER] [--aev] [--plot OUT.png]
        [--json OUT.json] [--model fingerprint]
    AEHUB_THREADS=1 python docs/measure/retrieval.py SNIPPETS --work FOLDER --speed
    python docs/measure/retrieval.py SNIPPETS --work FOLDER --equality

SNIPPETS is a folder of short clips whose names tell their sources (`source_0001_00042.mp4`); CLIPS
holds more, never trained on. `retrieval_protocol` says what becomes of them. Every query is
searched in the library of its seed, and its first match counts:

- recall at rank 1: of the queries whose clip is in the library, the share whose match is right:
  it overlaps the place of the query's snippet in the right film. Some shots stand still, so the
  place within the snippet counts apart: "near" if the match also overlaps the query's own
  interval with 0.5 s on both sides;
- precision and recall over thresholds of the score: all queries pooled, also those whose clip is
  not there, for which every match is wrong;
- error of the start: of right matches, against where the query begins in the film;
- orientation: of right matches.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, Protocol

import numpy as np
import retrieval_checks
from retrieval_opponents import Found, opponents
from retrieval_protocol import TURNS, Library, Query, make_library

import aehub
from aehub.retrieval.fingerprint import FingerprintModel
from aehub.retrieval.matching import DEFAULT_THRESHOLD

NEAR = 0.5
"""Seconds by which a match may miss the right interval."""
WITHIN = 0.25
PRECISION = 0.99


class Search(Protocol):
    """What finds clips: ours or an opponent."""

    def index(self, films: list[str]) -> None: ...

    def search(self, path: str) -> Sequence[Found]: ...


class Ours:
    """The public functions.

    Args:
        folder: of the index.
        model: of the fingerprints.
    """

    def __init__(self, folder: Path, model: FingerprintModel) -> None:
        self.folder, self.model = folder, model

    def index(self, films: list[str]) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        aehub.index(films, index=self.folder, model=self.model)

    def search(self, path: str) -> Sequence[Found]:
        return [Found(str(one.path), one.start, one.end, one.orientation, one.score)
                for one in aehub.search(path, index=self.folder, limit=1, threshold=0,
                                        model=self.model)]


class Outcome(NamedTuple):
    """A query and its first match, if any."""

    query: Query
    found: Found | None

    @property
    def right(self) -> bool:
        query, found = self.query, self.found
        return (found is not None and Path(found.path).stem == Path(query.film).stem
                and found.start <= query.shown[1] and found.end >= query.shown[0])

    @property
    def near(self) -> bool:
        query, found = self.query, self.found
        return (found is not None and self.right and found.start <= query.end + NEAR
                and found.end >= query.start - NEAR)

    @property
    def score(self) -> float:
        return -np.inf if self.found is None else self.found.score

    @property
    def error(self) -> float:
        """Seconds between the start found and the right one."""
        return abs(self.found.start - self.query.start) if self.found else np.inf

    @property
    def turned_right(self) -> bool:
        return self.found is not None and same_turn(self.found.orientation, self.query.orientation)


def same_turn(first: str, second: str) -> bool:
    """Return True if two lists of flags turn alike."""
    return bool((turned(first) == turned(second)).all())


def turned(flags: str) -> np.ndarray:
    """A square of numbers turned by flags of `aehub edit`, in their order."""
    square = np.arange(9).reshape(3, 3)
    words = flags.split()
    while words:
        n = 1 if words[0] == "--transpose" else 2
        square, words = TURNS[" ".join(words[:n])](square), words[n:]
    return square


class Curve(NamedTuple):
    """Precision and recall at falling thresholds."""

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray

    @property
    def average_precision(self) -> float:
        return float((np.diff(self.recall, prepend=0) * self.precision).sum())

    def at(self, precision: float) -> tuple[float, float]:
        """(largest recall at a precision, its threshold)."""
        good = np.flatnonzero(self.precision >= precision)
        return (float(self.recall[good[-1]]), float(self.thresholds[good[-1]])) if len(
            good) else (0.0, np.inf)


def curve(outcomes: Sequence[Outcome], is_right: Callable[[Outcome], bool]) -> Curve:
    """Precision and recall of all queries; equal scores are accepted together."""
    there = sum(bool(one.query.film) for one in outcomes)
    ranked = sorted((one for one in outcomes if one.found), key=lambda one: -one.score)
    scores = np.array([one.score for one in ranked])
    right = np.cumsum([is_right(one) for one in ranked], dtype=float)
    last = np.flatnonzero(np.append(np.diff(scores) < 0, True)[:len(ranked)])
    return Curve(scores[last], right[last] / (last + 1), right[last] / max(there, 1))


def facts(outcomes: Sequence[Outcome], threshold: float) -> dict[str, float]:
    """Numbers of some queries."""
    there = [one for one in outcomes if one.query.film]
    hits = [one for one in there if one.right]
    accepted = [one for one in outcomes if one.found and one.score >= threshold]
    return {
        "queries": len(there), "recall_at_1": len(hits) / max(len(there), 1),
        "near_at_1": sum(one.near for one in there) / max(len(there), 1),
        "recall": sum(one.right for one in accepted) / max(len(there), 1),
        "wrong": sum(not one.right for one in accepted),
        "start_error": median([one.error for one in hits] or [np.nan]),
        "start_within": sum(one.error <= WITHIN for one in hits) / max(len(hits), 1),
        "orientation": sum(one.turned_right for one in hits) / max(len(hits), 1),
    }


def measured(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """All numbers of one way to search."""
    found = curve(outcomes, lambda one: one.right)
    near = curve(outcomes, lambda one: one.near).at(PRECISION)
    recall, threshold = found.at(PRECISION)
    by_change = {change: facts([one for one in outcomes if one.query.change == change], threshold)
                 for change in dict.fromkeys(one.query.change for one in outcomes)}
    default = facts(outcomes, DEFAULT_THRESHOLD)
    return {"all": facts(outcomes, threshold), "default": default,
            "average_precision": found.average_precision,
            "recall_at_precision": recall, "threshold": threshold,
            "near_at_precision": near[0], "by_change": by_change,
            "wrong": [(one.score, Path(one.query.path).name, one.query.film, one.query.start,
                       one.found.path, one.found.start) for one in sorted(
                           outcomes, key=lambda one: -one.score) if one.found and not one.right],
            "precision_and_recall": [found.precision.tolist(), found.recall.tolist()]}


def searched(search: Search, libraries: Sequence[Library], films_of: Callable[[Library], list[str]]
             ) -> list[Outcome]:
    """First matches of all queries."""
    outcomes = []
    for library in libraries:
        search.index(films_of(library))
        for query in library.queries:
            outcomes.append(Outcome(query, next(iter(search.search(query.path)), None)))
    return outcomes


def compressed(library: Library, work: Path) -> list[str]:
    """Films as `.aev`, made once."""
    found = []
    for film in library.films:
        path = Path(film).with_suffix(".aev")
        if not path.exists():
            print(f"compressing {path.name}", file=sys.stderr, flush=True)
            aehub.compress(film, path, measure=False)
        found.append(str(path))
    return found


def print_tables(results: dict[str, dict]) -> None:
    """One table of all ways to search, and one for each by change."""
    print(f"| | recall@1 | near | recall at precision {PRECISION} | near | average precision | "
          f"start: median error | within {WITHIN} s | orientation right |\n" + "|---" * 9 + "|")
    for name, result in results.items():
        every = result["all"]
        print(f"| {name} | {every['recall_at_1']:.3f} | {every['near_at_1']:.3f} | "
              f"{result['recall_at_precision']:.3f} | {result['near_at_precision']:.3f} | "
              f"{result['average_precision']:.3f} | {every['start_error']:.2f} s | "
              f"{every['start_within']:.3f} | {every['orientation']:.3f} |")
    print("\nRecall at rank 1 by change:\n\n| change | queries | " + " | ".join(results) + " |\n"
          + "|---" * (2 + len(results)) + "|")
    first = next(iter(results.values()))
    for change, of in first["by_change"].items():
        print(f"| {change} | {of['queries']} | " + " | ".join(
            f"{result['by_change'][change]['recall_at_1']:.3f}" for result in results.values())
            + " |")
    name, default = next(iter(results)), first["default"]
    if name == "aehub":
        right = default["recall"] * default["queries"]
        print(f"\n{name}, at the default threshold of {DEFAULT_THRESHOLD}: recall "
              f"{default['recall']:.3f}, precision {right / max(right + default['wrong'], 1):.4f} "
              f"({default['wrong']} wrong matches)")
    print(f"\n{name}, at the threshold of precision {PRECISION} over all "
          f"({first['threshold']:.3f}):\n")
    print("| change | recall@1 | recall | wrong matches | start: median error "
          f"| within {WITHIN} s | orientation right |\n" + "|---" * 7 + "|")
    for change, of in first["by_change"].items():
        print(f"| {change} | {of['recall_at_1']:.3f} | {of['recall']:.3f} | {of['wrong']} | "
              f"{of['start_error']:.2f} s | {of['start_within']:.3f} | {of['orientation']:.3f} |")


def print_failures(result: dict, count: int) -> None:
    """Print the wrong matches of the highest scores."""
    print("\n| score | query | is at | found at |\n|---|---|---|---|")
    for score, query, film, start, found, at in result["wrong"][:count]:
        right = f"{Path(film).stem} {start:.2f} s" if film else "nowhere"
        print(f"| {score:.3f} | {query} | {right} | {Path(found).stem} {at:.2f} s |")


def plot(results: dict[str, dict], path: Path) -> None:
    """Draw precision over recall."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 5), layout="constrained")
    for name, result in results.items():
        precision, recall = result["precision_and_recall"]
        axes.plot(recall, precision, label=name, linewidth=1.5)
    axes.axhline(PRECISION, color="0.6", linewidth=0.8, linestyle=":")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0.5, 1.005))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", fontsize=8)
    figure.savefig(path, dpi=120)


def parsed() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("snippets", type=Path)
    parser.add_argument("--eval", type=Path, help="more clips that training never saw")
    parser.add_argument("--work", type=Path, required=True, help="folder of films and queries")
    parser.add_argument("--part", choices=("test", "calibration"), default="test")
    parser.add_argument("--seeds", default="0", help="one library each, with commas between")
    parser.add_argument("--opponents", default="ahash,hsv", help="of pdq, ahash, hsv; or none")
    parser.add_argument("--pdqhash", type=Path, help="folder that pdqhash was installed into")
    parser.add_argument("--model", default="fingerprint", help="name or folder")
    parser.add_argument("--without-ours", action="store_true", help="only the opponents")
    parser.add_argument("--aev", action="store_true", help="our library of compressed files")
    parser.add_argument("--plot", type=Path, help="a PNG of precision over recall")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--failures", type=int, default=10, help="wrong matches to list")
    parser.add_argument("--speed", action="store_true", help="only the time of index and search")
    parser.add_argument("--equality", action="store_true", help="only scores of turned queries")
    return parser.parse_args()


def main() -> None:
    """Print the tables."""
    arguments = parsed()

    def note(sentence: str) -> None:
        print(sentence, file=sys.stderr, flush=True)

    libraries = [make_library(arguments.snippets, arguments.eval, arguments.work,
                               part=arguments.part, seed=int(seed), progress=note)
                 for seed in arguments.seeds.split(",")]
    if arguments.speed or arguments.equality:
        check = retrieval_checks.speed if arguments.speed else retrieval_checks.equality
        check(retrieval_checks.fingerprint_model(arguments.model), libraries[0], arguments.work)
        return
    searches: dict[str, Search] = {}
    if not arguments.without_ours:
        searches["aehub"] = Ours(arguments.work / "index",
                                 retrieval_checks.fingerprint_model(arguments.model))
    searches |= opponents(arguments.opponents.split(","), arguments.pdqhash)
    results = {}
    for name, search in searches.items():
        note(name)
        def films_of(library: Library, name: str = name) -> list[str]:
            return (compressed(library, arguments.work) if arguments.aev and name == "aehub"
                    else library.films)
        results[name] = measured(searched(search, libraries, films_of))
    films = sum(len(library.films) for library in libraries)
    queries = [query for library in libraries for query in library.queries]
    print(f"{films} films of {sum(one.seconds for one in libraries):.0f} s in "
          f"{len(libraries)} libraries; {sum(bool(query.film) for query in queries)} queries whose "
          f"clip is there, {sum(not query.film for query in queries)} whose is not.\n")
    print_tables(results)
    print_failures(next(iter(results.values())), arguments.failures)
    if arguments.plot:
        plot(results, arguments.plot)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
