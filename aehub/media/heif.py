"""Photographs in HEIF files (HEIC, AVIF): grids of tiles, alpha items and orientation.

libavformat gives each item as a stream of its own, and PyAV 18 does not pass on the derivation of
the photograph from them. Boxes are those of ISO/IEC 14496-12 and 23008-12.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, BinaryIO, NamedTuple

import av
import numpy as np

from aehub.config import Limits
from aehub.errors import InputError
from aehub.media import conversion
from aehub.media.conversion import Converter, Orientation, from_rotation
from aehub.media.image_readers import ImageReader
from aehub.media.picture import ClipInfo, Frame, Picture
from aehub.media.source import Source, check_pixels
from aehub.media.streams import reopened
from aehub.media.timestamps import DEFAULT_FPS

# Largest meta box that is read, in bytes; that of a photograph has some thousand.
_MAX_META_BYTES = 1 << 22
_ALPHA_TYPES = (b"urn:mpeg:hevc:2015:auxid:1\0", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")


class Grid(NamedTuple):
    """A picture of tiles, row by row in `columns` columns, cropped to `width` x `height`.

    Tiles are item IDs, which libavformat gives as `stream.id`. One tile and a size of 0 stand for a
    single coded picture.
    """

    tiles: tuple[int, ...]
    columns: int = 1
    width: int = 0
    height: int = 0


class Photograph(NamedTuple):
    """Derivation of the primary item."""

    colour: Grid
    alpha: Grid | None
    orientation: Orientation


def read_photograph(file: BinaryIO) -> Photograph | None:
    """Read the boxes of a file from its start.

    Returns:
        The photograph, None if the file holds none, or derives it in an unsupported way.
    """
    try:
        meta = _Meta(file)
        colour = meta.grid(meta.primary)
        alpha = next((meta.grid(item) for item in meta.alpha_items()), None)
        return Photograph(colour, alpha, meta.orientation())
    except (struct.error, LookupError, ValueError):
        return None


def composite_photograph(source: Source) -> Photograph | None:
    """Return a photograph of several items, None if one stream is the whole picture."""
    with source.rewound() as file:
        photograph = read_photograph(file)
    if photograph is None or (len(photograph.colour.tiles) == 1 and photograph.alpha is None):
        return None
    return photograph


class PhotographReader(ImageReader):
    """Reader of one photograph: decodes its items and assembles them."""

    def __init__(
        self, source: Source, photograph: Photograph, limits: Limits, fps: Fraction | None
    ) -> None:
        """Decode the picture.

        Raises:
            InputError: an item is missing or damaged.
            LimitError: it is too large.
        """
        super().__init__()
        self._source, self._limits = source, limits
        check_pixels(source.name, photograph.colour.width, photograph.colour.height, limits)
        try:
            with reopened(source, "mov") as container:
                picture = self._decode(container, photograph)
        except (av.FFmpegError, KeyError) as err:
            raise InputError(f"{source.name} is damaged: it cannot be decoded.") from err
        self._planes = photograph.orientation.apply(picture)
        width, height = self._planes.size
        rate = fps or DEFAULT_FPS
        self.info = ClipInfo(
            width, height, rate, 1 / rate, self._colour, n_frames=1, source_bytes=source.n_bytes
        )

    def frames(self) -> Iterator[Frame]:
        """Yield the picture."""
        yield Frame(self._planes, 0)

    def _decode(self, container: Any, photograph: Photograph) -> Picture:
        picture, convert = self._assemble(container, photograph.colour)
        self._colour = convert.colour
        self.notes.extend(convert.notes)
        if photograph.alpha is None:
            return picture
        container.seek(0)
        opacity = self._assemble(container, photograph.alpha)[0][0]
        if opacity.shape != picture[0].shape or opacity.min() == 255:
            return picture
        self.notes.append(conversion.ALPHA_NOTE)
        return conversion.planes_over_white(picture, opacity, convert.colour.full_range)

    def _assemble(self, container: Any, grid: Grid) -> tuple[Picture, Converter]:
        """Decode the tiles of a grid, assemble and crop them."""
        tiles: dict[int, Picture] = {}
        convert: Converter | None = None
        n, n_rows = grid.columns, len(grid.tiles) // grid.columns
        for item, frame in self._frames(container, grid.tiles):
            # Tiles wholly outside the picture are invalid, and could be of any number.
            if (n - 1) * frame.width > grid.width or (n_rows - 1) * frame.height > grid.height:
                raise KeyError(item)
            convert = convert or Converter(frame, "hevc", is_photo=True)
            tiles[item] = convert(frame)
        if convert is None:
            raise KeyError(grid)
        if len(grid.tiles) == 1:
            return tiles[grid.tiles[0]], convert
        rows = [grid.tiles[at : at + n] for at in range(0, len(grid.tiles), n)]
        y, u, v = (
            np.concatenate([np.concatenate([tiles[i][p] for i in row], axis=1) for row in rows])
            for p in range(3)
        )
        height, width = grid.height, grid.width
        if y.shape[0] < height or y.shape[1] < width:
            raise KeyError(grid)
        half = slice((height + 1) // 2), slice((width + 1) // 2)
        parts = y[:height, :width], u[half], v[half]
        return Picture(map(np.ascontiguousarray, parts)), convert

    def _frames(self, container: Any, items: tuple[int, ...]) -> Iterator[tuple[int, Any]]:
        """Decode the pictures of `items`, in any order."""
        # Items are stills with a time base of 1 s; tracks with the same ID are not.
        streams = {s.id: s for s in container.streams.video if s.time_base == 1}
        chosen = [streams[item] for item in dict.fromkeys(items)]
        for stream in chosen:
            stream.codec_context.options = {"max_pixels": str(2 * self._limits.max_pixels)}
            stream.codec_context.thread_count = 1
        for packet in container.demux(chosen):
            for frame in packet.decode():
                check_pixels(self._source.name, frame.width, frame.height, self._limits)
                yield packet.stream.id, frame


class _Meta:
    """Tables of a meta box."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._boxes = dict(_boxes(_meta_of(file)))
        self.primary = _item_id(self._boxes[b"pitm"])
        self._types = _item_types(self._boxes[b"iinf"])
        self._item_references = list(_references(self._boxes.get(b"iref", bytes(4))))
        self._tiles = {of: to for name, of, to in self._item_references if name == b"dimg"}
        children = dict(_boxes(self._boxes[b"iprp"]))
        self._properties = list(_boxes(children[b"ipco"]))
        self._property_indices = _associations(children[b"ipma"])

    def grid(self, item: int) -> Grid:
        """Tiles of an item; LookupError if it is neither a coded picture nor a grid."""
        kind = self._types[item]
        if kind in (b"hvc1", b"hev1", b"av01"):
            return Grid((item,))
        if kind != b"grid":
            raise LookupError(kind)
        tiles = self._tiles[item]
        data = self._bytes_of(item)
        rows, columns = data[2] + 1, data[3] + 1
        width, height = struct.unpack(">II" if data[1] & 1 else ">HH", data[4:])
        if len(tiles) != rows * columns or not width * height:
            raise ValueError(tiles)
        return Grid(tiles, columns, width, height)

    def alpha_items(self) -> Iterator[int]:
        """Yield the alpha items of the primary item."""
        for name, of, to in self._item_references:
            kinds = (body for prop, body in self._properties_of(of) if prop == b"auxC")
            if name == b"auxl" and self.primary in to and any(
                body[4:].startswith(_ALPHA_TYPES) for body in kinds
            ):
                yield of

    def orientation(self) -> Orientation:
        """Orientation of the primary item; its properties apply in their order."""
        orientation = Orientation()
        for name, body in self._properties_of(self.primary):
            if name == b"irot":
                orientation = from_rotation(90 * (body[0] & 3))
            elif name == b"imir" and body[0] & 1:
                orientation = orientation._replace(hflip=not orientation.hflip)
            elif name == b"imir":
                orientation = orientation._replace(vflip=not orientation.vflip)
        return orientation

    def _properties_of(self, item: int) -> list[tuple[bytes, bytes]]:
        indices = self._property_indices.get(item, ())
        return [self._properties[index - 1] for index in indices if index]

    def _bytes_of(self, item: int) -> bytes:
        """Data of a small item, which most writers store in the meta box itself."""
        in_meta, offset, length = _locations(self._boxes[b"iloc"])[item]
        if in_meta:
            return self._boxes[b"idat"][offset : offset + length]
        self._file.seek(offset)
        return self._file.read(min(length, _MAX_META_BYTES))


