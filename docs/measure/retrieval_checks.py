"""Speed of index and search, and equal scores of turned queries; `retrieval.py` calls them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from statistics import median

import numpy as np
import torch
from retrieval_opponents import Found, sampled
from retrieval_protocol import QUALITY, TURNS, Library, write_clip
from speed import moving_clip

import aehub
from aehub.editing.operations import parse
from aehub.hub import load_for_file
from aehub.media.orientation import ORDER
from aehub.results import run_job
from aehub.retrieval import indexing, matching, store
from aehub.retrieval.fingerprint import FingerprintModel, Fingerprints
from aehub.retrieval.nearest import best_cosines
from aehub.retrieval.sampling import QUERY_STEP, small_pictures
from aehub.threads import VARIABLE

SEGMENTS, OF_A_CLIP = 100_000, 100
"""Segments that are searched; of each clip of random vectors."""
INDEXED_SECONDS = 10
TURNED_FPS = 25
RUNS = 5


def fingerprint_model(name: str) -> FingerprintModel:
    """A fingerprint model by its name or folder."""
    model = aehub.load(name, device="cpu")
    if not isinstance(model, FingerprintModel):
        raise SystemExit(f"{name} makes no fingerprints; name another model with --model.")
    return model


# --- speed ---------------------------------------------------------------------------------------

def speed(model: FingerprintModel, library: Library, work: Path) -> None:
    """Print the times of index and search, on one thread if AEHUB_THREADS says so."""
    torch.set_num_threads(int(os.environ.get(VARIABLE, torch.get_num_threads())))
    film, packed, uncut = Path(library.films[0]), work / "speed.aev", work / "uncut.aev"
    if not packed.exists():
        aehub.compress(film, packed, trim=f":{INDEXED_SECONDS}", measure=False)
    if not uncut.exists():
        moving_clip(work / "uncut.mkv", 640, 360, 25 * INDEXED_SECONDS)
        aehub.compress(work / "uncut.mkv", uncut, measure=False)
    print(f"{torch.get_num_threads()} thread(s); the fastest of {RUNS} runs\n\n"
          "| job | seconds | processor time | times real time |\n|---|---|---|---|")
    for name, path, seconds in (
            ("index a .aev of 640x360, a cut a second", packed, INDEXED_SECONDS),
            ("index a .aev of 640x360, no cut", uncut, INDEXED_SECONDS),
            ("index an .mp4 of 640x360, a cut a second", film, film_seconds(library, film))):
        aehub.index([packed], index=work / "speed", model=model)
        wall, processor = fastest(lambda path=path: fresh_index(path, work / "speed", model))
        print(f"| {name} | {wall:.2f} | {processor:.2f} | {seconds / wall:.1f} |", flush=True)
    folder = work / "segments"
    fill(folder, model)
    opened = store.read(folder, model)
    print(f"\n{len(opened.vectors):,} segments of {len(opened.contents):,} clips:\n\n"
          "| search | ms | processor time, ms |\n|---|---|---|")
    for name in ("picture", "as it is"):
        query = next(query for query in library.queries if query.change == name)
        found = model.fingerprints(small_pictures(query.path, load_for_file, dense=True))
        rows = store.in_units(found.vectors)
        n = len(found.times)
        jobs = {
            f"{n} picture(s): all cosines": lambda rows=rows: best_cosines(opened, rows),
            f"{n} picture(s): cosines, alignment, score": lambda found=found: run_job(
                matching.search(opened, found, QUERY_STEP), None),
            f"{n} picture(s): with reading the query": lambda path=query.path: aehub.search(
                path, index=folder, model=model)}
        for job, run in jobs.items():
            wall, processor = fastest(run)
            print(f"| {job} | {1000 * wall:.1f} | {1000 * processor:.1f} |", flush=True)


def film_seconds(library: Library, film: Path) -> float:
    """Length of a film."""
    return max(place.start + place.snippet.seconds for place in library.placed
               if place.film == str(film))


def fresh_index(path: Path, folder: Path, model: FingerprintModel) -> None:
    """Index a file that no index knows."""
    shutil.rmtree(folder)
    aehub.index([path], index=folder, model=model)


def fastest(job: Callable[[], object]) -> tuple[float, float]:
    """(seconds, processor seconds) of the fastest of some runs."""
    runs = []
    for _ in range(RUNS):
        began = time.perf_counter(), time.process_time()
        job()
        runs.append((time.perf_counter() - began[0], time.process_time() - began[1]))
    return min(runs)


def fill(folder: Path, model: FingerprintModel) -> None:
    """Make an index of random unit vectors and signatures."""
    shutil.rmtree(folder, ignore_errors=True)
    rng = np.random.default_rng(0)
    vector, signature = model.shape
    times = np.arange(OF_A_CLIP) * 0.4
    with indexing.Writer(folder, model) as writer:
        for number in range(SEGMENTS // OF_A_CLIP):
            vectors = unit(rng.normal(size=(OF_A_CLIP, vector)))
            signatures = np.rint(127 * unit(rng.normal(size=(OF_A_CLIP, ORDER, signature))))
            writer.add(f"/random/{number}", (0, 0), f"{number:064}", Fingerprints(
                times, vectors.astype(np.float16), signatures.astype(np.int8)), times[-1] + 0.4)


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows at length 1."""
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


