"""Groups of a `.aev` file -> frames, one group in memory at a time."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

from aehub.bitstream import FileHeader, Group, Reader
from aehub.codecs.base import Codec
from aehub.errors import FormatError, WeightsError
from aehub.media.colour import resolve_unspecified
from aehub.media.picture import ClipInfo, Frame, Picture
from aehub.threads import ahead
from aehub.weights.architectures import FIRST_OF_PACKAGES, architecture_of_payload

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


def clip_info(header: FileHeader, n_frames: int | None = None, plays: int = 0) -> ClipInfo:
    """Clip information of a file header."""
    colour = resolve_unspecified(header.colour, header.width, header.height)
    return ClipInfo(width=header.width, height=header.height, fps=header.fps,
                    time_base=header.time_base, colour=colour, pictures=header.pictures,
                    pixel_aspect=header.pixel_aspect, n_frames=n_frames, plays=plays)


def decode_group(codec: Codec, header: FileHeader, group: Group,
                 positions: Sequence[int] | None = None) -> Iterator[Picture]:
    """Decode the shown frames of a group, in display order.

    Args:
        codec: that the file was written with.
        header: of the file.
        group: of the file.
        positions: shown frames to decode, counted from 0, in this order; frames that none of them
            depends on are not decoded. All by default.

    Raises:
        FormatError: it asks for more memory than a group of any encoder.
        DamagedError: its bytes are not a stream of the model.
    """
    order: Sequence[int] = group.header.display_order
    if positions is not None:
        order = [order[position] for position in positions]
    return _reordered(order, codec.decode_group(header, group, set(order)))


def _reordered(order: Sequence[int], decoded: Iterator[tuple[int, Picture]]) -> Iterator[Picture]:
    """Frames in this order; what comes after the last of them is not decoded."""
    waiting: dict[int, Picture] = {}
    for wanted in order:
        while wanted not in waiting:
            number, planes = next(decoded)
            waiting[number] = planes
        yield waiting.pop(wanted)


def decode_ahead(reader: Reader, codec: Codec) -> Generator[Frame, None, None]:
    """Run `decode_frames` beside the caller, which converts, measures or writes its frames."""
    return ahead(decode_frames(reader, codec), _FRAMES_AHEAD)


def decode_frames(reader: Reader, codec: Codec) -> Generator[Frame, None, None]:
    """Decode all frames of a file in order.

    Raises:
        DamagedError: after all intact groups, if anything was lost.
    """
    file_header, start = reader.header, 0
    begins = {entry.offset: entry.start for entry in reader.index or ()}
    for group in reader.groups():
        # Groups after a lost one keep their times, so that the audio stays in sync.
        start = max(start, begins.get(group.offset, start))
        durations = group.header.durations(file_header.frame_ticks)
        shown = zip(group.header.display_order, decode_group(codec, file_header, group),
                    strict=True)
        for number, planes in shown:
            yield Frame(planes, start, durations[number])
            start += durations[number]
