"""One model on its way through the arena: its encodes, its reconstruction and the measurements."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from aehub.api.compress import iter_compress
from aehub.bitstream import open_reader
from aehub.codecs.base import Codec
from aehub.codecs.decompress import decode_frames
from aehub.codecs.rate_control import UNUSUAL, Trial, next_step
from aehub.errors import AEHubError
from aehub.hub import ModelLike, load_for_file, resolve_codec
from aehub.media.conversion import to_rgb, to_yuv420
from aehub.media.decoded_clip import DecodedClip
from aehub.media.metrics import Distortion, psnr_of_mse
from aehub.media.picture import YUV420, Frame
from aehub.report.arena_records import Reconstruction
from aehub.report.memory import PeakMemory
from aehub.results import Progress, relayed
from aehub.weights.device import Device

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Encode:
    """A file at one quality, with the seconds and the memory of its encode."""

    path: Path
    quality: float
    n_bytes: int
    seconds: float
    memory: int | None
    notes: tuple[str, ...]


@dataclass
class ModelRun:
    """One model on its way through the stages.

    Attributes:
        name: of the model, for people.
        model: as it was given.
        clip: the original.
        output: path of its file.
        effort: of the encoder.
        device: where its networks run.
        error: the failure that ended it.
        notes: remarks on its file.
        result: its measurements, after `decode`.
    """

    name: str
    model: ModelLike
    clip: DecodedClip
    output: Path
    effort: int
    device: Device
    error: Exception | None = None
    notes: tuple[str, ...] = ()
    result: Reconstruction | None = None
    _codec: Codec | None = None
    _decoded: DecodedClip | None = None
    _encodes: list[Encode] = field(default_factory=list)

    @property
    def codec(self) -> Codec:
        """The loaded model, after `encode`."""
        assert self._codec is not None
        return self._codec

    @property
    def decoded(self) -> DecodedClip:
        """The reconstruction, 8-bit 4:2:0, after `decode`."""
        assert self._decoded is not None
        return self._decoded

    @property
    def chosen(self) -> Encode:
        """The last encode."""
        return self._encodes[-1]

    @property
    def sizes(self) -> list[int]:
        """Bytes of the encodes so far, the first one first."""
        return [encode.n_bytes for encode in self._encodes]

    def encode(self, qualities: Sequence[float]) -> Generator[Progress, None, None]:
        """Load the model, run it on two frames, and compress the clip at each quality."""
        self._codec = resolve_codec(self.model, device=self.device)
        # The first use compiles loops and fills caches, which belongs to no clip.
        yield from relayed(iter_compress(self.clip[:2], self.output, model=self.codec,
                                         effort=self.effort, measure=False),
                           lambda _: Progress(0, len(self.clip)))
        with open_reader(self.output) as reader:
            for _ in decode_frames(reader, self.codec):
                yield Progress(0, len(self.clip))
        for quality in qualities:
            yield from self._encode(quality)

    def match(self, target: int) -> Generator[Progress, None, None]:
        """Compress at other qualities until the file has at most `target` bytes, and nearly all.

        Raises:
            InputError: the smallest file is larger; the sentence says how large.
        """
        while True:
            trials = [Trial(encode.quality, encode.n_bytes, 0) for encode in self._encodes]
            best, quality = next_step(target, trials)
            if best is not None:
                self._encodes.sort(key=lambda encode: encode.quality == best.quality)
                if best.size < (1 - UNUSUAL) * target:
                    self.notes += (f"The file at quality {best.quality:g}, the closest one, has "
                                   f"{best.size} of {target} bytes.",)
                return
            assert quality is not None
            yield from self._encode(quality)

    def _encode(self, quality: float) -> Generator[Progress, None, None]:
        path = self.output.with_suffix(f".{quality:g}.aev")
        with PeakMemory() as memory:
            made, seconds = yield from _timed(iter_compress(
                self.clip, path, model=self.codec, quality=quality, effort=self.effort,
                audio=False, measure=False))
        self._encodes.append(Encode(path, quality, made.bytes, seconds, memory.bytes, made.notes))

    def decode(self) -> Generator[Progress, None, None]:
        """Decode the file that was chosen, and measure it; the other files are deleted."""
        encode = self.chosen
        for other in self._encodes[:-1]:
            other.path.unlink()
        path = encode.path.replace(self.output)
        with PeakMemory() as memory:
            self._decoded, seconds = yield from _timed(_iter_decoded(self.codec, path, self.clip))
        n_frames, pixels = len(self.clip), self.clip.info.width * self.clip.info.height
        peaks = [peak for peak in (encode.memory, memory.bytes) if peak is not None]
        self.result = Reconstruction(
            model=self.name, path=path, quality=encode.quality, bytes=encode.n_bytes,
            bits_per_pixel=8 * encode.n_bytes / (n_frames * pixels),
            latent_ratio=_latent_ratio(self.codec, path, pixels),
            **(yield from _iter_measured(self.clip, self.decoded)),
            encode_seconds=encode.seconds / n_frames, decode_seconds=seconds / n_frames,
            memory_bytes=max(peaks, default=None), notes=self.notes + tuple(
                note for note in encode.notes if note not in self.clip.info.notes))

    def drift(self, passes: int) -> Generator[Progress, None, None]:
        """Compress what came back, and again, at the same quality; measure each against the clip.
        """
        assert self.result is not None
        psnrs, again = [self.result.psnr], self.output.with_suffix(".again.aev")
        with ExitStack() as stack:
            decoded = self.decoded
            for _ in range(1, passes):
                yield from iter_compress(decoded, again, model=self.codec, force=True, audio=False,
                                         quality=self.result.quality, effort=self.effort,
                                         measure=False)
                decoded = yield from _iter_decoded(self.codec, again, self.clip)
                stack.callback(decoded.close)
                distortion = Distortion(with_ms_ssim=False)
                for before, after in zip(self.clip, decoded, strict=True):
                    distortion.add(to_yuv420(before, self.clip.info.colour), after)
                psnrs.append(distortion.psnr)
        again.unlink()
        self.result = replace(self.result, drift=tuple(psnrs))

    def close(self) -> None:
        """Delete the decoded frames."""
        if self._decoded is not None:
            self._decoded.close()


def _timed(job: Generator[Progress, None, _Result]
           ) -> Generator[Progress, None, tuple[_Result, float]]:
    """Run a job; return its result and the seconds that it took, without those of the caller."""
    seconds = 0.0
    with closing(job):
        while True:
            began = time.perf_counter()
            try:
                progress = next(job)
            except StopIteration as end:
                return end.value, seconds + time.perf_counter() - began
            seconds += time.perf_counter() - began
            yield progress


def _iter_decoded(codec: Codec, path: Path, original: DecodedClip
                  ) -> Generator[Progress, None, DecodedClip]:
    """Decode a file to 8-bit 4:2:0 with the times of its original.

    Raises:
        AEHubError: it has another number of frames.
    """
    info = replace(original.info, pictures=YUV420)
    decoded = DecodedClip(path.name, info)
    with ExitStack() as undo, open_reader(path) as reader:
        undo.callback(decoded.close)
        load_for_file(reader.header, codec)
        frames = undo.enter_context(closing(decode_frames(reader, codec)))
        for times, frame in zip(original.times, frames, strict=False):
            decoded.add(Frame(to_yuv420(frame.picture, info.colour), *times))
            yield Progress(len(decoded), len(original))
        if len(decoded) < len(original) or next(frames, None) is not None:
            raise AEHubError(f"{codec.name} does not give back the {len(original)} frames that it "
                             "was given.")
        decoded.finish(info)
        undo.pop_all()
    return decoded


def _latent_ratio(codec: Codec, path: Path, pixels: int) -> float:
    """Return the numbers of R, G and B in frames over those in the latents of the first group."""
    with open_reader(path) as reader:
        group = next(reader.groups())
        count = sum(latent.size for codes in codec.codes(reader.header, group)
                    for latent in codes.latents)
    return 3 * pixels * group.header.n_frames / max(1, count)


def _iter_measured(original: DecodedClip, decoded: DecodedClip
                   ) -> Generator[Progress, None, dict[str, Any]]:
    """Measure a reconstruction; returns fields of `Reconstruction`."""
    distortion, colour = Distortion(), original.info.colour
    channels, flicker, before = np.zeros(3), list[float](), None
    for number, (source, result) in enumerate(zip(original, decoded, strict=True), 1):
        reference = to_yuv420(source, colour)
        distortion.add(reference, result)
        # The error of a difference of two frames is the difference of their errors.
        error = result[0].astype(np.int32) - reference[0]
        if before is not None:
            flicker.append(float(np.square(error - before).mean()))
        before = error
        channels += (to_rgb(result, colour).mean((0, 1))
                     - to_rgb(source, colour).mean((0, 1)))
        yield Progress(number, len(original))
    red, green, blue = (float(channel) for channel in channels / len(original))
    return {"psnr": distortion.psnr, "ms_ssim": distortion.ms_ssim,
            "flicker_psnr": psnr_of_mse(sum(flicker) / len(flicker)) if flicker else None,
            "first_psnr": distortion.frame_psnrs[0], "colour_errors": (red, green, blue)}
