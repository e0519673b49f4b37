"""Sinks, the output ends of a clip writer: video with sound, y4m and folders of PNGs, and packets
of a stream that pass untouched."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import av
import imageio.v3 as iio
import numpy as np
from av.codec.context import Flags

from aehub.media import colour as colours
from aehub.media.audio import AudioMuxer
from aehub.media.picture import ClipInfo, Picture
from aehub.media.still_images import PLAYS_TAG
from aehub.threads import limit_codec_threads

# Deflate level: 3 takes a third of the time of 6 and 5 % more bytes.
_PNG_LEVEL = 3


class VideoEncoder(NamedTuple):
    """Encoder and options for one container; `lossless` options override `options`."""

    encoder: str
    options: dict[str, str]
    lossless: dict[str, str]
    container: dict[str, str]
    even_only: bool = False


ENCODERS = {
    # crf 12 gives above 45 dB on camera material: visually lossless. Without B-frames the picture
    # coded last is the one shown last, and mp4 takes the end from its duration.
    "mp4": VideoEncoder(
        "libx264",
        {"crf": "12", "preset": "veryfast", "bf": "0"},
        {"crf": "0", "qp": "0"},
        {"movflags": "+faststart"},
        even_only=True,
    ),
    "matroska": VideoEncoder("ffv1", {"level": "3", "slicecrc": "1"}, {}, {}),
    "webm": VideoEncoder(
        "libvpx-vp9",
        # 44 dB on camera material as with slower settings, 6 times as fast.
        {"crf": "12", "b": "0", "deadline": "realtime", "cpu-used": "8", "row-mt": "1"},
        {"lossless": "1", "crf": "0"},
        {},
    ),
}

# Seconds between key frames, to which players seek: two feel immediate.
_KEY_FRAME_SECONDS = 2


class Sink(Protocol):
    """Output end of a clip writer: takes frames in order, encodes and muxes them.

    Attributes:
        notes: sentences about what the format cannot hold; may grow.
    """

    notes: list[str]

    def put(self, picture: Any, time: int, duration: int) -> None:
        """Write a picture shown at `time` for `duration`, both in ticks of the clip.

        It is `Picture`, or for animations and folders also uint8 [H, W, 3 or 4].
        """

    def finish(self) -> None:
        """Flush pending frames."""

    def close(self) -> None:
        """Release encoder and file, finished or not."""


class FolderSink:
    """Folder of 000000.png, 000001.png and so on, 8-bit RGB or RGBA."""

    def __init__(self, path: Path, info: ClipInfo) -> None:
        self.notes: list[str] = []
        self._folder, self._info, self._n_frames = path, info, 0
        path.mkdir()

    def put(self, picture: Picture | np.ndarray, time: int, duration: int) -> None:
        """Write one picture."""
        if not self.notes and has_uneven_times(self._info, self._n_frames, time, duration):
            self.notes.append("Pictures have no times; those of this clip vary and are lost.")
        write_png(self._folder / f"{self._n_frames:06d}.png", as_rgb(picture, self._info))
        self._n_frames += 1

    def finish(self) -> None:
        """Do nothing: all is written."""

    def close(self) -> None:
        """Do nothing: no file is open."""


class Y4mSink:
    """YUV4MPEG2 stream: raw planes, for pipes and other programs.

    The format carries size, rate, pixel aspect and range; no matrix and no frame times.
    """

    def __init__(self, file: BinaryIO, info: ClipInfo, *, owns_file: bool = False) -> None:
        """Write the header; `owns_file`: close the file at the end."""
        self.notes: list[str] = []
        self._file, self._info, self._n_frames = file, info, 0
        self._owns_file = owns_file
        if not colours.is_player_default(info.colour, info.width, info.height):
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

    def put(self, planes: Picture, time: int, duration: int) -> None:
        """Write one picture."""
        if not self.notes and has_uneven_times(self._info, self._n_frames, time, duration):
            note = "Frames follow evenly in y4m; the times of this clip vary and are lost."
            self.notes.append(note)
        self._file.write(b"FRAME\n")
        for plane in planes:
            self._file.write(np.ascontiguousarray(plane).data)
        self._n_frames += 1

    def finish(self) -> None:
        """Flush the file."""
        self._file.flush()

    def close(self) -> None:
        """Close the file if it is owned."""
        if self._owns_file:
            self._file.close()


class _ContainerSink:
    """Base of the sinks of a container with a sound track.

    Attributes:
        _info: of the clip.
        _container: open for writing.
        _audio_muxer: of the sound; None without, or before the streams are there.
    """

    _info: ClipInfo
    _container: Any
    _audio_muxer: AudioMuxer | None = None

    def _mux_sound(self, time: int | None) -> None:
        """Mux the sound up to a time in ticks, or all of it."""
        if self._audio_muxer is not None:
            self._audio_muxer.mux_until(None if time is None else time * self._info.time_base)

    def close(self) -> None:
        """Write the index and release everything."""
        if self._audio_muxer is not None:
            self._audio_muxer.close()
        self._container.close()


class VideoSink(_ContainerSink):
    """Video file of one video stream, with a sound track if given.

    H.264 in 4:2:0 has even sizes only: the last row or column is repeated, which loses nothing.
    """

    def __init__(
        self, path: Path, name: str, info: ClipInfo, audio: BinaryIO | None, lossless: bool
    ) -> None:
        """Open the encoder; `name` is a key of `ENCODERS`."""
        settings = ENCODERS[name]
        self.notes: list[str] = []
        self._info = info
        self._pad = (info.height % 2, info.width % 2) if settings.even_only else (0, 0)
        if any(self._pad):
            self.notes.append(f"{name} needs even sizes: the last row or column was repeated.")
        self.notes += _aspect_notes(name, info)
        self._container = _open_container(path, name, info)
        self._stream = self._add_stream(settings, lossless)
        if audio is not None:
            self._audio_muxer = AudioMuxer(audio, self._container, name, self.notes)

    def put(self, planes: Picture, time: int, duration: int) -> None:
        """Encode one picture, and mux the sound up to it."""
        frame = frame_from_planes(self._padded(planes))
        frame.pts, frame.time_base, frame.duration = time, self._info.time_base, duration
        self._container.mux(self._stream.encode(frame))
        self._mux_sound(time)

    def finish(self) -> None:
        """Flush the encoder, and mux the rest of the sound."""
        self._container.mux(self._stream.encode(None))
        self._mux_sound(None)

    def _add_stream(self, settings: VideoEncoder, lossless: bool) -> Any:
        info = self._info
        options = {**settings.options, **(settings.lossless if lossless else {})}
        stream: Any = self._container.add_stream(settings.encoder, rate=info.fps, options=options)
        stream.width = info.width + self._pad[1]
        stream.height = info.height + self._pad[0]
        stream.pix_fmt = "yuv420p"
        stream.time_base = info.time_base
        context = stream.codec_context
        limit_codec_threads(context)
        _tag(context, info, (stream.width, stream.height))
        context.time_base = info.time_base
        context.flags |= Flags.frame_duration
        if settings.encoder != "ffv1":
            context.gop_size = max(1, round(_KEY_FRAME_SECONDS * info.fps))
        return stream

    def _padded(self, planes: Picture) -> Picture:
        """Pad luma to an even size; the chroma planes fit already."""
        if not any(self._pad):
            return planes
        rows, columns = self._pad
        luma = np.pad(planes[0], ((0, rows), (0, columns)), mode="edge")
        return Picture([luma, *planes[1:]])


class CodedPicture(NamedTuple):
    """A picture as a video codec coded it.

    Attributes:
        packet: of a bare stream; shows this picture, and needs earlier packets only.
        is_key: decoding can begin with it.
    """

    packet: bytes
    is_key: bool


class RemuxSink(_ContainerSink):
    """Video file of coded pictures, which pass untouched, with a sound track if given.

    Pictures before the time 0 are hidden where the container can do that, which is mp4 alone.
    """

    def __init__(self, path: Path, name: str, info: ClipInfo, audio: BinaryIO | None,
                 demuxer: str) -> None:
        """Open the file; `name` is a key of `ENCODERS`, `demuxer` that of the bare stream."""
        self.notes = _aspect_notes(name, info)
        self._name, self._info, self._audio, self._demuxer = name, info, audio, demuxer
        self._container = _open_container(path, name, info)
        self._stream: Any = None

    def put(self, picture: CodedPicture, time: int, duration: int) -> None:
        """Mux one picture, and the sound up to it."""
        if self._stream is None:
            self._begin(picture)
        packet = av.Packet(picture.packet)
        packet.stream, packet.time_base = self._stream, self._info.time_base
        packet.pts = packet.dts = time
        packet.duration, packet.is_keyframe = duration, picture.is_key
        self._container.mux(packet)
        self._mux_sound(time)

    def finish(self) -> None:
        """Mux the rest of the sound."""
        self._mux_sound(None)

    def _begin(self, first: CodedPicture) -> None:
        """Add the streams; what a container states of the video is read from its first packet."""
        with av.open(io.BytesIO(first.packet), format=self._demuxer) as source:
            template = source.streams.video[0]
            self._stream = self._container.add_stream_from_template(template, opaque=True)
            size = template.width, template.height
        if size != (self._info.width, self._info.height):
            self.notes.append(f"The stream has pictures of {size[0]}x{size[1]}: the last row and "
                              "column are repeated up to it.")
        self._stream.time_base = self._info.time_base
        _tag(self._stream.codec_context, self._info, size)
        if self._audio is not None:
            self._audio_muxer = AudioMuxer(self._audio, self._container, self._name, self.notes)


def _open_container(path: Path, name: str, info: ClipInfo) -> Any:
    container = av.open(str(path), "w", format=name, container_options=ENCODERS[name].container)
    if info.plays:
        container.metadata[PLAYS_TAG] = str(info.plays)
    return container


def _aspect_notes(name: str, info: ClipInfo) -> list[str]:
    # PyAV 18 sets the aspect of the codec only, and Matroska needs that of the stream.
    return [] if name == "mp4" or info.pixel_aspect == 1 else [
        f"The pixel aspect {info.pixel_aspect} is not kept in {name}."]


def _tag(context: Any, info: ClipInfo, size: tuple[int, int]) -> None:
    """State colour and pixel aspect of pictures of this (width, height)."""
    colour = colours.tags_to_write(info.colour, *size)
    context.sample_aspect_ratio = info.pixel_aspect
    context.colorspace, context.color_range = colour.matrix, 2 if colour.full_range else 1
    context.color_primaries, context.color_trc = colour.primaries, colour.transfer


def write_png(target: Path | BinaryIO | str, picture: np.ndarray) -> Any:
    """Write uint8 [H, W], [H, W, 3] or [H, W, 4]; return the bytes for the target "<bytes>"."""
    return iio.imwrite(target, picture, plugin="pillow", extension=".png",
                       compress_level=_PNG_LEVEL)


def as_rgb(picture: Picture | np.ndarray, info: ClipInfo) -> np.ndarray:
    """Convert planes to RGB; RGB and RGBA arrays pass unchanged."""
    return picture if isinstance(picture, np.ndarray) else colours.to_rgb(picture, info.colour)


def has_uneven_times(info: ClipInfo, number: int, time: int, duration: int) -> bool:
    """True if frame `number` begins or ends over half a frame off the constant rate."""
    sides = ((number, time), (number + 1, time + duration))
    return any(abs(at * info.time_base * info.fps - even) > Fraction(1, 2) for even, at in sides)


def frame_from_planes(planes: Picture) -> av.VideoFrame:
    """Copy planes to a PyAV frame."""
    frame = av.VideoFrame(*planes.size, "yuv420p")
    for plane, samples in zip(frame.planes, planes, strict=True):
        _fill(plane, samples)
    return frame


def frame_from_palette(indices: np.ndarray, argb: np.ndarray) -> av.VideoFrame:
    """Make a PyAV frame of indices, uint8 [H, W], and a palette, uint32 [256], 0xAARRGGBB."""
    frame = av.VideoFrame(indices.shape[1], indices.shape[0], "pal8")
    _fill(frame.planes[0], indices)
    np.frombuffer(memoryview(frame.planes[1]), np.uint32)[:256] = argb
    return frame


def _fill(plane: Any, samples: np.ndarray) -> None:
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    rows[: samples.shape[0], : samples.shape[1]] = samples
