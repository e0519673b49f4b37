"""Picture codecs: every frame is coded alone and the whole file counts.

The planes are coded without conversion to RGB, which would limit some clips to 35 dB. So JPEG,
full-range BT.601 by convention, has the range of the source here; stretching limited range to full
would clip samples outside of it (a limit of 43 dB on some clips) and was 3 % worse for JPEG on
average.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import av
from PIL import Image

from aehub.measure.points import Encoded, joined_qualities
from aehub.measure.video_codecs import encoder_threads
from aehub.media.elementary_streams import (
    decode_packet,
    from_video_frame,
    open_svt_av1,
    to_video_frame,
    video_context,
)
from aehub.media.picture import ClipInfo, Picture
from aehub.threads import limit_codec_threads


@dataclass(frozen=True)
class ImageCodec:
    """A picture codec applied to each frame by itself."""

    name: str
    encoder: str
    qualities: Sequence[float]
    write: Callable[[Picture, float], bytes]
    read: Callable[[bytes], Picture]

    @property
    def settings(self) -> str:
        """Encoder, options and qualities in one line."""
        return f"{self.encoder}={joined_qualities(self.qualities)}"

    def encode(self, frames: Sequence[Picture], info: ClipInfo, quality: float) -> Encoded:
        """Code each frame into a file of its own; `info` is not used."""
        start = time.perf_counter()
        files = [self.write(planes, quality) for planes in frames]
        seconds = time.perf_counter() - start
        return Encoded(sum(map(len, files)), seconds, map(self.read, files))


def jpeg() -> ImageCodec:
    """JPEG by libjpeg-turbo, with optimised Huffman tables."""
    return ImageCodec("jpeg", "Pillow JPEG 4:2:0 optimize=True quality", (10, 20, 35, 55, 75, 90),
                      _write_jpeg, partial(decode_packet, "mjpeg"))


def webp() -> ImageCodec:
    """Lossy WebP by libwebp at its slowest method."""
    return ImageCodec("webp", "libwebp method=6 quality", (1, 15, 35, 60, 80, 95), _write_webp,
                      partial(decode_packet, "webp"))


def avif() -> ImageCodec:
    """AVIF by SVT-AV1 in its still-picture mode.

    Preset 4: on ten pictures it equals Pillow's default (libaom at speed 6) in MS-SSIM and exceeds
    it in PSNR, and Pillow takes RGB only.
    """
    return ImageCodec("avif", "libsvtav1 preset=4 avif=1 crf", (60, 52, 44, 36, 26, 16),
                      _write_avif, _read_avif)


def _write_jpeg(planes: Picture, quality: float) -> bytes:
    height, width = planes[0].shape
    # Repeated samples: libjpeg averages each four of them to the same chroma.
    chroma = [plane.repeat(2, 0).repeat(2, 1)[:height, :width] for plane in planes[1:]]
    picture = Image.merge("YCbCr", [Image.fromarray(plane) for plane in (planes[0], *chroma)])
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=round(quality), subsampling="4:2:0", optimize=True)
    return file.getvalue()


def _write_webp(planes: Picture, quality: float) -> bytes:
    context = video_context("libwebp", "w")
    context.width, context.height = planes.size
    context.pix_fmt = "yuv420p"
    context.time_base = Fraction(1, 25)
    context.options = {"quality": f"{quality:g}", "compression_level": "6"}
    packets = context.encode(to_video_frame(planes, 0)) + context.encode(None)
    return b"".join(map(bytes, packets))


def _write_avif(planes: Picture, quality: float) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="avif") as container:
        stream = container.add_stream("libsvtav1", rate=25)
        stream.width, stream.height = planes.size
        stream.pix_fmt = "yuv420p"
        params = f"avif=1:lp={encoder_threads()}"
        stream.options = {"preset": "4", "crf": f"{quality:g}", "svtav1-params": params}
        open_svt_av1(stream.codec_context)
        container.mux(stream.encode(to_video_frame(planes, 0)))
        container.mux(stream.encode(None))
    return file.getvalue()


def _read_avif(data: bytes) -> Picture:
    with av.open(io.BytesIO(data), "r") as container:
        limit_codec_threads(container.streams.video[0].codec_context)
        return from_video_frame(next(container.decode(video=0)))
