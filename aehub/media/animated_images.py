"""Sinks for GIF, animated WebP and APNG with PyAV: one frame in memory, true total duration.

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
from aehub.media.picture import ClipInfo, Picture, add_note
from aehub.media.sinks import as_rgb, frame_from_palette
from aehub.threads import limit_codec_threads

_CENTISECOND = Fraction(1, 100)
_MILLISECOND = Fraction(1, 1000)
# Largest delay of GIF in ticks, and largest numerator and denominator of one in APNG.
_UINT16 = 65_535
# Largest duration of a WebP frame in milliseconds: over four hours.
_UINT24 = (1 << 24) - 1
# Seconds up to which a single frame is a still picture without a duration to lose.
_STILL_SECONDS = Fraction(1, 10)
# Browsers show GIF frames of less than 20 ms for 100 ms.
_MIN_GIF_DELAY = 2
# The palette is made from a smaller picture: twice as fast on 352x288, 0.9 dB worse.
_PALETTE_SOURCE_WIDTH = 192
# Colours per frame and dither, for video and for drawings. Ordered dither is stable over time; on
# drawings it is noise, and 96 colours a frame take as many bytes as one palette of 256.
_VIDEO_PALETTE, _DRAWING_PALETTE = (256, "bayer:bayer_scale=4"), (96, "none")
# Bytes of compressed frames that a GIF queues while all colours still fit into one palette.
_MAX_QUEUED_BYTES = 32_000_000
# (R, G, B) -> 0xRRGGBB; the value of transparent pixels.
_RGB_WEIGHTS, _TRANSPARENT = np.array([1 << 16, 1 << 8, 1], np.int32), -1


class _AnimationSink:
    """Encoder of RGB pictures; times are rounded to the time base of the format without drift."""

    def __init__(
        self, path: Path, info: ClipInfo, channels: int, *,
        container: tuple[str, dict[str, str]], encoder: tuple[str, str, dict[str, str]],
        time_base: Fraction, min_ticks: int = 1, max_ticks: int | None = None,
        times_single: bool = False,
    ) -> None:
        """Open `container` (name, options) and `encoder` (name, pixel format, options).

        `channels` is 3 or 4 for RGB pictures, or 0 for planes. Delays are in ticks of `time_base`
        seconds, from `min_ticks` to `max_ticks`; `times_single`: a single picture has one, too.
        """
        self.notes: list[str] = []
        self._info, self._time_base, self._channels = info, time_base, channels
        self._min_ticks, self._max_ticks, self._times_single = min_ticks, max_ticks, times_single
        self._pending: tuple[np.ndarray, int] | None = None
        self._end = self._last_duration = self._n_encoded = 0
        name, options = container
        self._container = av.open(str(path), "w", format=name, container_options=options)
        codec, self._pixels, codec_options = encoder
        stream: Any = self._container.add_stream(codec, rate=info.fps, options=codec_options)
        stream.width, stream.height, stream.pix_fmt = info.width, info.height, self._pixels
        stream.time_base = stream.codec_context.time_base = time_base
        stream.codec_context.sample_aspect_ratio = info.pixel_aspect
        stream.codec_context.flags |= Flags.frame_duration
        limit_codec_threads(stream.codec_context)
        self._stream = stream

    def put(self, picture: Picture | np.ndarray, time: int, duration: int) -> None:
        """Hold a picture until the time of the next one is known."""
        start = self._to_ticks(time)
        self._end = max(self._to_ticks(time + duration), start + self._min_ticks)
        if self._pending is not None and start < self._pending[1] + self._min_ticks:
            self._note_dropped_frames()
            return
        rgb = as_rgb(picture, self._info)
        pending = self._pending
        if self._channels == 4 and pending is not None and np.array_equal(rgb, pending[0]):
            # Encoders code a repeated picture with transparent parts in full.
            return
        self._encode_pending(start)
        self._pending = rgb, start

    def finish(self) -> None:
        """Encode the pending picture and flush the encoder."""
        is_one = self._pending is not None and self._n_encoded == 0
        self._encode_pending(self._end)
        self._flush()
        self._container.mux(self._stream.encode(None))
        if is_one and not self._times_single:
            self._note_lost_duration()

    def close(self) -> None:
        """Write the trailer and release everything."""
        self._container.close()

    def _encode_pending(self, until: int) -> None:
        if self._pending is None:
            return
        rgb, start = self._pending
        while start < until:
            # A duration above the maximum is split over repeated frames.
            duration = left = until - start
            if self._max_ticks is not None and left > self._max_ticks:
                duration = min(self._max_ticks, left - self._min_ticks)
            self._encode(rgb, start, duration)
            start, self._last_duration = start + duration, duration
            self._n_encoded += 1

    def _encode(self, rgb: np.ndarray, start: int, duration: int) -> None:
        self._mux(self._frame(rgb, start).reformat(format=self._pixels), start, duration)

    def _flush(self) -> None:
        """Encode the queued frames."""

    def _frame(self, rgb: np.ndarray, start: int) -> av.VideoFrame:
        frame = av.VideoFrame.from_ndarray(rgb, format="rgba" if self._channels == 4 else "rgb24")
        frame.pts, frame.time_base = start, self._time_base
        return frame

    def _mux(self, frame: av.VideoFrame, start: int, duration: int) -> None:
        frame.pts, frame.time_base, frame.duration = start, self._time_base, duration
        self._container.mux(self._stream.encode(frame))

    def _to_ticks(self, time: int) -> int:
        return round(time * self._info.time_base / self._time_base)

    def _note_lost_duration(self) -> None:
        """Report that the duration of a single picture is lost, unless it is that of a still."""
        if self._end * self._time_base > _STILL_SECONDS:
            self.notes.append("A single picture has no duration in this format; it was lost.")

    def _note_dropped_frames(self) -> None:
        seconds = float(self._min_ticks * self._time_base)
        add_note(self.notes, f"Frames closer than {seconds:g} s were left out.")


class GifSink(_AnimationSink):
    """GIF: exact with one palette where that holds all colours, else a palette for each frame.

    libavfilter makes and applies the palettes of frames. Pixels less than half opaque become
    transparent.
    """

    def __init__(self, path: Path, info: ClipInfo, lossless: bool, channels: int) -> None:
        super().__init__(
            path, info, channels,
            # GIF counts repetitions; -1 omits the count.
            container=("gif", {"loop": str({0: 0, 1: -1}.get(info.plays, info.plays - 1))}),
            encoder=("gif", "pal8", {}),
            time_base=_CENTISECOND,
            min_ticks=_MIN_GIF_DELAY,
            max_ticks=_UINT16,
            times_single=True,
        )
        self._palette: list[int] | None = []
        self._queued: list[tuple[bytes, int, int]] = []
        self._queued_bytes = 0
        self._graph: Any = None

    def _encode(self, rgb: np.ndarray, start: int, duration: int) -> None:
        if self._palette is not None:
            colours = rgb[..., :3] @ _RGB_WEIGHTS
            if self._channels == 4:
                colours[rgb[..., 3] < 128] = _TRANSPARENT
            self._palette += sorted(set(np.unique(colours).tolist()) - set(self._palette))
            if len(self._palette) <= 256:
                order = np.argsort(self._palette)
                indices = order[np.searchsorted(self._palette, colours, sorter=order)]
                packed = zlib.compress(indices.astype(np.uint8).tobytes(), 1)
                self._queued.append((packed, start, duration))
                self._queued_bytes += len(packed)
                if self._queued_bytes > _MAX_QUEUED_BYTES:
                    self._flush()
                return
            self._flush()
            self._palette = None
            self.notes.append("GIF shows at most 256 colours a frame.")
            self._graph = self._palette_graph()
        self._graph.push(self._frame(rgb, start))
        self._mux(self._graph.pull(), start, duration)

    def _flush(self) -> None:
        """Encode the queued frames with one palette of all their colours."""
        colours = np.array([*(self._palette or ()), *[0] * 256][:256])
        argb = np.where(colours == _TRANSPARENT, 0, colours | 0xFF << 24).astype(np.uint32)
        shape = self._info.height, self._info.width
        for packed, start, duration in self._queued:
            indices = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(shape)
            self._mux(frame_from_palette(indices, argb), start, duration)
        self._queued, self._queued_bytes = [], 0

    def _palette_graph(self) -> Any:
        graph: Any = av.filter.Graph()
        source = graph.add_buffer(width=self._info.width, height=self._info.height,
                                  format="rgba" if self._channels == 4 else "rgb24",
                                  time_base=self._time_base)
        split = graph.add("split")
        small = graph.add("scale", f"w='min(iw,{_PALETTE_SOURCE_WIDTH})':h=-1:flags=neighbor")
        most, dither = _DRAWING_PALETTE if self._channels else _VIDEO_PALETTE
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
    """Animated PNG: lossless in RGB."""

    def __init__(self, path: Path, info: ClipInfo, lossless: bool, channels: int) -> None:
        # Delays are fractions of two 16-bit numbers: rates are exact, uneven times to 0.1 ms.
        exact = info.time_base.limit_denominator(1 << 15) == info.time_base
        super().__init__(
            path, info, channels,
            container=("apng", {"plays": str(info.plays)}),
            encoder=("apng", "rgba" if channels == 4 else "rgb24", {"pred": "mixed"}),
            time_base=info.time_base if exact else Fraction(1, 10_000),
        )
        self._path = path

    def close(self) -> None:
        """Write the file, then correct the duration of its last frame."""
        super().close()
        if self._last_duration and self._path.exists():
            self._patch_last_duration(self._last_duration * self._time_base)

    def _patch_last_duration(self, seconds: Fraction) -> None:
        """Replace the duration of the last frame: libavformat repeats the one before."""
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
    """Animated WebP; repeated pictures become one frame of their total duration."""

    def __init__(self, path: Path, info: ClipInfo, lossless: bool, channels: int) -> None:
        quality = {"lossless": "1", "quality": "50"} if lossless else {"quality": "92"}
        if channels:
            # For drawings within 2 % of the bytes of the slowest level, and 40 times as fast.
            quality = {"lossless": "1", "quality": "75", "compression_level": "0"}
        super().__init__(
            path, info, channels,
            container=("webp", {"loop": str(info.plays)}),
            encoder=("libwebp_anim", "bgra", quality),
            time_base=_MILLISECOND,
            max_ticks=_UINT24,
        )
        self._path = path

    def close(self) -> None:
        """Write the file, then correct the duration of its last frame."""
        super().close()
        if self._path.exists():
            self._patch_last_duration()

    def _patch_last_duration(self) -> None:
        """Replace the duration of the last frame: libwebp takes the mean of the others."""
        with self._path.open("r+b") as file:
            durations = file_type.webp_durations(file)
            if not durations and self._n_encoded > 1:
                # libwebp merged all frames into one.
                self._note_lost_duration()
            elif durations:
                last = self._end - sum(duration for _, duration in durations[:-1])
                file.seek(durations[-1][0])
                file.write(min(max(1, last), _UINT24).to_bytes(3, "little"))
