"""Standard video codecs through PyAV: default tunes, constant rate factor, metadata removed."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import av
from av.bitstream import BitStreamFilterContext

from aehub.errors import InputError
from aehub.measure.points import Encoded, joined_qualities
from aehub.media.elementary_streams import (
    crop,
    from_video_frame,
    open_svt_av1,
    pad_to_even,
    to_video_frame,
    video_context,
)
from aehub.media.picture import ClipInfo, Picture
from aehub.threads import capped

_MAX_THREADS = 2
"""Equal for all codecs and independent of the machine: threads cost some encoders rate.

Sizes of x264 still vary by up to 1 % from run to run with AVX-512 and widths that are no multiple
of 256 (its macroblock tree; asm=avx2 fixes it, but crashes on other CPUs).
"""

_MAX_FPS = Fraction(240)

# x264 and x265 write their settings into an SEI unit of every stream (types 6; 39 and 40; 2.3 kB in
# x265), which would distort the size of a short clip. Of AV1, temporal delimiters (2), metadata (5)
# and padding (15) are removed, which files do not store either (AV1 in ISOBMFF, 2.4).
_REMOVE_UNITS = "filter_units=remove_types="


def encoder_threads() -> int:
    """Threads of each encoder and decoder in the benchmark."""
    return capped(_MAX_THREADS)


@dataclass(frozen=True)
class VideoCodec:
    """A standard video codec with one quality number for the whole clip.

    Attributes:
        name: e.g. `x264-medium`.
        encoder: FFmpeg's name of the encoder.
        decoder: FFmpeg's name of the decoder.
        qualities: constant rate factors; about 26 to 46 dB on ordinary clips.
        options: encoder options besides the quality.
        bitstream_filter: FFmpeg filter that removes units which no decoder needs.
    """

    name: str
    encoder: str
    decoder: str
    qualities: Sequence[float]
    bitstream_filter: str
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> str:
        """Encoder and options in one line."""
        options = " ".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.encoder} {options} crf={joined_qualities(self.qualities)}"

    def encode(self, frames: Sequence[Picture], info: ClipInfo, quality: float) -> Encoded:
        """Code the frames at one constant rate factor.

        Raises:
            InputError: the encoder is missing from this build of PyAV, or rejects the clip.
        """
        start = time.perf_counter()
        try:
            packets = list(self.packets(frames, info, quality))
        except av.FFmpegError as error:
            raise InputError(
                f"{self.name} cannot code this {info.width}x{info.height} clip at {info.fps} fps "
                f"({error.strerror}); leave {self.name} out of the codecs."
            ) from error
        except av.codec.codec.UnknownCodecError as error:
            raise InputError(
                f"this build of PyAV has no {self.encoder}; leave {self.name} out of the codecs."
            ) from error
        seconds = time.perf_counter() - start
        decoded = crop(self.decode(packets), frames[0].size)
        return Encoded(sum(packet.size for packet in packets), seconds, decoded)

    def packets(
        self, frames: Sequence[Picture], info: ClipInfo, quality: float
    ) -> Iterator[av.Packet]:
        """The stripped bitstream, packet by packet; closing the iterator stops the encoder."""
        context = self._context(pad_to_even(frames[0]).size, info, quality)
        bitstream_filter = self.open_bitstream_filter()
        for index, planes in enumerate(frames):
            for packet in context.encode(to_video_frame(pad_to_even(planes), index)):
                yield from bitstream_filter.filter(packet)
        for packet in context.encode(None):
            yield from bitstream_filter.filter(packet)

    def open_bitstream_filter(self) -> BitStreamFilterContext:
        """Open the filter that removes units which no decoder needs from each packet."""
        with av.open(io.BytesIO(), "w", format="matroska") as container:
            stream = container.add_stream(self.encoder, rate=25)
            return BitStreamFilterContext(self.bitstream_filter, stream)

    def _context(
        self, size: tuple[int, int], info: ClipInfo, quality: float
    ) -> av.VideoCodecContext:
        context = video_context(self.encoder, "w")
        context.width, context.height = size
        context.pix_fmt = "yuv420p"
        fps = min(info.fps, _MAX_FPS)
        context.framerate, context.time_base = fps, 1 / fps
        # PyAV's default, slice threads, costs x264 5 % of rate at CIF.
        context.thread_count, context.thread_type = encoder_threads(), "FRAME"
        context.options = {**self.options, "crf": f"{quality:g}"}
        if self.encoder == "libsvtav1":
            open_svt_av1(context)
        return context

    def decode(self, packets: Sequence[av.Packet]) -> Iterator[Picture]:
        """The frames of a stripped bitstream, padded to even sides."""
        context = video_context(self.decoder, "r")
        context.thread_count, context.thread_type = encoder_threads(), "FRAME"
        for packet in [*packets, None]:
            yield from map(from_video_frame, context.decode(packet))


def x264(preset: str, *, b_frames: bool = True) -> VideoCodec:
    """H.264 by x264, with or without B-frames."""
    options = {"preset": preset} | ({} if b_frames else {"bf": "0"})
    name = f"x264-{preset}" + ("" if b_frames else "-bf0")
    qualities = (18, 23, 28, 33, 38, 43)
    return VideoCodec(name, "libx264", "h264", qualities, _REMOVE_UNITS + "6", options)


def x265(preset: str) -> VideoCodec:
    """HEVC by x265."""
    params = f"log-level=none:pools={encoder_threads()}:frame-threads=1"
    options = {"preset": preset, "x265-params": params}
    qualities = (18, 23, 28, 33, 38, 43)
    units = _REMOVE_UNITS + "39-40"
    return VideoCodec(f"x265-{preset}", "libx265", "hevc", qualities, units, options)


def svtav1(preset: int) -> VideoCodec:
    """AV1 by SVT-AV1."""
    options = {"preset": str(preset), "svtav1-params": f"lp={encoder_threads()}"}
    qualities = (18, 27, 36, 45, 54, 63)
    units = _REMOVE_UNITS + "2|5|15"
    return VideoCodec(f"svtav1-{preset}", "libsvtav1", "libdav1d", qualities, units, options)


def vp9() -> VideoCodec:
    """VP9 by libvpx, at two speed levels below its real-time modes."""
    options = {"b": "0", "deadline": "good", "cpu-used": "2"}
    return VideoCodec("vp9", "libvpx-vp9", "vp9", (18, 26, 34, 42, 50, 58), "null", options)
