"""A decoded file against its original: measured, as videos for the page, and as single frames.

The comparison is one video with the original above the reconstruction, so that a player that draws
both cannot show them out of sync:

    rows 0 .. H-1           original
    rows H .. half-1        its last row repeated: margin for the video codec's filters
    rows half .. half+H-1   reconstruction
"""

from __future__ import annotations

import io
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from aehub.api.compress import iter_decompress_to
from aehub.api.compress import open as open_archive
from aehub.api.edit import edit
from aehub.bitstream import Reader, open_reader
from aehub.bitstream.validation import info
from aehub.codecs.decompress import clip_info, decode_ahead
from aehub.editing.operations import Trim
from aehub.errors import AEHubError, InputError
from aehub.files import spool
from aehub.hub import load_for_file
from aehub.media.conversion import to_rgb, to_yuv420
from aehub.media.decoded_clip import DecodedClip
from aehub.media.metrics import Distortion
from aehub.media.picture import ClipInfo, Colour, Frame, Picture
from aehub.media.scaling import SCALES, scaled_size
from aehub.media.writer import open_writer
from aehub.report.prepare import read_frame
from aehub.report.records import Playback
from aehub.results import Progress

_MACROBLOCK = 16
"""Side of a macroblock of H.264, in pixels."""
PREVIEW_SECONDS = 3
"""Length of a preview video at most."""
MAX_PREVIEW_FRAMES = 96
MIN_PREVIEW_FRAMES = 8
"""Frames of a preview of the largest pictures."""
MAX_PREVIEW_SIDE = 1280
"""Samples along the longer side of a preview: larger pictures are decoded at a smaller scale."""
MAX_PREVIEW_SAMPLES = 10_000_000
"""Luma samples of all frames of a preview: a few seconds of work on a small machine."""
IMAGE_KINDS = ("difference", "original", "reconstruction")
ERROR_GAIN = 8
"""Factor on a displayed error: errors of a few levels in 255 are invisible as they are."""


def iter_playback(
    original: DecodedClip, compressed: Path, stacked: Path, decoded: Path,
    frame_bytes: tuple[int, ...],
) -> Generator[Progress, None, Playback]:
    """Decode a file, measure it against its original and write both videos.

    Args:
        original: the frames that were compressed.
        compressed: its `.aev` file.
        stacked: mp4 to write, original above reconstruction, near-lossless.
        decoded: mp4 to write, the reconstruction alone.
        frame_bytes: by which the file grew with every frame (`Compressed.frame_bytes`).

    Raises:
        FormatError: it is no `.aev` file.
        AEHubError: it is not of this clip.
    """
    distortion, times, seconds = Distortion(), [], 0.0
    with ExitStack() as stack:
        reader = stack.enter_context(open_reader(compressed))
        model = load_for_file(reader.header)
        facts = with_explicit_colour(clip_info(reader.header, reader.frame_count))
        half = stacked_half(facts.height)
        tall = replace(facts, height=half + facts.height)
        # Each writer reads the sound to its end.
        sound, sound_again = (stack.enter_context(_AudioTrack(reader)) for _ in range(2))
        both_writer = stack.enter_context(open_writer(stacked, info=tall, audio=sound.track))
        writer = stack.enter_context(open_writer(decoded, info=facts, audio=sound_again.track))
        total = reader.frame_count or 0
        decoded_frames = stack.enter_context(closing(decode_ahead(reader, model)))
        for source, result in _pairs(iter(original), decoded_frames):
            result = result._replace(picture=to_yuv420(result.picture, facts.colour))
            distortion.add(source, result.picture)
            both = stack_planes(source, result.picture, half)
            both_writer.write(result._replace(picture=both))
            writer.write(result)
            times.append(float(result.time * facts.time_base))
            seconds = times[-1] + float((result.duration or facts.frame_ticks) * facts.time_base)
            yield Progress(len(times), max(total, len(times)))
        return Playback(
            width=facts.width, height=facts.height, half=half,
            times=tuple(round(time, 6) for time in times), seconds=round(seconds, 6),
            has_sound=sound.track is not None, psnr=distortion.psnr, ms_ssim=distortion.ms_ssim,
            frame_psnrs=tuple(round(value, 3) for value in distortion.frame_psnrs),
            frame_bytes=frame_bytes)


def with_explicit_colour(info: ClipInfo) -> ClipInfo:
    """Make the colour explicit: browsers guess it from the height, which stacking doubles."""
    matrix, full_range, *light = info.colour
    primaries, transfer = (1 if code == 2 else code for code in light)
    matrix = 6 if matrix == 2 else matrix
    return replace(info, colour=Colour(matrix, full_range, primaries, transfer))


