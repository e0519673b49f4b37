"""Groups of a `.aev` file -> frames, one group in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

from aehub.bitstream import FileHeader, Group, Reader
from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.d4.frame_coding import GroupReader
from aehub.codecs.d4.planes import from_batch
from aehub.coding.range_coder import PAYLOAD_FORMAT
from aehub.errors import FormatError, WeightsError
from aehub.media.colour import resolve_unspecified
from aehub.media.picture import ClipInfo, Frame, Picture
from aehub.weights.device import inference


def check_model(header: FileHeader, model: D4Codec) -> None:
    """Refuse to decode with other tables or networks than the file was written with.

    Raises:
        FormatError: the payload format is another.
        WeightsError: the model's hashes are not the file's.
    """
    if header.coder != PAYLOAD_FORMAT:
        remedy = ("upgrade aehub" if header.coder > PAYLOAD_FORMAT
                  else "compress the clip again, or take the release that wrote it")
        raise FormatError(f"the file was written with entropy coder {header.coder}, this AEHub has "
                          f"{PAYLOAD_FORMAT}; {remedy}.")
    for part, in_file, in_model in (
            ("tables", header.entropy_hash, model.stored.entropy_hash),
            ("decoder", header.synthesis_hash, model.stored.synthesis_hash)):
        if in_file != in_model:
            raise WeightsError(
                f"the file was written with the {part} {in_file.hex()} of {header.model!r}, the "
                f"model here has {in_model.hex()}; decode it with the revision it names.")


def clip_info(header: FileHeader, n_frames: int | None = None, plays: int = 0) -> ClipInfo:
    """Clip information of a file header."""
    colour = resolve_unspecified(header.colour, header.width, header.height)
    return ClipInfo(width=header.width, height=header.height, fps=header.fps,
                    time_base=header.time_base, colour=colour, pixel_aspect=header.pixel_aspect,
                    n_frames=n_frames, plays=plays)


def decode_group(model: D4Codec, file_header: FileHeader, group: Group,
                 positions: Sequence[int] | None = None) -> Iterator[Picture]:
    """Decode the shown frames of a group, in display order.

    Args:
        model: that the file was written with.
        file_header: of the file.
        group: of the file.
        positions: shown frames to decode, counted from 0, in this order; frames that none of them
            depends on are not decoded. All by default.

    Raises:
        FormatError: it asks for more memory than a group of any encoder.
        DamagedError: its bytes are not a stream of the model.
    """
    header, size = group.header, (file_header.width, file_header.height)
    order: Sequence[int] = header.display_order
    if positions is not None:
        order = [order[position] for position in positions]
    reader = GroupReader(model.runtime, group.payload, header, file_header.coded_size(header.crop))

    def decoded() -> Iterator[tuple[int, Picture]]:
        with closing(reader.pictures(order)) as pictures:
            while True:
                with inference(model.device):
                    try:
                        number, picture = next(pictures)
                    except StopIteration:
                        return
                    (planes,) = from_batch(picture, header.crop, size)
                yield number, planes

    return _reordered(order, decoded())


def _reordered(order: Sequence[int], decoded: Iterator[tuple[int, Picture]]) -> Iterator[Picture]:
    """Frames in this order; what comes after the last of them is not decoded."""
    waiting: dict[int, Picture] = {}
    for wanted in order:
        while wanted not in waiting:
            number, planes = next(decoded)
            waiting[number] = planes
        yield waiting.pop(wanted)


def decode_frames(reader: Reader, model: D4Codec) -> Iterator[Frame]:
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
        shown = zip(group.header.display_order, decode_group(model, file_header, group),
                    strict=True)
        for number, planes in shown:
            yield Frame(planes, start, durations[number])
            start += durations[number]