# --- equality ------------------------------------------------------------------------------------

def equality(model: FingerprintModel, library: Library, work: Path, *, clips: int = 5) -> None:
    """Print how much scores of turned queries differ; the exit code is 1 if those of `.aev` do."""
    index = work / "equality"
    shutil.rmtree(index, ignore_errors=True)
    aehub.index(library.films, index=index, model=model)

    def matches(path: str | Path) -> list[Found]:
        return [Found(str(one.path), one.start, one.end, one.orientation, one.score)
                for one in aehub.search(path, index=index, threshold=0, model=model)]

    print("Spread: largest less smallest score of the first match over eight orientations.\n\n"
          "| query | score | `.aev` turned by `aehub edit`: spread | all matches, times and scores "
          "equal | turned pixels, x264: spread | turned pixels, `.aev`: spread |\n"
          + "|---" * 6 + "|")
    exact, pixels = True, []
    for query in [query for query in library.queries
                  if query.change == "as it is" and query.film][:clips]:
        edited, clip, packed = turned_three_ways(query.path, work / "turned", matches)
        same = all(without_turn(found) == without_turn(edited[0]) for found in edited)
        exact &= same
        pixels += [spread(clip), spread(packed)]
        print(f"| {Path(query.path).stem} | {edited[0][0].score:.6f} | {spread(edited):g} | "
              f"{'yes' if same else 'NO'} | {pixels[-2]:.6f} | {pixels[-1]:.6f} |",
              flush=True)
    print(f"\nTurned pixels: spread {median(pixels):.6f} in the median, {max(pixels):.6f} at most.")
    raise SystemExit(not exact)


def turned_three_ways(path: str, folder: Path, matches: Callable[[Path], list[Found]]
                      ) -> tuple[list[list[Found]], ...]:
    """Matches of a clip in eight orientations: compressed, then edited; turned as pixels, then
    compressed by x264; turned as pixels, then compressed as `.aev`."""
    folder.mkdir(exist_ok=True)
    packed, there, clip = (folder / name for name in ("query.aev", "turned.aev", "turned.mp4"))
    aehub.compress(path, packed, measure=False, force=True)
    frames = [frame for _, frame in sampled(path, 0)]
    edited, of_clip, of_packed = [], [], []
    for flags, turn in TURNS.items():
        operations = parse(flags.replace("--", "", 1).replace(" --", ", "))
        aehub.edit(packed, there, operations, force=True)
        edited.append(matches(there))
        write_clip(clip, map(turn, frames), Fraction(TURNED_FPS), QUALITY)
        of_clip.append(matches(clip))
        aehub.compress(clip, there, measure=False, force=True)
        of_packed.append(matches(there))
    return edited, of_clip, of_packed


def spread(results: Sequence[list[Found]]) -> float:
    """Difference of the scores of first matches."""
    scores = [found[0].score if found else 0.0 for found in results]
    return max(scores) - min(scores)


def without_turn(matches: list[Found]) -> list[tuple[str, float, float, float]]:
    """All of matches but the orientation."""
    return [(one.path, one.start, one.end, one.score) for one in matches]