def stacked_half(height: int) -> int:
    """Return the first row of the reconstruction: on a macroblock border past the original."""
    return -(-(height + _MACROBLOCK // 2) // _MACROBLOCK) * _MACROBLOCK


def stack_planes(above: Picture, below: Picture, half: int) -> Picture:
    """Stack two pictures of one size, `below` starting at row `half`."""
    rows = (half, half // 2, half // 2)
    return Picture((
        np.concatenate([np.pad(a, ((0, start - len(a)), (0, 0)), mode="edge"), b])
        for a, b, start in zip(above, below, rows, strict=True)
    ))


class _AudioTrack:
    """The sound track of a file as a stream of its own; `track` is None without sound."""

    def __init__(self, reader: Reader) -> None:
        self._file = spool()
        for piece in reader.audio_pieces():
            self._file.write(piece)
        self.track = self._file if self._file.tell() else None
        self._file.seek(0)

    def __enter__(self) -> _AudioTrack:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _pairs(
    originals: Iterator[Picture], results: Iterator[Frame]
) -> Iterator[tuple[Picture, Frame]]:
    for result in results:
        source = next(originals, None)
        if source is None:
            raise AEHubError("the file has more frames than its original; compress it again.")
        yield source, result
    if next(originals, None) is not None:
        raise AEHubError("the file has fewer frames than its original; compress it again.")


def preview_frame_count(width: int, height: int, fps: Fraction) -> int:
    """Return the number of frames of a preview video.

    Example:
        >>> preview_frame_count(256, 256, Fraction(25)), preview_frame_count(640, 360, Fraction(25))
        (75, 43)
    """
    affordable = max(MIN_PREVIEW_FRAMES, MAX_PREVIEW_SAMPLES // (width * height))
    return max(1, min(affordable, MAX_PREVIEW_FRAMES, round(PREVIEW_SECONDS * fps)))


def preview_scale(width: int, height: int) -> Fraction:
    """Return the scale at which a preview video of pictures of this size is decoded.

    Example:
        >>> preview_scale(1280, 720), preview_scale(1080, 1920)
        (Fraction(1, 1), Fraction(1, 2))
    """
    fitting = [scale for scale in SCALES if scale <= 1
               and max(scaled_size((width, height), scale)) <= MAX_PREVIEW_SIDE]
    return max(fitting, default=SCALES[0])


def iter_preview_video(packed: Path, video: Path) -> Generator[Progress, None, int]:
    """Decode the first frames of an `.aev` file and write them as mp4; closing it stops the work.

    Args:
        packed: the file.
        video: mp4 to write.

    Returns:
        Frames written.

    Raises:
        AEHubError: the file cannot be decoded.
    """
    facts = info(packed)
    size = facts["width"], facts["height"]
    scale = preview_scale(*size)
    count = preview_frame_count(*scaled_size(size, scale), Fraction(facts["fps"]))
    part = video.with_suffix(".part.aev")
    try:
        edit(packed, part, [Trim(f":{count}f")])
        return (yield from iter_decompress_to(part, video, scale=scale)).frames
    finally:
        part.unlink(missing_ok=True)


def frame_image(original: Path, compressed: Path, number: int, kind: str = "difference") -> bytes:
    """Return one frame as PNG, without loss.

    Args:
        original: the lossless clip that was compressed.
        compressed: its `.aev` file.
        number: of the frame, from 0.
        kind: "original", "reconstruction", or "difference": their absolute difference in RGB
            times `ERROR_GAIN`, black where they agree.

    Raises:
        InputError: the frame or the kind does not exist.
    """
    if kind not in IMAGE_KINDS:
        raise InputError(f"the image {kind!r} is not known; ask for {', '.join(IMAGE_KINDS)}.")
    with open_archive(compressed) as archive:
        if not 0 <= number < len(archive):
            raise InputError(f"frame {number} does not exist; give 0 to {len(archive) - 1}.")

        def before() -> np.ndarray:
            return to_rgb(read_frame(original, archive.time(number)), archive.info.colour)

        if kind == "original":
            return png_bytes(before())
        result = archive[number]
        if kind == "reconstruction":
            return png_bytes(result)
        return png_bytes(error_image(before(), result))


def error_image(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return |before - after| times `ERROR_GAIN`, uint8 [H, W, 3], of two such pictures."""
    distance = np.abs(before.astype(np.int16) - after)
    return np.minimum(distance * ERROR_GAIN, 255).astype(np.uint8)


def png_bytes(picture: np.ndarray) -> bytes:
    """Encode a picture, uint8 [H, W, 3], as PNG."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    return file.getvalue()
