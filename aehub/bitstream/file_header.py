"""File header: the properties shared by all groups of a `.aev` file.

It takes at most 96 bytes where payloads are of format 3 or less, whose pictures are 8-bit 4:2:0;
later payload formats add the format of the pictures.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

from aehub.bitstream.chunk import (
    MAX_GROUP_FRAMES,
    MAX_MODEL_NAME,
    MAX_PIXELS,
    MAX_QUALITY,
    MAX_SIDE,
    Cursor,
    pack_varint,
)
from aehub.errors import DamagedError, FormatError, InputError
from aehub.media.file_type import describe_bytes
from aehub.media.picture import MIN_BITS, YUV420, Colour, PictureFormat, PlaneFormat

MAGIC = b"\x89AEV"
VERSION = 1
PREFIX = len(MAGIC) + 2
"""Bytes before the body: magic, version, length of the body."""

# Largest numerators and denominators of 3, 2 and 4 bytes: with a name of 40 bytes they fill the 96
# bytes of the header exactly.
RATE_LIMITS = (2_113_663, 2_113_663)
TIME_BASE_LIMITS = (16_511, 270_549_119)
ASPECT_LIMITS = (16_511, 16_511)

_NTSC = tuple(Fraction(n * 1000, 1001) for n in (24, 30, 60, 120, 15))
_INTEGER = (24, 25, 30, 50, 60, 10, 12, 15, 8, 5, 1, 2, 4, 6, 16, 18, 20, 48, 72, 90, 100, 120, 144)
USUAL_RATES = (*_NTSC, *map(Fraction, (*_INTEGER, 240)), Fraction(25, 2), Fraction(15, 2))
"""Rates coded by their position, 1 to 31, in this list."""

USUAL_COLOURS = (
    Colour(1, False, 1, 1),
    Colour(6, False, 6, 6),
    Colour(5, False, 5, 6),
    Colour(1, False, 2, 2),
    Colour(6, False, 2, 2),
    Colour(5, False, 2, 2),
    Colour(5, True, 2, 2),
    Colour(5, True, 1, 13),
)
"""Colours coded in one byte, 128 to 135."""

_LAST_YUV420_FORMAT = 3
"""Files of payload formats up to it have no field for the format of their pictures."""
_TIME_BASE, _COLOUR, _ASPECT = 1, 2, 4
_RATE_SHIFT = 3


@dataclass(frozen=True)
class FileHeader:
    """Properties shared by all groups of the file.

    Attributes:
        model: name of the model, at most 40 bytes of UTF-8.
        entropy_hash: first 8 bytes of the SHA-256 of tables and integer networks; must match.
        synthesis_hash: first 8 bytes of the SHA-256 of the decoder; identifies the revision.
        coder: payload format: number of the codec and of its version, 0 to 127.
        width: of the shown window in luma samples.
        height: of the shown window in luma samples.
        fps: nominal frames per second.
        quality: default of groups, in hundredths, 0 to 10000.
        group_frames: default number of coded frames in a group.
        time_base: seconds per tick; 0, the default, becomes 1/fps: one tick a frame.
        colour: of the planes, in H.273 code points.
        pixel_aspect: width of a pixel over its height.
        pictures: planes and sample range of the pictures.
    """

    model: str
    entropy_hash: bytes
    synthesis_hash: bytes
    coder: int
    width: int
    height: int
    fps: Fraction
    quality: int
    group_frames: int
    time_base: Fraction = Fraction(0)
    colour: Colour = Colour()
    pixel_aspect: Fraction = Fraction(1)
    pictures: PictureFormat = YUV420

    def __post_init__(self) -> None:
        object.__setattr__(self, "fps", Fraction(self.fps))
        if self.time_base == 0 and self.fps > 0:
            object.__setattr__(self, "time_base", 1 / self.fps)

    @cached_property
    def frame_ticks(self) -> int:
        """Default duration of a frame in ticks: 1/(fps * time_base), rounded, >= 1."""
        return max(1, int(1 / (self.fps * self.time_base) + Fraction(1, 2)))

    def coded_size(self, grid: int, crop: tuple[int, int] = (0, 0)) -> tuple[int, int]:
        """Return (width, height) of the coded plane whose shown window begins at `crop`.

        Args:
            grid: of the codec: coded planes are multiples of so many samples.
            crop: (x, y) in samples.
        """
        width, height = (-(-(begin + shown) // grid) * grid
                         for begin, shown in zip(crop, (self.width, self.height), strict=True))
        return width, height


def is_aev(first_bytes: bytes) -> bool:
    """Return whether a file that begins with these bytes (4 are enough) is an `.aev` file."""
    return bytes(first_bytes[: len(MAGIC)]) == MAGIC


def is_aev_file(path: Path) -> bool:
    """Return whether there is an `.aev` file at a path that can be read."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return is_aev(file.read(len(MAGIC)))
    except OSError:
        return False


