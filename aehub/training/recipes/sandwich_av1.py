"""Recipe of the restorer of `sandwich-av1`, trained on clips as SVT-AV1 codes them.

Every clip is encoded several times, each time at another rate factor and preset, some of them
smaller, some with noise as cameras make it. Pictures become clips too: a window moves over them,
or over a page of text (`sandwich_clips`). With `scale` = 2 clips are coded at half their size, and
the network corrects frames that Lanczos' filter doubled.

The cost is the squared error of each plane over that of AV1 in the whole clip, (6 Y + U + V) / 8,
which is the change of PSNR to first order. The first correction is trained; when training ends, the
others are solved for the same features (`sandwich_filters`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aehub.codecs.sandwich import mixing
from aehub.codecs.sandwich.alignment import PRECISION
from aehub.codecs.sandwich.av1 import Av1Encoder, decode
from aehub.codecs.sandwich.codec import save
from aehub.codecs.sandwich.group_decoder import part_of
from aehub.codecs.sandwich.network import FOLD, PARTS, SAMPLES, Restorer, SandwichNetwork, scale_of
from aehub.codecs.sandwich.obu import temporal_units
from aehub.codecs.sandwich.restoration import network_inputs
from aehub.errors import InputError
from aehub.media.scaling import halve, upscale
from aehub.schedule import Task, run_tasks
from aehub.training.data import Cache, FrameStore, StoredClip, is_held_out
from aehub.training.recipes.sandwich_clips import LEAST_SIDE, is_usable, training_clip
from aehub.training.recipes.sandwich_filters import principal_filters
from aehub.weights.stored_network import load

NAME = "sandwich-av1"
LEARNING_RATE = 3e-3
_VERSION = 5
_SEED = 5
_FPS = Fraction(25)
_AHEAD = 4
"""Encodes that wait to be written."""
_CRFS = (18.0, 63.0)
"""Range of the rate factors, wider than that of the qualities by 2 and 3."""
_PRESETS = (6, 4, 8, 6, 10, 2)
_N_FRAMES = 28
"""First frames of a clip that are encoded, at most."""
_KEPT = 6
"""Frames of an encode that are kept, with their references."""
_SIDE = 2
"""References on either side that are kept."""
_LEAST_ERROR = 0.3
"""Mean squared error below which a clip counts less: it is nearly flat."""
_FIT_ENCODES, _FIT_FRAMES = 320, 4
"""Encodes that the last layer is solved on, and frames of each."""
_PLANE_WEIGHTS = (6 / 8, 1 / 8, 1 / 8)


@dataclass(frozen=True)
class Options:
    """Options that `--set` may change.

    Attributes:
        base: folder of a model that gets the network; empty for a new model.
        width: channels of a layer.
        layers: residual layers.
        candidates: corrections.
        references: on either side of a frame, 0 to 2.
        scale: 2 for clips that are coded at half their size.
        encodes: of each clip; of a picture half as many.
        size: side of a crop in luma samples of the coded frame, even.
        batch: crops per step.
        report_seconds: between reports and checkpoints.
    """

    base: str = ""
    width: int = 32
    layers: int = 4
    candidates: int = 12
    references: int = 2
    scale: int = 1
    encodes: int = 6
    size: int = 96
    batch: int = 16
    report_seconds: float = 120.0


@dataclass(frozen=True)
class _Encode:
    """Index entry of an encoded clip, whose kept frames are in the file from byte `begin` on.

    Attributes:
        source: recording that the clip was cut from.
        quantisers: base_q_idx of each kept frame and of its references.
        errors: mean squared error of each plane in the whole clip.
    """

    source: str
    width: int
    height: int
    crf: float
    preset: int
    noise: float
    begin: int
    quantisers: list[list[int]]
    errors: list[float]


def build(options: Options) -> Restorer:
    """The network to train, a new one or that of `options.base`."""
    model = part_of(_network(options), options.scale == 2).train().requires_grad_(True)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def open_dataset(data: Path, cache: Cache, options: Options) -> Av1Pairs:
    """Clips below `data` as SVT-AV1 codes them.

    Raises:
        InputError: `data` holds no clip that is long and large enough, or an option is out of
            range.
    """
    _network(options)
    store = FrameStore.build(data, cache)
    return Av1Pairs.build(store, cache, options)


class Av1Pairs:
    """Random crops of decoded frames with their references: endless batches for a `DataLoader`.

    Batches are lists: uint8 [B, 6, s, s] frame, int8 [B, R, 6, s, s] differences of the references
    from it (`alignment`), uint8 [B, 6, t, t] frame at the size of the clip, the same of the
    original, float32 [B, 1 + R] base_q_idx, float32 [B, 3] mean squared error of the planes of the
    clip; R is twice `references`, s = size / 2, t = scale s.

    Args:
        folder: written by `build`.
        options: of the recipe.
        notes: sentences about clips that could not be read.
    """

    def __init__(self, folder: Path, options: Options, notes: list[str]) -> None:
        self.options, self.notes = options, notes
        entries = [_Encode(**entry) for entry in json.loads((folder / "pairs.json").read_text())]
        encodes = [e for e in entries if min(e.width, e.height) >= options.size]
        held_out = {e.source for e in encodes if is_held_out(e.source)} or {
            e.source for e in encodes[:1]}
        self._encodes = {out: [e for e in encodes if (e.source in held_out) == out]
                         for out in (False, True)}
        if not self._encodes[False]:
            raise InputError(f"the clips that are coded at {options.size}x{options.size} or more "
                             "are of fewer than two recordings; give more data, or a smaller size.")
        self._raw = np.memmap(folder / "pairs.raw", np.uint8, "r")

    @classmethod
    def build(cls, store: FrameStore, cache: Cache, options: Options) -> Av1Pairs:
        """Encode all clips and pictures of `store`, or open them from the cache."""
        clips = [c for c in store.clips if is_usable(c, _KEPT + 1)]
        if not clips:
            raise InputError(
                f"the data holds no picture, and no clip of {_KEPT + 1} frames or more, with sides "
                f"of {LEAST_SIDE} or more; give others with --data.")

        def tasks() -> Iterator[Task]:
            for number, clip in enumerate(clips):
                n_encodes = options.encodes if clip.n_frames > 1 else max(1, options.encodes // 2)
                for n in range(n_encodes):
                    yield Task(partial(_encode, store, clip, number, n, n_encodes, options.scale),
                               yields=True)

        def make(folder: Path) -> None:
            with open(folder / "pairs.raw", "wb") as raw:
                encodes = []
                for encode, kept in run_tasks(tasks(), _AHEAD):
                    encodes.append(asdict(replace(encode, begin=raw.tell())))
                    for part in kept:
                        raw.write(part.tobytes())
            (folder / "pairs.json").write_text(json.dumps(encodes))

        name = "av1-pairs" if options.scale == 1 else "av1-half-pairs"
        folder = cache.get_or_make(name, {
            "version": _VERSION, "frames": store.name, "encodes": options.encodes}, make)
        return cls(folder, options, store.notes)

    def batches(self, first: int, seed: int, *, held_out: bool = False
                ) -> Iterator[list[np.ndarray]]:
        """Batches from number `first` on."""
        encodes = self._encodes[held_out]
        for number in count(first):
            rng = np.random.default_rng((seed, number))
            chosen = [encodes[rng.integers(len(encodes))] for _ in range(self.options.batch)]
            crops = [self._crop(rng, encode) for encode in chosen]
            yield [np.stack(part) for part in zip(*crops, strict=True)]

    def encodes(self, rng: np.random.Generator) -> Iterator[list[np.ndarray]]:
        """Whole frames of training encodes as batches, of each encode `_FIT_FRAMES`, in random
        order."""
        encodes = self._encodes[False]
        for number in rng.permutation(len(encodes)):
            encode = encodes[number]
            frames = [(*self._frame(encode, int(t)), *self._numbers(encode, int(t)))
                      for t in rng.choice(_KEPT, _FIT_FRAMES, replace=False)]
            yield [np.stack(part) for part in zip(*frames, strict=True)]

    def _frame(self, encode: _Encode, t: int
               ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Frame, differences of references, frame at the size of the clip, original."""
        scale, n = self.options.scale, self.options.references
        shape = SAMPLES, encode.height // FOLD, encode.width // FOLD
        large = SAMPLES, scale * shape[1], scale * shape[2]
        small_bytes, large_bytes = int(np.prod(shape)), int(np.prod(large))
        n_small = 1 + 2 * _SIDE
        begin = encode.begin + t * (n_small * small_bytes + scale * large_bytes)
        kept = self._raw[begin:][:n_small * small_bytes].reshape(n_small, *shape)
        targets = self._raw[begin + n_small * small_bytes:][:scale * large_bytes].reshape(
            scale, *large)
        differences = kept[1:].view(np.int8).reshape(2, _SIDE, *shape)[:, :n]
        return (kept[0], differences.reshape(2 * n, *shape), kept[0] if scale == 1 else targets[1],
                targets[0])

    def _numbers(self, encode: _Encode, t: int) -> tuple[np.ndarray, np.ndarray]:
        """Quantisers and errors."""
        own, others = encode.quantisers[t][:1], np.reshape(encode.quantisers[t][1:], (2, _SIDE))
        return (np.array([*own, *others[:, :self.options.references].flat], np.float32),
                np.array(encode.errors, np.float32))

    def _crop(self, rng: np.random.Generator, encode: _Encode) -> tuple[np.ndarray, ...]:
        side, scale = self.options.size // FOLD, self.options.scale
        t, turn = int(rng.integers(_KEPT)), int(rng.integers(8))
        y, x = (int(rng.integers(n // FOLD - side + 1)) for n in (encode.height, encode.width))
        parts = self._frame(encode, t)
        return (*(_turned(part[..., y:y + side, x:x + side], turn) for part in parts[:2]),
                *(_turned(part[:, scale * y:scale * (y + side), scale * x:scale * (x + side)], turn)
                  for part in parts[2:]), *self._numbers(encode, t))


def _encode(store: FrameStore, clip: StoredClip, number: int, n: int, n_encodes: int, scale: int
            ) -> tuple[_Encode, list[np.ndarray]]:
    """Index entry of encode `n` of clip `number`, its `begin` left 0, and what is kept of it: of
    each frame, uint8 [6, h, w] frame, int8 [2 _SIDE, 6, h, w] differences of references, then
    uint8 [1 or 2, 6, scale h, scale w] original, and frame doubled."""
    rng, (low, high) = np.random.default_rng((_SEED, number, n)), _CRFS
    crf = round(low + (high - low) * (n + rng.random()) / n_encodes, 2)
    preset = _PRESETS[(number + n) % len(_PRESETS)]
    originals, noise = training_clip(store, clip, _N_FRAMES, rng)
    coded = originals if scale == 1 else [halve(picture) for picture in originals]
    size = width, height = coded[0].size
    encoder = Av1Encoder(size, _FPS, crf, preset)
    parts = [encoder.add(picture) for picture in coded]
    units = list(temporal_units(b"".join([*parts, encoder.finish()])))
    pictures = list(decode(units, size))
    shown = pictures if scale == 1 else list(map(upscale, pictures))
    squares = [[float(np.square(a.astype(np.float32) - b).mean())
                for a, b in zip(*pair, strict=True)] for pair in zip(originals, shown, strict=True)]
    quantisers = [unit.base_q_idx for unit in units]
    numbers, kept = [], []
    for t in rng.choice(len(pictures), _KEPT, replace=False).tolist():
        frame, differences, seen = network_inputs(pictures.__getitem__, quantisers, t, _SIDE)
        large = (originals[t],) if scale == 1 else (originals[t], shown[t])
        kept += [frame, differences,
                 np.stack([mixing.fold(p, scale * height, scale * width) for p in large])]
        numbers.append(seen)
    entry = _Encode(clip.source, width, height, crf, preset, noise, 0, numbers,
                    np.mean(squares, 0).tolist())
    return entry, kept


def _turned(folded: np.ndarray, turn: int) -> np.ndarray:
    """One of the eight turns of a square, [..., 6, n, n]: of positions and of the samples in
    them."""
    n = folded.shape[-1]
    luma = folded[..., PARTS[0], :, :].reshape(*folded.shape[:-3], FOLD, FOLD, n, n)
    chroma = folded[..., PARTS[0].stop:, :, :]
    if turn & 4:
        luma, chroma = luma.swapaxes(-1, -2).swapaxes(-3, -4), chroma.swapaxes(-1, -2)
    luma = np.rot90(np.rot90(luma, turn & 3, (-2, -1)), turn & 3, (-4, -3))
    luma = luma.reshape(*folded.shape[:-3], FOLD * FOLD, n, n)
    return np.concatenate([luma, np.rot90(chroma, turn & 3, (-2, -1))], -3)


def losses(model: Restorer, batch: list[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """The `loss` to minimise, the squared error that the first correction leaves of that of AV1;
    `cost`, its share of that of AV1 in the batch; and the gain in dB.

    Args:
        model: the network.
        batch: of `Av1Pairs`.
        generator: not used.
    """
    frame, differences, decoded, originals, quantisers, errors = batch
    first = torch.ones(len(PARTS), 1, 1, device=errors.device)
    correction = model(frame.float(), differences / PRECISION, quantisers, first)[:, 0]
    missing = originals.float() - decoded
    after, before = (_weighted(error, errors) for error in (missing - correction, missing))
    return {"loss": after, "cost": (after / before).detach(),
            "gain": 10 * torch.log10(before / after).detach()}


def _weighted(error: Tensor, errors: Tensor) -> Tensor:
    """Mean squared error of planes folded, [B, 6, h, w], over that of the clips, [B, 3]."""
    weights = torch.tensor(_PLANE_WEIGHTS, device=errors.device) / errors.clamp_min(_LEAST_ERROR)
    squares = [error[:, part].square().mean((1, 2, 3)) for part in PARTS]
    return (weights * torch.stack(squares, 1)).sum(1).mean()


def export(model: Restorer, dataset: Av1Pairs, folder: Path, options: Options) -> None:
    """Write the model folder; the other network is that of `options.base`, or a new one."""
    solve_corrections(model, dataset)
    network = _network(options)
    part_of(network, options.scale == 2).load_state_dict(
        {name: value.cpu().float() for name, value in model.state_dict().items()})
    save(folder, NAME, network)


@torch.no_grad()
def solve_corrections(model: Restorer, dataset: Av1Pairs) -> None:
    """Solve the further corrections: those that, mixed for each encode with the first, explain most
    of what it leaves."""
    device, parts = model.tail.weight.device, []
    for _, arrays in zip(range(_FIT_ENCODES), dataset.encodes(np.random.default_rng(_SEED)),
                         strict=False):
        parts.append(_products(model, [torch.from_numpy(part).to(device) for part in arrays]))
    grams, moments, errors = (torch.stack(part).cpu() for part in zip(*parts, strict=True))
    weight, bias = model.last_layer()
    first = torch.cat([weight[0].flatten(1), bias[0, :, None]], 1).T.cpu()
    found, area = [], model.scale**2
    for n, part in enumerate(PARTS):
        own = slice(area * part.start, area * part.stop)
        found.append(principal_filters(
            first[:, own], grams, moments[..., own], 1 / errors[:, n].clamp_min(_LEAST_ERROR),
            model.candidates))
    filters = torch.cat(found, 2).transpose(1, 2).to(device)
    weight.copy_(filters[..., :-1].unflatten(2, weight.shape[2:]))
    bias.copy_(filters[..., -1])


def _products(model: Restorer, batch: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Of frames of an encode: [4, F, F] and [4, F, O] sums of products of the inputs of the last
    layer and of what AV1 lost, a position on average, of each class of positions; its errors. Of
    doubled frames, the first of four positions stands for their class."""
    frames, differences, decoded, originals, quantisers, errors = batch
    n_classes, width = mixing.N_CLASSES[-1], 9 * model.head.out_channels + 1
    gram = torch.zeros(n_classes, width, width, device=errors.device)
    moment = torch.zeros(n_classes, width, SAMPLES * model.scale**2, device=errors.device)
    for n in range(len(frames)):
        one = slice(n, n + 1)
        features = model.features(frames[one].float(), differences[one] / PRECISION,
                                  quantisers[one]).float()
        x = F.pad(F.unfold(features, 3, padding=1)[0], (0, 0, 0, 1), value=1.0)
        x = x * scale_of(quantisers[one])
        missing = F.pixel_unshuffle(originals[n].float() - decoded[n], model.scale).flatten(1)
        classes = mixing.classify(decoded[n].cpu().numpy(), n_classes)
        for c in range(n_classes):
            here = torch.from_numpy(classes[::model.scale, ::model.scale] == c).flatten()
            here = here.to(x.device)
            chosen = x[:, here]
            gram[c] += chosen @ chosen.mT
            moment[c] += chosen @ missing[:, here].mT
    positions = len(frames) * x.shape[1]
    return gram / positions, moment / positions, errors[0]


def _network(options: Options) -> SandwichNetwork:
    """The network of `options.base`, or a new one, with the part to be trained as described."""
    if options.base:
        stored = load(Path(options.base)).network
        assert isinstance(stored, SandwichNetwork)
        if stored.config["references"] != options.references:
            raise InputError(f"the model {options.base} has references="
                             f"{stored.config['references']}; set the same.")
        return stored
    arguments = {"width": options.width, "layers": options.layers, "upscaler_width": options.width,
                 "upscaler_layers": options.layers, "candidates": options.candidates,
                 "references": options.references}
    for name, (low, high) in SandwichNetwork.ARGUMENTS.items():
        if not low <= arguments[name] <= high:
            raise InputError(f"{name} is {arguments[name]}; it goes from {low} to {high}.")
    return SandwichNetwork(**arguments)
