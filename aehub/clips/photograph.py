"""Read photographs stored in parts: a grid of tiles, and opacity as a picture of its own."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np

from aehub.clips import samples
from aehub.clips.convert import Converter
from aehub.clips.frames import ClipInfo, Frame, Planes
from aehub.clips.heif import Grid, Photograph, read_photograph
from aehub.clips.pictures import SilentReader
from aehub.clips.probe import reopened
from aehub.clips.source import Source, check_pixels
from aehub.clips.timeline import DEFAULT_FPS
from aehub.config import Limits
from aehub.errors import InputError


def photograph_in_parts(source: Source) -> Photograph | None:
    """Return what the boxes of a HEIF file say, `None` where one stream is all of the picture."""
    with source.from_start() as file:
        found = read_photograph(file)
    if found is None or (len(found.colour.tiles) == 1 and found.alpha is None):
        return None
    return found


class PhotographReader(SilentReader):
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
        return samples.planes_over_white(picture, opacity, convert.colour.full_range)

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
