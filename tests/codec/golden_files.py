"""Files that must decode to the same codes for ever, and the tiny frozen model they need.

    AEHUB_REGENERATE=1 python -m pytest tests/codec/test_same_codes.py

writes them anew, which is right only when the bitstream or the architecture changes on purpose.
"""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

import aehub
from aehub.codec.model import Codec
from aehub.container import open_reader
from aehub.entropy import ScaleTables
from aehub.models.d4_codec import Codes, D4Codec
from aehub.models.d4_start import set_classical_start
from aehub.models.integer import IntegerConv2d, QualityBias
from aehub.models.probe import make_probe
from aehub.models.store import save
from material import moving_picture

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
MODEL = GOLDEN / "tiny-d4"
EXPECTED = GOLDEN / "codes.json"
# Name: width, height, frames, quality, frames per group.
CLIPS = {
    "odd.aev": (67, 45, 11, 50.0, None),
    "tall.aev": (40, 98, 5, 43.21, 2),
    "fine.aev": (64, 64, 9, 97.5, None),
}


@torch.no_grad()
def tiny_network(seed: int = 7) -> D4Codec:
    """The smallest network of the architecture, none of its parts left at zero."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    network = D4Codec(fields=2, analysis_blocks=0, synthesis_blocks=1)
    set_classical_start(network)

    def noise(shape: torch.Size, scale: float) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * scale

    for name, module in network.named_modules():
        if isinstance(module, IntegerConv2d):
            module.theta += noise(module.theta.shape, 0.005)
        elif isinstance(module, QualityBias):
            module.values += noise(module.values.shape, 0.5)
        elif name.startswith(("means.last.", "means.direct", "synthesis.tail")):
            module.theta += noise(module.theta.shape, 0.003)
    # Coarse numbers, so that the repository can pack them.
    for parameter in network.parameters():
        parameter.copy_((parameter * 512).round() / 512)
    network.scales.constrain()
    return network.eval()


def write_model(folder: Path, seed: int = 7) -> None:
    """Save a tiny model, tables and probe included."""
    network = tiny_network(seed)
    save(folder, "tiny-d4", network, ScaleTables.fit(), encoder={"lambda": 0.05},
         probe=make_probe(network))


def codes_of(path: Path, model: Codec) -> list[Codes]:
    """The codes of every group of a file."""
    with open_reader(path) as reader:
        return [
            model.read_codes(group.payload, group.head.n_frames,
                             reader.head.coded_size(group.head.crop), group.head.quality / 100)
            for group in reader.groups()
        ]


def digest(codes: list[Codes]) -> str:
    """SHA-256 of codes as little-endian 32-bit integers [frame, channel, row, column]."""
    total = hashlib.sha256()
    for group in codes:
        for part in group:
            values = part.cpu().numpy()
            integers = values.astype("<i4")
            assert np.array_equal(integers, values)
            total.update(f"{values.shape}".encode())
            total.update(np.ascontiguousarray(integers).tobytes())
    return total.hexdigest()


def regenerate() -> None:
    """Write the model, the files and what they decode to."""
    write_model(MODEL)
    model = Codec.from_pretrained(MODEL)
    expected = {}
    for seed, (name, (width, height, n, quality, group)) in enumerate(CLIPS.items()):
        frames = moving_picture(n, width, height, seed)
        aehub.compress(np.stack(frames), GOLDEN / name, model=model, quality=quality, group=group,
                       fps=Fraction(30000, 1001), force=True)
        expected[name] = digest(codes_of(GOLDEN / name, model))
    EXPECTED.write_text(json.dumps(expected, indent=2) + "\n")
