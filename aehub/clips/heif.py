"""Photographs in HEIF files (HEIC): tiles, transparency and orientation, told by the boxes.

libavformat gives each stored picture as a stream of its own, and PyAV 18 does not pass on what
makes one photograph of them. Boxes are those of ISO/IEC 14496-12 and 23008-12.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from aehub.clips.orientation import Orientation, from_rotation

# The list of pictures comes first; a photograph's takes some thousand bytes.
_LARGEST_META = 1 << 22
_ALPHA = (b"urn:mpeg:hevc:2015:auxid:1\0", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")


class Grid(NamedTuple):
    """A picture in `columns` by `rows` tiles, row by row, cut to `width` x `height`.

    Items are numbered as the streams of libavformat (`stream.id`). One tile and a size of 0 is a
    picture that is stored whole.
    """

    tiles: tuple[int, ...]
    columns: int = 1
    width: int = 0
    height: int = 0


class Photograph(NamedTuple):
    """What the boxes say of the picture that is to be shown."""

    colour: Grid
    alpha: Grid | None
    orientation: Orientation


def read_photograph(file: BinaryIO) -> Photograph | None:
    """Read the boxes of a file at its start.

    Returns:
        The photograph, `None` if the file holds none, or derives it in a way not known here.
    """
    try:
        meta = _Meta(file)
        colour = meta.grid(meta.primary)
        alpha = next((meta.grid(item) for item in meta.alpha_items()), None)
        return Photograph(colour, alpha, meta.orientation())
    except (struct.error, LookupError, ValueError):
        return None


class _Meta:
    """The tables of a meta box."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._boxes = dict(_boxes(_meta_of(file)))
        self.primary = _number(self._boxes[b"pitm"])
        self._kinds = _item_kinds(self._boxes[b"iinf"])
        self._links = list(_references(self._boxes.get(b"iref", bytes(4))))
        self._tiles = {of: to for name, of, to in self._links if name == b"dimg"}
        children = dict(_boxes(self._boxes[b"iprp"]))
        self._properties = list(_boxes(children[b"ipco"]))
        self._used = _associations(children[b"ipma"])

    def grid(self, item: int) -> Grid:
        """The tiles of an item; LookupError where it is no grid of pictures."""
        kind = self._kinds[item]
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
        """Items that hold the transparency of the primary one."""
        for name, of, to in self._links:
            kinds = (body for prop, body in self._of(of) if prop == b"auxC")
            if name == b"auxl" and self.primary in to and any(
                body[4:].startswith(_ALPHA) for body in kinds
            ):
                yield of

    def orientation(self) -> Orientation:
        """How the primary item is to be turned; its properties apply in their order."""
        turned = Orientation()
        for name, body in self._of(self.primary):
            if name == b"irot":
                turned = from_rotation(90 * (body[0] & 3))
            elif name == b"imir" and body[0] & 1:
                turned = turned._replace(mirror=not turned.mirror)
            elif name == b"imir":
                turned = turned._replace(upend=not turned.upend)
        return turned

    def _of(self, item: int) -> list[tuple[bytes, bytes]]:
        return [self._properties[index - 1] for index in self._used.get(item, ()) if index]

    def _bytes_of(self, item: int) -> bytes:
        """The bytes of a small item, which most writers keep in the meta box itself."""
        in_meta, offset, length = _locations(self._boxes[b"iloc"])[item]
        if in_meta:
            return self._boxes[b"idat"][offset : offset + length]
        self._file.seek(offset)
        return self._file.read(min(length, _LARGEST_META))


def _meta_of(file: BinaryIO) -> bytes:
    """The body of the top-level meta box, without its version."""
    position = 0
    while True:
        file.seek(position)
        size, name = struct.unpack(">I4s", file.read(8))
        if name == b"meta" and size <= _LARGEST_META:
            return file.read(size - 8)[4:]
        if size < 8:
            raise LookupError(name)
        position += size


def _boxes(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, body) of the boxes in `body`."""
    at = 0
    while at + 8 <= len(body):
        size, name = struct.unpack_from(">I4s", body, at)
        if size < 8:
            raise ValueError(name)
        yield name, body[at + 8 : at + size]
        at += size


def _number(body: bytes) -> int:
    """The item number after the version: 16 bits in version 0, else 32."""
    return int(struct.unpack_from(">I" if body[0] else ">H", body, 4)[0])


class _Fields:
    """Big-endian numbers, one after the other."""

    def __init__(self, body: bytes, at: int) -> None:
        self.body, self.at = body, at

    def take(self, n_bytes: int) -> int:
        """The next number; ValueError past the end."""
        if self.at + n_bytes > len(self.body):
            raise ValueError(self.at)
        self.at += n_bytes
        return int.from_bytes(self.body[self.at - n_bytes : self.at], "big")


def _item_kinds(body: bytes) -> dict[int, bytes]:
    """The four letters of each item, from an item information box."""
    kinds = {}
    for _, entry in _boxes(body[6 if body[0] == 0 else 8 :]):
        width = 4 if entry[0] > 2 else 2
        kinds[int.from_bytes(entry[4 : 4 + width], "big")] = entry[6 + width : 10 + width]
    return kinds


def _references(body: bytes) -> Iterator[tuple[bytes, int, tuple[int, ...]]]:
    """(name, from item, to items) of an item reference box."""
    for name, entry in _boxes(body[4:]):
        fields, width = _Fields(entry, 0), 4 if body[0] else 2
        of = fields.take(width)
        yield name, of, tuple(fields.take(width) for _ in range(fields.take(2)))


def _associations(body: bytes) -> dict[int, list[int]]:
    """Numbers of the properties of each item, from 1, as they apply."""
    fields, used = _Fields(body, 4), dict[int, list[int]]()
    for _ in range(fields.take(4)):
        item = fields.take(4 if body[0] else 2)
        width = 2 if body[3] & 1 else 1
        # The highest bit says that a reader must know the property.
        mask = (1 << 8 * width - 1) - 1
        used[item] = [fields.take(width) & mask for _ in range(fields.take(1))]
    return used


def _locations(body: bytes) -> dict[int, tuple[bool, int, int]]:
    """(in the meta box, offset, length) of the first piece of each item."""
    fields, version, places = _Fields(body, 4), body[0], dict[int, tuple[bool, int, int]]()
    sizes = fields.take(2)
    offset_size, length_size, base_size, index_size = (sizes >> at & 15 for at in (12, 8, 4, 0))
    index_size = index_size if version else 0
    for _ in range(fields.take(2 if version < 2 else 4)):
        item = fields.take(2 if version < 2 else 4)
        in_meta = version > 0 and fields.take(2) & 15 == 1
        fields.take(2)
        base, n_pieces = fields.take(base_size), fields.take(2)
        fields.take(index_size)
        offset = base + fields.take(offset_size)
        places[item] = in_meta, offset, fields.take(length_size)
        fields.at += (n_pieces - 1) * (index_size + offset_size + length_size)
    return places
