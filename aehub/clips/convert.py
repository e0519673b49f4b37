"""From whatever a decoder gives to 8-bit 4:2:0 planes.

Planes that already are 8-bit 4:2:0 pass untouched. Everything else takes the shortest way:
samples are rounded to 8 bits, chroma is averaged down, RGB goes through `colour`.
"""

from __future__ import annotations

import av

from aehub.clips import colour as colours
from aehub.clips import samples, tonemap
from aehub.clips.frames import Colour, Planes

# Packed and two-plane formats -> the planar one that holds the same samples.
_UNPACKED = {
    "nv12": "yuv420p",
    "nv21": "yuv420p",
    "nv16": "yuv422p",
    "yuyv422": "yuv422p",
    "uyvy422": "yuv422p",
    "yvyu422": "yuv422p",
    "uyyvyy411": "yuv411p",
    "p010le": "yuv420p10le",
    "p016le": "yuv420p16le",
    "p210le": "yuv422p10le",
    "ya8": "yuva444p",
}
_PASS = frozenset({"yuv420p", "yuvj420p"})
_FULL_RANGE_CODECS = frozenset({"mjpeg", "png", "apng"})


class Converter:
    """Turns decoded frames into planes of one size and one meaning.

    Attributes:
        size: stored (width, height), before turning.
        colour: what the planes mean, from the first frame.
        notes: sentences about what the conversion changes; may grow while frames are read.
    """

    def __init__(self, first: av.VideoFrame, codec: str, *, is_photo: bool = False) -> None:
        """Look at the first frame; `is_photo`: it is BT.601 of any size if it does not say."""
        self.notes: list[str] = []
        self.size = first.width, first.height
        depth = samples.depth_of(first.format)
        self._wanted: tuple[int, int] | None = None
        self._is_hdr = first.color_trc in tonemap.TRANSFERS and depth > 8
        said = Colour(
            matrix=_code_point(first.colorspace),
            full_range=first.color_range == 2 or _is_full(first.format.name, codec),
            primaries=_code_point(first.color_primaries),
            transfer=_code_point(first.color_trc),
        )
        self._tags = said if is_photo else colours.as_shown(said, first.width, first.height)
        self.colour = self._tags
        if _is_rgb(first.format):
            self.colour = colours.rgb_colour(first.height)
        elif self._is_hdr:
            self.colour = tonemap.RESULT
            self._note("High dynamic range was mapped to standard range, BT.709.")
        elif depth > 8:
            self._note(f"{depth}-bit samples were rounded to 8 bits.")

    def may_shrink(self, width: int, height: int) -> None:
        """Give pictures at this size from now on where that saves work: high dynamic range."""
        self._wanted = width, height

    def __call__(self, frame: av.VideoFrame) -> Planes:
        """Convert one frame."""
        if (frame.width, frame.height) != self.size:
            width, height = self.size
            self._note(f"The size changes midway; all frames are shown at {width}x{height}.")
            frame = frame.reformat(width, height)
        if self._wanted is not None and self._is_hdr:
            # Within the format: samples keep their depth and their meaning.
            frame = frame.reformat(*self._wanted, interpolation="BICUBIC")
        if frame.format.name in _PASS and not self._is_hdr:
            y, u, v = samples.samples_of(frame)
            return Planes(y, u, v)
        if _is_rgb(frame.format):
            return self._from_rgb(frame)
        return self._from_yuv(_unpacked(frame))

    def _from_rgb(self, frame: av.VideoFrame) -> Planes:
        """RGB and palettes, with or without alpha."""
        may_be_clear = frame.format.has_palette or _has_alpha(frame.format)
        if not may_be_clear:
            return colours.from_rgb(frame.reformat(format="rgb24").to_ndarray(), self.colour)
        pixels, was_clear = samples.over_white(frame.reformat(format="rgba").to_ndarray())
        if was_clear:
            self._note_alpha()
        return colours.from_rgb(pixels, self.colour)

    def _from_yuv(self, frame: av.VideoFrame) -> Planes:
        """Grey and YUV of any depth and chroma grid, with or without alpha."""
        depth, full = samples.depth_of(frame.format), self._tags.full_range
        y, *chroma = samples.samples_of(frame)
        height, width = y.shape
        alpha = chroma.pop() if _has_alpha(frame.format) else None
        if chroma and chroma[0].shape != ((height + 1) // 2, (width + 1) // 2):
            self._note("Chroma was brought to 4:2:0.")
            chroma = [samples.halved(plane, height, width) for plane in chroma]
        if not chroma:
            chroma = samples.neutral_chroma(y, depth)
        if self._is_hdr:
            return tonemap.to_sdr([y, *chroma], depth, self._tags)
        picture = Planes(*(samples.to_8_bits(plane, depth, full) for plane in (y, *chroma)))
        opacity = None if alpha is None else samples.to_8_bits(alpha, depth, full_range=True)
        if opacity is None or opacity.min() == 255:
            return picture
        self._note_alpha()
        return samples.planes_over_white(picture, opacity, full)

    def _note_alpha(self) -> None:
        self._note("Transparent parts were laid over white.")

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)


def _unpacked(frame: av.VideoFrame) -> av.VideoFrame:
    """The same samples, one kind to a plane, in an order numpy reads."""
    pixels = frame.format
    if pixels.name in _UNPACKED:
        return frame.reformat(format=_UNPACKED[pixels.name])
    if (pixels.is_planar or len(pixels.components) == 1) and not pixels.is_big_endian:
        return frame
    return frame.reformat(format="yuv444p16le" if samples.depth_of(pixels) > 8 else "yuv444p")


def _code_point(number: int) -> int:
    """An H.273 code point; 0 (RGB, which planes are not) and 3 (reserved) say nothing: 2."""
    return 2 if number in (0, 3) else int(number)


def _is_rgb(pixels: av.VideoFormat) -> bool:
    return pixels.is_rgb or pixels.has_palette or pixels.is_bit_stream


def _has_alpha(pixels: av.VideoFormat) -> bool:
    return any(component.is_alpha for component in pixels.components)


def _is_full(name: str, codec: str) -> bool:
    """Whether a format means full range without saying so."""
    return name.startswith("yuvj") or (name.startswith("gray") and codec in _FULL_RANGE_CODECS)
