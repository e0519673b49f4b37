"""Groups of a `.aev` file -> frames, one group in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

from aehub.clips.colour import as_shown
from aehub.clips.frames import ClipInfo, Frame, Planes
from aehub.codec.batch import from_batch
from aehub.codec.model import Codec
from aehub.codec.predicted import GroupReader
from aehub.codec.shots import PREDICTED_PIXELS
from aehub.container import FileHead, Group, GroupHead, Reader
from aehub.container.limits import MAX_PIXELS
from aehub.entropy import CODER_PREDICTED
from aehub.errors import FormatError, WeightsError
from aehub.models.surroundings import computing


def check_model(head: FileHead, model: Codec) -> None:
    """Refuse to decode with other tables or networks than the file was written with.

    Raises:
        FormatError: the file's coder is newer.
        WeightsError: the model's hashes are not the file's.
    """
    if head.coder > CODER_PREDICTED:
        raise FormatError(f"the file was written with entropy coder {head.coder}, this AEHub has "
                          f"{CODER_PREDICTED}; upgrade aehub.")
    for what, written, here in (
            ("tables", head.entropy_hash, model.stored.entropy_hash),
            ("decoder", head.synthesis_hash, model.stored.synthesis_hash)):
        if written != here:
            raise WeightsError(
                f"the file was written with the {what} {written.hex()} of {head.model!r}, the "
                f"model here has {here.hex()}; decode it with the revision it names.")


def clip_info(head: FileHead, n_frames: int | None = None, plays: int = 0) -> ClipInfo:
    """The clip that a file head describes."""
    colour = as_shown(head.colour, head.width, head.height)
    return ClipInfo(width=head.width, height=head.height, fps=head.fps, time_base=head.time_base,
                    colour=colour, pixel_aspect=head.pixel_aspect, n_frames=n_frames, plays=plays)


def decode_group(model: Codec, head: FileHead, group: Group,
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
    shown: GroupHead = group.head
    width, height = head.coded_size(shown.crop)
    # The coder says how payloads are laid out, also of groups of one frame.
    predicted = head.coder == CODER_PREDICTED
    most = PREDICTED_PIXELS if predicted else MAX_PIXELS
    if shown.n_frames > 1 and shown.n_frames * width * height > most:
        raise FormatError(f"a group of {shown.n_frames} frames of {width}x{height} is more than "
                          f"the {most} samples decoded together; no AEHub wrote this file.")
    order = shown.order if places is None else [shown.order[place] for place in places]
    if predicted:
        return _in_order(order, _predicted(model, head, group, order))
    return iter(model.decode_group(
        group.payload, shown.n_frames, (width, height), shown.quality / 100,
        crop=shown.crop, size=(head.width, head.height), frames=order))


def _predicted(model: Codec, head: FileHead, group: Group, order: Sequence[int]
               ) -> Iterator[tuple[int, Planes]]:
    shown, size = group.head, (head.width, head.height)
    reader = GroupReader(model.runtime, group.payload, shown, head.coded_size(shown.crop))
    pictures = reader.pictures(order)
    with closing(pictures):
        while True:
            with computing(model.device):
                try:
                    number, picture = next(pictures)
                except StopIteration:
                    return
                (planes,) = from_batch(picture, shown.crop, size)
            yield number, planes


def _in_order(order: Sequence[int], decoded: Iterator[tuple[int, Planes]]) -> Iterator[Planes]:
    """Frames in this order; the rest of the group is not decoded after the last of them."""
    waiting: dict[int, Planes] = {}
    for number in order:
        while number not in waiting:
            found, planes = next(decoded)
            waiting[found] = planes
        yield waiting.pop(number)


def decode_frames(reader: Reader, model: Codec) -> Iterator[Frame]:
    """All frames of a file in order.

    Raises:
        DamagedError: after all intact groups, if anything was lost.
    """
    head, start = reader.head, 0
    begins = {entry.offset: entry.start for entry in reader.index or ()}
    for group in reader.groups():
        # What follows a lost group is shown when it was, so that the sound still fits.
        start = max(start, begins.get(group.offset, start))
        durations = group.head.durations(head.step)
        for number, planes in zip(group.head.order, decode_group(model, head, group), strict=True):
            yield Frame(planes, start, durations[number])
            start += durations[number]
