"""Public functions of compression, also used by the command line and the page.

Paths, file objects and arrays are accepted. `iter_compress` and `iter_decompress_to` yield
progress: closing the iterator cancels the work and leaves no file.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from aehub.arguments import check_function, check_whole
from aehub.bitstream import Reader, open_reader
from aehub.bitstream.validation import quotient
from aehub.codecs.archive import Archive
from aehub.codecs.base import Codec, check_effort, with_grain
from aehub.codecs.compress import (
    EncodingStats,
    GroupCoder,
    codec_notes,
    compress_clip,
    compress_groups,
    estimate_size,
)
from aehub.codecs.decompress import (
    clip_info,
    coded_frames,
    decode_ahead,
    scale_note,
    standard_codec,
)
from aehub.codecs.gop import MAX_GOP_FRAMES
from aehub.codecs.rate_control import RateControl, check_goal
from aehub.config import DEFAULT_CODEC, DEFAULT_EFFORT
from aehub.editing.operations import Trim
from aehub.errors import DamagedError, InputError, LimitError
from aehub.files import (
    FileLike,
    check_output,
    check_source,
    open_output,
    output_beside,
    refuse_overwriting,
    spool,
)
from aehub.hub import ModelLike, load_for_file, resolve_codec
from aehub.media.clip import Clip, ClipLike, open_clip
from aehub.media.conversion import to_rgb, to_yuv420
from aehub.media.decoded_clip import DecodedClip
from aehub.media.picture import RGB, YUV420, ClipInfo, Frame, Picture
from aehub.media.scaling import check_scale
from aehub.media.sinks import CodedPicture
from aehub.media.source import rewindable, seekable_file
from aehub.media.timestamps import TimeSpan
from aehub.media.writer import ClipWriter, open_writer
from aehub.results import Compressed, Decompressed, Progress, ProgressCallback, run_job
from aehub.weights.device import Device

__all__ = [
    "Archive", "Compressed", "Decompressed", "compress", "decompress", "decompress_to",
    "iter_compress", "iter_decompress_to", "open",
]

ScaleLike = Fraction | float | str
"""One of `aehub.media.scaling.SCALES`, as a number or a text."""
_MAX_DECODED_BYTES = 2_000_000_000
"""Room for the frames of a clip that is encoded several times: 20 s of 1080p, 3 minutes of 640x360.
"""


def compress(source: ClipLike, output: FileLike | None = None, *, model: ModelLike = DEFAULT_CODEC,
             quality: float | None = None, target_size: int | None = None,
             target_kbps: float | None = None, effort: int = DEFAULT_EFFORT,
             trim: str | Trim | None = None, group: int | None = None, force: bool = False,
             salvage: bool = False, audio: bool = True, measure: bool = True, grain: bool = False,
             fps: Fraction | float | str | None = None, device: Device = "auto",
             coder: GroupCoder | None = None, progress: ProgressCallback | None = None
             ) -> Compressed:
    """Compress a clip into a `.aev` file.

    Args:
        source: path of a clip, picture or folder of pictures, a binary stream, or frames as
            uint8 [T, H, W, 3] or an iterable of [H, W, 3] in RGB, or an iterable of
            `aehub.Picture`, of 8 to 16 bits.
        output: path or stream; by default beside the source, with the suffix `.aev`.
        model: name, folder, or a loaded model.
        quality: 0 (smallest) to 100 (best), 50 by default; fractions are allowed.
        target_size: largest size of the file in bytes, from 1; at most 4 encodes find the quality,
            or 8 where sizes follow an unusual curve. Files and streams are decoded once for them,
            if their samples take at most 2 GB on disk.
        target_kbps: largest average rate without audio in kilobits per second, above 0. Of quality
            and the two targets, one can be given.
        effort: 0, the fastest, to 9, the smallest file at the same quality; decoding takes the same
            time. Codecs without such a choice ignore it.
        trim: part to keep, "A:B" in seconds, or frames with a trailing f; or the same as
            `aehub.Trim`.
        group: largest number of frames in a group (GOP), 1 to 1000; by default a scene, at most
            ten seconds of it.
        force: overwrite the output.
        salvage: keep the readable part of a clip that breaks off.
        audio: include the audio track.
        measure: decode the written file and compare it with the source.
        grain: describe the film grain instead of coding it: decoders synthesise grain like it. Of
            `sandwich-av1`.
        fps: frames per second, such as 25 or "30000/1001", of frames given as arrays or pictures
            (25 by default); a clip with times of its own is shown at this rate, without its sound.
        device: where networks run, as `aehub.load`.
        coder: codes the groups of the clip elsewhere (`aehub.jobs.parts`); the file is the same.
        progress: called as `progress(done, total)` in frames; total is 0 if unknown.

    Returns:
        Sizes, rates and measured quality of the output.

    Raises:
        InputError: the source or an argument cannot be used.
        ExistsError: the output exists and `force` is not set.

    Example:
        >>> aehub.compress("clip.mp4", "clip.aev", quality=60).ratio
    """
    job = iter_compress(
        source, output, model=model, quality=quality, target_size=target_size,
        target_kbps=target_kbps, effort=effort, trim=trim, group=group, force=force,
        salvage=salvage, audio=audio, measure=measure, grain=grain, fps=fps, device=device,
        coder=coder)
    return run_job(job, progress)


def iter_compress(source: ClipLike, output: FileLike | None = None, *,
                  model: ModelLike = DEFAULT_CODEC, quality: float | None = None,
                  target_size: int | None = None, target_kbps: float | None = None,
                  effort: int = DEFAULT_EFFORT, trim: str | Trim | None = None,
                  group: int | None = None, force: bool = False, salvage: bool = False,
                  audio: bool = True, measure: bool = True, grain: bool = False,
                  fps: Fraction | float | str | None = None, device: Device = "auto",
                  coder: GroupCoder | None = None) -> Generator[Progress, None, Compressed]:
    """Run `compress`, yielding a `Progress` after each frame; closing it cancels.

    Arguments, result and errors are those of `compress`.
    """
    began = time.monotonic()
    quality, target_size, target_kbps = check_goal(quality, target_size, target_kbps)
    check_function("coder", coder, "a function that codes groups")
    effort = check_effort(effort)
    group = None if group is None else check_whole("group", group, 1, MAX_GOP_FRAMES)
    part = TimeSpan.coerce(trim.part if isinstance(trim, Trim) else trim)
    target = _output_path(source, output)
    codec = resolve_codec(model, device=device)
    codec = with_grain(codec) if grain else codec
    if isinstance(target, Path):
        refuse_overwriting(target, force)

    def opened() -> Clip:
        return open_clip(source, trim=part, salvage=salvage, fps=fps)

    encode = partial(_encode, codec, coder=coder, group=group, audio=audio, measure=measure,
                     effort=effort)
    with ExitStack() as stack:
        if target_size is None and target_kbps is None:
            clip = stack.enter_context(opened())
            stream = stack.enter_context(open_output(target, force=force))
            stats = yield from encode(clip, stream, quality)
            info = clip.info
        else:
            source = stack.enter_context(rewindable(source))
            decoded = (yield from _decode_once(opened)) if _is_coded(source) else None
            if decoded is not None:
                stack.callback(decoded.close)
                opened = partial(open_clip, decoded)
            trials = stack.enter_context(
                RateControl(opened, encode, partial(estimate_size, codec, effort=effort),
                            target_size, target_kbps))
            best, info, stats, quality = yield from trials.run()
            stream = stack.enter_context(open_output(target, force=force))
            shutil.copyfileobj(best, stream)
    return _summary(target, codec.name, info, stats, quality, time.monotonic() - began)


def _is_coded(source: Any) -> bool:
    return isinstance(source, (str, os.PathLike)) or hasattr(source, "read")


def _decode_once(opened: Callable[[], Clip]) -> Generator[Progress, None, DecodedClip | None]:
    """Decode a clip into a temporary file; return None if its frames take too much room.

    It pays for whatever is decoded several times otherwise. It does not for arrays, nor for clips
    longer than `_MAX_DECODED_BYTES`, of which a search takes hours with or without it.
    """
    with opened() as clip, ExitStack() as undo:
        decoded = DecodedClip(clip.name, clip.info)
        undo.callback(decoded.close)
        expected = clip.info.n_frames or 0
        if expected * decoded.picture_bytes > _MAX_DECODED_BYTES:
            return None
        for frame in clip:
            try:
                decoded.add(frame)
            except LimitError:
                return None
            if decoded.nbytes > _MAX_DECODED_BYTES:
                return None
            yield Progress(0, max(expected, len(decoded)))
        decoded.finish(clip.info, clip.audio)
        undo.pop_all()
    return decoded


def _encode(codec: Codec, clip: Clip, stream: BinaryIO, quality: float, *,
            coder: GroupCoder | None, **options: Any) -> Generator[Progress, None, EncodingStats]:
    total, stats = clip.info.n_frames or 0, EncodingStats()
    written = (compress_clip(clip, stream, codec, quality, **options) if coder is None else
               compress_groups(clip, stream, codec, quality, coder, **options))
    for stats in written:
        yield Progress(stats.frames, max(total, stats.frames))
    return stats


def decompress(source: FileLike, *, model: ModelLike | None = None, scale: ScaleLike = 1,
               device: Device = "auto", progress: ProgressCallback | None = None
               ) -> Iterator[np.ndarray]:
    """Decode a `.aev` file; its header and the arguments are checked at once.

    Args:
        source: path or binary stream.
        model: the model, its folder or hub id, if it is not found by the name in the file.
        scale: 1/8, 1/4, 1/2, 1 or 2, such as "1/8" or 0.125: size of the frames, sides rounded up.
            Codecs decode small pictures in less time, or scale whole ones.
        device: where networks run, as `aehub.load`.
        progress: called as `progress(done, total)` in frames; total is 0 if unknown.

    Returns:
        An iterator of frames, uint8 [H, W, 3] in RGB.

    Raises:
        FormatError: it is not a `.aev` file, or a newer one.
        WeightsError: it was written with other weights than the installed ones.
        InputError: the scale is another.
        DamagedError: groups are lost; raised after the intact ones were returned.

    Example:
        >>> for frame in aehub.decompress("clip.aev"):
        ...     print(frame.mean())
    """
    frames = _frames(source, model, check_scale(scale), device, progress)
    # Up to its first, empty yield all is checked, and closing it closes the file.
    next(frames)
    return frames


def _frames(source: FileLike, model: ModelLike | None, scale: Fraction, device: Device,
            progress: ProgressCallback | None) -> Iterator[np.ndarray]:
    check_function("progress", progress)
    with open_reader(source) as reader:
        codec = load_for_file(reader.header, model, device=device)
        colour, total = clip_info(reader.header).colour, reader.frame_count or 0
        yield np.empty(0)
        with closing(decode_ahead(reader, codec, scale)) as frames:
            for done, frame in enumerate(frames, 1):
                if progress is not None:
                    progress(done, max(total, done))
                yield to_rgb(frame.picture, colour)


def decompress_to(source: FileLike, output: FileLike, *, model: ModelLike | None = None,
                  scale: ScaleLike = 1, restore: bool = True, force: bool = False,
                  device: Device = "auto", progress: ProgressCallback | None = None
                  ) -> Decompressed:
    """Turn a `.aev` file back into a playable clip.

    Args:
        source: path or binary stream.
        output: path whose suffix selects the format: .mp4, .webm, .mkv (lossless), .gif, .webp,
            .png (APNG), a folder of PNGs without one; or a stream, which receives y4m.
        model: the model, its folder or hub id, if it is not found by the name in the file.
        scale: as for `decompress`.
        restore: False copies the stream of the standard codec inside, such as AV1, untouched into
            an .mp4, .mkv or .webm; no network runs.
        force: overwrite the output.
        device: where networks run, as `aehub.load`.
        progress: called as `progress(done, total)` in frames; total is 0 if unknown.

    Returns:
        Properties of the output.

    Raises:
        InputError: the scale is another, or players would show the copied stream other than it is.
        FormatError: it is not a `.aev` file, or a newer one.
        WeightsError: it was written with other weights than the installed ones.
        ExistsError: the output exists and `force` is not set.
        DamagedError: groups are lost; the intact ones were written first.

    Example:
        >>> aehub.decompress_to("clip.aev", "back.mp4").seconds
    """
    job = iter_decompress_to(source, output, model=model, scale=scale, restore=restore, force=force,
                             device=device)
    return run_job(job, progress)


def iter_decompress_to(source: FileLike, output: FileLike, *, model: ModelLike | None = None,
                       scale: ScaleLike = 1, restore: bool = True, force: bool = False,
                       device: Device = "auto") -> Generator[Progress, None, Decompressed]:
    """Run `decompress_to`, yielding a `Progress` after each frame; closing it cancels.

    Arguments, result and errors are those of `decompress_to`.
    """
    began, scale = time.monotonic(), check_scale(scale)
    target = check_output(output, may_be_folder=True)
    if scale != 1 and not restore:
        raise InputError(f"the scale is {scale}, and a stream that is copied has the size of the "
                         "file; leave one of the two out.")
    if isinstance(target, Path):
        refuse_overwriting(target, force, is_folder=not target.suffix)
    source = check_source(source)
    with ExitStack() as stack:
        if isinstance(target, Path) and not isinstance(source, Path):
            # Audio follows the pictures in the stream, but file writers need it first.
            source = stack.enter_context(seekable_file(source))
        reader = stack.enter_context(open_reader(source))
        codec = load_for_file(reader.header, model, device=device)
        total = reader.frame_count or 0
        info = clip_info(reader.header, total or None, reader.plays, scale)
        track = stack.enter_context(spool())
        damage = _copy_sound(reader, track) if isinstance(target, Path) else None
        sound = track if track.tell() else None
        track.seek(0)
        demuxer = "" if restore else standard_codec(codec).stream_format
        pictures = (_decoded(reader, codec, scale, info) if restore else
                    coded_frames(reader, standard_codec(codec), may_hide=_is_mp4(target)))
        with (closing(pictures),
              open_writer(target, info=info, audio=sound, demuxer=demuxer) as writer):
            done, last, lost = yield from _write(writer, pictures, info, total)
        damage = lost or damage
        if damage is not None:
            raise damage
        notes = tuple(filter(None, (*writer.notes, *_format_notes(info), scale_note(codec, scale),
                                    *codec_notes(codec))))
        return Decompressed(str(target) if isinstance(target, Path) else None, codec.name, done,
                            info.width, info.height, _rate(info),
                            round(float(last * info.time_base), 6),
                            round(time.monotonic() - began, 3), notes)


def _is_mp4(target: Path | BinaryIO) -> bool:
    return isinstance(target, Path) and target.suffix.lower() == ".mp4"


def _write(writer: ClipWriter, pictures: Iterable[tuple[Picture | CodedPicture, int, int | None]],
           info: ClipInfo, total: int
           ) -> Generator[Progress, None, tuple[int, int, DamagedError | None]]:
    """Write pictures; return how many are shown, their end in ticks, and what was lost of them."""
    done = last = 0
    try:
        for picture, begin, duration in pictures:
            writer.put(picture, begin, duration)
            done, last = done + int(begin >= 0), begin + (duration or info.frame_ticks)
            yield Progress(done, max(total, done))
    except DamagedError as error:
        # The intact frames are written before the error is raised.
        if not done:
            raise
        return done, last, error
    return done, last, None


def _decoded(reader: Reader, codec: Codec, scale: Fraction, info: ClipInfo
             ) -> Generator[Frame, None, None]:
    """Decoded frames in the format that writers take."""
    with closing(decode_ahead(reader, codec, scale)) as frames:
        for frame in frames:
            yield frame._replace(picture=to_yuv420(frame.picture, info.colour))


def open(source: FileLike, *, model: ModelLike | None = None, scale: ScaleLike = 1,
         device: Device = "auto") -> Archive:
    """Open a `.aev` file for random access.

    Args:
        source: path or seekable stream.
        model: the model, its folder or hub id, if it is not found by the name in the file; loaded
            with the first frame.
        scale: as for `decompress`.
        device: where networks run, as `aehub.load`.

    Returns:
        A sequence of frames, uint8 [H, W, 3] in RGB; a slice of it is uint8 [T, H, W, 3].

    Raises:
        InputError: there is no such file, it is a pipe, or the scale is another.
        FormatError: it is not a `.aev` file, or a newer or damaged one.

    Example:
        >>> aehub.open("clip.aev")[120:180].shape
    """
    return Archive(source, lambda header: load_for_file(header, model, device=device),
                   check_scale(scale))


def _format_notes(info: ClipInfo) -> tuple[str, ...]:
    """A note where pictures were written in another format than they have in the file."""
    return () if info.pictures in (YUV420, RGB) else (
        f"Pictures of {info.pictures} were converted to {YUV420}; aehub.open(...).picture(n) gives "
        "them as they are.",)


def _copy_sound(reader: Reader, track: BinaryIO) -> DamagedError | None:
    """Copy the audio track; return the error at which it breaks off."""
    try:
        for piece in reader.audio_pieces():
            track.write(piece)
    except DamagedError as error:
        return error
    return None


def _rate(info: ClipInfo) -> str:
    return f"{info.fps.numerator}/{info.fps.denominator}"


def _output_path(source: Any, output: Any) -> Path | BinaryIO:
    if output is None:
        if not isinstance(source, (str, os.PathLike)):
            raise InputError("frames and streams have no file name; give an output.")
        return output_beside(source, ".aev")
    return check_output(output)


def _summary(target: Path | BinaryIO, model: str, info: ClipInfo, stats: EncodingStats,
             quality: float, elapsed: float) -> Compressed:
    pictures = stats.bytes - stats.audio_bytes
    pixels = info.width * info.height * stats.frames
    measured = stats.distortion.n_frames > 0
    ms_ssim = stats.distortion.ms_ssim if measured else None
    return Compressed(
        path=str(target) if isinstance(target, Path) else None, model=model, bytes=stats.bytes,
        audio_bytes=stats.audio_bytes, frames=stats.frames, width=info.width,
        height=info.height, fps=_rate(info), seconds=round(stats.seconds, 6),
        kbps=round(quotient(8 * pictures, 1000 * stats.seconds), 3),
        bits_per_pixel=round(quotient(8 * pictures, pixels), 6),
        ratio=round(info.source_bytes / stats.bytes, 3) if info.source_bytes else None,
        psnr=round(stats.distortion.psnr, 3) if measured else None,
        ms_ssim=None if ms_ssim is None else round(ms_ssim, 6),
        elapsed=round(elapsed, 3), quality=quality, notes=info.notes + stats.notes,
        frame_bytes=tuple(stats.frame_bytes))
