"""Frames of a clip -> groups of a `.aev` file, in memory bounded by one group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from aehub.clips import Clip
from aehub.clips.frames import Frame
from aehub.codec.clock import Clock
from aehub.codec.model import Codec
from aehub.container import FileHead, GroupHead, Writer
from aehub.entropy import CODER_VERSION
from aehub.errors import InputError
from aehub.metrics import Distortion

GROUP_FRAMES = 8
# A group is coded whole: larger pictures make shorter groups, so that memory stays bounded.
_GROUP_PIXELS = 8 * 1280 * 736
_AUDIO_PIECE = 1 << 20


@dataclass
class Tally:
    """What was written so far."""

    frames: int = 0
    audio_bytes: int = 0
    seconds: float = 0.0
    bytes: int = 0
    distortion: Distortion = field(default_factory=Distortion)


def group_frames(width: int, height: int, wanted: int | None = None) -> int:
    """Frames per group for a picture size.

    Raises:
        InputError: `wanted` is not possible.
    """
    most = max(1, min(GROUP_FRAMES, _GROUP_PIXELS // (width * height)))
    if wanted is None:
        return most
    if not 1 <= wanted <= 1000:
        raise InputError(f"a group of {wanted} frames is not possible; give 1 to 1000.")
    return min(wanted, most)


def compress_clip(clip: Clip, stream: BinaryIO, model: Codec, quality: float, *,
                  group: int | None = None, audio: bool = True, measure: bool = True
                  ) -> Iterator[Tally]:
    """Write `clip` to `stream`; yields the tally after each group. Closing the iterator cancels.

    Args:
        clip: an open clip.
        stream: where bytes go; need not seek.
        model: a loaded model.
        quality: 0..100.
        group: frames per group; the default serves all but editing.
        audio: carry the audio track.
        measure: decode what was written and compare it with the source.

    Raises:
        InputError: the clip has no frames, or breaks off.
    """
    info, clock = clip.info, Clock.of(clip.info)
    size = group_frames(info.width, info.height, group)
    head = FileHead(
        model=model.name, entropy_hash=model.stored.entropy_hash,
        synthesis_hash=model.stored.synthesis_hash, coder=CODER_VERSION,
        width=info.width, height=info.height, fps=clock.fps, quality=round(quality * 100),
        group_frames=size, time_base=clock.time_base, colour=info.colour,
        pixel_aspect=info.pixel_aspect)
    tally = Tally()
    with Writer(stream, head) as writer:
        for frames, following in _groups(clip, size):
            times = [clock.ticks(frame.time) for frame in frames]
            last = clock.last(times, None if following is None else clock.ticks(following.time))
            planes = [frame.planes for frame in frames]
            payload, decoded = model.encode_group(planes, quality, decode=measure)
            shown = GroupHead(len(frames), head.quality, times=clock.relative(times), last=last)
            writer.group(shown, payload)
            for original, result in zip(planes, decoded, strict=measure):
                tally.distortion.add(original, result)
            tally.frames += len(frames)
            tally.seconds += float(shown.ticks(head.step) * head.time_base)
            tally.bytes = writer.size
            yield tally
        if clip.audio is not None and audio:
            with clip.audio.open() as track:
                while piece := track.read(_AUDIO_PIECE):
                    writer.audio(piece)
            tally.audio_bytes = writer.audio_bytes
    tally.bytes = writer.size
    yield tally


def _groups(clip: Clip, size: int) -> Iterator[tuple[list[Frame], Frame | None]]:
    """Groups of frames, each with the frame that follows it."""
    frames: list[Frame] = []
    for frame in clip:
        if len(frames) == size:
            yield frames, frame
            frames = []
        frames.append(frame)
    if frames:
        yield frames, None
