"""Write the card of `d4-codec` from measurements.

    python -m aehub.training.recipes.d4_ablation d4-codec RUN DATA
    python -m aehub.training.recipes.d4_ablation d4-filter FILTER DATA --set base=INTER/model
    python -m aehub.training.recipes.d4_ablation d4-inter INTER DATA --set base=FILTER/model \\
        --set start=FILTER/model
    python docs/measure/card.py RUN INTER FILTER CLIPS

RUN, INTER and FILTER are the folders of the finished runs of the three recipes, with their
ablations; CLIPS is a folder of lossless clips that training never saw. The card, the training
curves and the model are put into `weights/d4-codec/`, the figures into `docs/figures/`.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cards import write_card

import aehub
from aehub.measure import Comparison, parse_codecs
from aehub.weights.architectures import architecture

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "weights" / "d4-codec"
FIGURES = ROOT / "docs" / "figures"
TEMPLATE = Path(__file__).with_name("card.md")
DATASETS = ("open-licence-clips", "open-licence-pictures")
IMAGE_CODECS = ("jpeg", "webp", "avif")
VIDEO_CODECS = ("x264-medium", "x264-medium-bf0", "x265-medium", "svtav1-6")
ABLATED_FRAMES = 9
STILL_PARTS = {
    "step-0": "step 0: block DCT, hand-set context, fitted base scales",
    "no-residuals": "synthesis residuals off",
    "frozen-scales": "scale network frozen to one table per channel and quality",
}
PARTS = {
    "step-0": "step 0: motion-compensated DCT of the difference, hand-set context",
    "no-reference": "prediction hidden from the decoder's networks (the residual is still added "
                    "to it)",
    "no-code-context": "temporal context (codes of the references) off",
}
FILTER_PART = "post-filter off"


def training_facts(run: Path, prefix: str = "") -> dict[str, str]:
    """Steps, minutes and costs from the run's log."""
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    best = min(row["held_out_cost"] for row in rows)
    facts = {"steps": f"{rows[-1]['step']:,}", "minutes": f"{rows[-1]['seconds'] / 60:.0f}",
             "first_cost": f"{rows[0]['held_out_cost']:.3f}", "best_cost": f"{best:.3f}"}
    return {prefix + name: value for name, value in facts.items()}


def percent(value: float | None) -> str:
    """A Bjøntegaard difference as people write it."""
    return "–" if value is None else f"{value:+.1f} %"


def against(comparison: Comparison, names: Mapping[str, str]) -> str:
    """Rows of mean differences, by the name of the codec and what it is called."""
    return "\n".join(f"| {text} | {percent(comparison.mean_difference(name, 'psnr'))} "
                     f"| {percent(comparison.mean_difference(name, 'ms_ssim'))} |"
                     for name, text in names.items())


def by_clip(comparison: Comparison, names: tuple[str, ...]) -> str:
    """Rows of differences in PSNR, by clip."""
    return "\n".join(
        f"| {clip.name} | " + " | ".join(
            percent(comparison.difference(clip.name, name, "psnr").percent) for name in names)
        + " |" for clip in comparison.clips)


def stills_of(run: Path, filtered: Path, clips: Path) -> dict[str, str]:
    """First frames against still picture codecs, and what the parts are worth."""
    variants = {str(run / name): text for name, text in STILL_PARTS.items()}
    variants[str(filtered / "no-filter")] = FILTER_PART
    names = [*IMAGE_CODECS, "d4-codec", *variants]
    measured = aehub.compare([clips], parse_codecs(",".join(names)), stills=True, anchor="jpeg")
    print(measured.table())
    _plot(measured, names[:4], "stills.png")
    return {"stills": against(measured, {name: name for name in names[1:4]}),
            "still_parts": against(replace(measured, anchor="d4-codec"), variants),
            "still_clips": by_clip(measured, ("d4-codec", "webp", "avif")),
            "n_clips": str(len(measured.clips)), "measured": json.dumps(measured.to_dict())}


def video_of(run: Path, filtered: Path, clips: Path) -> dict[str, str]:
    """Whole clips against video codecs, and what the parts are worth on their first frames."""
    names = ["d4-codec", *VIDEO_CODECS]
    measured = aehub.compare([clips], parse_codecs(",".join(names)), anchor="x264-medium")
    print(measured.table())
    _plot(measured, names, "video.png")
    shown = {name: name for name in names if name != "x264-medium"}
    variants = {str(run / name): text for name, text in PARTS.items()}
    variants[str(filtered / "no-filter")] = FILTER_PART
    parts = aehub.compare([clips], parse_codecs(",".join(["d4-codec", *variants])),
                          anchor="d4-codec", frames=ABLATED_FRAMES)
    print(parts.table())
    return {"video": against(measured, shown), "parts": against(parts, variants),
            "video_bf0": against(replace(measured, anchor="x264-medium-bf0"),
                                 {"d4-codec": "d4-codec"}),
            "video_clips": by_clip(measured, ("d4-codec", "x264-medium-bf0", "x265-medium",
                                              "svtav1-6")),
            "ablated_frames": str(ABLATED_FRAMES)}


def _plot(measured: Comparison, names: list[str], file: str) -> None:
    FIGURES.mkdir(exist_ok=True)
    shown = replace(measured, points=tuple(p for p in measured.points if p.codec in names),
                    settings={name: measured.settings[name] for name in names})
    shown.plot(FIGURES / file)


def main() -> None:
    """Measure and write."""
    run, inter, filtered, clips = (Path(argument) for argument in sys.argv[1:5])
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(filtered / "model" / name, WEIGHTS / name)
    shutil.copyfile(run / "curves.png", WEIGHTS / "curves.png")
    shutil.copyfile(inter / "curves.png", WEIGHTS / "curves-inter.png")
    shutil.copyfile(filtered / "curves.png", WEIGHTS / "curves-filter.png")
    facts = {**training_facts(run), **training_facts(inter, "inter_"),
             **training_facts(filtered, "filter_"), **video_of(inter, filtered, clips),
             **stills_of(run, filtered, clips)}
    write_card(WEIGHTS, TEMPLATE, facts, datasets=DATASETS,
               tags=(*architecture("d4-codec").card.tags, "equivariance"),
               measured=json.loads(facts.pop("measured")))


if __name__ == "__main__":
    main()
