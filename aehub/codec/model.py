"""A loaded `d4-codec`: planes to codes to bytes, and back.

    model = Codec.from_pretrained(folder)
    payload = model.encode_group(planes, quality=50)
    planes  = model.decode_group(payload, n_frames, coded_size, quality=50)

The bytes of a group are one range-coded stream: the hyper-codes of all frames, then stage by
stage the codes of all frames, so that symbols that share a table are coded in one call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aehub.clips.colour import from_rgb, to_rgb
from aehub.clips.frames import Colour, Planes
from aehub.codec.batch import from_batch, to_batch
from aehub.codec.latents import Latents, check_quality, quality_of, size_of
from aehub.codec.runtime import Runtime
from aehub.codec.symbols import Walk, drive, flat
from aehub.entropy import Decoder, Encoder
from aehub.errors import DamagedError, InputError
from aehub.models import store
from aehub.models.d4_codec import HYPER, Codes, Stage, quality_tensor
from aehub.models.device import Device, resolve_device, resolve_dtype
from aehub.models.planes import PlaneBatch, clipped
from aehub.models.surroundings import computes

_BATCH = 8


class Codec:
    """A model that compresses pictures; safe to use from several threads.

    Attributes:
        name: what files call it.
        stored: networks, tables and config as loaded.
        device: where the networks run.
        dtype: what float networks compute in.
        runtime: what readers and writers of groups are given.
        batch: frames that go through the networks together; the codes do not depend on it.
    """

    def __init__(self, stored: store.StoredModel, device: Device = "cpu",
                 dtype: torch.dtype = torch.float32, batch: int = _BATCH) -> None:
        self.stored, self.name, self.batch = stored, stored.name, batch
        self.config = stored.config
        self.device, self.dtype = resolve_device(device), resolve_dtype(dtype)
        self.runtime = Runtime.of(stored, self.device, self.dtype)
        self.network = self.runtime.network

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: Device = "cpu",
                        dtype: torch.dtype = torch.float32) -> Codec:
        """Load a model folder strictly: hashes, names, shapes and types must agree.

        Raises:
            WeightsError: anything does not.
        """
        return cls(store.load(Path(folder)), device, dtype)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the model folder: config.json and model.safetensors, as they were loaded."""
        store.save(Path(folder), self.name, self.network, self.stored.tables,
                   encoder=self.stored.config.get("encoder", {}), probe=self.stored.probe,
                   inter_tables=self.stored.inter_tables)

    # Frames and latents, for programs.

    def encode(self, frames: Sequence[np.ndarray], *, quality: float = 50) -> Latents:
        """Encode frames, each as a picture that stands alone; `aehub.compress` predicts them.

        Args:
            frames: RGB, uint8 [H, W, 3] each, of one size.
            quality: 0..100.

        Returns:
            The integer codes of the padded pictures, and the quality that they were made at.

        Raises:
            InputError: there are no frames, they differ in size, or an argument is out of range.
        """
        quality = check_quality(quality)
        planes = [from_rgb(np.asarray(f), Colour(6)) for f in frames]
        sizes = {p.size for p in planes}
        if len(sizes) != 1:
            raise InputError(f"{len(planes)} frames of {len(sizes)} sizes were given; give at "
                             "least one frame, and all in one size.")
        return Latents.of(self.encode_planes(planes, quality), quality)

    def decode(self, latents: Codes, *, quality: float | None = None,
               size: tuple[int, int] | None = None) -> list[np.ndarray]:
        """Decode what `encode` returned.

        Args:
            latents: the codes.
            quality: that they were made at, where they do not say it themselves.
            size: (width, height) of the frames, to cut the padding off.

        Returns:
            RGB frames, uint8 [H, W, 3] each.

        Raises:
            InputError: the quality is missing or another, or the codes are not of this model.
        """
        quality = quality_of(latents, quality)
        whole = size_of(latents)
        if size is not None and not all(0 < n <= most for n, most in zip(size, whole, strict=True)):
            raise InputError(f"the size is {size}; the codes hold {whole} (width, height).")
        planes = from_batch(self.decode_codes(latents, quality), (0, 0), size or whole)
        return [to_rgb(p, Colour(6)) for p in planes]

    # Planes and latents, for walks between pictures.

    @computes
    def latents_of(self, frames: Sequence[Planes], quality: float) -> Tensor:
        """4:2:0 frames of one size -> what a decoder makes of their codes, float [T, C, h, w]."""
        return self._encode(frames, quality)[1]

    @computes
    def pictures_of(self, latents: Tensor, quality: float, size: tuple[int, int]) -> list[Planes]:
        """Latents, not necessarily of any codes -> frames of `size` (width, height)."""
        return self._pictures(latents.to(self.device, self.runtime.exact), quality, (0, 0), size)

    # Planes and codes.

    @computes
    def encode_planes(self, frames: Sequence[Planes], quality: float) -> Codes:
        """4:2:0 frames of one size -> their integer codes, chosen by rate and distortion."""
        codes, _ = self._encode(frames, quality)
        return codes

    @computes
    def decode_codes(self, codes: Codes, quality: float) -> PlaneBatch:
        """Integer codes -> decoded planes, unrounded."""
        level = quality_tensor(quality, codes.latent)
        latents = drive(self.network.walk(codes.hyper, level),
                         lambda stage, mean, index: codes.latent[:, stage.begin:stage.end])[1]
        return self._shown(latents, level)

    # Codes and bytes.

    @computes
    def encode_group(self, frames: Sequence[Planes], quality: float, *, decode: bool = False
                     ) -> tuple[bytes, list[Planes]]:
        """Frames of one size -> the bytes of a group, and what they decode to if `decode`."""
        codes, latents = self._encode(frames, quality)
        decoded = self._pictures(latents, quality, (0, 0), frames[0].size) if decode else []
        return self.write_codes(codes, quality), decoded

    @computes
    def decode_group(self, payload: bytes, n_frames: int, coded_size: tuple[int, int],
                     quality: float, *, crop: tuple[int, int] = (0, 0),
                     size: tuple[int, int] | None = None,
                     frames: Sequence[int] | None = None) -> list[Planes]:
        """The bytes of a group -> its frames.

        Args:
            payload: what `encode_group` returned.
            n_frames: frames in the group.
            coded_size: (width, height) of the coded plane, multiples of 32.
            quality: 0..100, as it was encoded.
            crop: (x, y) of the shown window.
            size: (width, height) of the shown window; the whole plane if None.
            frames: numbers of those wanted, in this order; all if None.

        Raises:
            DamagedError: the bytes are not a stream of this model.
        """
        latents = self._read(payload, n_frames, coded_size, quality)[1]
        latents = latents if frames is None else latents[list(frames)]
        return self._pictures(latents, quality, crop, size or coded_size)

    @computes
    def write_codes(self, codes: Codes, quality: float) -> bytes:
        """Integer codes -> bytes. No analysis or synthesis network runs."""
        encoder = Encoder(self.stored.tables)
        self.visit_codes(codes, quality, encoder.write)
        return encoder.finish()

    @computes
    def visit_codes(self, codes: Codes, quality: float,
                    visit: Callable[[np.ndarray, np.ndarray], None]) -> None:
        """Call `visit(codes int32 [n], table indices uint8 [n])` in the order of the stream."""
        visit(flat(codes.hyper, np.int32), self._hyper_index(codes.hyper, quality))

        def put(stage: Stage, indices: list[Tensor]) -> list[Tensor]:
            values = codes.latent[:, stage.begin:stage.end]
            visit(flat(values, np.int32), _masked(indices, stage))
            return list(values.split(self.batch))

        self._lockstep(codes.hyper, quality, put)

    @computes
    def read_codes(self, payload: bytes, n_frames: int, coded_size: tuple[int, int],
                   quality: float) -> Codes:
        """Bytes -> integer codes, the inverse of `write_codes`; arguments as `decode_group`."""
        return self._read(payload, n_frames, coded_size, quality)[0]

    def _read(self, payload: bytes, n_frames: int, coded_size: tuple[int, int], quality: float
              ) -> tuple[Codes, Tensor]:
        width, height = coded_size
        shape = (n_frames, HYPER.channels, height // 32, width // 32)
        try:
            decoder = Decoder(self.stored.tables, payload)
            like = torch.empty(shape, dtype=self.runtime.exact, device=self.device)
            hyper = self._codes(decoder.read(self._hyper_index(like, quality)), shape)

            def get(stage: Stage, indices: list[Tensor]) -> list[Tensor]:
                values = decoder.read(_masked(indices, stage))
                whole = (n_frames, stage.end - stage.begin, height // 8, width // 8)
                return list(self._codes(values, whole).split(self.batch))

            parts = self._lockstep(hyper, quality, get)
        except (ValueError, AssertionError) as err:
            raise DamagedError("a group does not decode: its bytes are not a stream of "
                               f"{self.name}; verify the file.") from err
        codes, latents = (torch.cat(column) for column in zip(*parts, strict=True))
        return Codes(hyper, codes), latents

    def _pictures(self, latents: Tensor, quality: float, crop: tuple[int, int],
                  size: tuple[int, int]) -> list[Planes]:
        frames: list[Planes] = []
        for part in latents.split(self.batch):
            level = quality_tensor(quality, part)
            frames += from_batch(self._shown(part, level), crop, size)
        return frames

    def _shown(self, latents: Tensor, level: Tensor) -> PlaneBatch:
        return self.network.finish(clipped(self.network.synthesise(latents, level)), level)

    def _codes(self, values: np.ndarray, shape: tuple[int, ...]) -> Tensor:
        codes = torch.from_numpy(values).to(self.device, self.runtime.exact).view(shape)
        return codes.contiguous(memory_format=torch.channels_last)

    def _hyper_index(self, hyper: Tensor, quality: float) -> np.ndarray:
        hundredths = torch.tensor([round(quality * 100)], device=self.device)
        index = self.network.scales.hyper_index(hundredths).expand_as(hyper)
        return flat(index, np.uint8)

    def _lockstep(self, hyper: Tensor, quality: float,
                  exchange: Callable[[Stage, list[Tensor]], list[Tensor]]
                  ) -> list[tuple[Tensor, Tensor]]:
        """Walk all batches of a group stage by stage; `exchange` turns indices into codes."""
        walks: list[Walk] = [
            self.network.walk(part, quality_tensor(quality, part))
            for part in hyper.split(self.batch)
        ]
        asked = [next(walk) for walk in walks]
        results: list[tuple[Tensor, Tensor]] = []
        while not results:
            codes = exchange(asked[0][0], [index for _, _, index in asked])
            asked = []
            for walk, part in zip(walks, codes, strict=True):
                try:
                    asked.append(walk.send(part))
                except StopIteration as end:
                    results.append(end.value)
        return results

    def _encode(self, frames: Sequence[Planes], quality: float) -> tuple[Codes, Tensor]:
        coded, decoded, quantiser = [], [], self.runtime.quantiser
        for begin in range(0, len(frames), self.batch):
            batch = to_batch(frames[begin:begin + self.batch], self.device, self.runtime.exact)
            level = quality_tensor(quality, batch.y)
            latent, hyper = self.network.analyse(batch, level)
            weight = self.runtime.weight_of(batch)
            hundredths = (level * 100).round().long()
            hyper_index = self.network.scales.hyper_index(hundredths)
            hyper_codes = hyper.round() * (hyper_index >= 1)

            def choose(stage: Stage, mean: Tensor, index: Tensor, latent: Tensor = latent,
                       weight: Tensor | None = weight) -> Tensor:
                return quantiser(latent[:, stage.begin:stage.end] - mean, index, weight)

            codes, latents = drive(self.network.walk(hyper_codes, level), choose)
            coded.append(Codes(hyper_codes, codes))
            decoded.append(latents)
        return Codes(*(torch.cat(part) for part in zip(*coded, strict=True))), torch.cat(decoded)


def _masked(indices: Iterable[Tensor], stage: Stage) -> np.ndarray:
    """Table indices of a stage; 0, so nothing is written, where it has no codes."""
    return np.concatenate([flat(index * stage.mask, np.uint8) for index in indices])
