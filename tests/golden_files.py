"""Files that must decode to the same codes for ever, and the tiny frozen model that they need.

    AEHUB_REGENERATE=1 python -m pytest tests/codecs/test_same_predictions.py

writes those of the newest payload format anew, which is right only when a new format comes. The
model and the files of older formats stay as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import numpy as np
import torch

import aehub
from aehub.bitstream import Writer, open_reader
from aehub.codecs.base import MiniGop
from aehub.codecs.d4.checkpoint import StoredModel, make_self_test, save
from aehub.codecs.d4.classical_init import init_classical, init_classical_inter
from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.d4.frame_coding import FrameSyntax, GroupReader
from aehub.codecs.d4.integer_conv import IntegerConv2d, QualityBias
from aehub.codecs.d4.network import D4Network
from aehub.coding.range_coder import ScaleTables
from aehub.media.colour import from_rgb
from aehub.media.picture import Colour, Frame
from material import moving_picture

GOLDEN = Path(__file__).resolve().parent / "golden"
MODEL = GOLDEN / "tiny-d4"
EXPECTED = GOLDEN / "predicted.json"
FORMAT_2 = ("moving.aev", "cut.aev", "closed.aev", "steady.aev")
"""Files of payload format 2, which is no longer written."""
# Name: width, height, frames of each shot, quality, frames per group.
CLIPS = {
    "moving.aev": (64, 48, (17,), 65.0, None),
    "cut.aev": (67, 45, (12, 6), 71.3, None),
    "closed.aev": (40, 98, (9,), 43.21, 5),
    "steady.aev": (96, 64, (18,), 55.0, None),
    "layers.aev": (96, 96, (39,), 66.66, None),
    "barred.aev": (68, 62, (5, 2), 81.5, 4),
}
MINI_GOPS = {"layers.aev": (16, 8, 4, 1, 7, 2)}
"""Lengths after the first frame, where the encoder does not choose them."""
BARS = {"layers.aev": (slice(64, None), (200, 40, 60)), "barred.aev": (slice(34), (16, 16, 16))}
"""Rows of one colour, and the colour."""


@torch.no_grad()
def tiny_network(seed: int = 7) -> D4Network:
    """The smallest network of the architecture, none of its parts left at zero."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    network = D4Network(2, 0, 1, filter_fields=1, filter_layers=1)
    init_classical(network)
    init_classical_inter(network.inter)
    _disturb(network, lambda shape, scale: torch.randn(shape, generator=generator) * scale)
    # Coarse numbers, so that the repository can pack them.
    for parameter in network.parameters():
        parameter.copy_((parameter * 512).round() / 512)
    network.constrain()
    return network.eval()


def _disturb(network: D4Network, noise: Callable[[torch.Size, float], torch.Tensor]) -> None:
    for name, module in network.named_modules():
        name = name.removeprefix("inter.")
        if isinstance(module, IntegerConv2d):
            module.theta += noise(module.theta.shape, 0.005)
        elif isinstance(module, QualityBias):
            module.values += noise(module.values.shape, 0.5)
        elif name.startswith(("means.last.", "means.direct", "synthesis.tail", "post_filter.tail")):
            module.theta += noise(module.theta.shape, 0.003)


def write_model(folder: Path, seed: int = 7) -> None:
    """Save a tiny model, tables and probe included."""
    network = tiny_network(seed)
    save(folder, StoredModel(
        "tiny-d4", network, ScaleTables.fit(), {"encoder": {"lambda": 0.05, "inter_lambda": 0.05}},
        make_self_test(network)))


def predicted_codes(path: Path, model: D4Codec) -> list[list[FrameSyntax]]:
    """Codes and motion of the frames of every group of a file, in coding order."""
    with open_reader(path) as reader, torch.inference_mode():
        return [
            list(GroupReader(model.runtime, group.payload, group.header,
                             reader.header.coded_size(32, group.header.crop),
                             reader.header.coder).frames())
            for group in reader.groups()
        ]


def predicted_digest(groups: list[list[FrameSyntax]]) -> str:
    """SHA-256 of codes and motion as little-endian 32-bit integers, frame by frame."""
    return _digest(part for group in groups for frame in group for part in _integers(frame))


def _integers(frame: FrameSyntax) -> Iterable[np.ndarray]:
    yield np.array([frame.number, frame.quality_offset])
    if frame.motion is not None:
        yield from (frame.motion.vectors, frame.motion.modes, frame.motion.coded_flags)
    if frame.flat is not None:
        yield from (frame.flat.coded, np.array(frame.flat.colour))
    yield from (part.cpu().numpy() for part in frame.codes)


def _digest(parts: Iterable[np.ndarray]) -> str:
    total = hashlib.sha256()
    for values in parts:
        integers = values.astype("<i4")
        assert np.array_equal(integers, values)
        total.update(f"{values.shape}".encode())
        total.update(np.ascontiguousarray(integers).tobytes())
    return total.hexdigest()


def pan(n: int, width: int, height: int, seed: int = 0, step: tuple[int, int] = (1, 2)
        ) -> list[np.ndarray]:
    """A camera that moves by `step` samples (down, right) a frame over one large picture."""
    down, right = step
    (picture,) = moving_picture(1, width + n * right, height + n * down, seed)
    return [picture[t * down:t * down + height, t * right:t * right + width] for t in range(n)]


def predicted_clip(name: str) -> list[np.ndarray]:
    """The clip of a golden file: shots that have nothing in common, or one calm shot."""
    width, height, lengths, *_ = CLIPS[name]
    seed = list(CLIPS).index(name)
    if name == "steady.aev":
        return pan(*lengths, width, height, seed, (0, 1))
    pictures = [picture for number, n in enumerate(lengths)
                for picture in moving_picture(n, width, height, seed + 10 * number)]
    if name in BARS:
        rows, colour = BARS[name]
        for picture in pictures:
            picture[rows] = colour
    return pictures


def regenerate() -> None:
    """Write the files of the newest payload format, and what they decode to."""
    model = D4Codec.from_pretrained(MODEL)
    expected = json.loads(EXPECTED.read_text())
    for name, (*_, quality, group) in CLIPS.items():
        if name in FORMAT_2:
            continue
        clip, path = np.stack(predicted_clip(name)), GOLDEN / name
        aehub.compress(clip, path, model=model, quality=quality, group=group,
                       fps=Fraction(30000, 1001), force=True)
        if name in MINI_GOPS:
            _write_group(path, model, MINI_GOPS[name])
        expected[name] = predicted_digest(predicted_codes(path, model))
    EXPECTED.write_text(json.dumps(expected, indent=2) + "\n")


def _write_group(path: Path, model: D4Codec, mini_gops: Iterable[int]) -> None:
    """Write a file anew, as one group with mini-GOPs of these lengths."""
    with open_reader(path) as reader:
        header = reader.header
    frames = [Frame(from_rgb(picture, Colour(6)), number, 1)
              for number, picture in enumerate(predicted_clip(path.name))]
    encoder = model.group_encoder(header)
    for length in (1, *mini_gops):
        frames, mini_gop = frames[length:], frames[:length]
        for _ in encoder.add(MiniGop(mini_gop, not frames, None)):
            pass
    assert not frames
    stream = BytesIO()
    with Writer(stream, header) as writer:
        writer.group(*encoder.finish())
    path.write_bytes(stream.getvalue())
