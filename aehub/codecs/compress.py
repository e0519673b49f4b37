"""Compression of a clip: its frames -> groups of a `.aev` file, four mini-GOPs in memory at most.

Frame times become ticks of the file: constant frame rates need none of them, variable ones lose
none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import BinaryIO, Protocol

from aehub.bitstream import FileHeader, GroupHeader, Writer, nearest_rate
from aehub.bitstream.metadata import PLAYS
from aehub.codecs.base import Codec, CodedFrame, GroupEncoder, LatentCodec, MiniGop
from aehub.codecs.gop import group_frames, split_into_groups, split_into_mini_gops
from aehub.config import DEFAULT_EFFORT
from aehub.errors import InputError
from aehub.media.clip import Clip
from aehub.media.colour import tags_to_write
from aehub.media.conversion import to_format, to_yuv420
from aehub.media.metrics import Distortion
from aehub.media.picture import (
    RGB,
    YUV420,
    ClipInfo,
    Colour,
    Frame,
    Picture,
    PictureFormat,
)
from aehub.threads import ahead

# Of the frame rate: 1 / (fps * frame_ticks) then fits the file header's time base.
_MAX_DENOMINATOR = 16_511
_AUDIO_CHUNK = 1 << 20
_Times = tuple[tuple[int, ...] | None, int | None]
"""Times of a group's frames after its first, and duration of the last; None for defaults."""


