"""Classification by a few examples: our vectors beside HOG, colour histogram and raw pixels.

    python docs/measure/classification.py SNIPPETS [--examples 1,3,5] [--seeds 20] [--json OUT]

SNIPPETS is a folder of short clips named `label_source_0001_00042.mp4`: the label is the
collection that the source was taken from, such as the repository of a web page. Labels of at least
`LEAST_SOURCES` sources take part. For every seed so many sources of each label are drawn, one
snippet of each, as examples; all snippets of all other sources are tested. Accuracy is the mean
over labels of the share of right answers, then over seeds.

A clip's features are the mean over frames 0.4 s apart. The opponents, and the mean of our vectors
alone, are classified by the nearest example (cosine and Euclidean) and by logistic regression
(three strengths of weight decay), and the best of these on the tested clips is reported. The first
row is what `aehub.classify` does, but that it may not answer "none of these"; "answered" is the
share of clips that it would give a label. Its constants were chosen on such labels too.

Training of the fingerprint saw the pictures of three quarters of the sources, without their labels;
the second table is of the other sources alone, the third of examples from all and tests from these.
"turned": the tested clips are turned at random by one of eight orientations; our features are the
same in all, as the tests of the package hold.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from retrieval_checks import fingerprint_model
from retrieval_opponents import hsv_histogram, sampled
from retrieval_protocol import HELD_OUT, TURNS
from skimage.feature import hog

from aehub.hub import load_for_file
from aehub.retrieval.classify import Classifier as Ours
from aehub.retrieval.classify import Parts, clip_parts
from aehub.retrieval.fingerprint import FingerprintModel
from aehub.training.data import is_held_out, recording_of

LEAST_SOURCES = 6
STEP = 0.4
DECAYS = 0.001, 0.01, 0.1
SIDE = 32
HOG_SIDE = 64


@dataclass(frozen=True)
class Clip:
    """A snippet: features by kind, [turns, D] each, and the parts that `aehub.classify` uses."""

    path: Path
    label: str
    source: str
    held_out: bool
    features: dict[str, np.ndarray]
    parts: Parts


def gradients(frame: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients of 8x8 cells of the picture at 64x64."""
    grey = Image.fromarray(frame).convert("L").resize((HOG_SIDE, HOG_SIDE), Image.Resampling.BOX)
    return np.asarray(hog(np.asarray(grey), orientations=9, pixels_per_cell=(8, 8),
                          cells_per_block=(2, 2)), np.float32)


def pixels(frame: np.ndarray) -> np.ndarray:
    """Values of the picture at 32x32, 0 to 1."""
    small = Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.BOX)
    return (np.asarray(small, np.float32) / 255).ravel()


OPPONENTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "HOG": gradients, "HSV histogram": hsv_histogram,
    "HSV histogram, square roots": lambda frame: np.sqrt(hsv_histogram(frame)),
    "raw pixels, 32x32": pixels}
CLASSIFY, VECTORS = "aehub.classify", "aehub, mean vector alone"


def features_of(path: Path) -> dict[str, np.ndarray]:
    """Features of the opponents of a clip in eight orientations."""
    frames = [frame for _, frame in sampled(str(path), STEP)]
    return {name: np.stack([np.mean([kind(np.ascontiguousarray(turn(frame))) for frame in frames],
                                    0) for turn in TURNS.values()])
            for name, kind in OPPONENTS.items()}


def read_clip(path: Path, model: FingerprintModel) -> Clip:
    """A clip with its features; our vector is the last part."""
    parts = clip_parts(path, model, load_for_file)
    vector = parts[-1] if parts[-1] is not None else np.zeros(model.shape[0])
    source = recording_of(path.name)
    return Clip(path, label_of(path), source, is_held_out(source, HELD_OUT),
                {VECTORS: np.repeat(vector[None], len(TURNS), 0)} | features_of(path), parts)


def read_clips(folder: Path, model: FingerprintModel) -> list[Clip]:
    """All clips of a folder whose labels have enough sources."""
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".mp4", ".mkv", ".webm"))
    sources: dict[str, set[str]] = {}
    for path in paths:
        sources.setdefault(label_of(path), set()).add(recording_of(path.name))
    return [read_clip(path, model) for path in paths
            if len(sources[label_of(path)]) >= LEAST_SOURCES]


def label_of(path: Path) -> str:
    """The collection that a snippet was taken from."""
    return path.name.split("_")[0]


# --- classifiers ---------------------------------------------------------------------------------

