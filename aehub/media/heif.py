"""Photographs in HEIF files (HEIC): tiles, transparency and orientation, told by the boxes.

libavformat gives each stored picture as a stream of its own, and PyAV 18 does not pass on what
makes one photograph of them. Boxes are those of ISO/IEC 14496-12 and 23008-12.

Read photographs stored in parts: a grid of tiles, and opacity as a picture of its own.
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
from aehub.media.picture import ClipInfo, Frame, Planes
from aehub.media.source import Source, check_pixels
from aehub.media.streams import reopened
from aehub.media.timestamps import DEFAULT_FPS

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


def composite_photograph(source: Source) -> Photograph | None:
    """Return what the boxes of a HEIF file say, `None` where one stream is all of the picture."""
    with source.rewound() as file:
        found = read_photograph(file)
    if found is None or (len(found.colour.tiles) == 1 and found.alpha is None):
        return None
    return found


class PhotographReader(ImageReader):
    """Reads one photograph: decodes its parts, and puts them together."""

    def __init__(
        self, source: Source, photograph: Photograph, limits: Limits, fps: Fraction | None
    ) -> None:
        """Decode the picture.

        Raises:
            InputError: a part is missing or damaged.
            LimitError: it is too large.
        """
        super().__init__()
        self._source, self._limits = source, limits
        check_pixels(source.name, photograph.colour.width, photograph.colour.height, limits)
        try:
            with reopened(source, "mov") as container:
                picture = self._decoded(container, photograph)
        except (av.FFmpegError, KeyError) as err:
            raise InputError(f"{source.name} is damaged: it cannot be decoded.") from err
        self._planes = photograph.orientation.turn(picture)
        width, height = self._planes.size
        rate = fps or DEFAULT_FPS
        self.info = ClipInfo(
            width, height, rate, 1 / rate, self._colour, n_frames=1, source_bytes=source.n_bytes
        )

    def frames(self) -> Iterator[Frame]:
        """Give the one picture."""
        yield Frame(self._planes, 0)

    def _decoded(self, container: Any, photograph: Photograph) -> Planes:
        picture, convert = self._joined(container, photograph.colour)
        self._colour = convert.colour
        self.notes.extend(convert.notes)
        if photograph.alpha is None:
            return picture
        container.seek(0)
        opacity = self._joined(container, photograph.alpha)[0].y
        if opacity.shape != picture.y.shape or opacity.min() == 255:
            return picture
        self.notes.append("Transparent parts were laid over white.")
        return conversion.planes_over_white(picture, opacity, convert.colour.full_range)

    def _joined(self, container: Any, grid: Grid) -> tuple[Planes, Converter]:
        """Decode tiles, put them side by side, and cut them to the size of the picture."""
        tiles: dict[int, Planes] = {}
        convert: Converter | None = None
        n, n_rows = grid.columns, len(grid.tiles) // grid.columns
        for item, frame in self._frames(container, grid.tiles):
            # What lies wholly outside the picture is no tile of it, and might be without end.
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
        return Planes(*map(np.ascontiguousarray, parts)), convert

    def _frames(self, container: Any, items: tuple[int, ...]) -> Iterator[tuple[int, Any]]:
        """Decode the pictures of `items`, in any order."""
        # Items are stills, timed in whole seconds; tracks of the same number are not.
        streams = {s.id: s for s in container.streams.video if s.time_base == 1}
        chosen = [streams[item] for item in dict.fromkeys(items)]
        for stream in chosen:
            stream.codec_context.options = {"max_pixels": str(2 * self._limits.max_pixels)}
            stream.codec_context.thread_count = 1
        for packet in container.demux(chosen):
            for frame in packet.decode():
                check_pixels(self._source.name, frame.width, frame.height, self._limits)
                yield packet.stream.id, frame
