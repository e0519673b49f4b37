"""Groups of a `.aev` file -> frames, one group in memory at a time."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from aehub.bitstream import FileHeader, Group, Reader
from aehub.codecs.base import Codec, StandardCodec
from aehub.errors import FormatError, InputError, WeightsError, count_text
from aehub.media.colour import resolve_unspecified
from aehub.media.picture import ClipInfo, Frame, Picture
from aehub.media.scaling import scaled, scaled_size
from aehub.media.sinks import CodedPicture
from aehub.threads import ahead
from aehub.weights.architectures import FIRST_OF_PACKAGES, architecture_of_payload

_RESTORE = "Leave out --no-restore (restore=False)."
_FRAMES_AHEAD = 4
"""Frames that wait for the caller; more of them even out nothing."""


def check_model(header: FileHeader, codec: Codec) -> None:
    """Refuse to decode with other tables or networks than the file was written with.

    Raises:
        FormatError: the payload format is another.
        WeightsError: the model's hashes are not the file's.
    """
    if header.coder not in codec.payload_formats:
        record = architecture_of_payload(header.coder)
        if record is not None:
            remedy = f"leave the model out, or name the one of {record.name} that wrote the file"
        elif header.coder >= FIRST_OF_PACKAGES:
            remedy = "install the package that brings the codec of the file"
        elif header.coder > codec.payload_formats[0]:
            remedy = "upgrade aehub"
        else:
            remedy = "compress the clip again, or take the release that wrote it"
        raise FormatError(f"the file has payload format {header.coder}, {codec.name} here has "
                          f"{codec.payload_formats[0]}; {remedy}.")
    for part, in_file, in_model in (
            ("tables", header.entropy_hash, codec.entropy_hash),
            ("decoder", header.synthesis_hash, codec.synthesis_hash)):
        if in_file != in_model:
            raise WeightsError(
                f"the file was written with the {part} {in_file.hex()} of {header.model!r}, the "
                f"model here has {in_model.hex()}; decode it with the revision it names.")


def clip_info(header: FileHeader, n_frames: int | None = None, plays: int = 0,
              scale: Fraction = Fraction(1)) -> ClipInfo:
    """Clip information of a file header, decoded at a scale."""
    colour = resolve_unspecified(header.colour, header.width, header.height)
    width, height = scaled_size((header.width, header.height), scale)
    return ClipInfo(width=width, height=height, fps=header.fps,
                    time_base=header.time_base, colour=colour, pictures=header.pictures,
                    pixel_aspect=header.pixel_aspect, n_frames=n_frames, plays=plays)


def decode_group(codec: Codec, header: FileHeader, group: Group,
                 positions: Sequence[int] | None = None, scale: Fraction = Fraction(1)
                 ) -> Iterator[Picture]:
    """Decode the shown frames of a group, in display order.

    Args:
        codec: that the file was written with.
        header: of the file.
        group: of the file.
        positions: shown frames to decode, counted from 0, in this order; frames that none of them
            depends on are not decoded. All by default.
        scale: of the pictures; where the codec does not decode to it, they are scaled.

    Raises:
        FormatError: it asks for more memory than a group of any encoder.
        DamagedError: its bytes are not a stream of the model.
    """
    order: Sequence[int] = group.header.display_order
    if positions is not None:
        order = [order[position] for position in positions]
    if scale == 1:
        return _reordered(order, codec.decode_group(header, group, set(order)))
    if scale in codec.scales:
        return _reordered(order, codec.decode_group(header, group, set(order), scale))
    decoded = codec.decode_group(header, group, set(order))
    return (scaled(picture, scale, group.header.crop) for picture in _reordered(order, decoded))


def _reordered(order: Sequence[int], decoded: Iterator[tuple[int, Picture]]) -> Iterator[Picture]:
    """Frames in this order; what comes after the last of them is not decoded."""
    waiting: dict[int, Picture] = {}
    for wanted in order:
        while wanted not in waiting:
            number, planes = next(decoded)
            waiting[number] = planes
        yield waiting.pop(wanted)


def scale_note(codec: Codec, scale: Fraction) -> str | None:
    """A sentence where pictures are scaled after they are decoded; None where the codec decodes to
    that scale."""
    if scale == 1 or scale in codec.scales:
        return None
    way = "enlarged by Lanczos interpolation" if scale > 1 else "reduced by means of areas"
    return f"{codec.name} does not decode at {scale}; whole pictures were {way}."


def decode_ahead(reader: Reader, codec: Codec, scale: Fraction = Fraction(1)
                 ) -> Generator[Frame, None, None]:
    """Run `decode_frames` beside the caller, which converts, measures or writes its frames."""
    return ahead(decode_frames(reader, codec, scale), _FRAMES_AHEAD)


def decode_frames(reader: Reader, codec: Codec, scale: Fraction = Fraction(1)
                  ) -> Generator[Frame, None, None]:
    """Decode all frames of a file in order.

    Raises:
        DamagedError: after all intact groups, if anything was lost.
    """
    for group, frames in timed_groups(reader):
        decoded = decode_group(codec, reader.header, group, scale=scale)
        for (_, time, duration), planes in zip(frames, decoded, strict=True):
            yield Frame(planes, time, duration)


def standard_codec(codec: Codec) -> StandardCodec:
    """Return the codec if its payloads hold streams of a standard one.

    Raises:
        InputError: they do not.
    """
    if isinstance(codec, StandardCodec):
        return codec
    raise InputError(f"files of {codec.name} hold no stream that players decode; decode the file.",
                     _RESTORE)


def coded_frames(reader: Reader, codec: StandardCodec, *, may_hide: bool
                 ) -> Generator[tuple[CodedPicture, int, int], None, None]:
    """Take the frames of a file out of its payloads, as the standard codec coded them.

    Args:
        reader: of the file.
        codec: that the file was written with.
        may_hide: the container hides frames that come before the time 0.

    Yields:
        (picture, time, duration) in ticks of the file; frames that are hidden at its start, but
        needed, have times below 0.

    Raises:
        InputError: players would show the file other than it is.
        DamagedError: after all intact groups, if anything was lost.
    """
    is_first = True
    for group, shown in timed_groups(reader):
        if group.header.reverse and len(shown) > 1:
            raise InputError("a group plays backward, and its stream only forward; decode the "
                             "file.", _RESTORE)
        hidden, last = group.header.shown[0], group.header.shown[1] - 1
        if hidden and not (is_first and may_hide):
            raise InputError(
                f"a group hides its first {count_text(hidden, 'frame')}, which a player would "
                "show: only an .mp4 hides frames, and only at its start. Decode the file.",
                _RESTORE)
        durations = group.header.durations(reader.header.frame_ticks)
        time = shown[0].time - sum(durations[:hidden])
        packets = codec.standard_packets(reader.header, group)
        for number in range(last + 1):
            yield CodedPicture(packets[number], number == 0), time, durations[number]
            time += durations[number]
        is_first = False


class TimedFrame(NamedTuple):
    """A shown frame of a group: its number there, time and duration in ticks of the file."""

    number: int
    time: int
    duration: int


def timed_groups(reader: Reader) -> Iterator[tuple[Group, list[TimedFrame]]]:
    """Groups of a file with their shown frames, in order.

    Raises:
        DamagedError: after all intact groups, if anything was lost.
    """
    start, begins = 0, {entry.offset: entry.start for entry in reader.index or ()}
    for group in reader.groups():
        # Groups after a lost one keep their times, so that the audio stays in sync.
        start = max(start, begins.get(group.offset, start))
        durations = group.header.durations(reader.header.frame_ticks)
        frames = []
        for number in group.header.display_order:
            frames.append(TimedFrame(number, start, durations[number]))
            start += durations[number]
        yield group, frames
