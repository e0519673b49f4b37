"""Write the card of `d4-codec` from measurements.

    python -m aehub.training.ablate RUN DATA
    python docs/measure/card.py RUN CLIPS

RUN is the folder of a finished `aehub train d4-codec`, with its ablations; CLIPS a folder of
lossless clips that training never saw. The card, the training curve and the model are put into
`weights/d4-codec/`, the figure of the stills into `docs/figures/`.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import aehub
from aehub.compare import parse_codecs
from aehub.hub.card import TAGS, front_matter

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "weights" / "d4-codec"
TEMPLATE = Path(__file__).with_name("card.md")
DATASETS = ("open-licence-clips", "open-licence-pictures")
ABLATIONS = {
    "step-0": "step 0: block DCT, hand-set context, fitted base scales",
    "no-residuals": "synthesis residuals off",
    "frozen-scales": "scale network frozen to one table per channel and quality",
}


def training_facts(run: Path) -> dict[str, str]:
    """Steps, minutes and costs from the run's log."""
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    best = min(row["held_out_cost"] for row in rows)
    return {"steps": f"{rows[-1]['step']:,}", "minutes": f"{rows[-1]['seconds'] / 60:.0f}",
            "first_cost": f"{rows[0]['held_out_cost']:.3f}", "best_cost": f"{best:.3f}"}


def percent(value: float | None) -> str:
    """A Bjøntegaard difference as people write it."""
    return "–" if value is None else f"{value:+.1f} %"


def main() -> None:
    """Measure and write."""
    run, clips = Path(sys.argv[1]), Path(sys.argv[2])
    for name in ("config.json", "model.safetensors"):
        WEIGHTS.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run / "model" / name, WEIGHTS / name)
    shutil.copyfile(run / "curves.png", WEIGHTS / "curves.png")
    variants = {name: str(run / name) for name in ABLATIONS}
    names = ["jpeg", "webp", "avif", "d4-codec", *variants.values()]
    stills = aehub.compare([clips], parse_codecs(",".join(names)), stills=True, anchor="jpeg")
    ours = replace(stills, anchor="d4-codec")
    rows = [f"| {name} | {percent(stills.mean_difference(name, 'psnr'))} "
            f"| {percent(stills.mean_difference(name, 'ms_ssim'))} |"
            for name in names[1:4]]
    parts = [f"| {text} | {percent(ours.mean_difference(variants[name], 'psnr'))} "
             f"| {percent(ours.mean_difference(variants[name], 'ms_ssim'))} |"
             for name, text in ABLATIONS.items()]
    each = [f"| {clip.name} | {percent(stills.difference(clip.name, 'd4-codec', 'psnr').percent)} "
            f"| {percent(stills.difference(clip.name, 'webp', 'psnr').percent)} "
            f"| {percent(stills.difference(clip.name, 'avif', 'psnr').percent)} |"
            for clip in stills.clips]
    config = json.loads((WEIGHTS / "config.json").read_text())
    matter = front_matter(config, tags=(*TAGS, "equivariance"), datasets=DATASETS,
                          measured=stills.to_dict())
    facts = {**training_facts(run), "front_matter": matter,
             "stills": "\n".join(rows), "ablations": "\n".join(parts),
             "each": "\n".join(each), "n_clips": str(len(stills.clips)),
             "megabytes": f"{(WEIGHTS / 'model.safetensors').stat().st_size / 1e6:.1f}",
             "parameters": f"{config['parameters']:,}"}
    text = TEMPLATE.read_text()
    for name, value in facts.items():
        text = text.replace("{{" + name + "}}", value)
    (WEIGHTS / "README.md").write_text(text)
    print(stills.table())
    (ROOT / "docs" / "figures").mkdir(exist_ok=True)
    shown = replace(stills, points=tuple(p for p in stills.points if p.codec in names[:4]),
                    settings={name: stills.settings[name] for name in names[:4]})
    shown.plot(ROOT / "docs" / "figures" / "stills.png")


if __name__ == "__main__":
    main()