@dataclass(frozen=True)
class TickConverter:
    """Conversion of source ticks to file ticks.

    A file tick is a whole part of the frame duration, at most as long as the source's tick; a frame
    within one source tick of the constant-rate grid is put on it, because containers such as
    Matroska round times to milliseconds.

    Attributes:
        fps: nominal frame rate that the file can hold.
        time_base: seconds per file tick.
        frame_ticks: file ticks per frame at a constant rate.
        source: seconds per source tick.
    """

    fps: Fraction
    time_base: Fraction
    frame_ticks: int
    source: Fraction

    @classmethod
    def of(cls, info: ClipInfo) -> TickConverter:
        """The converter for a clip; ticks are not shorter than 1/10,000 of a frame."""
        fps = nearest_rate(info.fps).limit_denominator(_MAX_DENOMINATOR)
        fps = max(fps, Fraction(1, _MAX_DENOMINATOR))
        frame_ticks = min(10_000, max(1, -int(-1 / (fps * info.time_base) // 1)))
        return cls(fps, 1 / (fps * frame_ticks), frame_ticks, info.time_base)

    def ticks(self, time: int) -> int:
        """Source ticks -> file ticks."""
        seconds = time * self.source
        frame = round(seconds * self.fps)
        if abs(seconds - frame / self.fps) <= self.source:
            return frame * self.frame_ticks
        return round(seconds / self.time_base)

    @property
    def default_duration(self) -> int:
        """Source ticks of a frame without duration."""
        return max(1, round(1 / (self.fps * self.source)))

    def relative(self, times: Sequence[int]) -> tuple[int, ...] | None:
        """File ticks of a group's frames -> times after its first; None at a constant rate."""
        relative = tuple(time - times[0] for time in times)
        constant = tuple(range(0, len(times) * self.frame_ticks, self.frame_ticks))
        return None if relative == constant else relative

    def last_duration(self, times: Sequence[int], end: int) -> int | None:
        """Ticks from a group's last frame to its `end`; None if as long as the one before."""
        usual = times[-1] - times[-2] if len(times) > 1 else self.frame_ticks
        duration = max(1, end - times[-1])
        return None if duration == usual else duration


@dataclass
class EncodingStats:
    """Running totals of what is written; `frame_bytes` of each frame whose mini-GOP is complete.

    `notes` are sentences about conversions.
    """

    frames: int = 0
    audio_bytes: int = 0
    seconds: float = 0.0
    bytes: int = 0
    frame_bytes: list[int] = field(default_factory=list)
    distortion: Distortion = field(default_factory=Distortion)
    notes: tuple[str, ...] = ()


def compress_clip(clip: Clip, stream: BinaryIO, codec: Codec, quality: float, *,
                  group: int | None = None, audio: bool = True, measure: bool = True,
                  effort: int = DEFAULT_EFFORT) -> Iterator[EncodingStats]:
    """Write `clip` to `stream`; yields totals after each frame. Closing the iterator cancels.

    Args:
        clip: an open clip.
        stream: to write to; need not seek.
        codec: a loaded codec.
        quality: 0..100.
        group: frames per group at most; the default is best but for editing.
        audio: copy the audio track.
        measure: decode what was written and compare it with the source.
        effort: of the encoder, 0 to 9.

    Raises:
        InputError: the clip has no frames, breaks off, or has pictures that the codec cannot take.
    """
    header, stats = _begin(clip, codec, quality, group)
    mini_gops = ahead(split_into_mini_gops(clip, header.group_frames), int(clip.is_file))
    with Writer(stream, header) as writer, closing(mini_gops):
        times, encoder, pending = _GroupTimes(TickConverter.of(clip.info)), None, 0
        for mini_gop in mini_gops:
            times.add(mini_gop.frames)
            if encoder is None:
                encoder = codec.group_encoder(header, measure=measure, effort=effort)
                frames = _GroupFrames(stats, header.pictures, clip.info.colour)
            for n_bytes in frames.encode(encoder, mini_gop):
                pending += n_bytes
                stats.bytes = writer.size + pending
                yield stats
            if mini_gop.ends_group:
                group_header, payload = encoder.finish()
                _write_group(writer, stats, group_header, payload,
                             times.finish(mini_gop.following))
                encoder, pending = None, 0
        _write_rest(clip, writer, stats, audio)
        stats.notes += codec_notes(codec)
    stats.bytes = writer.size
    yield stats


@dataclass(frozen=True)
class SourceGroup:
    """Frames of a group before they are coded, and the frame after them."""

    frames: list[Frame]
    following: Frame | None


@dataclass(frozen=True)
class CodedGroup:
    """A group as it was coded.

    Attributes:
        header: without times.
        payload: of the codec.
        frame_bytes: of each frame, in the order of times.
        distortion: of its frames; of none if it was not measured.
        notes: sentences on how the codec computed.
    """

    header: GroupHeader
    payload: bytes
    frame_bytes: tuple[int, ...]
    distortion: Distortion
    notes: tuple[str, ...] = ()


class GroupCoder(Protocol):
    """Codes groups elsewhere, several at once."""

    def __call__(self, groups: Iterator[SourceGroup], header: FileHeader, colour: Colour, *,
                 measure: bool, effort: int) -> Generator[int | CodedGroup, None, None]:
        """Code groups as `encode_group` does; closing the iterator cancels.

        Args:
            groups: of a clip, decoded as they are asked for.
            header: of the file.
            colour: of the clip.
            measure: decode what was coded and compare it with the source.
            effort: of the encoder, 0 to 9.

        Yields:
            each group, in order, and in between the number of frames that are coded so far.
        """
        ...


def encode_group(codec: Codec, group: SourceGroup, header: FileHeader, colour: Colour, *,
                 measure: bool = True, effort: int = DEFAULT_EFFORT
                 ) -> Generator[int, None, CodedGroup]:
    """Code one group as `compress_clip` does; yields the number of its frames that are done.

    Args:
        codec: a loaded codec.
        group: as `aehub.codecs.gop.split_into_groups` gives it.
        header: of the file.
        colour: of the clip.
        measure: decode what was coded and compare it with the source.
        effort: of the encoder, 0 to 9.
    """
    stats = EncodingStats()
    encoder = codec.group_encoder(header, measure=measure, effort=effort)
    frames = _GroupFrames(stats, header.pictures, colour)
    for mini_gop in split_into_mini_gops(group.frames, header.group_frames):
        if mini_gop.ends_group:
            mini_gop = replace(mini_gop, following=group.following)
        for _ in frames.encode(encoder, mini_gop):
            yield stats.frames
    group_header, payload = encoder.finish()
    return CodedGroup(group_header, payload, tuple(stats.frame_bytes), stats.distortion,
                      codec_notes(codec))


def compress_groups(clip: Clip, stream: BinaryIO, codec: Codec, quality: float, coder: GroupCoder,
                    *, group: int | None = None, audio: bool = True, measure: bool = True,
                    effort: int = DEFAULT_EFFORT) -> Iterator[EncodingStats]:
    """Write the file of `compress_clip`, bit for bit, with groups that are coded elsewhere.

    Arguments, results and errors are those of `compress_clip`; `coder` codes the groups, of which
    as many are in memory as it asks for, and two more.
    """
    header, stats = _begin(clip, codec, quality, group)
    times, ended = _GroupTimes(TickConverter.of(clip.info)), deque[_Times]()
    split = ahead(split_into_groups(clip, header.group_frames), int(clip.is_file))

    def groups() -> Iterator[SourceGroup]:
        for frames, following in split:
            times.add(frames)
            ended.append(times.finish(following))
            yield SourceGroup(frames, following)

    with (Writer(stream, header) as writer, closing(split), closing(coder(
            groups(), header, clip.info.colour, measure=measure, effort=effort)) as coded):
        notes = dict[str, None]()
        for item in coded:
            if isinstance(item, CodedGroup):
                _write_group(writer, stats, item.header, item.payload, ended.popleft())
                stats.frame_bytes += item.frame_bytes
                stats.distortion.extend(item.distortion)
                notes |= dict.fromkeys(item.notes)
            stats.frames = item if isinstance(item, int) else stats.frames
            stats.bytes = writer.size
            yield stats
        _write_rest(clip, writer, stats, audio)
        stats.frames, stats.notes = len(stats.frame_bytes), stats.notes + tuple(notes)
    stats.bytes = writer.size
    yield stats


def _begin(clip: Clip, codec: Codec, quality: float, group: int | None
           ) -> tuple[FileHeader, EncodingStats]:
    info = clip.info
    header = file_header(codec, info, quality, group)
    notes = () if header.pictures in (info.pictures, RGB) else (
        f"Pictures of {info.pictures} were brought to {header.pictures}, which {codec.name} "
        "takes.",)
    return header, EncodingStats(notes=notes)


def _write_group(writer: Writer, stats: EncodingStats, header: GroupHeader, payload: bytes,
                 times: _Times) -> None:
    shown, last = times
    header = replace(header, times=shown, last_duration=last)
    writer.group(header, payload)
    stats.seconds += float(header.ticks(writer.header.frame_ticks) * writer.header.time_base)


def _write_rest(clip: Clip, writer: Writer, stats: EncodingStats, audio: bool) -> None:
    """Write what follows the groups: sound and metadata."""
    if audio:
        _copy_audio(clip, writer)
        stats.audio_bytes = writer.audio_bytes
    if clip.info.plays:
        writer.metadata({PLAYS: clip.info.plays})


def codec_notes(codec: Codec) -> tuple[str, ...]:
    """Sentences on how a codec computed; few have any."""
    return tuple(codec.notes) if isinstance(codec, LatentCodec) else ()


def _copy_audio(clip: Clip, writer: Writer) -> None:
    if clip.audio is not None:
        with clip.audio.open() as track:
            while chunk := track.read(_AUDIO_CHUNK):
                writer.audio(chunk)


def file_header(codec: Codec, info: ClipInfo, quality: float, group: int | None) -> FileHeader:
    """Header of the file of a clip.

    Raises:
        InputError: `group` is not possible, or the codec does not take such pictures.
    """
    pictures, converter = codec.pictures or info.pictures, TickConverter.of(info)
    if pictures not in (info.pictures, YUV420, RGB):
        raise InputError(f"{codec.name} takes pictures of {pictures}, and the clip has "
                         f"{info.pictures}; convert it, or name another model.")
    header = FileHeader(
        model=codec.name, entropy_hash=codec.entropy_hash, synthesis_hash=codec.synthesis_hash,
        coder=codec.payload_formats[0], width=info.width, height=info.height, fps=converter.fps,
        quality=round(quality * 100), group_frames=1, time_base=converter.time_base,
        colour=tags_to_write(info.colour, info.width, info.height),
        pixel_aspect=info.pixel_aspect, pictures=pictures)
    return replace(header, group_frames=group_frames(
        header.coded_size(codec.grid), float(info.fps), group))


def estimate_size(codec: Codec, pictures: Sequence[Picture], info: ClipInfo, quality: float,
                  n_frames: int, *, effort: int = DEFAULT_EFFORT) -> float:
    """Estimate the bytes of a clip of `n_frames` at a quality from its first pictures."""
    header = file_header(codec, info, quality, None)
    encoder, sizes = codec.group_encoder(header, effort=effort), list[int]()
    frames = [Frame(to_format(picture, header.pictures, info.colour), time)
              for time, picture in enumerate(pictures)]
    for part in (frames[:1], frames[1:]):
        ends = bool(sizes) or len(frames) == 1
        coded = encoder.add(MiniGop(part, ends, None)) if part else ()
        sizes.append(sum(frame.bytes for frame in coded if frame is not None))
    first, later = sizes
    if not first:  # Frames are coded together.
        return later * n_frames / max(1, len(frames))
    return first + later * (n_frames - 1) / max(1, len(frames) - 1)


class _GroupFrames:
    """Frames of a group from the clip to the totals, in the order of times.

    Args:
        stats: totals.
        pictures: format that the codec takes; distortion is measured in the format of the source
            where that is 8-bit 4:2:0.
        colour: of the source.
    """

    def __init__(self, stats: EncodingStats, pictures: PictureFormat, colour: Colour) -> None:
        self._stats, self._n_frames, self._n_counted = stats, 0, 0
        self._pictures, self._colour = pictures, colour
        self._sources: dict[int, Picture] = {}
        self._coded: dict[int, CodedFrame] = {}

    def encode(self, encoder: GroupEncoder, mini_gop: MiniGop) -> Iterator[int]:
        """Encode a mini-GOP; yields the bytes of each frame that is done, 0 for a trial."""
        for frame in mini_gop.frames:
            self._sources[self._n_frames] = frame.picture
            self._n_frames += 1
        frames = [frame._replace(picture=to_format(frame.picture, self._pictures, self._colour))
                  for frame in mini_gop.frames]
        for coded in encoder.add(replace(mini_gop, frames=frames)):
            if coded is not None:
                self._coded[coded.number] = coded
                self._stats.frames += 1
            yield 0 if coded is None else coded.bytes
        while self._n_counted in self._coded:
            coded, source = self._coded.pop(self._n_counted), self._sources.pop(self._n_counted)
            self._stats.frame_bytes.append(coded.bytes)
            if coded.picture is not None:
                self._stats.distortion.add(*self._comparable(source, coded.picture))
            self._n_counted += 1


    def _comparable(self, source: Picture, decoded: Picture) -> tuple[Picture, Picture]:
        if source.format == decoded.format:
            return source, decoded
        return to_yuv420(source, self._colour), to_yuv420(decoded, self._colour)


class _GroupTimes:
    """Times of a group's frames in file ticks."""

    def __init__(self, converter: TickConverter) -> None:
        self._converter = converter
        self._ticks: list[int] = []
        self._latest, self._end = -1, 0

    def add(self, frames: list[Frame]) -> None:
        for frame in frames:
            # Frames nearer to each other than a tick of the source may fall on the same one.
            self._latest = max(self._converter.ticks(frame.time), self._latest + 1)
            self._ticks.append(self._latest)
        self._end = frames[-1].time + (frames[-1].duration or self._converter.default_duration)

    def finish(self, following: Frame | None) -> _Times:
        """Times after the first frame, and duration of the last; None for defaults."""
        ticks, self._ticks = self._ticks, []
        end = self._end if following is None else following.time
        return (self._converter.relative(ticks),
                self._converter.last_duration(ticks, self._converter.ticks(end)))
