"""`sprite-motion` on characters that training never saw: from one still to the whole sheet.

    python docs/measure/sprites.py DATA [--model sprite-motion] [--figure OUT.png] [--new OUT.png]

DATA holds the archive of walk cycles that `aehub train sprite-motion` takes. PSNR is from the mean
squared error over the 4x9 sheets on white of all characters of a group; a pixel is exact if its
three values are.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from copy import copy, deepcopy
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import aehub
from aehub.animation.sheet import contact_sheet
from aehub.generators.base import enlarge
from aehub.generators.sprite.cutout import Cell
from aehub.generators.sprite.parts import PartDictionary
from aehub.generators.sprite.pixel_art import nearest_index, to_indexed
from aehub.generators.sprite.poses import CYCLE
from aehub.training.layer_library import DOWN, Characters
from aehub.weights.stored_network import StoredNetwork

WIDTH = 0.3
RIDGE = 0.003
NEW = 18
# (row, frame) of a sheet: the back twice, four from the left, three of the front, two of the right.
SHOWN = ((0, 0), (0, 3), (1, 0), (1, 2), (1, 4), (1, 6), (2, 2), (2, 4), (2, 6), (3, 2), (3, 6))


class Score:
    """Squared error and exact pixels, summed over sheets."""

    def __init__(self) -> None:
        self.squared = self.exact = 0.0
        self.values = self.pixels = 0

    def add(self, found: np.ndarray, wanted: np.ndarray) -> None:
        """Add a sheet, uint8 or float [..., 3] in grey levels."""
        difference = found.astype(np.float32) - wanted
        self.squared += float(np.square(difference).sum())
        self.exact += float((np.rint(found) == wanted).all(-1).sum())
        self.values, self.pixels = self.values + wanted.size, self.pixels + wanted.size // 3

    def __str__(self) -> str:
        psnr = 10 * np.log10(255**2 * self.values / self.squared)
        return f"{psnr:.2f} dB | {100 * self.exact / self.pixels:.1f} %"


def kernel_ridge(characters: Characters) -> Callable[[np.ndarray], np.ndarray]:
    """The sheet from the still, by kernel ridge regression on the training characters."""
    trained = characters.cycles[~characters.held_out]
    stills = trained[:, DOWN, 0].reshape(len(trained), -1).astype(np.float32) / 255
    sheets = trained.reshape(len(trained), -1)
    mean = sheets.mean(0, dtype=np.float32)
    norms = np.square(stills).sum(1)
    distance = norms[:, None] + norms[None] - 2 * stills @ stills.T
    width = float(np.median(distance)) / WIDTH
    inverse = np.linalg.inv(np.exp(-distance / width) + RIDGE * np.eye(len(stills)))

    def predict(still: np.ndarray) -> np.ndarray:
        x = still.reshape(-1).astype(np.float32) / 255
        kernel = np.exp(-(norms + x @ x - 2 * stills @ x) / width)
        shares = (kernel @ inverse).astype(np.float32)
        sheet = (1 - shares.sum()) * mean
        for share, one in zip(shares, sheets, strict=True):
            sheet += share * one
        return np.asarray(sheet.clip(0, 255).reshape(trained.shape[1:]))

    return predict


def nearest_character(characters: Characters) -> Callable[[np.ndarray], np.ndarray]:
    """The sheet of the training character whose still is nearest."""
    trained = characters.cycles[~characters.held_out]
    stills = trained[:, DOWN, 0].astype(np.float32)
    return lambda still: trained[np.square(stills - still).sum((1, 2, 3)).argmin()]


def on_white(sheet: np.ndarray) -> np.ndarray:
    """uint8 [..., 4] -> uint8 [..., 3]."""
    return np.where(sheet[..., 3:] > 0, sheet[..., :3], 255).astype(np.uint8)


def methods(model: aehub.Model, characters: Characters) -> dict[str, Callable[[np.ndarray],
                                                                              np.ndarray]]:
    """What is compared."""
    order = np.random.default_rng(0).permutation(CYCLE) + 1
    untrained = type(model)(StoredNetwork(
        model.name, type(model.network)(**model.network.config).eval(), model.config))
    network, parts = (copy(model) for _ in range(2))
    network.network, parts.network = (deepcopy(model.network) for _ in range(2))
    network.network.parts, parts.network.network_weight = PartDictionary(0, 0, 0, 0), 0.0

    def walked(sprites: aehub.Model, still: np.ndarray) -> np.ndarray:
        # These stills stand in their place, which only parts could find.
        return on_white(sprites.cycles(Cell.from_picture(still)))

    return {
        "sprite-motion": lambda still: walked(model, still),
        "its poses shuffled": lambda still: walked(model, still)[:, [0, *order]],
        "its network alone": lambda still: walked(network, still),
        "its parts alone": lambda still: walked(parts, still),
        "step 0: not trained": lambda still: walked(untrained, still),
        "kernel ridge regression from the still": kernel_ridge(characters),
        "the nearest training character": nearest_character(characters),
        "the still repeated": lambda still: np.broadcast_to(still, (4, 9, *still.shape)),
    }


def draw(path: Path, model: aehub.Model, characters: Characters, count: int) -> None:
    """Draw held-out characters: the still and what becomes of it, above the artist's frames."""
    chosen = np.flatnonzero(characters.held_out)
    pictures = []
    for number in chosen[np.linspace(0, len(chosen) - 1, count).astype(int)]:
        sheet = characters.cycles[number]
        found = on_white(model.cycles(sheet[DOWN, 0]))
        for which in (found, sheet):
            pictures += [sheet[DOWN, 0] if which is found else np.full_like(sheet[DOWN, 0], 255)]
            pictures += [which[row, frame] for row, frame in SHOWN]
    rows = contact_sheet(pictures, 1 + len(SHOWN), gap=0)
    Image.fromarray(enlarge(rows, 2)).save(path, optimize=True)


