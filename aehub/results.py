"""Result records of the public functions, and the progress that they yield."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from aehub.arguments import check_function

ProgressCallback = Callable[[int, int], None]
_Value = TypeVar("_Value")
_Shown = TypeVar("_Shown")


_NOT_IN_JSON = {"json": False}
"""Metadata of the fields of a record that `to_json` leaves out."""


class Progress(NamedTuple):
    """Progress of a job: frames done, frames in total (0 if unknown)."""

    done: int
    total: int


def run_job(job: Generator[Any, None, _Value], progress: ProgressCallback | None) -> _Value:
    """Run a job to its end, call `progress(done, total)` for each `Progress`; return its result.

    Without `progress`, the job may yield anything.
    """
    check_function("progress", progress)
    try:
        while True:
            ticked = next(job)
            if progress is not None:
                progress(*ticked)
    except StopIteration as end:
        return cast(_Value, end.value)
    finally:
        job.close()


def relayed(job: Generator[Any, None, _Value], shown: Callable[[Any], _Shown]
            ) -> Generator[_Shown, None, _Value]:
    """Run a job; yield its progress in another form, and return its result."""
    try:
        while True:
            yield shown(next(job))
    except StopIteration as end:
        return cast(_Value, end.value)
    finally:
        job.close()


@dataclass(frozen=True)
class Result:
    """Base of result records; `notes` is the last field that `to_json` returns."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields in order, with stable keys; without those of every frame, and those
        of matches that only a player needs."""
        values: dict[str, Any] = _for_json(self)
        return {**values, "notes": list(values["notes"])}

    def named(self) -> dict[str, Any]:
        """Return `to_json()` with the `name` of the file instead of its path."""
        values = self.to_json()
        return {"name": Path(values.pop("path")).name, **values}


def _for_json(value: Any) -> Any:
    """A value with the records in it as dictionaries of the fields that belong in JSON."""
    if is_dataclass(value):
        return {one.name: _for_json(getattr(value, one.name)) for one in fields(value)
                if one.metadata.get("json", True)}
    return tuple(map(_for_json, value)) if isinstance(value, tuple) else value


@dataclass(frozen=True)
class Compressed(Result):
    """A compressed clip.

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
        notes: sentences about changes made to the input.
        frame_bytes: by which the file grew with each frame, in the order of times; not in
            `to_json`.
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
    frame_bytes: tuple[int, ...] = field(default=(), metadata=_NOT_IN_JSON)


@dataclass(frozen=True)
class Decompressed(Result):
    """A decoded clip; the attributes are those of `Compressed`."""

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
    """A file edited or joined without decoding, unless `psnr` is given.

    Attributes:
        path: the file; None for a stream.
        model: name of the model.
        bytes: size of the file.
        bytes_before: size of the sources.
        audio_bytes: of `bytes`, the audio track.
        frames: number of frames shown.
        width: in luma samples.
        height: in luma samples.
        fps: nominal rate, e.g. "30000/1001".
        seconds: duration.
        psnr: (6Y + U + V)/8 in dB of a second compression against the decoded pictures, turned and
            scaled; None if nothing was decoded and nothing is lost.
        elapsed: seconds the work took.
        notes: sentences about what was lost.
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
    """A rendered animation.

    Attributes:
        path: the file, or the folder of pictures.
        model: name of the model.
        bytes: size of the output.
        frames: number of frames.
        width: in pixels, of a frame.
        height: in pixels, of a frame.
        fps: rate, e.g. "30/1".
        seconds: duration.
        elapsed: seconds the work took.
        recipe: the file that reproduces the frames.
        sheet: the JSON with the frame positions of a sprite sheet; None for other formats.
        notes: sentences about unexpected properties.
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


@dataclass(frozen=True)
class Classified(Result):
    """Label of a clip, found by example.

    Attributes:
        path: the file.
        label: that of the most alike examples; None for none of these.
        confidence: probability of that answer, in [0, 1].
        scores: probability of each label, in [0, 1]; with that of none of them they sum to 1.
        error: sentence on why the file could not be read; it has no label and no scores then.
        notes: sentences about examples that were left out.
    """

    path: str
    label: str | None
    confidence: float
    scores: dict[str, float]
    error: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class IndexedFile:
    """A file of an index, as a run of indexing left it.

    Attributes:
        path: absolute.
        state: "added", "unchanged", "removed" or "failed" (it could not be read; what is known of
            it stays in the index unless it changed).
        segments: that it has in the index.
        error: sentence about what could not be read or written; None if all of it was.
    """

    path: str
    state: str
    segments: int
    error: str | None = None


@dataclass(frozen=True)
class Indexed(Result):
    """An index brought up to date.

    Attributes:
        index: its folder.
        model: name of the model.
        files: those that were given, and those removed, by path.
        failed: how many of them something is wrong with.
        segments: in the whole index.
        elapsed: seconds the work took.
        notes: sentences about unexpected properties.
    """

    index: str
    model: str
    files: tuple[IndexedFile, ...]
    failed: int
    segments: int
    elapsed: float
    notes: tuple[str, ...] = ()


_IN_WORDS = {
    "": "", "--flip horizontal": "mirrored", "--flip vertical": "mirrored and upside down",
    "--rotate 180": "upside down", "--transpose": "mirrored and turned counter-clockwise",
    "--rotate 90": "turned clockwise", "--rotate 270": "turned counter-clockwise",
    "--rotate 90 --flip vertical": "mirrored and turned clockwise",
}
"""Orientations for people who know no options."""


@dataclass(frozen=True)
class Match:
    """A part of a file of an index that matches a query.

    Attributes:
        path: of the file, absolute.
        start: in seconds of the file.
        end: in seconds of the file; of a picture as `start`.
        orientation: flags of `aehub edit` that turn the file into the query, such as
            "--rotate 90 --flip vertical"; empty if it is not turned.
        score: confidence from 0 to 1.
        query_start: of the matching part, in seconds of the query.
        query_end: in seconds of the query.
        speed: seconds of the file in a second of the query; negative if it is played backward.
    """

    path: str
    start: float
    end: float
    orientation: str
    score: float
    query_start: float = field(default=0.0, metadata=_NOT_IN_JSON)
    query_end: float = field(default=0.0, metadata=_NOT_IN_JSON)
    speed: float = field(default=1.0, metadata=_NOT_IN_JSON)

    @property
    def orientation_text(self) -> str:
        """Words for the orientation, such as "turned clockwise"; empty if it is not turned."""
        return _IN_WORDS[self.orientation]


@dataclass(frozen=True)
class Found(Result):
    """Answer to a query.

    Attributes:
        matches: the best first.
        elapsed: seconds the work took.
        error: sentence about what of the query could not be read, also in the notes; None if all
            of it was.
        notes: sentences about damage and about files left out.
    """

    matches: tuple[Match, ...]
    elapsed: float
    error: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Duplicates(Result):
    """Copies and common parts among the files of an index.

    Attributes:
        copies: groups; the first file of each is the longest, and the orientations of the others
            turn it into them.
        shared: parts such as intros that otherwise different files have in common.
        elapsed: seconds the work took.
        notes: sentences about files left out.
    """

    copies: tuple[tuple[Match, ...], ...]
    shared: tuple[tuple[Match, ...], ...]
    elapsed: float
    notes: tuple[str, ...] = ()