def nearest_rate(fps: Fraction) -> Fraction:
    """Return the rate nearest to `fps` that fits a file header; averages can have huge terms."""
    largest = max(1, min(RATE_LIMITS[1], RATE_LIMITS[0] // (int(fps) + 1)))
    return Fraction(fps).limit_denominator(largest)


def pack_file_header(header: FileHeader) -> bytes:
    """Encode a file header with magic, version and CRC-32.

    Raises:
        InputError: a value is outside the limits of the format.
    """
    problem = _problem(header)
    if problem:
        raise InputError(f"this file header cannot be written: {problem}")
    body = _pack_body(header)
    packed = MAGIC + bytes((VERSION, len(body))) + body
    packed += zlib.crc32(packed).to_bytes(4, "little")
    return packed


def _pack_body(header: FileHeader) -> bytes:
    name = header.model.encode()
    rate = USUAL_RATES.index(header.fps) + 1 if header.fps in USUAL_RATES else 0
    flags = rate << _RATE_SHIFT
    optional = b"" if rate else _pack_fraction(header.fps)
    if header.time_base * header.fps != 1:
        flags |= _TIME_BASE
        optional += _pack_fraction(header.time_base)
    if header.colour != Colour():
        flags |= _COLOUR
        optional += _pack_colour(header.colour)
    if header.pixel_aspect != 1:
        flags |= _ASPECT
        optional += _pack_fraction(header.pixel_aspect)
    if header.coder > _LAST_YUV420_FORMAT:
        optional += _pack_pictures(header.pictures)
    required = (
        bytes((flags, header.coder, len(name))) + name + header.entropy_hash + header.synthesis_hash
        + pack_varint(header.width - 1) + pack_varint(header.height - 1)
        + pack_quality(header.quality) + pack_varint(header.group_frames)
    )  # fmt: skip
    return required + optional


def unpack_file_header(data: bytes, name: str = "the file") -> tuple[FileHeader, int]:
    """Decode the file header at the start of `data`; return it and its size in bytes.

    Args:
        data: the first bytes of the file, at most `PREFIX + 255 + 4` are looked at.
        name: of the file, for messages.

    Raises:
        FormatError: not an `.aev` file, a newer one, or values outside the limits.
        DamagedError: the header is truncated or its CRC-32 does not match.
    """
    _refuse_other_formats(data, name)
    if len(data) <= PREFIX or len(data) < (size := PREFIX + data[PREFIX - 1] + 4):
        raise DamagedError(f"{name} is cut off inside its file header, after {len(data)} bytes.")
    intact = zlib.crc32(data[: size - 4]).to_bytes(4, "little") == data[size - 4 : size]
    version = data[len(MAGIC)]
    if version != VERSION:
        doubt = "" if intact else " (or it is damaged: the CRC-32 of its header does not match)"
        raise FormatError(
            f"{name} is an .aev file of format version {version}{doubt}; this AEHub reads "
            f"version {VERSION}: update it to read the file."
        )
    if not intact:
        raise DamagedError(
            f"{name} has a damaged file header (its CRC-32 does not match); without it no group "
            f"can be decoded."
        )
    return _unpack_body(Cursor(data[PREFIX : size - 4]), name), size


def _unpack_body(cursor: Cursor, name: str) -> FileHeader:
    try:
        flags, coder = cursor.byte(), cursor.byte()
        model = cursor.take(cursor.byte()).decode()
        entropy_hash, synthesis_hash = cursor.take(8), cursor.take(8)
        width, height = cursor.varint() + 1, cursor.varint() + 1
        quality, group_frames = unpack_quality(cursor), cursor.varint()
        rate = flags >> _RATE_SHIFT
        fps = USUAL_RATES[rate - 1] if rate else _unpack_fraction(cursor)
        time_base = _unpack_fraction(cursor) if flags & _TIME_BASE else 1 / fps
        colour = _unpack_colour(cursor) if flags & _COLOUR else Colour()
        aspect = _unpack_fraction(cursor) if flags & _ASPECT else Fraction(1)
        pictures = _unpack_pictures(cursor) if coder > _LAST_YUV420_FORMAT else YUV420
    except (FormatError, InputError, UnicodeDecodeError) as error:
        raise FormatError(f"{name} has a file header that cannot be read: {error}") from error
    header = FileHeader(
        model, entropy_hash, synthesis_hash, coder, width, height,
        fps, quality, group_frames, time_base, colour, aspect, pictures,
    )  # fmt: skip
    problem = _problem(header)
    if problem:
        raise FormatError(f"{name} is refused: {problem}")
    return header


def _problem(header: FileHeader) -> str:
    """Return a sentence on the first value outside the limits, or an empty string."""
    checks = (
        (0 < len(header.model.encode()) <= MAX_MODEL_NAME and header.model.isprintable(),
         f"the model name {header.model[:60]!r} must be 1 to {MAX_MODEL_NAME} printable bytes."),
        (len(header.entropy_hash) == len(header.synthesis_hash) == 8,
         "each hash must have 8 bytes."),
        (0 <= header.coder <= 127, f"the payload format {header.coder} is outside 0 to 127."),
        (0 < header.width <= MAX_SIDE and 0 < header.height <= MAX_SIDE
         and header.width * header.height <= MAX_PIXELS,
         f"its frames are {header.width}x{header.height}; an .aev file holds sides of 1 to "
         f"{MAX_SIDE} and at most {MAX_PIXELS} pixels."),
        (0 <= header.quality <= MAX_QUALITY,
         f"the quality {header.quality / 100} is not 0 to 100."),
        (header.coder > _LAST_YUV420_FORMAT or header.pictures == YUV420,
         f"payload format {header.coder} holds 8-bit 4:2:0 and not {header.pictures}."),
        (0 < header.group_frames <= MAX_GROUP_FRAMES,
         f"groups of {header.group_frames} frames are outside 1 to {MAX_GROUP_FRAMES}."),
        (_fits(header.fps, RATE_LIMITS), _range_sentence("frame rate", header.fps, RATE_LIMITS)),
        (header.time_base * header.fps == 1 or _fits(header.time_base, TIME_BASE_LIMITS),
         _range_sentence("time base", header.time_base, TIME_BASE_LIMITS)),
        (_fits(header.pixel_aspect, ASPECT_LIMITS),
         _range_sentence("pixel aspect", header.pixel_aspect, ASPECT_LIMITS)),
        (0 <= header.colour.matrix < 128 and 0 <= header.colour.primaries < 256
         and 0 <= header.colour.transfer < 128,
         f"the colour {tuple(header.colour)} is not made of H.273 code points."),
    )  # fmt: skip
    return next((sentence for fine, sentence in checks if not fine), "")


def _range_sentence(what: str, value: Fraction, limits: tuple[int, int]) -> str:
    return f"the {what} {value} must be above 0 and have terms up to {limits[0]}/{limits[1]}."


def _fits(value: Fraction, limits: tuple[int, int]) -> bool:
    return 0 < value.numerator <= limits[0] and value.denominator <= limits[1]


def _refuse_other_formats(data: bytes, name: str) -> None:
    if not data:
        raise FormatError(f"{name} is empty (0 bytes); an .aev file begins with 89 41 45 56.")
    if not is_aev(data) and not MAGIC.startswith(bytes(data[: len(MAGIC)])):
        description = describe_bytes(bytes(data))
        raise FormatError(f"{name} is not an .aev file: it looks like {description}.")


def _pack_fraction(value: Fraction) -> bytes:
    return pack_varint(value.numerator) + pack_varint(value.denominator)


def _unpack_fraction(cursor: Cursor) -> Fraction:
    numerator, denominator = cursor.varint(), cursor.varint()
    if not numerator or not denominator:
        raise FormatError(f"the fraction {numerator}/{denominator} must be above 0.")
    return Fraction(numerator, denominator)


def _pack_colour(colour: Colour) -> bytes:
    if colour in USUAL_COLOURS:
        return bytes((128 + USUAL_COLOURS.index(colour),))
    return bytes((colour.matrix, colour.primaries, colour.transfer | colour.full_range << 7))


def _unpack_colour(cursor: Cursor) -> Colour:
    matrix = cursor.byte()
    if matrix >= 128:
        if matrix - 128 >= len(USUAL_COLOURS):
            raise FormatError(f"the colour code {matrix} is not known.")
        return USUAL_COLOURS[matrix - 128]
    primaries, transfer = cursor.byte(), cursor.byte()
    return Colour(matrix, transfer > 127, primaries, transfer & 127)


def _pack_pictures(pictures: PictureFormat) -> bytes:
    """Planes and samples; a single 0 for 8-bit 4:2:0."""
    if pictures == YUV420:
        return bytes(1)
    packed = bytes((len(pictures.planes), pictures.bits - MIN_BITS | pictures.signed << 4))
    for name, across, down in pictures.planes:
        packed += bytes((len(name),)) + name.encode() + bytes(((across - 1) << 4 | down - 1,))
    return packed


def _unpack_pictures(cursor: Cursor) -> PictureFormat:
    n_planes = cursor.byte()
    if not n_planes:
        return YUV420
    samples = cursor.byte()
    if samples >> 5:
        raise FormatError(f"the sample format {samples} is not known.")
    planes = []
    for _ in range(n_planes):
        name, subsampling = cursor.take(cursor.byte()).decode(), cursor.byte()
        planes.append(PlaneFormat(name, (subsampling >> 4) + 1, (subsampling & 15) + 1))
    return PictureFormat(tuple(planes), (samples & 15) + MIN_BITS, bool(samples & 16))


def pack_quality(quality: int) -> bytes:
    """Encode hundredths: integer qualities in one byte, others in two."""
    return pack_varint(128 + quality if quality % 100 else quality // 100)


def unpack_quality(cursor: Cursor) -> int:
    """Read a quality in hundredths."""
    value = cursor.varint()
    return value - 128 if value >= 128 else value * 100