def draw_new(path: Path, model: aehub.Model) -> None:
    """Draw characters that never were: each still, and four frames of what becomes of it."""
    pictures = []
    for still in model.decode(model.sample(range(NEW))):
        sheet = on_white(model.cycles(still))
        pictures += [still, *(sheet[place] for place in ((2, 2), (0, 0), (1, 2), (3, 4)))]
    rows = contact_sheet(pictures, 15, gap=0)
    Image.fromarray(enlarge(rows, 1)).save(path, optimize=True)


def row(name: str, sheets: Iterable[tuple[np.ndarray, np.ndarray, bool]]) -> None:
    """Print a method's scores: all, known hair, unseen hair.

    Args:
        name: of the method.
        sheets: the artist's, the one found, and whether its hair was never seen.
    """
    scores = [Score(), Score(), Score()]
    for wanted, found, unseen in sheets:
        scores[0].add(found, wanted)
        scores[2 if unseen else 1].add(found, wanted)
    print(f"| {name} | {' | '.join(map(str, scores))} |", flush=True)


def in_colours_of_still(sheet: np.ndarray) -> np.ndarray:
    """A sheet with each colour replaced by the nearest of its still."""
    palette = to_indexed(sheet[DOWN, 0]).palette
    return np.asarray(palette[nearest_index(sheet, palette)])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="sprite-motion")
    parser.add_argument("--figure", type=Path, help="a PNG of some of the characters, nothing else")
    parser.add_argument("--new", type=Path, help="a PNG of new characters, nothing else")
    parser.add_argument("--shown", type=int, default=5, help="how many")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    if arguments.new:
        draw_new(arguments.new, aehub.load(arguments.model))
        return
    characters = Characters.read(arguments.data)
    if arguments.figure:
        draw(arguments.figure, aehub.load(arguments.model), characters, arguments.shown)
        return
    chosen = np.flatnonzero(characters.held_out)
    unseen = characters.unseen_hair
    print(f"{len(chosen)} characters that training never saw, {unseen.sum()} of them with hair "
          "styles that it never saw.\n")
    print("| from one front-facing still | PSNR | exact | known hair: PSNR | exact "
          "| unseen hair: PSNR | exact |\n|---|---|---|---|---|---|---|")
    for name, method in methods(aehub.load(arguments.model), characters).items():
        row(name, ((characters.cycles[n], method(characters.cycles[n, DOWN, 0]), unseen[n])
                   for n in chosen))
    row("bound: the artist's sheet in the still's colours",
        ((sheet, in_colours_of_still(sheet), unseen[n])
         for n, sheet in zip(chosen, characters.cycles[chosen], strict=True)))


if __name__ == "__main__":
    main()
