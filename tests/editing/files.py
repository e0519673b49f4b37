"""Files that edits are tried on: real ones of a tiny model, and ones whose payloads are words.

A payload of words names an element of D4 and the frames it holds, so that what an edit does to a
group can be read off, with frames predicted from each other in any way the format allows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import aehub
from aehub.bitstream import FileHeader, GroupHeader, Writer, open_reader
from aehub.codecs.d4 import transcode
from aehub.codecs.d4.codec import D4Codec
from aehub.media.orientation import compose
from bitstream.examples import file_header
from golden_files import MODEL
from predicted_files import frames_of

QUALITY = 55.0


def tiny_model() -> D4Codec:
    """The smallest model there is; its codes turn like any other's."""
    return D4Codec.from_pretrained(MODEL)


def codes_of(path: Path, model: D4Codec) -> list[np.ndarray]:
    """All integers of a file: codes, and the vectors of predicted frames."""
    found: list[np.ndarray] = []
    with open_reader(path) as reader:
        for group in reader.groups():
            for frame in frames_of(model, group, reader.header):
                found += [part.numpy() for part in frame.codes]
                found += [] if frame.motion is None else [frame.motion.vectors]
    return found


def planes_of(path: Path, model: D4Codec) -> list[Any]:
    """The decoded frames of a file, in the order in which they are shown."""
    with aehub.open(path, model=model) as archive:
        return [archive.picture(number) for number in range(len(archive))]


def heads_of(path: Path | BytesIO) -> list[GroupHeader]:
    with open_reader(path) as reader:
        return [group.header for group in reader.groups()]


def rewritten(path: Path, output: Path, **changes: Any) -> Path:
    """The file with another file header."""
    with open_reader(path) as reader, output.open("wb") as stream:
        with Writer(stream, replace(reader.header, **changes)) as writer:
            for group in reader.groups():
                writer.group(group.header, group.payload)
    return output


class Shown(NamedTuple):
    """A frame as it is seen: which one, turned by which element, for how long."""

    name: str
    g: int
    ticks: int


def worded(group: int, n_frames: int) -> bytes:
    """The payload of frames named after their group and number."""
    return f"0|{','.join(f'{group}.{frame}' for frame in range(n_frames))}".encode()


def read_worded(payload: bytes) -> tuple[int, list[str]]:
    g, _, names = payload.decode().partition("|")
    return int(g), names.split(",")


def worded_file(headers: Sequence[GroupHeader], **changes: Any) -> bytes:
    """A file of groups that hold words."""
    stream = BytesIO()
    with Writer(stream, file_header(**changes)) as writer:
        for number, header in enumerate(headers):
            writer.group(header, worded(number, header.n_frames))
    return stream.getvalue()


def shown(data: bytes) -> list[Shown]:
    """The words that a file shows, frame by frame."""
    frames = []
    with open_reader(BytesIO(data)) as reader:
        for group in reader.groups():
            g, names = read_worded(group.payload)
            durations = group.header.durations(reader.header.frame_ticks)
            frames += [Shown(names[i], g, durations[i]) for i in group.header.display_order]
    return frames


class Wordless:
    """A model that is never run."""

    editor = transcode.GroupEditor(None)  # type: ignore[arg-type]


def _rewrite_words(codec: Any, payload: bytes, header: GroupHeader, file_header: FileHeader, g: int,
                   frames: Sequence[int]) -> tuple[tuple[int, ...], bytes, dict[int, Any]]:
    before, names = read_worded(payload)
    for frame in frames:
        references = set(header.resolved_references[frame])
        assert references <= set(frames), "a frame lost what it is predicted from"
    words = f"{compose(g, before)}|{','.join(names[frame] for frame in frames)}"
    return (), words.encode(), {}


@contextmanager
def words_instead_of_codes() -> Iterator[None]:
    """Let edits work on payloads of words; no model is asked for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transcode, "rewrite_group", _rewrite_words)
        patch.setattr("aehub.api.edit._loader", lambda model, device: lambda header: Wordless)
        yield


def edited(data: bytes, operations: Sequence[Any], **options: Any) -> bytes:
    stream = BytesIO()
    aehub.edit(BytesIO(data), stream, operations, **options)
    return stream.getvalue()


def joined(parts: Sequence[bytes], **options: Any) -> bytes:
    stream = BytesIO()
    aehub.concat([BytesIO(part) for part in parts], stream, **options)
    return stream.getvalue()


def differences(found: Sequence[Any], wanted: Sequence[Any]) -> tuple[int, float]:
    """(largest difference, share of values that differ) of two lists of pictures."""
    assert len(found) == len(wanted)
    worst = differing = total = 0
    for one, two in zip(found, wanted, strict=True):
        for a, b in zip(one, two, strict=True):
            assert a.shape == b.shape
            distance = np.abs(a.astype(np.int16) - b)
            worst = max(worst, int(distance.max()))
            differing, total = differing + int((distance > 0).sum()), total + distance.size
    return worst, differing / total
