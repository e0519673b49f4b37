"""From whatever a decoder gives to 8-bit 4:2:0 planes.

Planes that already are 8-bit 4:2:0 pass untouched. Everything else takes the shortest way:
samples are rounded to 8 bits, chroma is averaged down, RGB goes through `colour`.

Samples of a decoded picture as arrays: depth, chroma grid and transparency, all in numpy.

How a stored picture must be turned to be shown: eight ways, all exact on planes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import av
import numpy as np

from aehub.media import colour
from aehub.media import colour as colours
from aehub.media.picture import Colour, Planes

if TYPE_CHECKING:
    import av


def depth_of(pixels: av.VideoFormat) -> int:
    """Bits of the deepest component."""
    return max(component.bits for component in pixels.components)


def samples_of(frame: av.VideoFrame) -> list[np.ndarray]:
    """Copy the planes of a planar frame without the padding: uint8, or uint16 above 8 bits."""
    kind = np.dtype("<u2") if depth_of(frame.format) > 8 else np.dtype(np.uint8)
    arrays = []
    for plane in frame.planes:
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        used = rows[: plane.height, : plane.width * kind.itemsize]
        copied = np.array(used, order="C")
        arrays.append(copied if kind.itemsize == 1 else copied.view(kind))
    return arrays


def halved(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bring a plane to the chroma grid of a picture `height` x `width`: float32.

    Finer planes are averaged, coarser ones (4:1:1, 4:1:0) repeated. The last row or column of an
    odd size stands for its missing twin.
    """
    fitted = plane.astype(np.float32)
    for size in (height, width):
        # Each round works on the rows and transposes, so two rounds do both axes.
        wanted = (size + 1) // 2
        if fitted.shape[0] == size > wanted:
            if size % 2:
                fitted = np.concatenate([fitted, fitted[-1:]])
            fitted = (fitted[0::2] + fitted[1::2]) * np.float32(0.5)
        elif fitted.shape[0] < wanted:
            fitted = np.repeat(fitted, -(-wanted // fitted.shape[0]), axis=0)[:wanted]
        fitted = fitted.T
    return fitted


def to_8_bits(plane: np.ndarray, depth: int, full_range: bool) -> np.ndarray:
    """Round samples of `depth` bits to uint8; in limited range a step is a power of two."""
    if plane.dtype == np.uint8:
        return plane
    scale = 255 / ((1 << depth) - 1) if full_range else 2.0 ** (8 - depth)
    scaled = plane * np.float32(scale)
    scaled += 0.5
    return np.minimum(scaled, 255).astype(np.uint8)


def over_white(rgba: np.ndarray) -> tuple[np.ndarray, bool]:
    """Lay uint8 [H, W, 4] over white: uint8 [H, W, 3], and whether anything was transparent."""
    colour, alpha = rgba[..., :3], rgba[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(colour), False
    return _mixed(colour, alpha, 255), True


def planes_over_white(picture: Planes, opacity: np.ndarray, full_range: bool) -> Planes:
    """Lay planes over white; `opacity` is uint8 [H, W]. The mix is affine, so YUV may do it."""
    height, width = opacity.shape
    small = to_8_bits(halved(opacity, height, width), 8, full_range=True)
    return Planes(
        _mixed(picture.y, opacity, 255 if full_range else 235),
        _mixed(picture.u, small, 128),
        _mixed(picture.v, small, 128),
    )


def _mixed(plane: np.ndarray, alpha: np.ndarray, white: int) -> np.ndarray:
    """`plane` where alpha is 255, `white` where it is 0, rounded in between."""
    weighted = plane.astype(np.uint32) * alpha + (255 - alpha).astype(np.uint32) * white
    return ((weighted + 127) // 255).astype(np.uint8)


def neutral_chroma(luma: np.ndarray, depth: int) -> list[np.ndarray]:
    """The two chroma planes of a grey picture."""
    half = tuple((size + 1) // 2 for size in luma.shape)
    return [np.full(half, 1 << (depth - 1), luma.dtype) for _ in range(2)]


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
        depth = depth_of(first.format)
        self._wanted: tuple[int, int] | None = None
        self._is_hdr = first.color_trc in colour.TRANSFERS and depth > 8
        said = Colour(
            matrix=_code_point(first.colorspace),
            full_range=first.color_range == 2 or _is_full(first.format.name, codec),
            primaries=_code_point(first.color_primaries),
            transfer=_code_point(first.color_trc),
        )
        shown = colours.resolve_unspecified(said, first.width, first.height)
        self._tags = said if is_photo else shown
        self.colour = self._tags
        if _is_rgb(first.format):
            self.colour = colours.rgb_colour(first.height)
        elif self._is_hdr:
            self.colour = colour.RESULT
            self._note("High dynamic range was mapped to standard range, BT.709.")
        elif depth > 8:
            self._note(f"{depth}-bit samples were rounded to 8 bits.")

    def allow_downscale(self, width: int, height: int) -> None:
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
            y, u, v = samples_of(frame)
            return Planes(y, u, v)
        if _is_rgb(frame.format):
            return self._from_rgb(frame)
        return self._from_yuv(_unpacked(frame))

    def _from_rgb(self, frame: av.VideoFrame) -> Planes:
        """RGB and palettes, with or without alpha."""
        may_be_clear = frame.format.has_palette or _has_alpha(frame.format)
        if not may_be_clear:
            return colours.from_rgb(frame.reformat(format="rgb24").to_ndarray(), self.colour)
        pixels, was_clear = over_white(frame.reformat(format="rgba").to_ndarray())
        if was_clear:
            self._note_alpha()
        return colours.from_rgb(pixels, self.colour)

    def _from_yuv(self, frame: av.VideoFrame) -> Planes:
        """Grey and YUV of any depth and chroma grid, with or without alpha."""
        depth, full = depth_of(frame.format), self._tags.full_range
        y, *chroma = samples_of(frame)
        height, width = y.shape
        alpha = chroma.pop() if _has_alpha(frame.format) else None
        if chroma and chroma[0].shape != ((height + 1) // 2, (width + 1) // 2):
            self._note("Chroma was brought to 4:2:0.")
            chroma = [halved(plane, height, width) for plane in chroma]
        if not chroma:
            chroma = neutral_chroma(y, depth)
        if self._is_hdr:
            return colour.to_sdr([y, *chroma], depth, self._tags)
        picture = Planes(*(to_8_bits(plane, depth, full) for plane in (y, *chroma)))
        opacity = None if alpha is None else to_8_bits(alpha, depth, full_range=True)
        if opacity is None or opacity.min() == 255:
            return picture
        self._note_alpha()
        return planes_over_white(picture, opacity, full)

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
    return frame.reformat(format="yuv444p16le" if depth_of(pixels) > 8 else "yuv444p")


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


class Orientation(NamedTuple):
    """First transpose, then mirror left to right, then top to bottom."""

    transpose: bool = False
    mirror: bool = False
    upend: bool = False

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Shown (width, height) of a stored one."""
        return (height, width) if self.transpose else (width, height)

    def turn(self, planes: Planes) -> Planes:
        """Turn a picture; the planes come back contiguous.

        On odd sizes a mirrored chroma sample keeps its value but covers its neighbour by half:
        4:2:0 cannot say it better.
        """
        if self == Orientation():
            return planes
        return Planes(*(np.ascontiguousarray(self.turn_array(plane)) for plane in planes))

    def turn_array(self, array: np.ndarray) -> np.ndarray:
        """A view of `array` [H, W, ...], turned."""
        if self.transpose:
            array = array.swapaxes(0, 1)
        if self.mirror:
            array = array[:, ::-1]
        return array[::-1] if self.upend else array


def from_matrix(matrix: bytes) -> Orientation:
    """Read the display matrix of a video file: nine int32, of which a b / c d turn the picture.

    A stored point (x, y) is shown at (a x + c y, b x + d y).
    """
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    if abs(b) > abs(a):
        return Orientation(True, mirror=c < 0, upend=b < 0)
    return Orientation(False, mirror=a < 0, upend=d < 0)


def from_rotation(degrees: int) -> Orientation:
    """Read libavformat's counter-clockwise `degrees`, to the nearest quarter turn."""
    quarter = round(degrees / 90) % 4
    return (
        Orientation(),
        Orientation(True, upend=True),
        Orientation(False, True, True),
        Orientation(True, mirror=True),
    )[quarter]


def from_exif(number: int) -> Orientation:
    """Read the orientation tag of a photograph, 1 to 8; anything else is upright."""
    return {
        2: Orientation(False, mirror=True),
        3: Orientation(False, True, True),
        4: Orientation(False, upend=True),
        5: Orientation(True),
        6: Orientation(True, mirror=True),
        7: Orientation(True, True, True),
        8: Orientation(True, upend=True),
    }.get(number, Orientation())
