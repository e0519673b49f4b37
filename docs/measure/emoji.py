"""Measure `emoji-vae`, draw its contact sheets and write its card.

    python docs/measure/emoji.py RUN DATA

RUN is the folder of the finished run of the recipe, DATA the folder it was trained on. The model,
the training curves and the card are put into `weights/emoji-vae/`, the sheets into `docs/figures/`.
PSNR is of each picture, then averaged; "total" is that of the mean squared error over all.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from cards import write_card
from PIL import Image
from torch import Tensor

from aehub.generators.vae import PictureVAE
from aehub.training import trainer
from aehub.training.pictures import PictureSet
from aehub.training.recipes import emoji_vae
from aehub.weights import stored_network

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "weights" / "emoji-vae"
FIGURES = ROOT / "docs" / "figures"
TEMPLATE = Path(__file__).with_name("emoji.md")
WALKS, WALK_FRAMES = 50, 60
KEPT_LATENTS = (256, 192, 128, 64)
LETTERS = "REGIONAL INDICATOR"
SEED = 1


def tensor(pictures: np.ndarray) -> Tensor:
    """uint8 [N, S, S, 3] as [N, 3, S, S] in [0, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255


def psnr(made: Tensor, pictures: Tensor) -> float:
    """Mean of the PSNR of each picture, in dB."""
    errors = (made - pictures).square().flatten(1).mean(1)
    return float((-10 * errors.log10()).mean())


def total(made: Tensor, pictures: Tensor) -> float:
    """PSNR of the mean squared error over all pictures, in dB."""
    return float(-10 * (made - pictures).square().mean().log10())


def edges(made: Tensor, pictures: Tensor) -> float:
    """Mean strength of edges, as a share of the originals'."""
    return float(plain_edges(made) / plain_edges(pictures))


def plain_edges(pictures: Tensor) -> Tensor:
    """Mean length of the gradient of each channel."""
    corner = pictures[..., :-1, :-1]
    across, down = pictures[..., :-1, 1:] - corner, pictures[..., 1:, :-1] - corner
    return (across.square() + down.square()).sqrt().mean()


def pca(training: Tensor, pictures: Tensor, components: int) -> Tensor:
    """Pictures rebuilt from their first components, fitted on the training pictures."""
    flat = training.flatten(1)
    mean = flat.mean(0)
    basis = torch.linalg.svd(flat - mean, full_matrices=False).Vh[:components]
    rebuilt = (pictures.flatten(1) - mean) @ basis.T @ basis + mean
    return rebuilt.clamp(0, 1).view_as(pictures)


@torch.no_grad()
def rebuilt(model: PictureVAE, pictures: Tensor, kept: int | None = None) -> Tensor:
    """Encode and decode pictures, with only the first `kept` latents if given."""
    made = []
    for part in pictures.split(64):
        latents = model.to_latents(part)
        latents[:, model.latent if kept is None else kept:] = 0
        made.append(model.to_pictures(latents))
    return torch.cat(made)


@torch.no_grad()
def walk(model: PictureVAE, seed: int, n_frames: int) -> Tensor:
    """The frames of a walk between two prior seeds, linear easing."""
    first, last = model.sample(2, torch.Generator().manual_seed(seed))
    shares = torch.linspace(0, 1, n_frames)[:, None]
    return model.to_pictures(first * (1 - shares) + last * shares)


def walk_steps(model: PictureVAE) -> tuple[float, float]:
    """(mean, largest) over walks of the largest step as a multiple of the median step."""
    ratios = []
    for seed in range(WALKS):
        frames = walk(model, seed, WALK_FRAMES)
        steps = frames.diff(dim=0).square().flatten(1).mean(1).sqrt()
        ratios.append(float(steps.max() / steps.median()))
    return sum(ratios) / len(ratios), max(ratios)


@torch.no_grad()
def novelty(model: PictureVAE, pictures: PictureSet) -> tuple[float, float]:
    """PSNR in dB between samples and the training picture nearest to each, and that between
    training pictures and their own reconstruction."""
    training = tensor(pictures.plain)
    samples = model.to_pictures(model.sample(256, torch.Generator().manual_seed(SEED)))
    distance = torch.cdist(samples.flatten(1), training.flatten(1)).min(1).values.square()
    nearest = -10 * (distance / samples[0].numel()).log10()
    return float(nearest.mean()), psnr(rebuilt(model, training), training)


def sheet(rows: list[Tensor], path: Path, *, scale: int = 1) -> None:
    """Draw rows of pictures [n, 3, S, S] with a grey line between them."""
    framed = [torch.nn.functional.pad(row, (2, 2, 2, 2), value=0.88) for row in rows]
    tall = torch.cat([torch.cat(list(row), 2) for row in framed], 1)
    image = Image.fromarray((tall.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy())
    image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST).save(
        path, optimize=True)


@torch.no_grad()
def figures(model: PictureVAE, held_out: Tensor, by_pca: Tensor) -> None:
    """The contact sheets: held-out pictures, prior samples, walks."""
    FIGURES.mkdir(exist_ok=True)
    made = rebuilt(model, held_out)
    chosen = torch.randperm(len(held_out), generator=torch.Generator().manual_seed(SEED))
    rows = [of[part] for part in chosen[:36].split(12) for of in (held_out, made, by_pca)]
    sheet(rows, FIGURES / "emoji-held-out.png")
    generator = torch.Generator().manual_seed(SEED)
    latents = torch.cat([model.sample(84, generator),
                         torch.randn(12, model.latent, generator=generator)])
    sheet(list(model.to_pictures(latents).split(12)), FIGURES / "emoji-samples.png")
    sheet([walk(model, seed, 12) for seed in range(6)], FIGURES / "emoji-walks.png")


def quality(made: Tensor, pictures: Tensor, name: str) -> dict[str, str]:
    """The three numbers of a row of the card."""
    return {f"{name}_psnr": f"{psnr(made, pictures):.2f}",
            f"{name}_total": f"{total(made, pictures):.2f}",
            f"{name}_edges": f"{edges(made, pictures):.2f}"}


def measured(run: Path, pictures: PictureSet) -> dict[str, str]:
    """All numbers of the card; draws the figures on the way."""
    training, held_out = tensor(pictures.plain), tensor(pictures.test)
    start = emoji_vae.build(emoji_vae.Options())
    trainer.set_parameters(start, trainer.read_tensors(run / "start.safetensors"))
    start = emoji_vae.with_latent_statistics(start, pictures)
    model = stored_network.load(run / "model").network
    assert isinstance(model, PictureVAE)
    made, by_pca = rebuilt(model, held_out), pca(training, held_out, model.latent)
    figures(model, held_out, by_pca)
    facts = {"n_training": f"{len(training):,}", "n_held_out": str(len(held_out)),
             "n_validation": str(len(pictures.validation)), "latent": str(model.latent),
             "n_walks": str(WALKS), "walk_frames": str(WALK_FRAMES)}
    for name, pictures_made in {
            "emoji": made, "pca": by_pca, "pca_128": pca(training, held_out, 128),
            "start": rebuilt(start, held_out)}.items():
        facts |= quality(pictures_made, held_out, name)
    not_letters = torch.from_numpy(pictures.test_names != LETTERS)
    facts |= quality(made[not_letters], held_out[not_letters], "others")
    facts |= quality(by_pca[not_letters], held_out[not_letters], "others_pca")
    facts |= {"n_letters": str(int((~not_letters).sum())), "n_others": str(int(not_letters.sum()))}
    facts["gain"] = f"{psnr(made, held_out) - psnr(by_pca, held_out):.2f}"
    facts["gain_total"] = f"{total(made, held_out) - total(by_pca, held_out):.2f}"
    facts["kept_rows"] = "\n".join(
        f"| the first {kept} of {model.latent} | {psnr(part, held_out):.2f} dB | "
        f"{edges(part, held_out):.2f} |"
        for kept in KEPT_LATENTS for part in [rebuilt(model, held_out, kept)])
    facts |= dict(zip(("walk_mean", "walk_most"), map("{:.2f}".format, walk_steps(model)),
                      strict=True))
    facts |= dict(zip(("nearest", "training_psnr"),
                      map("{:.1f}".format, novelty(model, pictures)), strict=True))
    return facts


def training_facts(run: Path) -> dict[str, str]:
    """Steps, minutes and costs from the run's log."""
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    best = min(row["held_out_cost"] for row in rows)
    return {"steps": f"{rows[-1]['step']:,}", "minutes": f"{rows[-1]['seconds'] / 60:.0f}",
            "first_cost": f"{rows[0]['held_out_cost']:.3f}", "best_cost": f"{best:.3f}"}


def main() -> None:
    """Measure and write."""
    run, data = (Path(argument) for argument in sys.argv[1:3])
    facts = measured(run, PictureSet.open(data)) | training_facts(run)
    print(json.dumps(facts, indent=2))
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(run / "model" / name, WEIGHTS / name)
    shutil.copyfile(run / "curves.png", WEIGHTS / "curves.png")
    shutil.copyfile(FIGURES / "emoji-samples.png", WEIGHTS / "samples.png")
    write_card(WEIGHTS, TEMPLATE, facts, datasets=("noto-emoji",))


if __name__ == "__main__":
    main()
