"""What the public functions return and yield."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from aehub.arguments import check_function

ProgressCallback = Callable[[int, int], None]
_Value = TypeVar("_Value")


class Progress(NamedTuple):
    """How far a long job is: frames done, frames in all (0 if the clip does not say)."""

    done: int
    total: int


def run_job(job: Generator[Any, None, _Value], progress: ProgressCallback | None) -> _Value:
    """Run a job to its end, telling `progress(done, total)` of each `Progress`; return its result.

    Without `progress`, steps may be of any kind.
    """
    check_function("progress", progress)
    try:
        while True:
            step = next(job)
            if progress is not None:
                progress(*step)
    except StopIteration as end:
        return cast(_Value, end.value)
    finally:
        job.close()


@dataclass(frozen=True)
class Result:
    """What a job tells of its result; `notes` are the last attribute of each kind."""

    def to_json(self) -> dict[str, Any]:
        """The attributes in order, with stable keys."""
        told = asdict(self)
        return {**told, "notes": list(told["notes"])}

    def named(self) -> dict[str, Any]:
        """As `to_json`, with the `name` of the file instead of its path."""
        told = self.to_json()
        return {"name": Path(told.pop("path")).name, **told}


@dataclass(frozen=True)
class Compressed(Result):
    """A clip that became a file.

    Attributes:
        path: the file; None for a stream.
        model: name of the model.
        bytes: size of the file.
        audio_bytes: of these, the audio track.
        frames: number of frames.
        width: in luma samples.
        height: in luma samples.
        fps: nominal rate, e.g. "30000/1001".
        seconds: duration.
        kbps: kilobits per second of the file without audio.
        bits_per_pixel: bits of the file without audio over luma samples.
        ratio: bytes of the input file over bytes; None for arrays and pipes.
        psnr: (6Y + U + V)/8 in dB over the clip; None if not measured.
        ms_ssim: of luma; None below 176 samples on the short side, or if not measured.
        elapsed: seconds the work took.
        quality: as used.
        notes: sentences about what was changed on the way in.
    """

    path: str | None
    model: str
    bytes: int
    audio_bytes: int
    frames: int
    width: int
    height: int
    fps: str
    seconds: float
    kbps: float
    bits_per_pixel: float
    ratio: float | None
    psnr: float | None
    ms_ssim: float | None
    elapsed: float
    quality: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decompressed(Result):
    """A file that became a clip; the attributes are those of `Compressed`."""

    path: str | None
    model: str
    frames: int
    width: int
    height: int
    fps: str
    seconds: float
    elapsed: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Edited(Result):
    """A file made of others without decoding them, unless `psnr` says otherwise.

    Attributes:
        path: the file; None for a stream.
        model: name of the model.
        bytes: size of the file.
        bytes_before: size of what it was made of.
        audio_bytes: of `bytes`, the audio track.
        frames: number of frames shown.
        width: in luma samples.
        height: in luma samples.
        fps: nominal rate, e.g. "30000/1001".
        seconds: duration.
        psnr: what decoding, turning and compressing again lost, (6Y + U + V)/8 in dB against the
            turned pictures; None where nothing was decoded and nothing is lost.
        elapsed: seconds the work took.
        notes: sentences about what could not be kept.
    """

    path: str | None
    model: str
    bytes: int
    bytes_before: int
    audio_bytes: int
    frames: int
    width: int
    height: int
    fps: str
    seconds: float
    psnr: float | None
    elapsed: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Animated(Result):
    """An animation that was made.

    Attributes:
        path: the file, or the folder of pictures.
        model: name of the model.
        bytes: size of what was written.
        frames: number of frames.
        width: in pixels, of a frame.
        height: in pixels, of a frame.
        fps: rate, e.g. "30/1".
        seconds: duration.
        elapsed: seconds the work took.
        recipe: the file that makes the same frames again.
        sheet: the JSON that tells where the frames lie in a sprite sheet; None for other formats.
        notes: sentences about what the user may not expect.
    """

    path: str
    model: str
    bytes: int
    frames: int
    width: int
    height: int
    fps: str
    seconds: float
    elapsed: float
    recipe: str
    sheet: str | None = None
    notes: tuple[str, ...] = ()
