"""Writing GIF, animated WebP and APNG with PyAV: one frame in memory, true total duration.

imageio 2.38 reads and writes the stills of AEHub, but no animations: its Pillow plugin keeps every
frame until the end (300 frames of 352x288: 133 to 237 MiB more, here 5 to 48), and an APNG of
drawings is 1.2 to 3.8 times as large; its PyAV plugin takes neither times nor options of codecs.
"""

from __future__ import annotations

import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import Flags

from aehub.media import file_type
from aehub.media.picture import ClipInfo, Planes
from aehub.media.sinks import frame_from_palette, rgb_of
from aehub.threads import share

_CENTISECOND = Fraction(1, 100)
_MILLISECOND = Fraction(1, 1000)
# The largest number of 16 bits, in which GIF and APNG count delays.
_UINT16 = 65_535
# The same of 24 bits, for WebP: over four hours.
_UINT24 = (1 << 24) - 1
# Seconds up to which one frame is a still picture, with no duration to lose.
_SHORT = Fraction(1, 10)
# Browsers show GIF frames of less than 20 ms for 100 ms.
_SHORTEST_GIF = 2
# The palette is drawn from a smaller picture: twice as fast on 352x288, 0.9 dB worse.
_PALETTE_WIDTH = 192
# Colours of a frame and dither, for films and for drawings: ordered dither stands still where the
# picture does; on drawings it is noise, and 96 colours take the bytes that 256 take for all frames.
_FILM, _DRAWING = (256, "bayer:bayer_scale=4"), (96, "none")
# Bytes of packed frames up to which a GIF waits for all the colours that one palette must hold.
_WAITING_BYTES = 32_000_000
# (R, G, B) -> a number; that of what is clear.
_NUMBERING, _CLEAR = np.array([1 << 16, 1 << 8, 1], np.int32), -1


class _AnimationSink:
    """Encodes RGB pictures; times are brought to `grid` and never drift."""

    def __init__(
        self, path: Path, info: ClipInfo, channels: int, *,
        container: tuple[str, dict[str, str]], encoder: tuple[str, str, dict[str, str]],
        grid: Fraction, shortest: int = 1, longest: int | None = None, times_one: bool = False,
    ) -> None:
        """Open `container` (name, options) and `encoder` (name, pixel format, options).

        `channels` are those of RGB pictures to come, 3 or 4, or 0 for planes. Delays have `grid`
        seconds a tick and go from `shortest` to `longest` ticks; `times_one` tells whether a file
        of one picture has one.
        """
        self.notes: list[str] = []
        self._info, self._grid, self._channels = info, grid, channels
        self._shortest, self._longest, self._times_one = shortest, longest, times_one
        self._held: tuple[np.ndarray, int] | None = None
        self._end = self._lasting = self._n_encoded = 0
        name, options = container
        self._container = av.open(str(path), "w", format=name, container_options=options)
        codec, self._pixels, codec_options = encoder
        stream: Any = self._container.add_stream(codec, rate=info.fps, options=codec_options)
        stream.width, stream.height, stream.pix_fmt = info.width, info.height, self._pixels
        stream.time_base = stream.codec_context.time_base = grid
        stream.codec_context.sample_aspect_ratio = info.pixel_aspect
        stream.codec_context.flags |= Flags.frame_duration
        share(stream.codec_context)
        self._stream = stream

    def put(self, picture: Planes | np.ndarray, time: int, duration: int) -> None:
        """Hold a picture until it is known when the next one replaces it."""
        start = self._on_grid(time)
        self._end = max(self._on_grid(time + duration), start + self._shortest)
        if self._held is not None and start < self._held[1] + self._shortest:
            self._note_dropped()
            return
        rgb = rgb_of(picture, self._info)
        if self._channels == 4 and self._held is not None and np.array_equal(rgb, self._held[0]):
            # Encoders repeat a picture with clear parts whole.
            return
        self._encode_held(start)
        self._held = rgb, start

    def finish(self) -> None:
        """Encode what is held back."""
        is_one = self._held is not None and self._n_encoded == 0
        self._encode_held(self._end)
        self._flush()
        self._container.mux(self._stream.encode(None))
        if is_one and not self._times_one:
            self._note_lost()

    def close(self) -> None:
        """Write the trailer and release everything."""
        self._container.close()

    def _encode_held(self, until: int) -> None:
        if self._held is None:
            return
        rgb, start = self._held
        while start < until:
            # What a frame cannot last is shown by another one like it.
            lasting = left = until - start
            if self._longest is not None and left > self._longest:
                lasting = min(self._longest, left - self._shortest)
            self._encode(rgb, start, lasting)
            start, self._lasting, self._n_encoded = start + lasting, lasting, self._n_encoded + 1

    def _encode(self, rgb: np.ndarray, start: int, lasting: int) -> None:
        self._mux(self._frame(rgb, start).reformat(format=self._pixels), start, lasting)

    def _flush(self) -> None:
        """Encode the frames that wait."""

    def _frame(self, rgb: np.ndarray, start: int) -> av.VideoFrame:
        frame = av.VideoFrame.from_ndarray(rgb, format="rgba" if self._channels == 4 else "rgb24")
        frame.pts, frame.time_base = start, self._grid
        return frame

    def _mux(self, frame: av.VideoFrame, start: int, lasting: int) -> None:
        frame.pts, frame.time_base, frame.duration = start, self._grid, lasting
        self._container.mux(self._stream.encode(frame))

    def _on_grid(self, time: int) -> int:
        return round(time * self._info.time_base / self._grid)

    def _note_lost(self) -> None:
        """Say that the duration of one picture alone is lost, unless it is that of any still."""
        if self._end * self._grid > _SHORT:
            self.notes.append("One picture alone has no duration in this format; it was lost.")

    def _note_dropped(self) -> None:
        note = f"Frames closer than {float(self._shortest * self._grid):g} s were left out."
        if note not in self.notes:
            self.notes.append(note)


