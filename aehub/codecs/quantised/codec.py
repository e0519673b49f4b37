"""The codec of other libraries' autoencoders: their latents, quantised and coded.

    frames ──segments──> encode ──> z ──/ step──> codes ──> payload
    payload ──> codes ──* step──> z_hat ──> decode ──> as many frames of the same size

A group is coded in segments of the most frames that the model takes at once; single pictures are
segments of an image autoencoder.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from aehub.bitstream import FileHeader, Group, GroupHeader
from aehub.bitstream.chunk import MAX_PIXELS
from aehub.codecs.base import CodedFrame, FrameCodes, MiniGop
from aehub.codecs.gop import MAX_GROUP_SAMPLES
from aehub.codecs.quantised import PAYLOAD_FORMATS, diffusers_classes, taesd
from aehub.codecs.quantised.autoencoder import FrameAutoencoder
from aehub.codecs.quantised.latent_coding import (
    LatentFrameReader,
    LatentFrameWriter,
    step_numbers,
    steps_of,
)
from aehub.config import DEFAULT_EFFORT
from aehub.errors import DamagedError, FormatError, InputError, WeightsError
from aehub.media.picture import RGB, Picture
from aehub.weights import foreign
from aehub.weights.device import Device, resolve_device, resolve_dtype


class Latents(NamedTuple):
    """Latents of a clip.

    Attributes:
        values: of each segment, float32 [T', C, h, w], about unit variance.
        n_frames: of each segment.
        size: (width, height) of the frames.
    """

    values: tuple[np.ndarray, ...]
    n_frames: tuple[int, ...]
    size: tuple[int, int]


class QuantisedAutoencoder:
    """Loaded model, a `Codec` and a `LatentModel`; safe to use from several threads.

    Attributes:
        name: in file headers.
        config: description of the model, with its hashes.
        autoencoder: the network behind the interface of all classes.
    """

    payload_formats = PAYLOAD_FORMATS
    pictures = RGB
    grid = 1
    scales: tuple[Fraction, ...] = ()
    editor = None
    gaussian = False
    side: int | None = None
    latent: int | None = None
    batch = 1

    def __init__(self, model: foreign.ForeignModel, device: Device = "cpu",
                 dtype: torch.dtype = torch.float32) -> None:
        self.config = foreign.read_config(model.folder, hashes=True)
        self.name, self.source = str(self.config["name"]), model
        self.device, self.dtype = resolve_device(device), resolve_dtype(dtype)
        tensors = model.tensors()
        if model.class_name == foreign.TAESD:
            self.autoencoder: FrameAutoencoder = taesd.load(
                tensors, device=self.device, dtype=self.dtype)
        else:
            described = {"_class_name": model.class_name, **model.arguments}
            self.autoencoder = diffusers_classes.load(
                described, tensors, device=self.device, dtype=self.dtype)

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: Device = "cpu",
                        dtype: torch.dtype = torch.float32) -> QuantisedAutoencoder:
        """Load a model folder of another library strictly.

        Raises:
            WeightsError: names, shapes or arguments do not agree.
            ModelError: the library of its class is not installed.
        """
        model = foreign.find(Path(folder))
        if model is None:
            raise WeightsError(f"{folder} holds no model of another library; name another folder.")
        return cls(model, device, dtype)

    def save_pretrained(self, folder: str | Path) -> None:
        """Copy the files of the model."""
        self.source.copy_to(Path(folder))

    @property
    def notes(self) -> Sequence[str]:
        """Sentences on how it computed, such as in tiles."""
        return self.autoencoder.notes

    @property
    def entropy_hash(self) -> bytes:
        """First 8 bytes of the SHA-256 of class, arguments and weights."""
        return bytes.fromhex(self.config["entropy_hash"])

    @property
    def synthesis_hash(self) -> bytes:
        """The next 8 bytes."""
        return bytes.fromhex(self.config["synthesis_hash"])

    def estimate_bytes(self, size: tuple[int, int]) -> int:
        """Peak memory of segments of pictures of `size` (width, height), weights included.

        Raises:
            LimitError: not even the smallest tile fits the memory limit.
        """
        return self.autoencoder.estimate_bytes(self.autoencoder.max_frames, size)

    # Groups: a `Codec`.

    def group_encoder(self, header: FileHeader, *, measure: bool = False,
                      effort: int = DEFAULT_EFFORT) -> GroupEncoder:
        """Begin a group; the model's encoder has no choice of effort."""
        return GroupEncoder(self.autoencoder, header, measure=measure)

    def decode_group(self, header: FileHeader, group: Group,
                     frames: Collection[int] | None = None, scale: Fraction = Fraction(1)
                     ) -> Iterator[tuple[int, Picture]]:
        """Decode frames; of a segment with one of them, all are decoded.

        Raises:
            DamagedError: the payload is no stream of this codec.
        """
        x, y = group.header.crop
        size = x + header.width, y + header.height
        wanted = range(group.header.n_frames) if frames is None else frames
        for segment, values in self._segments(header, group, max(wanted, default=-1) + 1):
            here = [number for number in segment if number in wanted]
            if not here:
                continue
            decoded = self.autoencoder.decode(values, len(segment), size)[:, y:, x:]
            for number in here:
                yield number, _picture(decoded[number - segment.start])

    def codes(self, header: FileHeader, group: Group) -> Iterator[FrameCodes]:
        """Read the integers of all latent frames; the number is that of a segment's first frame for
        its first latent frame, and counts up from there."""
        reader = self._reader(header, group)
        for segment in segments(group.header.n_frames, reader.segment):
            for at, codes in enumerate(reader.codes(len(segment))):
                yield FrameCodes(segment.start + at, True, (codes,))

    def latents(self, header: FileHeader, group: Group) -> Latents:
        """Dequantised latents of a group."""
        parts = list(self._segments(header, group, group.header.n_frames))
        x, y = group.header.crop
        return Latents(tuple(values for _, values in parts), tuple(len(part) for part, _ in parts),
                       (x + header.width, y + header.height))

    def write_latents(self, header: FileHeader, values: Sequence[np.ndarray],
                      n_frames: Sequence[int]) -> Iterator[tuple[GroupHeader, bytes]]:
        """Quantise and code latents of segments as groups, at the quality of the header.

        Args:
            header: of the file.
            values: of each segment, float32 [T', C, h, w].
            n_frames: of each segment.

        Raises:
            InputError: they are not latents of this model.
        """
        size, most = (header.width, header.height), self.autoencoder.max_frames
        encoder, length = GroupEncoder(self.autoencoder, header, measure=False), 0
        for at, (part, count) in enumerate(zip(values, n_frames, strict=True)):
            shape = self.autoencoder.latent_shape(count, size)
            if part.shape != shape or not np.isfinite(part).all():
                raise InputError(f"latents of {count} frames have the shape {list(part.shape)}; "
                                 f"{self.name} has finite numbers of {list(shape)} for them.")
            encoder.write(part, count)
            length += count
            if count < most or length + most > header.group_frames or at + 1 == len(values):
                yield encoder.finish()
                encoder, length = GroupEncoder(self.autoencoder, header, measure=False), 0

    def _segments(self, header: FileHeader, group: Group, stop: int
                  ) -> Iterator[tuple[range, np.ndarray]]:
        """Frames and latents of the segments up to frame `stop`."""
        reader = self._reader(header, group)
        for segment in segments(group.header.n_frames, reader.segment):
            if segment.start >= stop:
                return
            yield segment, reader.latents(len(segment))

    def _reader(self, header: FileHeader, group: Group) -> _GroupReader:
        x, y = group.header.crop
        width, height, n_frames = x + header.width, y + header.height, group.header.n_frames
        if width * height > MAX_PIXELS or (
                n_frames > 1 and n_frames * width * height > MAX_GROUP_SAMPLES):
            raise FormatError(f"a group has {n_frames} frames of {width}x{height}; {self.name} "
                              f"decodes at most {MAX_PIXELS} pixels, and {MAX_GROUP_SAMPLES} "
                              "samples together. No AEHub wrote this file.")
        return _GroupReader(self.autoencoder, group.payload, (width, height), self.name)

    # Frames and latents, for programs and walks.

    def encode(self, frames: Iterable[np.ndarray]) -> Latents:
        """Encode frames, uint8 [H, W, 3] in RGB, of one size, without quantisation.

        Raises:
            InputError: there are none, or they differ in size.
        """
        pictures = [np.asarray(frame) for frame in frames]
        shapes = {picture.shape for picture in pictures}
        if len(shapes) != 1 or pictures[0].ndim != 3 or pictures[0].shape[2] != 3:
            raise InputError(f"{len(pictures)} frames of {len(shapes)} shapes were given; give at "
                             "least one frame, and all of one shape [H, W, 3].")
        parts = segments(len(pictures), self.autoencoder.max_frames)
        values = tuple(self.autoencoder.encode(np.stack(pictures[part.start:part.stop]))
                       for part in parts)
        return Latents(values, tuple(map(len, parts)), pictures[0].shape[1::-1])

    def decode(self, latents: Latents) -> list[np.ndarray]:
        """Decode what `encode` returned: as many frames of the same size."""
        return [frame for values, n_frames in zip(latents.values, latents.n_frames, strict=True)
                for frame in self.autoencoder.decode(values, n_frames, latents.size)]

    def to_latents(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Pictures uint8 [H, W, 3] of one size -> float32 [N, T', C, h, w], each by itself."""
        return np.stack([self.autoencoder.encode(picture[None]) for picture in pictures])

    def to_pictures(self, latents: np.ndarray, size: tuple[int, int]) -> list[np.ndarray]:
        """Latents, also such as no picture gives -> pictures of `size` (width, height)."""
        return [self.autoencoder.decode(values.astype(np.float32), 1, size)[0]
                for values in latents]


def segments(n_frames: int, most: int) -> list[range]:
    """Frames of each segment of a group."""
    return [range(begin, min(begin + most, n_frames)) for begin in range(0, n_frames, most)]


def _picture(rgb: np.ndarray) -> Picture:
    return Picture(np.ascontiguousarray(np.moveaxis(rgb, -1, 0)), RGB)


class GroupEncoder:
    """Encoder of one group, a segment at a time."""

    def __init__(self, autoencoder: FrameAutoencoder, header: FileHeader, *, measure: bool) -> None:
        self._autoencoder, self._header, self._measure = autoencoder, header, measure
        self._waiting: list[np.ndarray] = []
        self._n_frames = 0
        self._writer = LatentFrameWriter(autoencoder.latent_channels)
        self._steps: np.ndarray | None = None

    def add(self, mini_gop: MiniGop) -> Iterator[CodedFrame | None]:
        """Take frames; yields those of each segment that is complete."""
        most = self._autoencoder.max_frames
        self._waiting += [np.stack(frame.picture, -1) for frame in mini_gop.frames]
        while len(self._waiting) >= most or (mini_gop.ends_group and self._waiting):
            frames, self._waiting = self._waiting[:most], self._waiting[most:]
            yield from self._encode(np.stack(frames))

    def _encode(self, frames: np.ndarray) -> Iterator[CodedFrame]:
        before, first = self._writer.words, self._n_frames
        z_hat = self.write(self._autoencoder.encode(frames), len(frames))
        decoded = None
        if self._measure:
            size = frames.shape[2], frames.shape[1]
            decoded = self._autoencoder.decode(z_hat, len(frames), size)
        grown = 4 * (self._writer.words - before)
        for at in range(len(frames)):
            picture = None if decoded is None else _picture(decoded[at])
            yield CodedFrame(first + at, grown if at == 0 else 0, picture)

    def write(self, z: np.ndarray, n_frames: int) -> np.ndarray:
        """Quantise and write the latents of a segment, [T', C, h, w]; returns them dequantised."""
        if self._steps is None:
            numbers = step_numbers(self._header.quality / 100, self._autoencoder.sensitivity(z))
            self._writer.write_head(self._autoencoder.max_frames, numbers)
            self._steps = steps_of(numbers)
        scale = self._steps[:, None, None]
        self._n_frames += n_frames
        try:
            codes = np.stack([self._writer.write(part / scale) for part in z])
        except ValueError as err:
            raise InputError(f"latents of magnitude {np.abs(z).max():.3g} are too large for this "
                             "quality; lower it, or standardise them.") from err
        return codes.astype(np.float32) * scale

    def finish(self) -> tuple[GroupHeader, bytes]:
        """Return header and payload; every frame is intra."""
        return GroupHeader(self._n_frames, self._header.quality), self._writer.finish()


class _GroupReader:
    """Reader of the segments of a group, in order."""

    def __init__(self, autoencoder: FrameAutoencoder, payload: bytes, size: tuple[int, int],
                 name: str) -> None:
        self._autoencoder, self._size, self._name = autoencoder, size, name
        try:
            self._reader = LatentFrameReader(autoencoder.latent_channels, payload)
            self.segment, numbers = self._reader.read_head()
        except (ValueError, AssertionError) as err:
            raise self._damaged() from err
        if not 1 <= self.segment <= autoencoder.max_frames:
            raise FormatError(f"a group has segments of {self.segment} frames; {name} takes 1 to "
                              f"{autoencoder.max_frames} here. Verify the file, or decode it with "
                              "the version of diffusers that wrote it.")
        self._scale = steps_of(numbers)[:, None, None]

    def _damaged(self) -> DamagedError:
        return DamagedError("a group does not decode: its bytes are not a stream of "
                            f"{self._name}; verify the file.")

    def codes(self, n_frames: int) -> list[np.ndarray]:
        """Codes of the next segment, of `n_frames` frames: int32 [C, h, w] each."""
        n_latent, _, height, width = self._autoencoder.latent_shape(n_frames, self._size)
        try:
            return [self._reader.read(height, width) for _ in range(n_latent)]
        except (ValueError, AssertionError) as err:
            raise self._damaged() from err

    def latents(self, n_frames: int) -> np.ndarray:
        """Dequantised latents of the next segment: float32 [T', C, h, w]."""
        return np.stack(self.codes(n_frames)).astype(np.float32) * self._scale
