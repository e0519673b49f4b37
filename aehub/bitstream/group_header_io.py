"""The bytes of a group head: one flags byte, then only what differs from the file's usual."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate, groupby, pairwise

from aehub.bitstream.chunk import (
    MAX_CHUNK,
    MAX_GROUP_FRAMES,
    MAX_PIXELS,
    MAX_QUALITY,
    MAX_REFERENCES,
    MAX_SIDE,
    MAX_SPAN,
    MAX_TICKS,
    Cursor,
    pack_signed,
    pack_varint,
)
from aehub.bitstream.file_header import FileHeader, pack_quality, unpack_quality
from aehub.bitstream.group_header import (
    GroupHeader,
    References,
    Runs,
    anchors_of,
    chain_types,
    coding_order,
    pyramid,
    runs_of,
)
from aehub.errors import FormatError, InputError

# Bits of the flags varint; the first seven cost no second byte.
_FRAMES, _QUALITY, _CROP, _REVERSE, _SHOWN, _CHAIN, _TIMES = (1 << bit for bit in range(7))
_LAST, _TYPES, _REFERENCES, _PYRAMID, _RUN_ENDS = (1 << bit for bit in range(7, 12))
_KNOWN = (1 << 12) - 1
_WORD = 4


def pack_group_header(head: GroupHeader, file_head: FileHeader) -> bytes:
    """Encode what differs from the usual group of the file; b"\\0" when nothing does.

    Raises:
        InputError: a value is outside the limits of the format.
    """
    problem = _problem(head, file_head)
    if problem:
        raise InputError(f"this group cannot be written: {problem}")
    flags, fields = 0, b""
    for flag, packed in _fields(head, file_head):
        flags |= flag
        fields += packed
    return pack_varint(flags) + fields


def _fields(head: GroupHeader, file_head: FileHeader) -> Iterator[tuple[int, bytes]]:
    """Yield the flag and the bytes of each field that is not as usual, in order."""
    if head.n_frames != file_head.group_frames:
        yield _FRAMES, pack_varint(head.n_frames)
    if head.quality != file_head.quality:
        yield _QUALITY, pack_quality(head.quality)
    if head.crop != (0, 0):
        yield _CROP, b"".join(map(pack_varint, head.crop))
    if head.reverse:
        yield _REVERSE, b""
    if head.shown != (0, head.n_frames):
        yield _SHOWN, pack_varint(head.shown[0]) + pack_varint(head.n_frames - head.shown[1])
    runs = runs_of(head) if head.references is not None else None
    chained = head.frame_types == chain_types(head.n_frames)
    if chained and runs is None:
        yield _CHAIN, b""
    yield from _time_fields(head, file_head.step)
    yield from [(_PYRAMID, _pack_runs(runs))] if runs else _reference_fields(head, chained)
    if head.run_ends is not None:
        steps = (after - before for before, after in pairwise((0, *head.run_ends)))
        yield _RUN_ENDS, b"".join(map(pack_varint, steps))


def _reference_fields(head: GroupHeader, chained: bool) -> Iterator[tuple[int, bytes]]:
    if head.frame_types is not None and not chained:
        same = ((code, len(list(run))) for code, run in groupby(head.frame_types))
        yield _TYPES, b"".join(bytes((code,)) + pack_varint(length) for code, length in same)
    if head.references is not None:
        frames = enumerate(head.references)
        yield _REFERENCES, b"".join(_pack_references(frame, used) for frame, used in frames)


def _time_fields(head: GroupHeader, step: int) -> Iterator[tuple[int, bytes]]:
    *gaps, last = head.durations(step)
    usual = step
    if any(gap != step for gap in gaps):
        usual = gaps[-1]
        constant = all(gap == usual for gap in gaps)
        varied = b"\0" + b"".join(pack_varint(gap - 1) for gap in gaps)
        yield _TIMES, pack_varint(usual) if constant else varied
    if last != usual:
        yield _LAST, pack_varint(last)


def _pack_references(frame: int, used: tuple[int, ...]) -> bytes:
    return bytes((len(used),)) + b"".join(pack_signed(frame - reference) for reference in used)


def _pack_runs(runs: Runs) -> bytes:
    pairs = (pack_varint(span) + pack_varint(count) for span, count in runs)
    return pack_varint(len(runs)) + b"".join(pairs)


def unpack_group_header(body: bytes | memoryview, file_head: FileHeader) -> tuple[GroupHeader, int]:
    """Decode the group head at the start of a group chunk; return it and its size in bytes.

    Raises:
        FormatError: a field is cut short, unknown, or outside the limits.
    """
    cursor = Cursor(body)
    flags = cursor.varint()
    if flags & ~_KNOWN:
        raise FormatError(f"its group head has flags {flags:#x} of a newer version; update AEHub.")
    n_frames = cursor.varint() if flags & _FRAMES else file_head.group_frames
    if not 0 < n_frames <= MAX_GROUP_FRAMES:
        raise FormatError(f"its group has {n_frames} frames; 1 to {MAX_GROUP_FRAMES} are allowed.")
    quality = unpack_quality(cursor) if flags & _QUALITY else file_head.quality
    crop = (cursor.varint(), cursor.varint()) if flags & _CROP else (0, 0)
    shown = _unpack_shown(cursor, n_frames) if flags & _SHOWN else (0, n_frames)
    times = _unpack_times(cursor, n_frames) if flags & _TIMES else None
    last = cursor.varint() if flags & _LAST else None
    types = chain_types(n_frames) if flags & _CHAIN else None
    if flags & _TYPES:
        types = _unpack_types(cursor, n_frames)
    references = _unpack_references(cursor, n_frames) if flags & _REFERENCES else None
    if flags & _PYRAMID:
        if flags & (_CHAIN | _TYPES | _REFERENCES):
            raise FormatError(f"its group head (flags {flags:#x}) names its references twice.")
        types, references = chain_types(n_frames), pyramid(_unpack_runs(cursor, n_frames))
    reverse = bool(flags & _REVERSE)
    head = GroupHeader(n_frames, quality, crop, shown, reverse, times, last, types, references)
    problem = _problem(head, file_head)
    if not problem and flags & _RUN_ENDS:
        head = replace(head, run_ends=_unpack_run_ends(cursor, head))
        problem = _run_end_problem(head)
    if problem:
        raise FormatError(problem)
    return head, cursor.at


def unpack_group(body: memoryview, file_head: FileHeader) -> tuple[GroupHeader, memoryview]:
    """Decode the body of a group chunk: its head and its payload.

    Raises:
        FormatError: the head is no group head, or tells of more payload than there is.
    """
    head, size = unpack_group_header(body, file_head)
    payload = body[size:]
    problem = payload_problem(head, len(payload))
    if problem:
        raise FormatError(problem)
    return head, payload


def payload_problem(head: GroupHeader, n_bytes: int) -> str:
    """Return one sentence if a payload of `n_bytes` does not fit the head, or an empty string."""
    if head.run_ends is None or _WORD * head.run_ends[-1] <= n_bytes:
        return ""
    return f"its run ends after {head.run_ends[-1]} words, but its payload has {n_bytes} bytes."


def _unpack_shown(cursor: Cursor, n_frames: int) -> tuple[int, int]:
    first, hidden = cursor.varint(), cursor.varint()
    if first + hidden >= n_frames:
        raise FormatError(f"its group hides {first} + {hidden} of its {n_frames} frames.")
    return first, n_frames - hidden


def _unpack_times(cursor: Cursor, n_frames: int) -> tuple[int, ...]:
    step = cursor.varint()
    if step:
        return tuple(range(0, n_frames * step, step))
    return tuple(accumulate((cursor.varint() + 1 for _ in range(n_frames - 1)), initial=0))


def _unpack_types(cursor: Cursor, n_frames: int) -> bytes:
    types = b""
    while len(types) < n_frames:
        code, run = cursor.byte(), cursor.varint()
        if not 0 < run <= n_frames - len(types):
            raise FormatError(f"a run of {run} frame types does not fit {n_frames} frames.")
        types += bytes((code,)) * run
    return types


def _unpack_references(cursor: Cursor, n_frames: int) -> References:
    references = []
    for frame in range(n_frames):
        count = cursor.byte()
        if count > MAX_REFERENCES:
            raise FormatError(f"a frame has {count} references; at most {MAX_REFERENCES} are.")
        references.append(tuple(frame - cursor.signed() for _ in range(count)))
    return tuple(references)


def _unpack_runs(cursor: Cursor, n_frames: int) -> Runs:
    runs: list[tuple[int, int]] = []
    left = n_frames - 1
    for _ in range(cursor.varint()):
        span, count = cursor.varint(), cursor.varint()
        if not 0 < span <= MAX_SPAN or not 0 < count <= left // span:
            raise FormatError(
                f"{count} anchors at a distance of {span} frames do not fit; {left} frames are "
                f"left and distances up to {MAX_SPAN} are allowed."
            )
        runs.append((span, count))
        left -= span * count
    if left:
        raise FormatError(f"the last {left} of its {n_frames} frames belong to no anchor.")
    return tuple(runs)


def _unpack_run_ends(cursor: Cursor, head: GroupHeader) -> tuple[int, ...]:
    anchors = anchors_of(head)
    if not anchors:
        raise FormatError("its group head tells where runs end, but its frames form none.")
    return tuple(accumulate(cursor.varint() for _ in anchors[1:]))


def _problem(head: GroupHeader, file_head: FileHeader) -> str:
    """Return one sentence about the first value outside the limits, or an empty string."""
    if not 0 < head.n_frames <= MAX_GROUP_FRAMES:
        return f"it has {head.n_frames} frames; 1 to {MAX_GROUP_FRAMES} are allowed."
    if not 0 <= head.quality <= MAX_QUALITY:
        return f"its quality {head.quality / 100} is not 0 to 100."
    if not 0 <= head.shown[0] < head.shown[1] <= head.n_frames:
        return f"it shows frames {head.shown[0]} to {head.shown[1]} of {head.n_frames}."
    width, height = file_head.coded_size(head.crop)
    if min(head.crop) < 0 or max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        return (
            f"its window begins at {head.crop}, a coded plane of {width}x{height}; sides of "
            f"{MAX_SIDE} and {MAX_PIXELS} pixels are allowed."
        )
    return (
        _time_problem(head, file_head.step) or _reference_problem(head) or _run_end_problem(head)
    )


def _time_problem(head: GroupHeader, step: int) -> str:
    if head.times is not None and (len(head.times) != head.n_frames or head.times[0] != 0):
        return f"{len(head.times)} times do not fit {head.n_frames} frames, the first at 0."
    durations = head.durations(step)
    if min(durations) < 1:
        return "its times do not grow from frame to frame."
    if sum(durations) > MAX_TICKS:
        return f"it lasts {sum(durations)} ticks; at most {MAX_TICKS} are allowed."
    return ""


def _reference_problem(head: GroupHeader) -> str:
    types = head.types
    if len(types) != head.n_frames:
        return f"{len(types)} frame types do not fit {head.n_frames} frames."
    if head.references is None:
        return "its first frame is predicted from nothing." if types[0] else ""
    if len(head.references) != head.n_frames:
        return f"{len(head.references)} reference lists do not fit {head.n_frames} frames."
    for code, used in zip(types, head.references, strict=True):
        wanted = 0 < len(used) <= MAX_REFERENCES if code else not used
        if not wanted or any(not 0 <= frame < head.n_frames for frame in used):
            return f"a frame of type {code} is predicted from the frames {used}."
    try:
        coding_order(head)
    except InputError as error:
        return str(error)
    return ""


def _run_end_problem(head: GroupHeader) -> str:
    ends = head.run_ends
    if ends is None:
        return ""
    runs = len(anchors_of(head))
    if len(ends) != runs - 1:
        return f"{len(ends)} run ends do not fit frames in {runs} runs."
    if ends[0] < 1 or any(after < before for before, after in pairwise(ends)):
        return "its run ends do not rise from 1 on."
    if ends[-1] > MAX_CHUNK // _WORD:
        return f"a run ends after {ends[-1]} words; at most {MAX_CHUNK // _WORD} are allowed."
    return ""