def scaled(examples: np.ndarray, tested: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both less the mean of the examples, at a mean length of 1 of the examples."""
    mean = examples.mean(0)
    length = np.linalg.norm(examples - mean, axis=1).mean() or 1.0
    return (examples - mean) / length, (tested - mean) / length


def nearest(examples: np.ndarray, labels: np.ndarray, tested: np.ndarray, *, cosine: bool
            ) -> np.ndarray:
    """Labels of the nearest examples."""
    if cosine:
        examples, tested = (rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-9)
                            for rows in (examples, tested))
    distance = np.linalg.norm(tested[:, None] - examples[None], axis=2)
    return labels[distance.argmin(1)]


def linear_probe(examples: np.ndarray, labels: np.ndarray, tested: np.ndarray, *, decay: float
                 ) -> np.ndarray:
    """Labels by logistic regression with weight decay."""
    known, unknown = (torch.from_numpy(rows).float() for rows in scaled(examples, tested))
    target = torch.from_numpy(labels)
    weight = torch.zeros(known.shape[1], int(labels.max()) + 1, requires_grad=True)
    bias = torch.zeros(weight.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def cost() -> torch.Tensor:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(known @ weight + bias, target)
        loss = loss + decay * weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(cost)
    with torch.no_grad():
        return (unknown @ weight + bias).argmax(1).numpy()


Classifier = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
CLASSIFIERS: dict[str, Classifier] = {
    "nearest, cosine": partial(nearest, cosine=True),
    "nearest, Euclidean": partial(nearest, cosine=False),
    **{f"linear probe, decay {decay}": partial(linear_probe, decay=decay) for decay in DECAYS}}


# --- the protocol --------------------------------------------------------------------------------

@dataclass(frozen=True)
class Trial:
    """Clips to learn from and clips to test, and the turn of each of these."""

    examples: list[Clip]
    tested: list[Clip]
    turns: np.ndarray


def drawn(clips: list[Clip], n: int, seed: int, *, tests_held_out: bool) -> Trial:
    """`n` sources of each label as examples, all other sources for testing."""
    rng = np.random.default_rng([seed, n])
    examples, sources = [], set()
    for label in sorted({clip.label for clip in clips}):
        known = sorted({clip.source for clip in clips if clip.label == label})
        for source in rng.permutation(known)[:n]:
            of = [clip for clip in clips if clip.source == source]
            examples.append(of[rng.integers(len(of))])
            sources.add(source)
    tested = [clip for clip in clips if clip.source not in sources
              and (clip.held_out or not tests_held_out)]
    return Trial(examples, tested, rng.integers(len(TURNS), size=len(tested)))


def accuracy(trial: Trial, kind: str, classify: Classifier) -> tuple[float, float]:
    """(of clips as they are, of clips turned at random): mean over labels."""
    names = sorted({clip.label for clip in trial.examples})
    labels = np.array([names.index(clip.label) for clip in trial.examples])
    truth = np.array([names.index(clip.label) for clip in trial.tested])
    examples = np.stack([clip.features[kind][0] for clip in trial.examples])
    found = []
    for turns in (np.zeros_like(trial.turns), trial.turns):
        tested = np.stack([clip.features[kind][turn]
                           for clip, turn in zip(trial.tested, turns, strict=True)])
        right = classify(examples, labels, tested) == truth
        found.append(np.mean([right[truth == n].mean() for n in np.unique(truth)]))
    return found[0], found[1]


def ours(trials: list[Trial]) -> tuple[str, float, float]:
    """("answered" share, accuracy, the same) of `aehub.classify`, mean over labels and trials."""
    found, answered = [], []
    for trial in trials:
        classifier = Ours([clip.label for clip in trial.examples],
                          [clip.parts for clip in trial.examples])
        answers = [classifier.predict(clip.parts) for clip in trial.tested]
        right = np.array([max(answer.scores, key=answer.scores.__getitem__) == clip.label
                          for answer, clip in zip(answers, trial.tested, strict=True)])
        labels = np.array([clip.label for clip in trial.tested])
        found.append(np.mean([right[labels == label].mean() for label in np.unique(labels)]))
        answered.append(np.mean([answer.label is not None for answer in answers]))
    mean = float(np.mean(found))
    return f"answered {np.mean(answered):.2f}", mean, mean


def best_of(trials: list[Trial], kind: str) -> tuple[str, float, float]:
    """(classifier that is best of clips as they are, its two accuracies)."""
    found = {name: np.mean([accuracy(trial, kind, classify) for trial in trials], 0)
             for name, classify in CLASSIFIERS.items()}
    name = max(found, key=lambda one: found[one][0])
    return name, float(found[name][0]), float(found[name][1])


def table(title: str, clips: list[Clip], counts: list[int], seeds: int, *,
          tests_held_out: bool = False) -> dict[str, dict]:
    """Print a table of all features; return its numbers."""
    labels = sorted({clip.label for clip in clips})
    print(f"\n{title}: {len(labels)} labels ({', '.join(labels)}), "
          f"{len({clip.source for clip in clips})} sources, {len(clips)} snippets; by chance "
          f"{1 / len(labels):.3f}.\n\n| features | " + " | ".join(
              f"{n} examples: accuracy | turned | by" for n in counts)
          + " |\n|---" + "|---" * 3 * len(counts) + "|")
    numbers: dict[str, dict] = {}
    trials = {n: [drawn(clips, n, seed, tests_held_out=tests_held_out) for seed in range(seeds)]
              for n in counts}
    for kind in (CLASSIFY, *clips[0].features):
        numbers[kind] = {n: ours(trials[n]) if kind == CLASSIFY else best_of(trials[n], kind)
                         for n in counts}
        print(f"| {kind} | " + " | ".join(
            f"{plain:.3f} | {turned:.3f} | {name}"
            for name, plain, turned in numbers[kind].values()) + " |", flush=True)
    return numbers


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("snippets", type=Path)
    parser.add_argument("--examples", default="1,3,5", help="of each label, with commas between")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--model", default="fingerprint")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    counts = [int(n) for n in arguments.examples.split(",")]
    clips = read_clips(arguments.snippets, fingerprint_model(arguments.model))
    held_out = [clip for clip in clips if clip.held_out]
    of_label = {label: {clip.source for clip in held_out if clip.label == label}
                for label in {clip.label for clip in held_out}}
    few = [clip for clip in held_out if len(of_label[clip.label]) >= LEAST_SOURCES]
    results = {
        "all sources": table("All sources", clips, counts, arguments.seeds),
        "held out": table("Sources that training never saw", few, counts, arguments.seeds),
        "tests held out": table("Examples from all sources, tests from those that training never "
                                "saw", clips, counts, arguments.seeds, tests_held_out=True)}
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