class GifSink(_AnimationSink):
    """GIF: exact with one palette where that holds all colours, else a palette for each frame.

    Palettes of frames are made and used by libavfilter. What is less than half opaque is clear.
    """

    def __init__(self, path: Path, info: ClipInfo, lossless: bool, channels: int) -> None:
        super().__init__(
            path, info, channels,
            # GIF counts how often it is played again; -1 leaves the count out.
            container=("gif", {"loop": str({0: 0, 1: -1}.get(info.plays, info.plays - 1))}),
            encoder=("gif", "pal8", {}),
            grid=_CENTISECOND,
            shortest=_SHORTEST_GIF,
            longest=_UINT16,
            times_one=True,
        )
        self._palette: list[int] | None = []
        self._waiting: list[tuple[bytes, int, int]] = []
        self._n_bytes = 0
        self._graph: Any = None

    def _encode(self, rgb: np.ndarray, start: int, lasting: int) -> None:
        if self._palette is not None:
            numbers = rgb[..., :3] @ _NUMBERING
            if self._channels == 4:
                numbers[rgb[..., 3] < 128] = _CLEAR
            self._palette += sorted(set(np.unique(numbers).tolist()) - set(self._palette))
            if len(self._palette) <= 256:
                order = np.argsort(self._palette)
                places = order[np.searchsorted(self._palette, numbers, sorter=order)]
                packed = zlib.compress(places.astype(np.uint8).tobytes(), 1)
                self._waiting.append((packed, start, lasting))
                self._n_bytes += len(packed)
                if self._n_bytes > _WAITING_BYTES:
                    self._flush()
                return
            self._flush()
            self._palette = None
            self.notes.append("GIF shows at most 256 colours a frame.")
            self._graph = self._palette_graph()
        self._graph.push(self._frame(rgb, start))
        self._mux(self._graph.pull(), start, lasting)

    def _flush(self) -> None:
        """Encode the frames that wait, all with the palette of the colours seen so far."""
        colours_seen = np.array([*(self._palette or ()), *[0] * 256][:256])
        argb = np.where(colours_seen == _CLEAR, 0, colours_seen | 0xFF << 24).astype(np.uint32)
        shape = self._info.height, self._info.width
        for packed, start, lasting in self._waiting:
            places = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(shape)
            self._mux(frame_from_palette(places, argb), start, lasting)
        self._waiting, self._n_bytes = [], 0

    def _palette_graph(self) -> Any:
        graph: Any = av.filter.Graph()
        source = graph.add_buffer(width=self._info.width, height=self._info.height,
                                  format="rgba" if self._channels == 4 else "rgb24",
                                  time_base=self._grid)
        split = graph.add("split")
        small = graph.add("scale", f"w='min(iw,{_PALETTE_WIDTH})':h=-1:flags=neighbor")
        most, dither = _DRAWING if self._channels else _FILM
        palette = graph.add("palettegen", f"stats_mode=single:max_colors={most}:"
                            f"reserve_transparent={int(self._channels == 4)}")
        use = graph.add("paletteuse", f"new=1:dither={dither}")
        sink = graph.add("buffersink")
        source.link_to(split)
        split.link_to(small, 0, 0)
        small.link_to(palette)
        split.link_to(use, 1, 0)
        palette.link_to(use, 0, 1)
        use.link_to(sink)
        graph.configure()
        return graph


