"""What came back: the file decoded, measured frame by frame, and laid beside its original.

The comparison is one video with the original above the reconstruction, so that a player that
draws both halves cannot show them out of step.

    rows 0 .. H-1           original
    rows H .. half-1        its last row again: room for the video codec's filters
    rows half .. half+H-1   reconstruction
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from aehub.clips.clip import open_clip
from aehub.clips.frames import ClipInfo, Colour, Frame, Planes
from aehub.clips.writer import open_writer
from aehub.codec.decompress import clip_info, decode_frames
from aehub.codec.sizes import frame_sizes
from aehub.container import Reader, open_reader
from aehub.errors import AEHubError
from aehub.files import spool
from aehub.hub import load_written
from aehub.metrics import Distortion
from aehub.results import Step
from aehub.review.records import Replay

_MACROBLOCK = 16


def iter_replay(
    original: Path, compressed: Path, stacked: Path, decoded: Path
) -> Generator[Step, None, Replay]:
    """Decode a file, measure it against its original and write both videos.

    Args:
        original: the clip that was compressed, losslessly.
        compressed: its `.aev` file.
        stacked: mp4 to write, original above reconstruction, near-lossless.
        decoded: mp4 to write, the reconstruction alone.

    Raises:
        FormatError: the file is not one, or not of this clip.
    """
    distortion, times, seconds = Distortion(), [], 0.0
    with ExitStack() as stack:
        clip = stack.enter_context(open_clip(original))
        reader = stack.enter_context(open_reader(compressed))
        model = load_written(reader.head)
        facts = _tagged(clip_info(reader.head, reader.frame_count))
        half = stacked_half(facts.height)
        tall = replace(facts, height=half + facts.height)
        one, two = (stack.enter_context(_Sound(reader)) for _ in range(2))
        above = stack.enter_context(open_writer(stacked, info=tall, audio=one.track))
        alone = stack.enter_context(open_writer(decoded, info=facts, audio=two.track))
        total = reader.frame_count or 0
        for source, result in _pairs(iter(clip), decode_frames(reader, model)):
            distortion.add(source.planes, result.planes)
            both = stack_planes(source.planes, result.planes, half)
            above.write(result._replace(planes=both))
            alone.write(result)
            times.append(float(result.time * facts.time_base))
            seconds = times[-1] + float((result.duration or facts.step) * facts.time_base)
            yield Step(len(times), max(total, len(times)))
        return Replay(
            width=facts.width, height=facts.height, half=half,
            times=tuple(round(time, 6) for time in times), seconds=round(seconds, 6),
            has_sound=one.track is not None, psnr=distortion.psnr, ms_ssim=distortion.ms_ssim,
            frame_psnrs=tuple(round(value, 3) for value in distortion.frame_psnrs),
            groups=tuple(frame_sizes(reader, model)))


def _tagged(info: ClipInfo) -> ClipInfo:
    """The clip with its colours said: browsers guess from the height, and stacking doubles that."""
    matrix, full_range, *light = info.colour
    primaries, transfer = (1 if point == 2 else point for point in light)
    matrix = 6 if matrix == 2 else matrix
    return replace(info, colour=Colour(matrix, full_range, primaries, transfer))


def stacked_half(height: int) -> int:
    """First row of the reconstruction: past the original, on a macroblock of its own."""
    return -(-(height + _MACROBLOCK // 2) // _MACROBLOCK) * _MACROBLOCK


def stack_planes(above: Planes, below: Planes, half: int) -> Planes:
    """Two pictures of one size -> one, `below` starting at row `half`."""
    rows = (half, half // 2, half // 2)
    return Planes(*(
        np.concatenate([np.pad(a, ((0, start - len(a)), (0, 0)), mode="edge"), b])
        for a, b, start in zip(above, below, rows, strict=True)
    ))


class _Sound:
    """A file's sound track, `None` where there is none, as a stream of its own."""

    def __init__(self, reader: Reader) -> None:
        self._file = spool()
        for piece in reader.audio_pieces():
            self._file.write(piece)
        self.track = self._file if self._file.tell() else None
        self._file.seek(0)

    def __enter__(self) -> _Sound:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _pairs(
    originals: Iterator[Frame], results: Iterator[Frame]
) -> Iterator[tuple[Frame, Frame]]:
    for result in results:
        source = next(originals, None)
        if source is None:
            raise AEHubError("the file has more frames than its original; compress it again.")
        yield source, result
    if next(originals, None) is not None:
        raise AEHubError("the file has fewer frames than its original; compress it again.")
