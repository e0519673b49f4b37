"""Conversion of decoded frames to upright 8-bit 4:2:0 planes.

8-bit 4:2:0 planes pass unchanged. Otherwise samples are rounded to 8 bits, chroma is averaged to
the 4:2:0 grid, transparency is laid over white, and RGB goes through `colour`. The eight
orientations of stored pictures are exact on planes.
"""

from __future__ import annotations

from typing import NamedTuple

import av
import numpy as np

from aehub.errors import InputError
from aehub.media import colour as colours
from aehub.media.picture import RGB, YUV420, Colour, Picture, PictureFormat, add_note

ALPHA_NOTE = "Transparent parts were laid over white."
# Packed and two-plane formats -> the planar one that holds the same samples.
_PLANAR_FORMATS = {
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
_UNCHANGED_FORMATS = frozenset({"yuv420p", "yuvj420p"})
_FULL_RANGE_CODECS = frozenset({"mjpeg", "png", "apng"})


class Converter:
    """Converter of decoded frames to planes of one size and one colour description.

    Attributes:
        size: stored (width, height), before orientation.
        colour: colour description of the planes, from the first frame.
        notes: sentences about what the conversion changes; may grow while frames are read.
    """

    def __init__(self, first: av.VideoFrame, codec: str, *, is_photo: bool = False) -> None:
        """Take the format of the first frame; `is_photo`: unspecified means BT.601 at any size."""
        self.notes: list[str] = []
        self.size = first.width, first.height
        depth = depth_of(first.format)
        self._target_size: tuple[int, int] | None = None
        self._is_hdr = first.color_trc in colours.HDR_TRANSFERS and depth > 8
        tags = Colour(
            matrix=_code_point(first.colorspace),
            full_range=first.color_range == 2 or _implies_full_range(first.format.name, codec),
            primaries=_code_point(first.color_primaries),
            transfer=_code_point(first.color_trc),
        )
        shown = colours.resolve_unspecified(tags, first.width, first.height)
        self._tags = tags if is_photo else shown
        self.colour = self._tags
        if _is_rgb(first.format):
            self.colour = colours.rgb_colour(first.height)
        elif self._is_hdr:
            self.colour = colours.SDR_COLOUR
            add_note(self.notes, "High dynamic range was mapped to standard range, BT.709.")
        elif depth > 8:
            add_note(self.notes, f"{depth}-bit samples were rounded to 8 bits.")

    def allow_downscale(self, width: int, height: int) -> None:
        """Scale later pictures to this size where that saves work: high dynamic range."""
        self._target_size = width, height

    def __call__(self, frame: av.VideoFrame) -> Picture:
        """Convert one frame."""
        if (frame.width, frame.height) != self.size:
            width, height = self.size
            add_note(self.notes,
                     f"The size changes midway; all frames are shown at {width}x{height}.")
            frame = frame.reformat(width, height)
        if self._target_size is not None and self._is_hdr:
            # In the same pixel format: samples keep their depth and meaning.
            frame = frame.reformat(*self._target_size, interpolation="BICUBIC")
        if frame.format.name in _UNCHANGED_FORMATS and not self._is_hdr:
            y, u, v = samples_of(frame)
            return Picture((y, u, v))
        if _is_rgb(frame.format):
            return self._from_rgb(frame)
        return self._from_yuv(_to_planar(frame))

    def _from_rgb(self, frame: av.VideoFrame) -> Picture:
        """RGB and palettes, with or without alpha."""
        may_be_transparent = frame.format.has_palette or _has_alpha(frame.format)
        if not may_be_transparent:
            return colours.from_rgb(frame.reformat(format="rgb24").to_ndarray(), self.colour)
        pixels, was_transparent = over_white(frame.reformat(format="rgba").to_ndarray())
        if was_transparent:
            add_note(self.notes, ALPHA_NOTE)
        return colours.from_rgb(pixels, self.colour)

    def _from_yuv(self, frame: av.VideoFrame) -> Picture:
        """Grey and YUV of any depth and chroma grid, with or without alpha."""
        depth, full = depth_of(frame.format), self._tags.full_range
        y, *chroma = samples_of(frame)
        height, width = y.shape
        alpha = chroma.pop() if _has_alpha(frame.format) else None
        if chroma and chroma[0].shape != ((height + 1) // 2, (width + 1) // 2):
            add_note(self.notes, "Chroma was brought to 4:2:0.")
            chroma = [to_chroma_grid(plane, height, width) for plane in chroma]
        if not chroma:
            chroma = neutral_chroma(y, depth)
        if self._is_hdr:
            return colours.to_sdr([y, *chroma], depth, self._tags)
        picture = Picture(to_8_bits(plane, depth, full) for plane in (y, *chroma))
        opacity = None if alpha is None else to_8_bits(alpha, depth, full_range=True)
        if opacity is None or opacity.min() == 255:
            return picture
        add_note(self.notes, ALPHA_NOTE)
        return planes_over_white(picture, opacity, full)


def depth_of(pixels: av.VideoFormat) -> int:
    """Return the bits of the deepest component."""
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


def to_chroma_grid(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resample a plane to the 4:2:0 chroma grid of a picture `height` x `width`: float32.

    Finer planes are averaged, coarser ones (4:1:1, 4:1:0) repeated. The last row or column of an
    odd size stands for its missing twin.
    """
    fitted = plane.astype(np.float32)
    for size in (height, width):
        # Each pass works on the rows and transposes, so two passes do both axes.
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
    """Round samples of `depth` bits to uint8; in limited range by a power of two."""
    if plane.dtype == np.uint8:
        return plane
    scale = 255 / ((1 << depth) - 1) if full_range else 2.0 ** (8 - depth)
    scaled = plane * np.float32(scale)
    scaled += 0.5
    return np.minimum(scaled, 255).astype(np.uint8)


def to_yuv420(picture: Picture, colour: Colour) -> Picture:
    """Convert a picture of any format to 8-bit 4:2:0, for displays and codecs that take no other.

    Deeper samples are rounded and finer chroma is averaged. Planes R, G and B become YCbCr of this
    colour; of other planes the first one is shown in grey.
    """
    planes, bits = picture.format.planes, picture.format.bits
    if picture.format == YUV420:
        return picture
    samples = [plane.astype(np.int32) - picture.format.lowest for plane in picture]
    if not picture.format.is_yuv:
        is_rgb = [plane.name for plane in planes] == ["R", "G", "B"]
        channels = samples if is_rgb else samples[:1] * 3
        rgb = np.stack([to_8_bits(plane, bits, full_range=True) for plane in channels], -1)
        return colours.from_rgb(rgb, colour)
    height, width = samples[0].shape
    chroma = [to_chroma_grid(plane, height, width) for plane in samples[1:]]
    return Picture(to_8_bits(plane, bits, colour.full_range) for plane in (samples[0], *chroma))


def to_rgb(picture: Picture, colour: Colour) -> np.ndarray:
    """Convert a picture of any format to uint8 [H, W, 3]; planes R, G and B of 8 bits are exact."""
    if picture.format == RGB:
        return np.stack(picture, -1)
    return colours.to_rgb(to_yuv420(picture, colour), colour)


def to_format(picture: Picture, form: PictureFormat, colour: Colour) -> Picture:
    """Convert a picture to 8-bit 4:2:0 or RGB, or leave it as it is.

    Raises:
        InputError: it is of another format than the wanted one, which is neither of these.
    """
    if picture.format == form:
        return picture
    if form == YUV420:
        return to_yuv420(picture, colour)
    if form == RGB:
        return Picture(np.ascontiguousarray(np.moveaxis(to_rgb(picture, colour), -1, 0)), RGB)
    raise InputError(f"pictures of {form} are wanted, and the clip has {picture.format}; convert "
                     "it, or name another model.")


def over_white(rgba: np.ndarray) -> tuple[np.ndarray, bool]:
    """Lay uint8 [H, W, 4] over white: (uint8 [H, W, 3], True if any pixel was transparent)."""
    colour, alpha = rgba[..., :3], rgba[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(colour), False
    return _blended(colour, alpha, 255), True


def planes_over_white(picture: Picture, opacity: np.ndarray, full_range: bool) -> Picture:
    """Lay planes over white; `opacity` is uint8 [H, W]. Blending is affine, so it works in YUV."""
    height, width = opacity.shape
    small = to_8_bits(to_chroma_grid(opacity, height, width), 8, full_range=True)
    return Picture((
        _blended(picture[0], opacity, 255 if full_range else 235),
        _blended(picture[1], small, 128),
        _blended(picture[2], small, 128),
    ))


def _blended(plane: np.ndarray, alpha: np.ndarray, white: int) -> np.ndarray:
    """Blend `plane` (alpha 255) and `white` (alpha 0), rounded to nearest."""
    weighted = plane.astype(np.uint32) * alpha + (255 - alpha).astype(np.uint32) * white
    return ((weighted + 127) // 255).astype(np.uint8)


def neutral_chroma(luma: np.ndarray, depth: int) -> list[np.ndarray]:
    """Make the two chroma planes of a grey picture."""
    half = tuple((size + 1) // 2 for size in luma.shape)
    return [np.full(half, 1 << (depth - 1), luma.dtype) for _ in range(2)]


class Orientation(NamedTuple):
    """Orientation of a stored picture: transpose, then flip horizontally, then vertically."""

    transpose: bool = False
    hflip: bool = False
    vflip: bool = False

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the shown (width, height) of a stored one."""
        return (height, width) if self.transpose else (width, height)

    def apply(self, planes: Picture) -> Picture:
        """Orient a picture; the planes are contiguous.

        On odd sizes flipped chroma samples shift by half a sample: 4:2:0 has no exact position.
        """
        if self == Orientation():
            return planes
        return Picture(np.ascontiguousarray(self.apply_to_array(plane)) for plane in planes)

    def apply_to_array(self, array: np.ndarray) -> np.ndarray:
        """Return an oriented view of `array` [H, W, ...]."""
        if self.transpose:
            array = array.swapaxes(0, 1)
        if self.hflip:
            array = array[:, ::-1]
        return array[::-1] if self.vflip else array


def from_display_matrix(matrix: bytes) -> Orientation:
    """Read the display matrix of a video file: nine int32, of which a b / c d are the linear part.

    A stored point (x, y) is shown at (a x + c y, b x + d y).
    """
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    if abs(b) > abs(a):
        return Orientation(True, hflip=c < 0, vflip=b < 0)
    return Orientation(False, hflip=a < 0, vflip=d < 0)


def from_rotation(degrees: int) -> Orientation:
    """Round libavformat's counter-clockwise `degrees` to the nearest quarter turn."""
    quarter = round(degrees / 90) % 4
    return (
        Orientation(),
        Orientation(True, vflip=True),
        Orientation(False, True, True),
        Orientation(True, hflip=True),
    )[quarter]


def from_exif(number: int) -> Orientation:
    """Read the EXIF orientation tag, 1 to 8; anything else is upright."""
    return {
        2: Orientation(False, hflip=True),
        3: Orientation(False, True, True),
        4: Orientation(False, vflip=True),
        5: Orientation(True),
        6: Orientation(True, hflip=True),
        7: Orientation(True, True, True),
        8: Orientation(True, vflip=True),
    }.get(number, Orientation())


def _to_planar(frame: av.VideoFrame) -> av.VideoFrame:
    """The same samples in planar little-endian format."""
    pixels = frame.format
    if pixels.name in _PLANAR_FORMATS:
        return frame.reformat(format=_PLANAR_FORMATS[pixels.name])
    if (pixels.is_planar or len(pixels.components) == 1) and not pixels.is_big_endian:
        return frame
    return frame.reformat(format="yuv444p16le" if depth_of(pixels) > 8 else "yuv444p")


def _code_point(number: int) -> int:
    """An H.273 code point; 0 (RGB, which planes are not) and 3 (reserved) become 2, unspecified."""
    return 2 if number in (0, 3) else int(number)


def _is_rgb(pixels: av.VideoFormat) -> bool:
    return pixels.is_rgb or pixels.has_palette or pixels.is_bit_stream


def _has_alpha(pixels: av.VideoFormat) -> bool:
    return any(component.is_alpha for component in pixels.components)


def _implies_full_range(name: str, codec: str) -> bool:
    """True if a pixel format implies full range without a tag."""
    return name.startswith("yuvj") or (name.startswith("gray") and codec in _FULL_RANGE_CODECS)
