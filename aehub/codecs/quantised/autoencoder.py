"""One interface for autoencoders of frames: any number of frames and any size come back exactly.

    model = diffusers_classes.load(config, tensors)
    latents = model.encode(frames)                                # float32 [T', C, h, w]
    frames = model.decode(latents, n_frames=17, size=(640, 360))  # uint8 [17, 360, 640, 3]

Classes take some numbers of frames and some sizes only, and cut, pad or fail on others. Here frames
are padded by repeating the last one, sides by repeating the border, and the result is cut. Which
numbers a network takes is not computed from its config but observed: it runs on the meta device,
where tensors have shapes and no values, before any weight is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aehub.arguments import check_whole
from aehub.codecs.quantised import tiling
from aehub.errors import InputError, WeightsError
from aehub.media.picture import add_note
from aehub.weights.device import HALF_TYPES, inference, no_autocast, with_inference

_PROBE_SIDE = 512
"""Pixels on a side of the pictures that geometry is observed on: a multiple of every downscale."""
_MIN_POSITIONS = 2
"""Least latent positions on a side: borders are reflected, and statistics need two values."""
_PROBES, _PROBED_PIXELS = 2, 96
"""Backward passes that estimate sensitivity, and pixels on a side that they go through."""
_OVERFLOW = "Half precision overflowed; computed in float32."
_TILES = "Pictures were divided into tiles for want of memory; this model computes those a little \
differently."


@dataclass(frozen=True)
class FrameRules:
    """Facts of a class of autoencoders that its config does not state.

    Attributes:
        name: of the class.
        counts: numbers of frames to try, ascending; of others the last frame is repeated.
        batched: frames are a batch, [T, C, H, W]; otherwise an axis, [1, C, T, H, W].
        darkest: value of black; white is 1.
        lead: copies of the first frame that a network wants before it.
        decode_arguments: further arguments of `decode`, each computed from latents [T', C, h, w].
        keeps_state: the network remembers something between calls, so it makes one at a time.
        native_tiles: it divides pictures itself, and was trained so; it is never divided further.
    """

    name: str
    counts: tuple[int, ...] = (1,)
    batched: bool = False
    darkest: float = -1.0
    lead: Callable[[Any], int] = lambda network: 0
    decode_arguments: Mapping[str, Callable[[Tensor], Any]] = field(default_factory=dict)
    keeps_state: bool = False
    native_tiles: bool = False

    @property
    def kind(self) -> str:
        """Either "image" or "video"."""
        return "image" if self.counts == (1,) else "video"

    def call(self, network: nn.Module, direction: str, values: Tensor) -> Tensor:
        """Run `encode` or `decode` of a network of the class on frames [T, C, H, W]."""
        arguments = {name: of(values) for name, of in self.decode_arguments.items()
                     if direction == "decode"}
        if direction == "encode" and (lead := self.lead(network)):
            values = torch.cat([values[:1]] * lead + [values])
        given = values if self.batched else values.transpose(0, 1)[None]
        try:
            output = _tensor_of(getattr(network, direction)(given, **arguments))
        finally:
            # What a failed call leaves behind would go into the next one.
            for name in ("_clear_conv_cache", "clear_cache"):
                getattr(network, name, lambda: None)()
        return output if self.batched else output[0].transpose(0, 1)


def _tensor_of(output: Any) -> Tensor:
    """The tensor in whatever a class returns: the mode of a distribution, never a sample of it."""
    if hasattr(output, "latent_dist"):
        return output.latent_dist.mode()
    for name in ("latents", "latent", "sample"):
        output = getattr(output, name, output)
    return output[0] if isinstance(output, tuple) else output


class FrameAutoencoder:
    """An autoencoder of frames, safe to use from several threads.

    Attributes:
        rules: facts of its class.
        latent_channels: C.
        downscale: pixels on a side of a latent position.
        frame_counts: numbers of frames that the network takes; of others the last is repeated.
        max_frames: largest number of frames of one call, 1 for classes of single pictures.
        device: of the network.
        dtype: of its computations; parameters are never shorter than float32.
        tile: side of tiles in latent positions; None works on the whole picture, or in as large
            tiles as the memory limit allows.
        notes: sentences on what happened, e.g. that half precision overflowed.
    """

    def __init__(self, network: nn.Module, skeleton: nn.Module, rules: FrameRules, *,
                 mean: Tensor, std: Tensor, device: torch.device, dtype: torch.dtype) -> None:
        """Wrap a network whose geometry was observed.

        Args:
            network: loaded, on `device`; its `encode` and `decode` are called.
            skeleton: the same network on the meta device.
            rules: facts of its class.
            mean: of its latents, [C or 1, latent frames or 1].
            std: their standard deviation, of the same shape.
            device: of the network.
            dtype: of its computations.

        Raises:
            WeightsError: the network decodes to other frames than it encoded.
        """
        self.rules, self.device, self.dtype = rules, device, dtype
        self.parameter_dtype = torch.float32 if dtype in HALF_TYPES else dtype
        self.tile: int | None = None
        self.notes: list[str] = []
        self.memory = tiling.Memory(skeleton, rules.call, device)
        self._network, self._lock = network, RLock()
        self._frames, self.latent_channels, self.downscale = observe_geometry(skeleton, rules)
        self.frame_counts = tuple(self._frames)
        self.max_frames = max(self._frames)
        self._mean, self._std = (value.to(device, self.parameter_dtype) for value in (mean, std))
        self._margins: dict[str, int | None] = {}

    def latent_shape(self, n_frames: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return (T', C, h, w) of the latents of frames; nothing is computed for it.

        Args:
            n_frames: from 1 to `max_frames`.
            size: width and height in pixels.

        Raises:
            InputError: a number is outside its range.
        """
        count = self._legal_count(check_whole("n_frames", n_frames, 1, self.max_frames))
        columns, rows = (
            max(-(-check_whole(name, side, 1) // self.downscale), _MIN_POSITIONS)
            for name, side in zip(("width", "height"), size))
        return self._frames[count], self.latent_channels, rows, columns

    @with_inference
    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Frames -> latents, the mode of their distribution.

        Args:
            frames: uint8 [T, H, W, 3] in RGB, T from 1 to `max_frames`.

        Returns:
            float32 [T', C, h, w], standardised by the model's own factors to about unit variance.

        Raises:
            InputError: these are no such frames.
            WeightsError: the network computes numbers that are not finite.
        """
        if not (isinstance(frames, np.ndarray) and frames.dtype == np.uint8 and frames.ndim == 4
                and frames.shape[-1] == 3):
            raise InputError("these are no frames; give an array uint8 [frames, height, width, 3].")
        n_frames, height, width = frames.shape[:3]
        _, _, *positions = self.latent_shape(n_frames, (width, height))
        padding = [(0, self._legal_count(n_frames) - n_frames),
                   *((0, n * self.downscale - side) for n, side in zip(positions, (height, width)))]
        frames = np.pad(frames, [*padding, (0, 0)], mode="edge")
        pictures = torch.from_numpy(frames).to(self.device).permute(0, 3, 1, 2)
        black = self.rules.darkest
        latents = self._compute("encode", pictures.to(self.parameter_dtype).mul_((1 - black) / 255)
                                .add_(black))
        mean, std = self._factors(len(latents))
        return ((latents - mean) / std).float().cpu().numpy()

    @with_inference
    def decode(self, latents: np.ndarray, n_frames: int, size: tuple[int, int]) -> np.ndarray:
        """Latents -> frames.

        Args:
            latents: [T', C, h, w] as `latent_shape` states them.
            n_frames: number of frames, from 1 to `max_frames`.
            size: width and height in pixels.

        Returns:
            uint8 [n_frames, height, width, 3] in RGB.

        Raises:
            InputError: these are no latents of such frames.
            WeightsError: the network computes numbers that are not finite.
        """
        shape, values = self.latent_shape(n_frames, size), np.asarray(latents)
        if values.shape != shape or values.dtype.kind not in "fiu":
            raise InputError(f"latents have the shape {list(values.shape)}; those of {n_frames} "
                             f"frames of {size[0]}x{size[1]} are numbers {list(shape)}.")
        if not np.isfinite(values).all():
            raise InputError("latents hold numbers that are not finite; leave those out.")
        mean, std = self._factors(len(values))
        given = torch.from_numpy(values.astype(np.float32)).to(self.device, self.parameter_dtype)
        pictures = self._compute("decode", given * std + mean)
        pictures = pictures[:n_frames, :, :size[1], :size[0]]
        if pictures.shape != (n_frames, 3, size[1], size[0]):
            raise WeightsError(f"this {self.rules.name} decodes to {list(pictures.shape)} instead "
                               f"of {n_frames} frames of {size[0]}x{size[1]}; name another model.")
        black = self.rules.darkest
        levels = pictures.sub(black).mul_(255 / (1 - black)).clamp_(0, 255).round_()
        return levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()

    def estimate_bytes(self, n_frames: int, size: tuple[int, int]) -> int:
        """Return the peak memory of encoding and decoding such frames, weights included.

        Raises:
            LimitError: not even the smallest tile fits the memory limit.
        """
        latents, scale = self.latent_shape(n_frames, size), self.downscale
        pictures = (self._legal_count(n_frames), 3, latents[2] * scale, latents[3] * scale)
        return max(self._plan("encode", pictures).size_bytes,
                   self._plan("decode", latents).size_bytes)

    def sensitivity(self, latents: np.ndarray) -> np.ndarray:
        """Squared error in the pictures by squared error in a latent, of each channel: [C].

        The squared Jacobian of the decoder, summed over pictures, estimated by random signs on the
        middle of the picture; ones where the decoder has no gradient.

        Args:
            latents: [T', C, h, w] of frames.

        Source: M. Hutchinson 1990 (stochastic trace estimation).
        """
        side = max(_MIN_POSITIONS, _PROBED_PIXELS // self.downscale)
        top, left = (max(0, (n - side) // 2) for n in latents.shape[2:])
        # Of a video the first latent frame and one that depends on it, if the network takes two.
        counts = [count for count in sorted({*self._frames.values()}) if count <= len(latents)]
        n_latent = max([count for count in counts if count <= 2], default=counts[0])
        part = np.ascontiguousarray(
            latents[:n_latent, :, top:top + side, left:left + side], np.float32)
        squares = torch.zeros(self.latent_channels, dtype=torch.float64)
        with torch.inference_mode(False), torch.enable_grad(), no_autocast(self.device.type), \
                self._one_at_a_time():
            generator = torch.Generator().manual_seed(0)
            mean, std = (factor.clone() for factor in self._factors(len(part)))
            for _ in range(_PROBES):
                given = torch.from_numpy(part).to(self.device, self.parameter_dtype)
                given.requires_grad_()
                pictures = self.rules.call(self._network, "decode", given * std + mean)
                if not pictures.requires_grad:
                    return np.ones(self.latent_channels)
                signs = torch.randint(0, 2, pictures.shape, generator=generator) * 2 - 1
                gradient, = torch.autograd.grad(pictures, given, signs.to(pictures))
                squares += gradient.square().sum((0, 2, 3)).cpu().double()
        found = squares.numpy()
        return found if np.isfinite(found).all() and found.any() else np.ones(len(found))

    def margin(self, direction: str) -> int | None:
        """Return the latent positions around a tile on which its result depends.

        Args:
            direction: "encode" or "decode".

        Returns:
            Observed once; None if the result depends on the whole picture.
        """
        if direction not in self._margins:
            count = self.frame_counts[min(1, len(self.frame_counts) - 1)]
            given, made = self._samples(direction)
            shape = ((count, 3) if direction == "encode"
                     else (self._frames[count], self.latent_channels))
            column = torch.zeros(*shape, _MIN_POSITIONS * given, given,
                                 device=self.device, dtype=self.parameter_dtype)
            with inference(self.device), self._one_at_a_time():
                self._margins[direction] = tiling.observe_margin(
                    lambda values: self.rules.call(self._network, direction, values), column,
                    given, made)
        return self._margins[direction]

    def _samples(self, direction: str) -> tuple[int, int]:
        """Samples on a side of a latent position, of the network's input and of its output."""
        return (self.downscale, 1) if direction == "encode" else (1, self.downscale)

    def _legal_count(self, n_frames: int) -> int:
        """The least number of frames that the network takes, from `n_frames` on."""
        return min(count for count in self._frames if count >= n_frames)

    def _factors(self, n_latent: int) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of latents of `n_latent` frames, [T' or 1, C or 1, 1, 1]."""
        frames = torch.arange(n_latent, device=self.device).clamp_(max=self._mean.shape[1] - 1)
        return (self._mean[:, frames].T[:, :, None, None], self._std[:, frames].T[:, :, None, None])

    def _plan(self, direction: str, shape: tuple[int, ...]) -> tiling.Plan:
        """Tiles and memory of one call on [T, C, H, W]."""
        given, made = self._samples(direction)
        grid = tiling.Grid(shape[2] // given, shape[3] // given, given, made)
        return self.memory.plan(direction, shape, grid, lambda: self.margin(direction),
                                tile=self.tile, divisible=not self.rules.native_tiles)

    def _compute(self, direction: str, values: Tensor) -> Tensor:
        """Run the network on [T, C, H, W]; what half precision cannot hold runs in float32."""
        if self.dtype in HALF_TYPES:
            with torch.autocast(self.device.type, self.dtype):
                result = self._in_tiles(direction, values).to(self.parameter_dtype)
            if torch.isfinite(result).all():
                return result
            add_note(self.notes, _OVERFLOW)
        with no_autocast(self.device.type):
            result = self._in_tiles(direction, values)
        if torch.isfinite(result).all():
            return result
        raise WeightsError(f"this {self.rules.name} computes numbers that are not finite; its "
                           "weights are damaged, name another model.")

    def _in_tiles(self, direction: str, values: Tensor) -> Tensor:
        def run(part: Tensor) -> Tensor:
            return self.rules.call(self._network, direction, part)

        if self.tile is None and self.memory.fits(direction, tuple(values.shape)):
            with self._one_at_a_time():
                return run(values)
        plan = self._plan(direction, tuple(values.shape))
        if plan.is_divided and plan.margin is None:
            add_note(self.notes, _TILES)
        with self._one_at_a_time():
            return plan.run(run, values, self._network)

    def _one_at_a_time(self) -> AbstractContextManager[Any]:
        """A block that one thread may enter, if the network keeps state."""
        return self._lock if self.rules.keeps_state else nullcontext()


def observe_geometry(skeleton: nn.Module, rules: FrameRules) -> tuple[dict[int, int], int, int]:
    """Run a network on the meta device.

    Returns:
        Latent frames by number of frames, latent channels, pixels on a side of a latent position.

    Raises:
        WeightsError: it fails, or no number of frames comes back.
    """
    frames, side, problem = {}, _PROBE_SIDE, "it decodes to another number or size of frames"
    latents = torch.empty(0)
    for count in rules.counts:
        try:
            encoded = rules.call(skeleton, "encode",
                                 torch.empty(count, 3, side, side, device="meta"))
            decoded = rules.call(skeleton, "decode", encoded)
        except Exception as error:
            problem = f"{str(error).splitlines()[0][:120] if str(error) else type(error).__name__}"
            continue
        if decoded.shape == (count, 3, side, side) and side % encoded.shape[2] == 0:
            frames[count], latents = len(encoded), encoded
    if not frames:
        raise WeightsError(f"the config of this {rules.name} makes no autoencoder of RGB frames: "
                           f"{problem}; name another model.")
    return frames, latents.shape[1], side // latents.shape[2]
