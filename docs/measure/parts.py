"""Draw how each irreducible part of the codes transforms under rotations and flips.

    python docs/measure/parts.py [docs/figures/parts.png]

A row is one latent channel (for E the two channels of a pair), drawn as the 8x8 block of luma that
it represents; a column is an element of D4. The block is transformed; the label names the channel
that then holds the number, and its sign.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np

from aehub.codecs.d4.symmetry import A1, A2, B1, B2, E, Representation
from aehub.codecs.d4.transforms import block_dct
from aehub.media.orientation import ELEMENTS, turn

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

KINDS = {"A1": A1, "A2": A2, "B1": B1, "B2": B2, "E": E}
COLUMNS = ("identity", "rotate-90", "rotate-180", "rotate-270", "flip-horizontal",
           "flip-vertical", "transpose", "transverse")
PLUS, MINUS = "#4338ca", "#b45309"
OUTPUT = Path(__file__).resolve().parents[1] / "figures" / "parts.png"


def channels_of(kind: Representation) -> tuple[int, ...]:
    """The channels of luma of the lowest frequency above 0 that move as `kind` does."""
    dct, latents, n = block_dct(), block_dct().latents, kind.channels
    for channel in np.argsort(dct.frequency, kind="stable"):
        if dct.chroma[channel] or not dct.frequency[channel] or channel + n > latents.channels:
            continue
        part = slice(channel, channel + n)
        moves = all(tuple(c - channel for c in latents.source[g][part]) == kind.source[g]
                    and latents.sign[g][part] == kind.sign[g] for g in range(8))
        if moves:
            return tuple(range(channel, channel + n))
    raise AssertionError("the transform has no such part")


def main() -> None:
    """Draw the figure."""
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT
    rows = [(name if kind is not E else f"E, {'first' if not place else 'second'}", kind, place,
             channel)
            for name, kind in KINDS.items()
            for place, channel in enumerate(channels_of(kind))]
    figure, axes = plt.subplots(len(rows), len(COLUMNS), figsize=(10.4, 8.6), squeeze=False)
    for row, (label, kind, place, channel) in enumerate(rows):
        block = block_dct().matrix[channel, :64].reshape(8, 8)
        for column, name in enumerate(COLUMNS):
            axis, g = axes[row][column], ELEMENTS[name]
            # The channel that holds the number of this one after the turn.
            target = kind.source[g].index(place)
            sign = kind.sign[g][target]
            axis.imshow(turn(block, g), cmap="gray", vmin=-0.25, vmax=0.25)
            moved = "" if kind is not E else (" stays" if target == place else " to the other")
            axis.set_xlabel(("+" if sign > 0 else "−") + moved, fontsize=9,
                            color=PLUS if sign > 0 else MINUS, fontweight="bold", labelpad=2)
            axis.set_xticks([])
            axis.set_yticks([])
            for spine in axis.spines.values():
                spine.set(color=PLUS if sign > 0 else MINUS, linewidth=2)
            if not row:
                axis.set_title(name, fontsize=9)
            if not column:
                axis.set_ylabel(label, fontsize=10, rotation=0, ha="right", va="center")
    figure.tight_layout()
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=110)


if __name__ == "__main__":
    main()
