"""The picture of a run: training and held-out cost over steps."""

from __future__ import annotations

import json
from pathlib import Path


def note(log: Path, report: dict[str, float]) -> None:
    """Append a report to `log.jsonl`."""
    with open(log, "a") as lines:
        lines.write(json.dumps(report) + "\n")


def draw(log: Path, picture: Path) -> None:
    """Draw `log.jsonl` as a PNG, where matplotlib is installed (extra `plot`)."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, label, colour in (("train_cost", "training", "#9aa5b1"),
                                ("held_out_cost", "held out", "#d1495b")):
        points = [(r["step"], r[name]) for r in rows if name in r]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, color=colour)
    axes.set_xlabel("steps")
    axes.set_ylabel("cost")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(picture, dpi=110)
