"""Writing mp4, mkv and webm with PyAV, sound included."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import av
import numpy as np
from av.codec.context import Flags

from aehub.clips import colour as colours
from aehub.clips.feed import Feed
from aehub.clips.frames import ClipInfo, Planes
from aehub.clips.loops import TAG
from aehub.clips.sinks import frame_of_planes
from aehub.threads import share


class Recipe(NamedTuple):
    """How one container is filled; `lossless` options replace those of the same name."""

    encoder: str
    options: dict[str, str]
    lossless: dict[str, str]
    container: dict[str, str]
    even_only: bool = False


RECIPES = {
    # crf 12 lies above 45 dB on camera material: no eye tells it from the source. Without B-frames
    # the picture coded last is the one shown last, and mp4 takes the end from its duration.
    "mp4": Recipe(
        "libx264",
        {"crf": "12", "preset": "veryfast", "bf": "0"},
        {"crf": "0", "qp": "0"},
        {"movflags": "+faststart"},
        even_only=True,
    ),
    "matroska": Recipe("ffv1", {"level": "3", "slicecrc": "1"}, {}, {}),
    "webm": Recipe(
        "libvpx-vp9",
        # 44 dB on camera material as with slower settings, 6 times as fast.
        {"crf": "12", "b": "0", "deadline": "realtime", "cpu-used": "8", "row-mt": "1"},
        {"lossless": "1", "crf": "0"},
        {},
    ),
}

# Players jump to key frames; two seconds apart they feel immediate.
_KEY_FRAME_SECONDS = 2


class VideoSink:
    """Writes one video stream, and a sound track if given.

    H.264 in 4:2:0 has even sizes only: the last row or column is repeated, for that loses nothing.
    """

    def __init__(
        self, path: Path, name: str, info: ClipInfo, audio: BinaryIO | None, lossless: bool
    ) -> None:
        """Open the encoder; `name` is one of `RECIPES`."""
        recipe = RECIPES[name]
        self.notes: list[str] = []
        self._info, self._feed = info, None
        self._pad = (info.height % 2, info.width % 2) if recipe.even_only else (0, 0)
        if any(self._pad):
            self.notes.append(f"{name} needs even sizes: the last row or column was repeated.")
        if name != "mp4" and info.pixel_aspect != 1:
            # PyAV 18 sets the aspect of the codec only, and Matroska wants that of the stream.
            self.notes.append(f"The pixel aspect {info.pixel_aspect} is not kept in {name}.")
        self._container = av.open(str(path), "w", format=name, container_options=recipe.container)
        if info.plays:
            self._container.metadata[TAG] = str(info.plays)
        self._stream = self._add_stream(recipe, lossless)
        if audio is not None:
            self._feed = Feed(audio, self._container, name, self.notes)

    def put(self, planes: Planes, time: int, duration: int) -> None:
        """Encode one picture, and the sound up to it."""
        frame = frame_of_planes(self._even(planes))
        frame.pts, frame.time_base, frame.duration = time, self._info.time_base, duration
        self._container.mux(self._stream.encode(frame))
        if self._feed is not None:
            self._feed.up_to(time * self._info.time_base)

    def finish(self) -> None:
        """Encode what is held back, and the rest of the sound."""
        self._container.mux(self._stream.encode(None))
        if self._feed is not None:
            self._feed.up_to(None)

    def close(self) -> None:
        """Write the index and release everything."""
        if self._feed is not None:
            self._feed.close()
        self._container.close()

    def _add_stream(self, recipe: Recipe, lossless: bool) -> Any:
        info = self._info
        options = {**recipe.options, **(recipe.lossless if lossless else {})}
        stream: Any = self._container.add_stream(recipe.encoder, rate=info.fps, options=options)
        stream.width = info.width + self._pad[1]
        stream.height = info.height + self._pad[0]
        colour = colours.as_tagged(info.colour, stream.width, stream.height)
        stream.pix_fmt = "yuv420p"
        stream.time_base = info.time_base
        context = stream.codec_context
        share(context)
        context.sample_aspect_ratio = info.pixel_aspect
        context.time_base = info.time_base
        context.flags |= Flags.frame_duration
        context.colorspace, context.color_range = colour.matrix, 2 if colour.full_range else 1
        context.color_primaries, context.color_trc = colour.primaries, colour.transfer
        if recipe.encoder != "ffv1":
            context.gop_size = max(1, round(_KEY_FRAME_SECONDS * info.fps))
        return stream

    def _even(self, planes: Planes) -> Planes:
        """Pad luma to an even size; the chroma planes fit already."""
        if not any(self._pad):
            return planes
        rows, columns = self._pad
        return planes._replace(y=np.pad(planes.y, ((0, rows), (0, columns)), mode="edge"))