def _meta_of(file: BinaryIO) -> bytes:
    """Body of the top-level meta box, without version and flags."""
    position = 0
    while True:
        file.seek(position)
        size, name = struct.unpack(">I4s", file.read(8))
        if name == b"meta" and size <= _MAX_META_BYTES:
            return file.read(size - 8)[4:]
        if size < 8:
            raise LookupError(name)
        position += size


def _boxes(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (type, body) of the boxes in `body`."""
    at = 0
    while at + 8 <= len(body):
        size, name = struct.unpack_from(">I4s", body, at)
        if size < 8:
            raise ValueError(name)
        yield name, body[at + 8 : at + size]
        at += size


def _item_id(body: bytes) -> int:
    """Item ID after version and flags: 16 bits in version 0, else 32."""
    return int(struct.unpack_from(">I" if body[0] else ">H", body, 4)[0])


class _ByteReader:
    """Reader of consecutive big-endian numbers."""

    def __init__(self, body: bytes, at: int) -> None:
        self.body, self.at = body, at

    def take(self, n_bytes: int) -> int:
        """Read the next number; ValueError past the end."""
        if self.at + n_bytes > len(self.body):
            raise ValueError(self.at)
        self.at += n_bytes
        return int.from_bytes(self.body[self.at - n_bytes : self.at], "big")


def _item_types(body: bytes) -> dict[int, bytes]:
    """Type of each item, from an item information box."""
    kinds = {}
    for _, entry in _boxes(body[6 if body[0] == 0 else 8 :]):
        width = 4 if entry[0] > 2 else 2
        kinds[int.from_bytes(entry[4 : 4 + width], "big")] = entry[6 + width : 10 + width]
    return kinds


def _references(body: bytes) -> Iterator[tuple[bytes, int, tuple[int, ...]]]:
    """Yield (type, from item, to items) of an item reference box."""
    for name, entry in _boxes(body[4:]):
        fields, width = _ByteReader(entry, 0), 4 if body[0] else 2
        of = fields.take(width)
        yield name, of, tuple(fields.take(width) for _ in range(fields.take(2)))


def _associations(body: bytes) -> dict[int, list[int]]:
    """Property indices of each item, from 1, in the order in which they apply."""
    fields, used = _ByteReader(body, 4), dict[int, list[int]]()
    for _ in range(fields.take(4)):
        item = fields.take(4 if body[0] else 2)
        width = 2 if body[3] & 1 else 1
        # The highest bit marks an essential property.
        mask = (1 << 8 * width - 1) - 1
        used[item] = [fields.take(width) & mask for _ in range(fields.take(1))]
    return used


def _locations(body: bytes) -> dict[int, tuple[bool, int, int]]:
    """(in the meta box, offset, length) of the first extent of each item."""
    fields, version, locations = _ByteReader(body, 4), body[0], dict[int, tuple[bool, int, int]]()
    sizes = fields.take(2)
    offset_size, length_size, base_size, index_size = (sizes >> at & 15 for at in (12, 8, 4, 0))
    index_size = index_size if version else 0
    for _ in range(fields.take(2 if version < 2 else 4)):
        item = fields.take(2 if version < 2 else 4)
        in_meta = version > 0 and fields.take(2) & 15 == 1
        fields.take(2)
        base, n_extents = fields.take(base_size), fields.take(2)
        fields.take(index_size)
        offset = base + fields.take(offset_size)
        locations[item] = in_meta, offset, fields.take(length_size)
        fields.at += (n_extents - 1) * (index_size + offset_size + length_size)
    return locations
