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
from aehub.media.picture import ClipInfo, Frame, Planes
from aehub.weights.device import inference


def check_model(head: FileHeader, model: D4Codec) -> None:
    """Refuse to decode with other tables or networks than the file was written with.

    Raises:
        FormatError: the file's coder is another.
        WeightsError: the model's hashes are not the file's.
    """
    if head.coder != PAYLOAD_FORMAT:
        raise FormatError(f"the file was written with entropy coder {head.coder}, this AEHub has "
                          f"{PAYLOAD_FORMAT}; upgrade aehub.")
    for what, written, here in (
            ("tables", head.entropy_hash, model.stored.entropy_hash),
            ("decoder", head.synthesis_hash, model.stored.synthesis_hash)):
        if written != here:
            raise WeightsError(
                f"the file was written with the {what} {written.hex()} of {head.model!r}, the "
                f"model here has {here.hex()}; decode it with the revision it names.")


def clip_info(head: FileHeader, n_frames: int | None = None, plays: int = 0) -> ClipInfo:
    """The clip that a file head describes."""
    colour = resolve_unspecified(head.colour, head.width, head.height)
    return ClipInfo(width=head.width, height=head.height, fps=head.fps, time_base=head.time_base,
                    colour=colour, pixel_aspect=head.pixel_aspect, n_frames=n_frames, plays=plays)


def decode_group(model: D4Codec, head: FileHeader, group: Group,
                 places: Sequence[int] | None = None) -> Iterator[Planes]:
    """The shown frames of a group, in the order in which they are shown.

    Args:
        model: that the file was written with.
        head: of the file.
        group: of the file.
        places: which of the shown frames are wanted, counted from 0, in this order; what none of
            them is predicted from is not decoded. All by default.

    Raises:
        FormatError: it asks for more memory than a group of any encoder.
        DamagedError: its bytes are not a stream of the model.
    """
    head_of, size = group.header, (head.width, head.height)
    order: Sequence[int] = head_of.display_order
    if places is not None:
        order = [order[place] for place in places]
    reader = GroupReader(model.runtime, group.payload, head_of, head.coded_size(head_of.crop))

    def decoded() -> Iterator[tuple[int, Planes]]:
        with closing(reader.pictures(order)) as pictures:
            while True:
                with inference(model.device):
                    try:
                        number, picture = next(pictures)
                    except StopIteration:
                        return
                    (planes,) = from_batch(picture, head_of.crop, size)
                yield number, planes

    return _in_order(order, decoded())


def _in_order(order: Sequence[int], decoded: Iterator[tuple[int, Planes]]) -> Iterator[Planes]:
    """Frames in this order; the rest of the group is not decoded after the last of them."""
    waiting: dict[int, Planes] = {}
    for number in order:
        while number not in waiting:
            found, planes = next(decoded)
            waiting[found] = planes
        yield waiting.pop(number)


def decode_frames(reader: Reader, model: D4Codec) -> Iterator[Frame]:
    """All frames of a file in order.

    Raises:
        DamagedError: after all intact groups, if anything was lost.
    """
    head, start = reader.header, 0
    begins = {entry.offset: entry.start for entry in reader.index or ()}
    for group in reader.groups():
        # What follows a lost group is shown when it was, so that the sound still fits.
        start = max(start, begins.get(group.offset, start))
        durations = group.header.durations(head.frame_ticks)
        shown = zip(group.header.display_order, decode_group(model, head, group), strict=True)
        for number, planes in shown:
            yield Frame(planes, start, durations[number])
            start += durations[number]
