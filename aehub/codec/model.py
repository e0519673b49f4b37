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
from aehub.codec.quantise import Quantiser
from aehub.codec.symbols import Walk, drive, flat
from aehub.entropy import Decoder, Encoder
from aehub.errors import DamagedError, InputError
from aehub.models import store
from aehub.models.d4_codec import HYPER, Codes, Stage, quality_tensor
from aehub.models.masking import masking
from aehub.models.planes import PlaneBatch, clipped, pixels_of
from aehub.models.probe import reproduces_probe

_BATCH = 8


class Codec:
    """A model that compresses pictures; safe to use from several threads.

    Attributes:
        name: what files call it.
        stored: networks, tables and config as loaded.
        device: where the networks run.
        batch: frames that go through the networks together; the codes do not depend on it.
    """

    def __init__(self, stored: store.StoredModel, device: torch.device | str = "cpu",
                 dtype: torch.dtype = torch.float32, batch: int = _BATCH) -> None:
        self.stored, self.name, self.batch = stored, stored.name, batch
        self.config = stored.config
        self.device, self.dtype = torch.device(device), dtype
        self.network = stored.network.to(self.device, dtype)
        self.quantiser = Quantiser(stored.tables, stored.config.get("encoder", {}), self.device)
        settings = stored.config.get("encoder", {})
        self.inter_quantiser = Quantiser(
            stored.inter_tables, {"lambda": settings.get("inter_lambda", 0.0)}, self.device)
        self._masking = settings.get("masking", 0.0)
        if self.device.type != "cpu" and not reproduces_probe(self.network, stored.probe):
            self.network.scales.to("cpu")
            if self.network.inter is not None:
                self.network.inter.scales.to("cpu")

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: str = "cpu",
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

    def encode(self, frames: Sequence[np.ndarray], *, quality: float = 50) -> Codes:
        """RGB frames, uint8 [H, W, 3] each -> integer codes (latents) of the padded pictures."""
        planes = [from_rgb(np.asarray(f), Colour(6)) for f in frames]
        return self.encode_planes(planes, quality)

    def decode(self, latents: Codes, *, quality: float = 50,
               size: tuple[int, int] | None = None) -> list[np.ndarray]:
        """Codes -> RGB frames, uint8 [H, W, 3]; `size` (width, height) cuts the padding off."""
        height, width = latents.latent.shape[-2] * 8, latents.latent.shape[-1] * 8
        planes = from_batch(self.decode_codes(latents, quality), (0, 0), size or (width, height))
        return [to_rgb(p, Colour(6)) for p in planes]

    # Planes and latents, for walks between pictures.

    @torch.inference_mode()
    def latents_of(self, frames: Sequence[Planes], quality: float) -> Tensor:
        """4:2:0 frames of one size -> what a decoder makes of their codes, float [T, C, h, w]."""
        return self._encode(frames, quality)[1]

    @torch.inference_mode()
    def pictures_of(self, latents: Tensor, quality: float, size: tuple[int, int]) -> list[Planes]:
        """Latents, not necessarily of any codes -> frames of `size` (width, height)."""
        return self._pictures(latents.to(self.device, self.dtype), quality, (0, 0), size)

    # Planes and codes.

    @torch.inference_mode()
    def encode_planes(self, frames: Sequence[Planes], quality: float) -> Codes:
        """4:2:0 frames of one size -> their integer codes, chosen by rate and distortion."""
        codes, _ = self._encode(frames, quality)
        return codes

    @torch.inference_mode()
    def decode_codes(self, codes: Codes, quality: float) -> PlaneBatch:
        """Integer codes -> decoded planes, unrounded."""
        level = quality_tensor(quality, codes.latent)
        latents = drive(self.network.walk(codes.hyper, level),
                         lambda stage, mean, index: codes.latent[:, stage.begin:stage.end])[1]
        return self._shown(latents, level)

    # Codes and bytes.

    @torch.inference_mode()
    def encode_group(self, frames: Sequence[Planes], quality: float, *, decode: bool = False
                     ) -> tuple[bytes, list[Planes]]:
        """Frames of one size -> the bytes of a group, and what they decode to if `decode`."""
        codes, latents = self._encode(frames, quality)
        decoded = self._pictures(latents, quality, (0, 0), frames[0].size) if decode else []
        return self.write_codes(codes, quality), decoded

    @torch.inference_mode()
    def decode_group(self, payload: bytes, n_frames: int, coded_size: tuple[int, int],
                     quality: float, *, crop: tuple[int, int] = (0, 0),
                     size: tuple[int, int] | None = None) -> list[Planes]:
        """The bytes of a group -> its frames.

        Args:
            payload: what `encode_group` returned.
            n_frames: frames in the group.
            coded_size: (width, height) of the coded plane, multiples of 32.
            quality: 0..100, as it was encoded.
            crop: (x, y) of the shown window.
            size: (width, height) of the shown window; the whole plane if None.

        Raises:
            DamagedError: the bytes are not a stream of this model.
        """
        latents = self._read(payload, n_frames, coded_size, quality)[1]
        return self._pictures(latents, quality, crop, size or coded_size)

    @torch.inference_mode()
    def write_codes(self, codes: Codes, quality: float) -> bytes:
        """Integer codes -> bytes. No analysis or synthesis network runs."""
        encoder = Encoder(self.stored.tables)
        self.visit_codes(codes, quality, encoder.write)
        return encoder.finish()

    @torch.inference_mode()
    def visit_codes(self, codes: Codes, quality: float,
                    visit: Callable[[np.ndarray, np.ndarray], None]) -> None:
        """Call `visit(codes int32 [n], table indices uint8 [n])` in the order of the stream."""
        visit(flat(codes.hyper, np.int32), self._hyper_index(codes.hyper, quality))

        def put(stage: Stage, indices: list[Tensor]) -> list[Tensor]:
            values = codes.latent[:, stage.begin:stage.end]
            visit(flat(values, np.int32), _masked(indices, stage))
            return list(values.split(self.batch))

        self._lockstep(codes.hyper, quality, put)

    @torch.inference_mode()
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
            like = torch.empty(shape, dtype=self.dtype, device=self.device)
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

    def weight_of(self, batch: PlaneBatch) -> Tensor | None:
        """What multiplies lambda in pictures that stand alone, [B, 1, h, w]: texture masks."""
        return masking(pixels_of(batch), self._masking) if self._masking else None

    def _codes(self, values: np.ndarray, shape: tuple[int, ...]) -> Tensor:
        codes = torch.from_numpy(values).to(self.device, self.dtype).view(shape)
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
        coded, decoded = [], []
        for begin in range(0, len(frames), self.batch):
            batch = to_batch(frames[begin:begin + self.batch], self.device, self.dtype)
            level = quality_tensor(quality, batch.y)
            latent, hyper = self.network.analyse(batch, level)
            weight = self.weight_of(batch)
            hundredths = (level * 100).round().long()
            hyper_index = self.network.scales.hyper_index(hundredths)
            hyper_codes = hyper.round() * (hyper_index >= 1)

            def choose(stage: Stage, mean: Tensor, index: Tensor, latent: Tensor = latent,
                       weight: Tensor | None = weight) -> Tensor:
                return self.quantiser(latent[:, stage.begin:stage.end] - mean, index, weight)

            codes, latents = drive(self.network.walk(hyper_codes, level), choose)
            coded.append(Codes(hyper_codes, codes))
            decoded.append(latents)
        return Codes(*(torch.cat(part) for part in zip(*coded, strict=True))), torch.cat(decoded)


def _masked(indices: Iterable[Tensor], stage: Stage) -> np.ndarray:
    """Table indices of a stage; 0, so nothing is written, where it has no codes."""
    return np.concatenate([flat(index * stage.mask, np.uint8) for index in indices])


def check_quality(quality: float) -> float:
    """`quality` if it can be used.

    Raises:
        InputError: it is not a number from 0 to 100.
    """
    if not 0 <= quality <= 100:
        raise InputError(f"quality is {quality}; it goes from 0 (smallest) to 100 (best).")
    return round(float(quality), 2)
