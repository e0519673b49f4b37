"""Syntax of the group header: flags, then only fields that differ from the file's defaults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate, groupby, pairwise

from aehub.bitstream.chunk import (
    MAX_CHUNK,
    MAX_GROUP_FRAMES,
    MAX_MINI_GOP,
    MAX_PIXELS,
    MAX_QUALITY,
    MAX_REFERENCES,
    MAX_SIDE,
    MAX_TICKS,
    Cursor,
    pack_signed,
    pack_varint,
)
from aehub.bitstream.file_header import FileHeader, pack_quality, unpack_quality
from aehub.bitstream.group_header import (
    WORD,
    GroupHeader,
    MiniGopRuns,
    References,
    chain_types,
    coding_order,
    hierarchical_references,
    key_pictures,
    mini_gop_runs,
)
from aehub.errors import FormatError, InputError

# Bits of the flags varint; the first seven fit one byte.
_FRAMES, _QUALITY, _CROP, _REVERSE, _SHOWN, _CHAIN, _TIMES = (1 << bit for bit in range(7))
_LAST, _TYPES, _REFERENCES, _HIERARCHICAL, _MINI_GOP_ENDS = (1 << bit for bit in range(7, 12))
_STREAMS, _ATOMIC = 1 << 12, 1 << 13
_KNOWN = (1 << 14) - 1
MAX_STREAMS = 16
"""Entropy streams of a group at most."""
_MAX_WORDS = MAX_CHUNK // WORD


def pack_group_header(header: GroupHeader, file_header: FileHeader) -> bytes:
    """Encode the fields that differ from the file's defaults; b"\\0" if none does.

    Raises:
        InputError: a value is outside the limits of the format.
    """
    problem = _problem(header, file_header)
    if problem:
        raise InputError(f"this group cannot be written: {problem}")
    flags, fields = 0, b""
    for flag, packed in (*_fields(header, file_header), (_ATOMIC * header.atomic, b"")):
        flags |= flag
        fields += packed
    return pack_varint(flags) + fields


def _fields(header: GroupHeader, file_header: FileHeader) -> Iterator[tuple[int, bytes]]:
    """Yield the flag and the bytes of each field that is not the default, in order."""
    if header.n_frames != file_header.group_frames:
        yield _FRAMES, pack_varint(header.n_frames)
    if header.quality != file_header.quality:
        yield _QUALITY, pack_quality(header.quality)
    if header.crop != (0, 0):
        yield _CROP, b"".join(map(pack_varint, header.crop))
    if header.reverse:
        yield _REVERSE, b""
    if header.shown != (0, header.n_frames):
        yield _SHOWN, pack_varint(header.shown[0]) + pack_varint(header.n_frames - header.shown[1])
    runs = mini_gop_runs(header) if header.references is not None else None
    chained = header.frame_types == chain_types(header.n_frames)
    if chained and runs is None:
        yield _CHAIN, b""
    yield from _time_fields(header, file_header.frame_ticks)
    if runs:
        yield _HIERARCHICAL, _pack_mini_gops(runs)
    else:
        yield from _reference_fields(header, chained)
    if header.stream_words:
        yield _STREAMS, b"".join(map(pack_varint, (len(header.stream_words), *header.stream_words)))
    if header.mini_gop_ends is not None:
        yield _MINI_GOP_ENDS, b"".join(
            pack_varint(after - before) for ends in zip(*header.mini_gop_ends, strict=True)
            for before, after in pairwise((0, *ends)))


def _reference_fields(header: GroupHeader, chained: bool) -> Iterator[tuple[int, bytes]]:
    if header.frame_types is not None and not chained:
        same = ((code, len(list(run))) for code, run in groupby(header.frame_types))
        yield _TYPES, b"".join(bytes((code,)) + pack_varint(length) for code, length in same)
    if header.references is not None:
        frames = enumerate(header.references)
        yield _REFERENCES, b"".join(_pack_references(frame, used) for frame, used in frames)


def _time_fields(header: GroupHeader, frame_ticks: int) -> Iterator[tuple[int, bytes]]:
    *gaps, last = header.durations(frame_ticks)
    default = frame_ticks
    if any(gap != frame_ticks for gap in gaps):
        default = gaps[-1]
        constant = all(gap == default for gap in gaps)
        varied = b"\0" + b"".join(pack_varint(gap - 1) for gap in gaps)
        yield _TIMES, pack_varint(default) if constant else varied
    if last != default:
        yield _LAST, pack_varint(last)


def _pack_references(frame: int, used: tuple[int, ...]) -> bytes:
    return bytes((len(used),)) + b"".join(pack_signed(frame - reference) for reference in used)


def _pack_mini_gops(runs: MiniGopRuns) -> bytes:
    pairs = (pack_varint(length) + pack_varint(count) for length, count in runs)
    return pack_varint(len(runs)) + b"".join(pairs)


def unpack_group_header(body: bytes | memoryview, file_header: FileHeader
                        ) -> tuple[GroupHeader, int]:
    """Decode the group header at the start of a group chunk; return it and its size in bytes.

    Raises:
        FormatError: a field is cut short, unknown, or outside the limits.
    """
    cursor = Cursor(body)
    flags = cursor.varint()
    if flags & ~_KNOWN:
        raise FormatError(
            f"its group header has flags {flags:#x} of a newer version; update AEHub.")
    n_frames = cursor.varint() if flags & _FRAMES else file_header.group_frames
    if not 0 < n_frames <= MAX_GROUP_FRAMES:
        raise FormatError(f"its group has {n_frames} frames; 1 to {MAX_GROUP_FRAMES} are allowed.")
    quality = unpack_quality(cursor) if flags & _QUALITY else file_header.quality
    crop = (cursor.varint(), cursor.varint()) if flags & _CROP else (0, 0)
    shown = _unpack_shown(cursor, n_frames) if flags & _SHOWN else (0, n_frames)
    times = _unpack_times(cursor, n_frames) if flags & _TIMES else None
    last = cursor.varint() if flags & _LAST else None
    types, references = _unpack_structure(cursor, n_frames, flags)
    words = _unpack_stream_words(cursor) if flags & _STREAMS else ()
    header = GroupHeader(n_frames, quality, crop, shown, bool(flags & _REVERSE), times, last, types,
                         references, words, atomic=bool(flags & _ATOMIC))
    problem = _problem(header, file_header)
    if not problem and flags & _MINI_GOP_ENDS:
        header = replace(header, mini_gop_ends=_unpack_mini_gop_ends(cursor, header))
        problem = _mini_gop_end_problem(header)
    if problem:
        raise FormatError(problem)
    return header, cursor.at


def unpack_group(body: memoryview, file_header: FileHeader) -> tuple[GroupHeader, memoryview]:
    """Decode the body of a group chunk: its header and its payload.

    Raises:
        FormatError: the header is invalid, or implies more payload than there is.
    """
    header, size = unpack_group_header(body, file_header)
    payload = body[size:]
    problem = payload_problem(header, len(payload))
    if problem:
        raise FormatError(problem)
    return header, payload


def payload_problem(header: GroupHeader, n_bytes: int) -> str:
    """Return a sentence if a payload of `n_bytes` does not fit the header, or an empty string."""
    if WORD * sum(header.stream_words) > n_bytes:
        return (f"its last entropy stream begins after {sum(header.stream_words)} words, but its "
                f"payload has {n_bytes} bytes.")
    last = n_bytes // WORD - sum(header.stream_words)
    sizes = (*header.stream_words, last)
    for end, size in zip((header.mini_gop_ends or [sizes])[-1], sizes, strict=True):
        if end > size:
            return f"a mini-GOP ends after {end} words, but its stream has {size} words."
    return ""


def _unpack_shown(cursor: Cursor, n_frames: int) -> tuple[int, int]:
    first, hidden = cursor.varint(), cursor.varint()
    if first + hidden >= n_frames:
        raise FormatError(f"its group hides {first} + {hidden} of its {n_frames} frames.")
    return first, n_frames - hidden


def _unpack_times(cursor: Cursor, n_frames: int) -> tuple[int, ...]:
    interval = cursor.varint()
    if interval:
        return tuple(range(0, n_frames * interval, interval))
    return tuple(accumulate((cursor.varint() + 1 for _ in range(n_frames - 1)), initial=0))


def _unpack_structure(cursor: Cursor, n_frames: int, flags: int
                      ) -> tuple[bytes | None, References | None]:
    """Decode frame types and references."""
    types = chain_types(n_frames) if flags & _CHAIN else None
    if flags & _TYPES:
        types = _unpack_types(cursor, n_frames)
    references = _unpack_references(cursor, n_frames) if flags & _REFERENCES else None
    if flags & _HIERARCHICAL:
        if flags & (_CHAIN | _TYPES | _REFERENCES):
            raise FormatError(f"its group header (flags {flags:#x}) gives its references twice.")
        types = chain_types(n_frames)
        references = hierarchical_references(_unpack_mini_gops(cursor, n_frames))
    return types, references


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


def _unpack_mini_gops(cursor: Cursor, n_frames: int) -> MiniGopRuns:
    runs: list[tuple[int, int]] = []
    left = n_frames - 1
    for _ in range(cursor.varint()):
        length, count = cursor.varint(), cursor.varint()
        if not 0 < length <= MAX_MINI_GOP or not 0 < count <= left // length:
            raise FormatError(
                f"{count} key pictures at a distance of {length} frames do not fit; {left} frames "
                f"are left and distances up to {MAX_MINI_GOP} are allowed."
            )
        runs.append((length, count))
        left -= length * count
    if left:
        raise FormatError(f"the last {left} of its {n_frames} frames belong to no mini-GOP.")
    return tuple(runs)


def _unpack_stream_words(cursor: Cursor) -> tuple[int, ...]:
    count = cursor.varint()
    if not 0 < count < MAX_STREAMS:
        raise FormatError(f"its payload has {count} entropy streams besides the last; 1 to "
                          f"{MAX_STREAMS - 1} are allowed.")
    return tuple(cursor.varint() for _ in range(count))


def _unpack_mini_gop_ends(cursor: Cursor, header: GroupHeader) -> tuple[tuple[int, ...], ...]:
    keys = key_pictures(header)
    if not keys:
        raise FormatError("its group header has mini-GOP ends, but its frames form no mini-GOPs.")
    streams = [tuple(accumulate(cursor.varint() for _ in keys[1:]))
               for _ in range(len(header.stream_words) + 1)]
    return tuple(zip(*streams, strict=True))


def _problem(header: GroupHeader, file_header: FileHeader) -> str:
    """Return a sentence on the first value outside the limits, or an empty string."""
    if not 0 < header.n_frames <= MAX_GROUP_FRAMES:
        return f"it has {header.n_frames} frames; 1 to {MAX_GROUP_FRAMES} are allowed."
    if not 0 <= header.quality <= MAX_QUALITY:
        return f"its quality {header.quality / 100} is not 0 to 100."
    if not 0 <= header.shown[0] < header.shown[1] <= header.n_frames:
        return f"it shows frames {header.shown[0]} to {header.shown[1]} of {header.n_frames}."
    width, height = header.crop[0] + file_header.width, header.crop[1] + file_header.height
    if min(header.crop) < 0 or max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        return (
            f"its window begins at {header.crop} and ends at {width}x{height}; sides of {MAX_SIDE} "
            f"and {MAX_PIXELS} pixels are allowed."
        )
    return (_time_problem(header, file_header.frame_ticks) or _reference_problem(header)
            or _stream_problem(header) or _mini_gop_end_problem(header))


def _time_problem(header: GroupHeader, frame_ticks: int) -> str:
    if header.times is not None and (len(header.times) != header.n_frames or header.times[0] != 0):
        return f"{len(header.times)} times do not fit {header.n_frames} frames, the first at 0."
    durations = header.durations(frame_ticks)
    if min(durations) < 1:
        return "its times do not grow from frame to frame."
    if sum(durations) > MAX_TICKS:
        return f"it lasts {sum(durations)} ticks; at most {MAX_TICKS} are allowed."
    return ""


def _reference_problem(header: GroupHeader) -> str:
    types = header.resolved_types
    if header.atomic and (any(types) or header.mini_gop_ends is not None):
        return "it gives references of frames that cannot be read without each other."
    if len(types) != header.n_frames:
        return f"{len(types)} frame types do not fit {header.n_frames} frames."
    if header.references is None:
        return "its first frame is predicted from nothing." if types[0] else ""
    if len(header.references) != header.n_frames:
        return f"{len(header.references)} reference lists do not fit {header.n_frames} frames."
    for code, used in zip(types, header.references, strict=True):
        wanted = 0 < len(used) <= MAX_REFERENCES if code else not used
        if not wanted or any(not 0 <= frame < header.n_frames for frame in used):
            return f"a frame of type {code} is predicted from the frames {used}."
    try:
        coding_order(header)
    except InputError as error:
        return str(error)
    return ""


def _stream_problem(header: GroupHeader) -> str:
    words = header.stream_words
    if len(words) >= MAX_STREAMS:
        return f"its payload has {len(words) + 1} entropy streams; at most {MAX_STREAMS} are."
    if words and not 0 <= min(words) <= max(words) <= _MAX_WORDS:
        return (f"its entropy streams have {words} words; 0 to {_MAX_WORDS} are allowed in each.")
    return ""


def _mini_gop_end_problem(header: GroupHeader) -> str:
    ends = header.mini_gop_ends
    if ends is None:
        return ""
    n_mini_gops, n_streams = len(key_pictures(header)), len(header.stream_words) + 1
    if len(ends) != n_mini_gops - 1 or any(len(row) != n_streams for row in ends):
        return (f"{len(ends)} mini-GOP ends do not fit frames in {n_mini_gops} mini-GOPs and "
                f"{n_streams} entropy streams.")
    if ends[0][0] < 1 or any(after < before for stream in zip(*ends, strict=True)
                             for before, after in pairwise(stream)):
        return "its mini-GOP ends do not increase from 1 on."
    if max(ends[-1]) > _MAX_WORDS:
        return f"a mini-GOP ends after {max(ends[-1])} words; at most {_MAX_WORDS} are allowed."
    return ""
