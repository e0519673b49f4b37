"""What writers share: the sink protocol, frames for PyAV, and outputs without libavcodec.

Writing mp4, mkv and webm with PyAV, sound included.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import av
import imageio.v3 as iio
import numpy as np
from av.codec.context import Flags

from aehub.media import colour as colours
from aehub.media.audio import Feed
from aehub.media.picture import ClipInfo, Planes
from aehub.media.still_images import TAG
from aehub.threads import share

# Deflate level: 3 is a third of the time of 6 and 5 % more bytes.
_PNG_LEVEL = 3


class Sink(Protocol):
    """Takes frames in order.

    Attributes:
        notes: sentences about what the format cannot hold; may grow.
    """

    notes: list[str]

    def put(self, picture: Any, time: int, duration: int) -> None:
        """Write a picture shown at `time` for `duration`, both in ticks of the clip.

        It is `Planes`, or in what is no video uint8 [H, W, 3 or 4].
        """

    def finish(self) -> None:
        """Write what is held back."""

    def close(self) -> None:
        """Release encoder and file, finished or not."""


class FolderSink:
    """Writes 000000.png, 000001.png and so on, 8-bit RGB or RGBA."""

    def __init__(self, path: Path, info: ClipInfo) -> None:
        self.notes: list[str] = []
        self._folder, self._info, self._n_frames = path, info, 0
        path.mkdir()

    def put(self, picture: Planes | np.ndarray, time: int, duration: int) -> None:
        """Write one picture."""
        if not self.notes and is_uneven(self._info, self._n_frames, time, duration):
            self.notes.append("Pictures have no times; those of this clip vary and are lost.")
        write_png(self._folder / f"{self._n_frames:06d}.png", rgb_of(picture, self._info))
        self._n_frames += 1

    def finish(self) -> None:
        """All is written."""

    def close(self) -> None:
        """Nothing is open."""


class Y4mSink:
    """Writes YUV4MPEG2: raw planes, for pipes and other programs.

    The format carries size, rate, pixel aspect and range; neither matrix nor single times.
    """

    def __init__(self, file: BinaryIO, info: ClipInfo, *, is_own: bool = False) -> None:
        """Write the header; `is_own`: close the file at the end."""
        self.notes: list[str] = []
        self._file, self._info, self._n_frames = file, info, 0
        self._is_own = is_own
        if not colours.is_plain(info.colour, info.width, info.height):
            self.notes.append(
                "y4m cannot say which colour matrix the planes have; programs that read it will "
                f"guess another than that of this clip, number {info.colour.matrix} of H.273."
            )
        fps, aspect = info.fps, info.pixel_aspect
        shown_range = "FULL" if info.colour.full_range else "LIMITED"
        header = (
            f"YUV4MPEG2 W{info.width} H{info.height} F{fps.numerator}:{fps.denominator} Ip "
            f"A{aspect.numerator}:{aspect.denominator} C420jpeg XCOLORRANGE={shown_range}\n"
        )
        file.write(header.encode())

    def put(self, planes: Planes, time: int, duration: int) -> None:
        """Write one picture."""
        if not self.notes and is_uneven(self._info, self._n_frames, time, duration):
            note = "Frames follow evenly in y4m; the times of this clip vary and are lost."
            self.notes.append(note)
        self._file.write(b"FRAME\n")
        for plane in planes:
            self._file.write(np.ascontiguousarray(plane).data)
        self._n_frames += 1

    def finish(self) -> None:
        """Push the bytes on."""
        self._file.flush()

    def close(self) -> None:
        """A file object of the caller's stays open."""
        if self._is_own:
            self._file.close()


def write_png(target: Path | BinaryIO | str, picture: np.ndarray) -> Any:
    """Write uint8 [H, W], [H, W, 3] or [H, W, 4]; return the bytes for the target "<bytes>"."""
    return iio.imwrite(target, picture, plugin="pillow", extension=".png",
                       compress_level=_PNG_LEVEL)


def rgb_of(picture: Planes | np.ndarray, info: ClipInfo) -> np.ndarray:
    """A picture as RGB, or as RGBA where it was given so."""
    return picture if isinstance(picture, np.ndarray) else colours.to_rgb(picture, info.colour)


def is_uneven(info: ClipInfo, number: int, time: int, duration: int) -> bool:
    """Whether frame `number` begins or ends half a frame or more off the steady rate."""
    places = ((number, time), (number + 1, time + duration))
    return any(abs(at * info.time_base * info.fps - even) > Fraction(1, 2) for even, at in places)


def frame_from_planes(planes: Planes) -> av.VideoFrame:
    """A PyAV frame with copies of the planes."""
    frame = av.VideoFrame(*planes.size, "yuv420p")
    for plane, samples in zip(frame.planes, planes, strict=True):
        _fill(plane, samples)
    return frame


def frame_from_palette(places: np.ndarray, argb: np.ndarray) -> av.VideoFrame:
    """A PyAV frame of places, uint8 [H, W], in a palette, uint32 [256], 0xAARRGGBB."""
    frame = av.VideoFrame(places.shape[1], places.shape[0], "pal8")
    _fill(frame.planes[0], places)
    np.frombuffer(memoryview(frame.planes[1]), np.uint32)[:256] = argb
    return frame


def _fill(plane: Any, samples: np.ndarray) -> None:
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    rows[: samples.shape[0], : samples.shape[1]] = samples


class EncoderSettings(NamedTuple):
    """How one container is filled; `lossless` options replace those of the same name."""

    encoder: str
    options: dict[str, str]
    lossless: dict[str, str]
    container: dict[str, str]
    even_only: bool = False


ENCODERS = {
    # crf 12 lies above 45 dB on camera material: no eye tells it from the source. Without B-frames
    # the picture coded last is the one shown last, and mp4 takes the end from its duration.
    "mp4": EncoderSettings(
        "libx264",
        {"crf": "12", "preset": "veryfast", "bf": "0"},
        {"crf": "0", "qp": "0"},
        {"movflags": "+faststart"},
        even_only=True,
    ),
    "matroska": EncoderSettings("ffv1", {"level": "3", "slicecrc": "1"}, {}, {}),
    "webm": EncoderSettings(
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
        """Open the encoder; `name` is one of `ENCODERS`."""
        recipe = ENCODERS[name]
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
        frame = frame_from_planes(self._even(planes))
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

    def _add_stream(self, recipe: EncoderSettings, lossless: bool) -> Any:
        info = self._info
        options = {**recipe.options, **(recipe.lossless if lossless else {})}
        stream: Any = self._container.add_stream(recipe.encoder, rate=info.fps, options=options)
        stream.width = info.width + self._pad[1]
        stream.height = info.height + self._pad[0]
        colour = colours.tags_to_write(info.colour, stream.width, stream.height)
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
