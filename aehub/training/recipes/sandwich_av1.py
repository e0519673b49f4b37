"""Recipe of the restorer of `sandwich-av1`, trained on clips as SVT-AV1 codes them.

Every clip is encoded several times, each time at another rate factor and preset. With `scale` = 2
clips are coded at half their size, and the network corrects frames that Lanczos' filter doubled.

The cost is the squared error of each plane over that of AV1 in the whole clip, (6 Y + U + V) / 8,
which is the change of PSNR to first order, after the mixture that least squares finds for the crops
of an encode: what the encoder does for a group.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import count, islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aehub.codecs.sandwich import alignment
from aehub.codecs.sandwich.av1 import Av1Encoder, decode
from aehub.codecs.sandwich.codec import save
from aehub.codecs.sandwich.group_decoder import part_of
from aehub.codecs.sandwich.mixing import DETAIL_LIMITS, N_CLASSES, PARTS
from aehub.codecs.sandwich.network import (
    FOLD,
    SAMPLES,
    Restorer,
    SandwichNetwork,
    curve_and_scale,
)
from aehub.codecs.sandwich.obu import temporal_units
from aehub.errors import InputError
from aehub.media.picture import YUV420, Picture
from aehub.media.scaling import halve, upscale
from aehub.training.data import Cache, FrameStore, StoredClip, is_held_out
from aehub.training.recipes.sandwich_filters import principal_filters
from aehub.weights.stored_network import load

NAME = "sandwich-av1"
LEARNING_RATE = 1.5e-3
_VERSION = 2
_SEED = 5
_FPS = Fraction(25)
_CRFS = (18.0, 63.0)
"""Range of the rate factors, wider than that of the qualities by 2 and 3."""
_PRESETS = (6, 4, 8, 6, 10, 2)
_N_FRAMES = 28
"""First frames of a clip that are encoded, at most."""
_MARGIN = 2 * 16
"""Samples around a crop from which its references are taken: more than any vector."""
_SPREAD_BATCHES = 60
"""Batches on which the scale of corrections is measured."""
_LEAST_ERROR = 0.3
"""Mean squared error below which a clip counts less: it is nearly flat."""
_GROUPS = 2
"""Encodes that the crops of a batch are taken from."""
_RIDGE = 0.01
"""Share of the diagonal that is added to it, in mixtures: crops are fewer than frames."""
_FIT_BATCHES = 160
"""Batches that the linear filters are solved on; their products take 2.3 GB."""
_PLANE_WEIGHTS = (6 / 8, 1 / 8, 1 / 8)


@dataclass(frozen=True)
class Options:
    """Options that `--set` may change.

    Attributes:
        base: folder of a model that gets the network; empty for a new model.
        width: channels of a layer.
        layers: hidden layers.
        filters: linear filters.
        corrections: by the network.
        frames: 3, or 1 without references.
        scale: 2 for clips that are coded at half their size.
        encodes: rate factors of each clip.
        size: side of a crop in luma samples of the coded frame, a multiple of 16.
        batch: crops per step, an even number: of two encodes.
        report_seconds: between reports and checkpoints.
    """

    base: str = ""
    width: int = 64
    layers: int = 2
    filters: int = 4
    corrections: int = 2
    frames: int = 3
    scale: int = 1
    encodes: int = 3
    size: int = 64
    batch: int = 16
    report_seconds: float = 120.0


@dataclass(frozen=True)
class _Encode:
    """Index entry of an encoded clip: decoded frames from byte `begin` on, vectors from int16
    number `vectors` on."""

    clip: int
    crf: float
    preset: int
    begin: int
    vectors: int
    quantisers: list[int]
    references: list[tuple[int, int]]
    errors: tuple[float, ...]


def build(options: Options) -> Restorer:
    """The network to train, a new one or that of `options.base`.

    Its linear filters stay as `fit_start` solves them: steps of stochastic gradients are larger
    than what is left to gain there.
    """
    model = part_of(_network(options), options.scale == 2).train().requires_grad_(True)
    model.linear.requires_grad_(False)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def open_dataset(data: Path, cache: Cache, options: Options) -> Av1Pairs:
    """Clips below `data` as SVT-AV1 codes them."""
    store = FrameStore.build(data, cache)
    return Av1Pairs.build(store, cache, options)


class Av1Pairs:
    """Random crops of decoded frames with their references: endless batches for a `DataLoader`.

    Batches are lists: uint8 [B, 3, 24, s, s] frame and aligned references, uint8 [B, 24, t, t]
    frame at the size of the clip, the same of the original, float32 [B, 3] base_q_idx, float32
    [B, 3] mean squared error of the planes of the clip; s = size / 4, t = scale s.

    Args:
        store: originals.
        folder: written by `build`.
        options: of the recipe.
    """

    def __init__(self, store: FrameStore, folder: Path, options: Options) -> None:
        self.store, self.options, self.notes = store, options, store.notes
        self._clips = _usable(store)
        encodes = [_Encode(**entry) for entry in json.loads((folder / "pairs.json").read_text())]
        held_out = {c.source for c in self._clips if is_held_out(c.source)} or {
            self._clips[0].source}
        self._encodes = {out: [e for e in encodes if (self._clips[e.clip].source in held_out) == out
                               and min(self._size(e)) >= options.size] for out in (False, True)}
        if not self._encodes[False]:
            raise InputError(f"no training clip is {options.size}x{options.size} or larger; give "
                             "more data, or a smaller size.")
        self._decoded = np.memmap(folder / "decoded.raw", np.uint8, "r")
        self._vectors = np.memmap(folder / "vectors.raw", np.int16, "r")

    def _size(self, encode: _Encode) -> tuple[int, int]:
        clip, scale = self._clips[encode.clip], self.options.scale
        return clip.width // scale, clip.height // scale

    @classmethod
    def build(cls, store: FrameStore, cache: Cache, options: Options) -> Av1Pairs:
        """Encode all clips of `store`, or open them from the cache."""
        clips = _usable(store)
        if not clips:
            raise InputError("the data holds no clip of 9 frames or more; give more with --data.")

        def make(folder: Path) -> None:
            entries: list[_Encode] = []
            rng = np.random.default_rng(_SEED)
            with (open(folder / "decoded.raw", "wb") as decoded,
                  open(folder / "vectors.raw", "wb") as vectors):
                for number, clip in enumerate(clips):
                    low, high = _CRFS
                    for n in range(options.encodes):
                        share = (n + rng.random()) / options.encodes
                        crf = round(low + (high - low) * share, 2)
                        preset = _PRESETS[(number + n) % len(_PRESETS)]
                        begin, at = decoded.tell(), vectors.tell() // 2
                        pictures, quantisers, errors = _encode(store, clip, crf, preset,
                                                               options.scale)
                        references = []
                        for t, picture in enumerate(pictures):
                            for plane in picture:
                                decoded.write(plane.tobytes())
                            references.append(alignment.choose_references(quantisers, t))
                            for r in references[-1]:
                                found = alignment.vectors(picture[0], pictures[r][0])
                                vectors.write(found.tobytes())
                        entries.append(_Encode(number, crf, preset, begin, at, quantisers,
                                               references, errors))
            (folder / "pairs.json").write_text(json.dumps([asdict(e) for e in entries]))

        name = "av1-pairs" if options.scale == 1 else "av1-half-pairs"
        folder = cache.get_or_make(name, {
            "version": _VERSION, "frames": store.name, "encodes": options.encodes}, make)
        return cls(store, folder, options)

    def batches(self, first: int, seed: int, *, held_out: bool = False
                ) -> Iterator[list[np.ndarray]]:
        """Batches from number `first` on."""
        encodes = self._encodes[held_out]
        for number in count(first):
            rng = np.random.default_rng((seed, number))
            chosen = [encodes[rng.integers(len(encodes))] for _ in range(_GROUPS)]
            crops = [self._crop(rng, encode) for encode in chosen
                     for _ in range(self.options.batch // _GROUPS)]
            yield [np.stack(part) for part in zip(*crops, strict=True)]

    def _crop(self, rng: np.random.Generator, encode: _Encode) -> tuple[np.ndarray, ...]:
        clip, size, scale = self._clips[encode.clip], self.options.size, self.options.scale
        t = int(rng.integers(len(encode.quantisers)))
        width, height = self._size(encode)
        x, y = (16 * int(rng.integers((n - size) // 16 + 1)) for n in (width, height))
        shape = -(-height // 16), -(-width // 16)
        current = self._planes(encode, t)
        frames, numbers = [_window(current, x, y, size, 0)], [t]
        for k, r in enumerate(encode.references[t]):
            field = self._vectors[encode.vectors:][(2 * t + k) * 2 * shape[0] * shape[1]:][
                :2 * shape[0] * shape[1]].reshape(2, *shape)
            frames.append(self._aligned(encode, r, field, x, y))
            numbers.append(r)
        base = frames[0]
        if scale == 2:
            base = _window(upscale(_window(current, x, y, size, 16)), 32, 32, 2 * size, 0)
        target = _window(self.store.planes(clip, t), scale * x, scale * y, scale * size, 0)
        turn, n = int(rng.integers(8)), self.options.frames
        samples = np.stack([_folded(frame, turn) for frame in frames[:n]])
        q = np.array([encode.quantisers[n] for n in numbers[:n]], np.float32)
        return (samples, _folded(base, turn), _folded(target, turn), q,
                np.array(encode.errors, np.float32))

    def _planes(self, encode: _Encode, t: int) -> Picture:
        size = self._size(encode)
        n = YUV420.n_samples(size)
        samples = self._decoded[encode.begin + t * n:encode.begin + (t + 1) * n]
        return Picture.from_samples(samples, size, YUV420)

    def _aligned(self, encode: _Encode, t: int, field: np.ndarray, x: int, y: int) -> Picture:
        blocks, size = _MARGIN // 16, self.options.size
        near = field[:, y // 16:(y + size) // 16, x // 16:(x + size) // 16]
        padded = np.pad(near, ((0, 0), (blocks, blocks), (blocks, blocks)))
        reference = _window(self._planes(encode, t), x, y, size, _MARGIN)
        moved = alignment.compensate(reference, padded)
        return _window(moved, _MARGIN, _MARGIN, size, 0)


def _usable(store: FrameStore) -> list[StoredClip]:
    return [c for c in store.clips if c.n_frames >= 9 and min(c.width, c.height) >= 64
            and c.width % 4 == c.height % 4 == 0]


def _encode(store: FrameStore, clip: StoredClip, crf: float, preset: int, scale: int
            ) -> tuple[list[Picture], list[int], tuple[float, ...]]:
    """(decoded pictures, base_q_idx of each, mean squared error of each plane)."""
    originals = [store.planes(clip, t) for t in range(min(_N_FRAMES, clip.n_frames))]
    coded = originals if scale == 1 else [halve(picture) for picture in originals]
    size = coded[0].size
    encoder = Av1Encoder(size, _FPS, crf, preset)
    parts = [encoder.add(picture) for picture in coded]
    units = list(temporal_units(b"".join([*parts, encoder.finish()])))
    pictures = list(decode(units, size))
    shown = pictures if scale == 1 else map(upscale, pictures)
    squares = [[np.square(a.astype(np.float32) - b).mean() for a, b in zip(*pair, strict=True)]
               for pair in zip(originals, shown, strict=True)]
    quantisers = [unit.base_q_idx for unit in units]
    return pictures, quantisers, tuple(map(float, np.mean(squares, 0)))


def _window(picture: Picture, x: int, y: int, size: int, margin: int) -> Picture:
    """Samples of a square and a margin around it; borders repeat."""
    cut = []
    for plane in picture:
        n = 1 if plane.shape == picture[0].shape else 2
        down, right = (np.clip(np.arange((b - margin) // n, (b + size + margin) // n), 0, most - 1)
                       for b, most in zip((y, x), plane.shape, strict=True))
        cut.append(plane[down[0]:down[-1] + 1][down - down[0]][:, right])
    return Picture(cut)


def _folded(picture: Picture, turn: int) -> np.ndarray:
    """uint8 [24, h, w] of a square, turned."""
    parts = []
    for plane, side in zip(picture, (FOLD, FOLD // 2, FOLD // 2), strict=True):
        turned = np.rot90(plane.T if turn & 4 else plane, turn & 3)
        n = len(turned) // side
        parts.append(turned.reshape(n, side, n, side).transpose(1, 3, 0, 2).reshape(-1, n, n))
    return np.concatenate(parts)


@torch.no_grad()
def fit_start(model: Restorer, batches: Iterator[list[Tensor]]) -> None:
    """Solve the linear filters by alternating least squares (`sandwich_filters`)."""
    device, parts = model.gain.device, []
    for batch in islice(batches, _FIT_BATCHES):
        parts += [_products(model, *group) for group in _groups([p.to(device) for p in batch])]
    grams, moments = (torch.stack([part[n] for part in parts]).cpu() for n in range(2))
    errors = torch.stack([part[2] for part in parts]).cpu().clamp_min(_LEAST_ERROR)
    count, area = model.linear.out_channels // (SAMPLES * model.scale**2), model.scale**2
    found = [principal_filters(grams, moments[..., area * plane.start:area * plane.stop],
                               1 / errors[:, n], count)
             for n, plane in enumerate(PARTS)]
    filters = torch.cat(found, 2).transpose(1, 2).flatten(0, 1).to(device)
    model.linear.weight.copy_(filters[:, :-1].unflatten(1, model.linear.weight.shape[1:]))
    assert model.linear.bias is not None
    model.linear.bias.copy_(filters[:, -1])


def _groups(batch: list[Tensor]) -> Iterator[list[Tensor]]:
    """The crops of each encode."""
    n = len(batch[0]) // _GROUPS
    for begin in range(0, len(batch[0]), n):
        yield [part[begin:begin + n] for part in batch]


def _products(model: Restorer, frames: Tensor, decoded: Tensor, originals: Tensor,
              quantisers: Tensor, errors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of an encode: [4, F, F] and [4, F, O] sums of products of the inputs of the linear filters
    and of what AV1 lost, a sample on average, of each class of positions; its errors, [3]."""
    _, scale = curve_and_scale(quantisers)
    inputs = model.inputs(frames.float(), scale)[:, :model.linear.in_channels]
    x = F.pad(F.unfold(inputs, 3, padding=1), (0, 0, 0, 1), value=1.0) * scale[..., None]
    missing = F.pixel_unshuffle(originals.float() - decoded, model.scale).flatten(2)
    classes = _classes(F.interpolate(decoded.float(), scale_factor=1 / model.scale)).flatten()
    x, missing = (part.transpose(0, 1).flatten(1) for part in (x, missing))
    products = [(x[:, here] @ x[:, here].mT, x[:, here] @ missing[:, here].mT)
                for here in (classes == c for c in range(N_CLASSES[-1]))]
    gram, moment = (torch.stack(part) / len(classes) for part in zip(*products, strict=True))
    return gram, moment, errors[0]


