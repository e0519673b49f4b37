"""Groups of a `.aev` file -> frames, one group in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator

from aehub.clips.frames import ClipInfo, Frame, Planes
from aehub.codec.model import Codec
from aehub.container import FileHead, Group, GroupHead, Reader
from aehub.container.limits import MAX_PIXELS
from aehub.entropy import CODER_VERSION
from aehub.errors import FormatError, WeightsError


def check_model(head: FileHead, model: Codec) -> None:
    """Refuse to decode with other tables or networks than the file was written with.

    Raises:
        FormatError: the file's coder is newer.
        WeightsError: the model's hashes are not the file's.
    """
    if head.coder != CODER_VERSION:
        raise FormatError(f"the file was written with entropy coder {head.coder}, this AEHub has "
                          f"{CODER_VERSION}; upgrade aehub.")
    for what, written, here in (
            ("tables", head.entropy_hash, model.stored.entropy_hash),
            ("decoder", head.synthesis_hash, model.stored.synthesis_hash)):
        if written != here:
            raise WeightsError(
                f"the file was written with the {what} {written.hex()} of {head.model!r}, the "
                f"model here has {here.hex()}; decode it with the revision it names.")


def clip_info(head: FileHead, n_frames: int | None = None) -> ClipInfo:
    """The clip that a file head describes."""
    return ClipInfo(width=head.width, height=head.height, fps=head.fps, time_base=head.time_base,
                    colour=head.colour, pixel_aspect=head.pixel_aspect, n_frames=n_frames)


def decode_group(model: Codec, head: FileHead, group: Group) -> list[Planes]:
    """The shown frames of a group, in the order in which they are shown.

    Raises:
        FormatError: it asks for more memory than a group of any encoder.
        DamagedError: its bytes are not a stream of the model.
    """
    shown: GroupHead = group.head
    width, height = head.coded_size(shown.crop)
    if shown.n_frames > 1 and shown.n_frames * width * height > MAX_PIXELS:
        raise FormatError(f"a group of {shown.n_frames} frames of {width}x{height} is more than "
                          f"the {MAX_PIXELS} samples decoded together; no AEHub wrote this file.")
    frames = model.decode_group(
        group.payload, shown.n_frames, (width, height), shown.quality / 100,
        crop=shown.crop, size=(head.width, head.height))
    return [frames[number] for number in shown.order]


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
            yield Frame(planes, start)
            start += durations[number]