class ApngSink(_AnimationSink):
    """Animated PNG: every RGB value kept."""

    def __init__(self, path: Path, info: ClipInfo, lossless: bool, channels: int) -> None:
        # Delays are fractions of two 16-bit numbers: rates are exact, uneven times to 0.1 ms.
        step = info.time_base.limit_denominator(1 << 15)
        grid = step if step == info.time_base else Fraction(1, 10_000)
        super().__init__(
            path, info, channels,
            container=("apng", {"plays": str(info.plays)}),
            encoder=("apng", "rgba" if channels == 4 else "rgb24", {"pred": "mixed"}),
            grid=grid,
        )
        self._path = path

    def close(self) -> None:
        """Write the file, then put the duration of its last frame right."""
        super().close()
        if self._lasting and self._path.exists():
            self._set_end(self._lasting * self._grid)

    def _set_end(self, seconds: Fraction) -> None:
        """libavformat gives the last frame the duration of the one before."""
        delay = min(seconds, Fraction(_UINT16))
        delay = delay.limit_denominator(int(_UINT16 / max(Fraction(1), delay)))
        parts = (part.to_bytes(2, "big") for part in delay.as_integer_ratio())
        with self._path.open("r+b") as file:
            ends = [end for name, end in file_type.png_chunks(file) if name == b"fcTL"]
            if ends:
                # Name (4), 20 bytes, the delay as two numbers of 2, 2 bytes, checksum (4).
                file.seek(ends[-1] - 34)
                chunk = file.read(30)
                chunk = chunk[:24] + b"".join(parts) + chunk[28:]
                file.seek(ends[-1] - 34)
                file.write(chunk + zlib.crc32(chunk).to_bytes(4, "big"))


class WebpSink(_AnimationSink):
    """Animated WebP; pictures that do not change are shown once for longer."""

    def __init__(self, path: Path, info: ClipInfo, lossless: bool, channels: int) -> None:
        quality = {"lossless": "1", "quality": "50"} if lossless else {"quality": "92"}
        if channels:
            # Drawings: 2 % of the bytes of the slowest level more or less, 40 times as fast.
            quality = {"lossless": "1", "quality": "75", "compression_level": "0"}
        super().__init__(
            path, info, channels,
            container=("webp", {"loop": str(info.plays)}),
            encoder=("libwebp_anim", "bgra", quality),
            grid=_MILLISECOND,
            longest=_UINT24,
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
            for name, payload in file_type.webp_chunks(file):
                if name == b"ANMF":
                    file.seek(payload + 12)
                    durations.append((payload + 12, int.from_bytes(file.read(3), "little")))
            if not durations and self._n_encoded > 1:
                # libwebp found all frames alike.
                self._note_lost()
            elif durations:
                last = self._end - sum(duration for _, duration in durations[:-1])
                file.seek(durations[-1][0])
                file.write(min(max(1, last), _UINT24).to_bytes(3, "little"))