def _classes(decoded: Tensor) -> Tensor:
    """`mixing.classify` of a batch [B, 24, h, w]: int64 [B, h, w]."""
    luma = decoded[:, PARTS[0]]
    limits = torch.tensor(DETAIL_LIMITS, dtype=luma.dtype, device=luma.device)
    return torch.bucketize(luma.amax(1) - luma.amin(1), limits, right=True)


def losses(model: Restorer, batch: list[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """The `loss` to minimise, equal to `cost`: the squared error that the mixture for each encode
    leaves of that of AV1; and the gain in dB.

    Args:
        model: the network.
        batch: of `Av1Pairs`.
        generator: not used.
    """
    corrections = model(batch[0].float(), batch[3])
    left, before = [], []
    for (_, decoded, originals, _, errors), proposed in zip(
            _groups(batch), corrections.chunk(_GROUPS), strict=True):
        missing, classes = originals.float() - decoded, _classes(decoded.float()).flatten()
        for n, (part, weight) in enumerate(zip(PARTS, _PLANE_WEIGHTS, strict=True)):
            error = missing[:, part].transpose(0, 1).flatten(1)
            scale = weight / errors[0, n].clamp_min(_LEAST_ERROR) / error.numel()
            energy = error.square().sum()
            before.append(scale * energy)
            left.append(scale * (energy - _gained(
                proposed[:, :, part].permute(1, 2, 0, 3, 4).flatten(2), error, classes)))
    after, none = torch.stack(left).sum(), torch.stack(before).sum()
    return {"loss": after / _GROUPS, "cost": (after / none).detach(),
            "gain": 10 * torch.log10(none / after).detach()}


def _gained(proposed: Tensor, error: Tensor, classes: Tensor) -> Tensor:
    """Squared error that the mixture of least squares saves.

    Weights are constants to the gradient: at the optimum it does not depend on them.

    Args:
        proposed: corrections, [K, O, P].
        error: that they are to meet, [O, P].
        classes: of the positions, [P].
    """
    with torch.autocast(proposed.device.type, enabled=False):
        gram, moment = _products_of(proposed, error, classes)
        weights = _mixture(gram, moment)
        return 2 * (weights * moment).sum() - torch.einsum("ck,ckj,cj->", weights, gram, weights)


def _products_of(proposed: Tensor, error: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of products of corrections, and of these and the error, of each class: [C, K, K] and
    [C, K]; arguments as for `_gained`."""
    k = len(proposed)
    products = torch.einsum("kop,jop->pkj", proposed, proposed)
    moments = torch.einsum("kop,op->pk", proposed, error)
    return (products.new_zeros(N_CLASSES[-1], k, k).index_add(0, classes, products),
            moments.new_zeros(N_CLASSES[-1], k).index_add(0, classes, moments))


@torch.no_grad()
def _mixture(gram: Tensor, moment: Tensor) -> Tensor:
    """Weights of least squares, [C, K]; the least addend keeps classes of no position solvable."""
    ridge = torch.diag_embed(_RIDGE * gram.diagonal(dim1=1, dim2=2) + 1e-9)
    return torch.linalg.solve(gram + ridge, moment[..., None])[..., 0]


def export(model: Restorer, dataset: Av1Pairs, folder: Path, options: Options) -> None:
    """Write the model folder; the other network is that of `options.base`, or a new one."""
    model.scale_corrections(_spread(model, dataset))
    network = _network(options)
    part_of(network, options.scale == 2).load_state_dict(
        {name: value.cpu().float() for name, value in model.state_dict().items()})
    save(folder, NAME, network)


@torch.no_grad()
def _spread(model: Restorer, dataset: Av1Pairs) -> Tensor:
    """Root mean square of the weights of each correction and plane, [candidates, 3]: scaled by it,
    their weights are about 1, which bytes hold precisely."""
    squares = []
    for batch in islice(dataset.batches(0, _SEED), _SPREAD_BATCHES):
        parts = [torch.from_numpy(part).to(model.gain.device) for part in batch]
        for (_, decoded, originals, _, _), proposed in zip(
                _groups(parts), model(parts[0].float(), parts[3]).chunk(_GROUPS), strict=True):
            missing, classes = originals.float() - decoded, _classes(decoded.float()).flatten()
            squares.append(torch.stack([_mixture(*_products_of(
                proposed[:, :, part].permute(1, 2, 0, 3, 4).flatten(2),
                missing[:, part].transpose(0, 1).flatten(1), classes)).square().mean(0)
                for part in PARTS], 1))
    return torch.stack(squares).mean(0).sqrt().clamp(1e-6, 1e6).cpu()


def _network(options: Options) -> SandwichNetwork:
    """The network of `options.base`, or a new one, with the part to be trained as described."""
    if not options.base:
        return SandwichNetwork(options.width, options.layers, options.width, options.layers,
                               options.filters, options.corrections, options.frames)
    stored = load(Path(options.base)).network
    assert isinstance(stored, SandwichNetwork)
    return stored
