"""Writing GIF, animated WebP and APNG with PyAV: one frame in memory, true total duration."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from aehub.clips import colour as colours
from aehub.clips import sniff
from aehub.clips.frames import ClipInfo, Planes

_CENTISECOND = Fraction(1, 100)
_MILLISECOND = Fraction(1, 1000)
# Browsers show GIF frames of less than 20 ms for 100 ms.
_SHORTEST_GIF = 2
# The palette is drawn from a smaller picture: twice as fast on 352x288, 0.9 dB worse.
_PALETTE_WIDTH = 192


class _AnimationSink:
    """Encodes RGB pictures; times are brought to `grid` and never drift."""

    def __init__(
        self,
        path: Path,
        info: ClipInfo,
        *,
        container: tuple[str, dict[str, str]],
        encoder: tuple[str, str, dict[str, str]],
        grid: Fraction,
        shortest: int = 1,
    ) -> None:
        """Open `container` (name, options) and `encoder` (name, pixel format, options)."""
        self.notes: list[str] = []
        self._info, self._grid, self._shortest = info, grid, shortest
        self._held: tuple[np.ndarray, int] | None = None
        self._end = 0
        name, options = container
        self._container = av.open(str(path), "w", format=name, container_options=options)
        codec, self._pixels, codec_options = encoder
        stream: Any = self._container.add_stream(codec, rate=info.fps, options=codec_options)
        stream.width, stream.height, stream.pix_fmt = info.width, info.height, self._pixels
        stream.time_base = stream.codec_context.time_base = grid
        stream.codec_context.sample_aspect_ratio = info.pixel_aspect
        self._stream = stream

    def put(self, planes: Planes, time: int, duration: int) -> None:
        """Hold a picture until it is known when the next one replaces it."""
        start = self._on_grid(time)
        self._end = max(self._on_grid(time + duration), start + self._shortest)
        if self._held is not None and start < self._held[1] + self._shortest:
            self._note_dropped()
            return
        self._encode_held(start)
        self._held = colours.to_rgb(planes, self._info.colour), start

    def finish(self) -> None:
        """Encode what is held back."""
        self._encode_held(self._end)
        self._container.mux(self._stream.encode(None))

    def close(self) -> None:
        """Write the trailer and release everything."""
        self._container.close()

    def _encode_held(self, until: int) -> None:
        if self._held is None:
            return
        rgb, start = self._held
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
        frame.pts, frame.time_base, frame.duration = start, self._grid, until - start
        self._encode(frame)

    def _encode(self, frame: av.VideoFrame) -> None:
        if frame.format.name != self._pixels:
            pts, duration = frame.pts, frame.duration
            frame = frame.reformat(format=self._pixels)
            frame.pts, frame.time_base, frame.duration = pts, self._grid, duration
        self._container.mux(self._stream.encode(frame))

    def _on_grid(self, time: int) -> int:
        return round(time * self._info.time_base / self._grid)

    def _note_dropped(self) -> None:
        note = f"Frames closer than {float(self._shortest * self._grid):g} s were left out."
        if note not in self.notes:
            self.notes.append(note)


class GifSink(_AnimationSink):
    """GIF with a palette of its own for each frame, made and dithered by libavfilter."""

    def __init__(self, path: Path, info: ClipInfo, lossless: bool) -> None:
        super().__init__(
            path,
            info,
            container=("gif", {"loop": "0"}),
            encoder=("gif", "pal8", {}),
            grid=_CENTISECOND,
            shortest=_SHORTEST_GIF,
        )
        self.notes.append("GIF shows at most 256 colours a frame.")
        self._graph = self._palette_graph()

    def _palette_graph(self) -> Any:
        graph: Any = av.filter.Graph()
        source = graph.add_buffer(
            width=self._info.width, height=self._info.height, format="rgb24", time_base=self._grid
        )
        split = graph.add("split")
        small = graph.add("scale", f"w='min(iw,{_PALETTE_WIDTH})':h=-1:flags=neighbor")
        palette = graph.add("palettegen", "stats_mode=single:reserve_transparent=0")
        # Ordered dither stands still where the picture does.
        use = graph.add("paletteuse", "new=1:dither=bayer:bayer_scale=4")
        sink = graph.add("buffersink")
        source.link_to(split)
        split.link_to(small, 0, 0)
        small.link_to(palette)
        split.link_to(use, 1, 0)
        palette.link_to(use, 0, 1)
        use.link_to(sink)
        graph.configure()
        return graph

    def _encode(self, frame: av.VideoFrame) -> None:
        pts, duration = frame.pts, frame.duration
        self._graph.push(frame)
        indexed = self._graph.pull()
        indexed.pts, indexed.time_base, indexed.duration = pts, self._grid, duration
        super()._encode(indexed)


class ApngSink(_AnimationSink):
    """Animated PNG: every RGB value kept."""

    def __init__(self, path: Path, info: ClipInfo, lossless: bool) -> None:
        # Delays are fractions of two 16-bit numbers: rates are exact, uneven times to 0.1 ms.
        step = info.time_base.limit_denominator(1 << 15)
        grid = step if step == info.time_base else Fraction(1, 10_000)
        super().__init__(
            path,
            info,
            container=("apng", {"plays": "0"}),
            encoder=("apng", "rgb24", {"pred": "mixed"}),
            grid=grid,
        )


class WebpSink(_AnimationSink):
    """Animated WebP; pictures that do not change are shown once for longer."""

    def __init__(self, path: Path, info: ClipInfo, lossless: bool) -> None:
        quality = {"lossless": "1", "quality": "50"} if lossless else {"quality": "92"}
        super().__init__(
            path,
            info,
            container=("webp", {"loop": "0"}),
            encoder=("libwebp_anim", "bgra", quality),
            grid=_MILLISECOND,
        )
        self._path = path

    def close(self) -> None:
        """Write the file, then put the duration of its last frame right."""
        super().close()
        if self._path.exists():
            self._set_end()

    def _set_end(self) -> None:
        """libwebp gives the last frame the mean duration of the others."""
        with self._path.open("r+b") as file:
            durations = []
            for name, payload in sniff.webp_chunks(file):
                if name == b"ANMF":
                    file.seek(payload + 12)
                    durations.append((payload + 12, int.from_bytes(file.read(3), "little")))
            if durations:
                last = self._end - sum(duration for _, duration in durations[:-1])
                file.seek(durations[-1][0])
                file.write(max(1, last).to_bytes(3, "little"))
