"""Conversion between 4:2:0 planes and RGB, unspecified colour tags, and tone mapping.

    Y = kr R + kg G + kb B      Cb = (B - Y) / (2 - 2 kb)      Cr = (R - Y) / (2 - 2 kr)

Chroma samples sit in the centre of their 2x2 block (JPEG and MPEG-1 siting): downsampling is the
mean of the block, upsampling is bilinear with weights 9, 3, 3, 1 over 16.

High dynamic range (PQ, HLG) is mapped to BT.709 in standard range with the EETF of ITU-R BT.2390:
light up to about 95 cd/m2 is unchanged, and brighter light up to 1000 cd/m2 is compressed below
203 cd/m2, which becomes white. The gain is computed from the largest of R, G, B and applied to all
three, so hues stay. Colours outside the primaries of BT.709 are clipped.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aehub.errors import InputError
from aehub.media.picture import Colour, Picture

# H.273 matrix code point -> (kr, kb). Unspecified (2) is BT.601 here: colours of high definition
# went through `resolve_unspecified` when they were read.
_LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),
    2: (0.299, 0.114),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
_BT709, _UNSPECIFIED, _BT601, _BT2020 = 1, 2, 6, 9

# High definition: from this height on, or wider than this. Players and browsers show clips of that
# size as BT.709 if the file does not state a matrix, and RGB sources of that height are stored so.
_HD_HEIGHT, _SD_WIDTH = 720, 1024

# Rows converted at a time, even: strips keep the float32 copies of a large picture small, and cost
# nothing measurable at 640x360.
_STRIP_ROWS = 256

PQ, HLG = 16, 18
"""H.273 transfer characteristics of high dynamic range."""
HDR_TRANSFERS = frozenset({PQ, HLG})
SDR_COLOUR = Colour(matrix=1, full_range=False, primaries=1, transfer=1)
"""Colour description of the pictures that `to_sdr` returns."""

# Light in cd/m2: brightest of the source, and of white in the result.
_SOURCE_PEAK, _SDR_WHITE = 1000.0, 203.0
# PQ, SMPTE ST 2084.
_PQ_M1, _PQ_M2 = 2610 / 16384, 2523 / 4096 * 128
_PQ_C1, _PQ_C2, _PQ_C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
# Hybrid log-gamma, ITU-R BT.2100.
_HLG_A, _HLG_B, _HLG_C = 0.17883277, 0.28466892, 0.55991073
# Signal values at which the light tables are computed.
_SIGNALS = np.arange(4096) / 4095
# Linear BT.2020 to BT.709 (ITU-R BT.2087).
_BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)


class _YcbcrScale(NamedTuple):
    """Affine map of one colour description: `Y = y_gain * luma + y_zero`, chroma around 128."""

    kr: float
    kg: float
    kb: float
    y_gain: float
    y_zero: float
    c_gain: float


def rgb_colour(height: int) -> Colour:
    """Return the colour for storing RGB pictures of this height: limited range, sRGB transfer."""
    return Colour(_BT709 if height >= _HD_HEIGHT else _BT601, primaries=1, transfer=13)


def resolve_unspecified(colour: Colour, width: int, height: int) -> Colour:
    """Return the colour that players assume for a file of this size.

    Args:
        colour: the tags of the file.
        width: of the pictures as stored in the file, before any rotation, trim or resize.
        height: of these pictures.

    Returns:
        BT.709 for high definition with an unspecified matrix, else `colour`.
    """
    return _fill_unspecified(colour, _BT709) if _assumed_bt709(colour, width, height) else colour


def tags_to_write(colour: Colour, width: int, height: int) -> Colour:
    """Return the tags from which `resolve_unspecified` gives `colour` again at this size.

    An unspecified matrix, which is BT.601, stays unspecified, except in pictures that became as
    large as high definition by rotation or padding.
    """
    return _fill_unspecified(colour, _BT601) if _assumed_bt709(colour, width, height) else colour


def is_player_default(colour: Colour, width: int, height: int) -> bool:
    """True if players show pictures of this size right without a stated matrix."""
    assumed = resolve_unspecified(Colour(), width, height)
    return _LUMA_WEIGHTS[assumed.matrix] == _LUMA_WEIGHTS.get(colour.matrix)


def to_rgb(planes: Picture, colour: Colour) -> np.ndarray:
    """Convert a picture to RGB.

    Args:
        planes: 4:2:0 picture, any size, odd ones included.
        colour: colour description of the planes.

    Returns:
        uint8 [H, W, 3].

    Raises:
        InputError: the matrix is not one of Y, Cb, Cr (ICtCp, YCgCo).
    """
    scale = _ycbcr_scale(colour)
    height, width = planes[0].shape
    u, v = _upsample_rows(planes[1]), _upsample_rows(planes[2])
    out = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, height)
        y = planes[0][top:bottom].astype(np.float32)
        y -= scale.y_zero - 0.5 * scale.y_gain
        y *= 1 / scale.y_gain
        blue, red = (_upsample_columns(c[top:bottom], width) for c in (u, v))
        _write_rgb(out[top:bottom], y, blue, red, scale)
    return out


def from_rgb(array: np.ndarray, colour: Colour) -> Picture:
    """Convert an RGB picture to 4:2:0 planes.

    Args:
        array: uint8 [H, W, 3].
        colour: colour description of the result; see `rgb_colour`.

    Returns:
        The planes, rounded to nearest.

    Raises:
        InputError: `array` is not such a picture, or the matrix is not one of Y, Cb, Cr.
    """
    check_rgb(array)
    scale = _ycbcr_scale(colour)
    height, width = array.shape[:2]
    half = (height + 1) // 2, (width + 1) // 2
    planes = Picture(np.empty(shape, np.uint8) for shape in ((height, width), half, half))
    for top in range(0, height, _STRIP_ROWS):
        rows = slice(top, min(top + _STRIP_ROWS, height))
        half_rows = slice(top // 2, (rows.stop + 1) // 2)
        red, green, blue = (array[rows, :, c].astype(np.float32) for c in range(3))
        planes[0][rows] = _luma_samples(red, green, blue, scale)
        red, green, blue = (_mean_2x2(channel) for channel in (red, green, blue))
        luma = scale.kr * red + scale.kg * green + scale.kb * blue
        planes[1][half_rows] = _chroma_samples(blue - luma, scale.c_gain / (2 - 2 * scale.kb))
        planes[2][half_rows] = _chroma_samples(red - luma, scale.c_gain / (2 - 2 * scale.kr))
    return planes


def check_rgb(array: np.ndarray) -> None:
    """Check that an array is an RGB picture, uint8 [H, W, 3].

    Raises:
        InputError: names its type and shape.
    """
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or not array.size:
        raise InputError(
            f"A frame is {array.dtype} of shape {array.shape}; give uint8 [height, width, 3], RGB."
        )


def upsampled(chroma: np.ndarray, height: int, width: int) -> np.ndarray:
    """Upsample a 4:2:0 chroma plane of any depth to the size of luma: float32 [height, width]."""
    return _upsample_columns(_upsample_rows(chroma)[:height], width)


def luma_weights(matrix: int) -> tuple[float, float, float]:
    """Return (kr, kg, kb) of an H.273 matrix code point.

    Raises:
        InputError: the matrix is not one of Y, Cb, Cr.
    """
    if matrix not in _LUMA_WEIGHTS:
        raise InputError(
            f"The colour matrix is number {matrix}; only {sorted(_LUMA_WEIGHTS)} of H.273 can be "
            "shown. Convert the clip to BT.709 first."
        )
    kr, kb = _LUMA_WEIGHTS[matrix]
    return kr, 1 - kr - kb, kb


def to_sdr(planes: list[np.ndarray], depth: int, colour: Colour) -> Picture:
    """Map a picture of high dynamic range to standard range.

    Args:
        planes: luma [H, W] and two chroma planes on the 4:2:0 grid, samples of `depth` bits.
        depth: bits per sample.
        colour: their colour description; the transfer is `PQ` or `HLG`.

    Returns:
        8-bit planes of colour `SDR_COLOUR`.
    """
    signal = _rgb_signal(planes, depth, colour)
    light = _LIGHT_TABLES[colour.transfer][np.rint(signal * 4095).astype(np.uint16)]
    if colour.transfer == HLG:
        kr, kg, kb = luma_weights(_BT2020)
        scene = light @ np.array([kr, kg, kb], np.float32)
        light = light * (scene ** np.float32(0.2))[..., None]
    light = light * _tone_gain(light.max(axis=2))[..., None]
    if colour.primaries in (_UNSPECIFIED, _BT2020):
        light = light @ _BT2020_TO_BT709.T
    # The inverse of a BT.1886 display.
    shown = np.clip(light, 0, 1) ** np.float32(1 / 2.4)
    return from_rgb(np.rint(shown * 255).astype(np.uint8), SDR_COLOUR)


def _assumed_bt709(colour: Colour, width: int, height: int) -> bool:
    """True if the matrix is unspecified and players assume BT.709."""
    return colour.matrix == _UNSPECIFIED and (height >= _HD_HEIGHT or width > _SD_WIDTH)


def _fill_unspecified(colour: Colour, standard: int) -> Colour:
    """Fill the unspecified code points of a colour from one standard."""
    matrix, full_range, primaries, transfer = colour
    filled = (standard if point == _UNSPECIFIED else point for point in (primaries, transfer))
    return Colour(standard, full_range, *filled)


def _ycbcr_scale(colour: Colour) -> _YcbcrScale:
    """Coefficients of a colour description."""
    kr, kg, kb = luma_weights(colour.matrix)
    if colour.full_range:
        return _YcbcrScale(kr, kg, kb, 1.0, 0.0, 1.0)
    return _YcbcrScale(kr, kg, kb, 219 / 255, 16.0, 224 / 255)


def _upsample_rows(plane: np.ndarray) -> np.ndarray:
    """Double the rows of a chroma plane: float32 [2h, w + 2] with one padding column a side."""
    padded = np.pad(plane, 1, mode="edge").astype(np.float32)
    padded *= 0.25
    near = padded[1:-1] * 3
    doubled = np.empty((2 * plane.shape[0], padded.shape[1]), np.float32)
    np.add(near, padded[:-2], out=doubled[0::2])
    np.add(near, padded[2:], out=doubled[1::2])
    return doubled


def _upsample_columns(rows: np.ndarray, width: int) -> np.ndarray:
    """Double the columns of `_upsample_rows`: float32 [h, width]."""
    quarter = rows * np.float32(0.25)
    near = quarter[:, 1:-1] * 3
    doubled = np.empty((rows.shape[0], 2 * near.shape[1]), np.float32)
    np.add(near, quarter[:, :-2], out=doubled[:, 0::2])
    np.add(near, quarter[:, 2:], out=doubled[:, 1::2])
    return doubled[:, :width]


def _write_rgb(
    out: np.ndarray, y: np.ndarray, blue: np.ndarray, red: np.ndarray, scale: _YcbcrScale
) -> None:
    """Fill uint8 [h, w, 3]; `y` is 0..255 plus one half, so that truncation rounds."""
    for chroma in (blue, red):
        chroma -= 128
    blue *= (2 - 2 * scale.kb) / scale.c_gain
    red *= (2 - 2 * scale.kr) / scale.c_gain
    green = blue * (-scale.kb / scale.kg)
    green += red * (-scale.kr / scale.kg)
    for channel, difference in enumerate((red, green, blue)):
        difference += y
        np.clip(difference, 0, 255, out=difference)
        out[..., channel] = difference


def _luma_samples(
    red: np.ndarray, green: np.ndarray, blue: np.ndarray, scale: _YcbcrScale
) -> np.ndarray:
    """Luma plus one half, so that truncation rounds."""
    luma = red * (scale.kr * scale.y_gain)
    luma += green * (scale.kg * scale.y_gain)
    luma += blue * (scale.kb * scale.y_gain)
    luma += scale.y_zero + 0.5
    return luma


def _chroma_samples(difference: np.ndarray, gain: float) -> np.ndarray:
    """A chroma strip plus one half, so that truncation rounds."""
    difference *= gain
    difference += 128.5
    np.clip(difference, 0, 255, out=difference)
    return difference


def _mean_2x2(channel: np.ndarray) -> np.ndarray:
    """Mean of 2x2 blocks; the last row or column of an odd size stands for its missing twin."""
    height, width = channel.shape
    if height % 2 or width % 2:
        channel = np.pad(channel, ((0, height % 2), (0, width % 2)), mode="edge")
    rows = channel[0::2] + channel[1::2]
    mean = rows[:, 0::2] + rows[:, 1::2]
    mean *= 0.25
    return mean


def _rgb_signal(planes: list[np.ndarray], depth: int, colour: Colour) -> np.ndarray:
    """Non-linear R'G'B', float32 [H, W, 3] in 0..1."""
    height, width = planes[0].shape
    if colour.full_range:
        zero, gain, chroma_gain = 0.0, (1 << depth) - 1.0, (1 << depth) - 1.0
    else:
        scale = 2.0 ** (depth - 8)
        zero, gain, chroma_gain = 16 * scale, 219 * scale, 224 * scale
    y = (planes[0].astype(np.float32) - np.float32(zero)) / np.float32(gain)
    neutral = 1 << (depth - 1)
    u, v = ((upsampled(c, height, width) - neutral) / chroma_gain for c in planes[1:])
    kr, kg, kb = luma_weights(_BT2020 if colour.matrix == _UNSPECIFIED else colour.matrix)
    red, blue = y + (2 - 2 * kr) * v, y + (2 - 2 * kb) * u
    green = (y - kr * red - kb * blue) / kg
    return np.clip(np.stack([red, green, blue], axis=2), 0, 1).astype(np.float32)


def _pq_eotf(signal: np.ndarray) -> np.ndarray:
    """PQ EOTF: signal to light in units of `_SDR_WHITE`."""
    root = signal ** (1 / _PQ_M2)
    light = 10000 * (np.maximum(root - _PQ_C1, 0) / (_PQ_C2 - _PQ_C3 * root)) ** (1 / _PQ_M1)
    return (light / _SDR_WHITE).astype(np.float32)


def _pq_inverse_eotf(light: np.ndarray) -> np.ndarray:
    """Inverse PQ EOTF: light in units of `_SDR_WHITE` to signal."""
    power = (light * _SDR_WHITE / 10000) ** _PQ_M1
    return ((_PQ_C1 + _PQ_C2 * power) / (1 + _PQ_C3 * power)) ** _PQ_M2


def _hlg_inverse_oetf(signal: np.ndarray) -> np.ndarray:
    """Inverse HLG OETF: signal to scene light, scaled so that its power 1.2 is display light."""
    exponential = (np.exp((signal - _HLG_C) / _HLG_A) + _HLG_B) / 12
    scene = np.where(signal <= 0.5, signal**2 / 3, exponential)
    return (scene * (_SOURCE_PEAK / _SDR_WHITE) ** (1 / 1.2)).astype(np.float32)


def _eetf(signal: np.ndarray) -> np.ndarray:
    """EETF of BT.2390, a Hermite spline above a knee, on PQ signal."""
    peak = _pq_inverse_eotf(np.array(_SOURCE_PEAK / _SDR_WHITE))
    top = _pq_inverse_eotf(np.array(1.0)) / peak
    knee = 1.5 * top - 0.5
    source = np.minimum(signal / peak, 1)
    t = np.maximum(source - knee, 0) / (1 - knee)
    spline = (
        (2 * t**3 - 3 * t**2 + 1) * knee
        + (t**3 - 2 * t**2 + t) * (1 - knee)
        + (-2 * t**3 + 3 * t**2) * top
    )
    return np.where(source < knee, source, spline) * peak


def _tone_gain(brightest: np.ndarray) -> np.ndarray:
    """Gain of a pixel whose largest channel is `brightest`."""
    return np.interp(brightest, _GAIN_LIGHT, _GAIN).astype(np.float32)


_LIGHT_TABLES = {PQ: _pq_eotf(_SIGNALS), HLG: _hlg_inverse_oetf(_SIGNALS)}
_GAIN_LIGHT = np.maximum(_pq_eotf(_SIGNALS).astype(np.float64), 1e-9)
_GAIN = _pq_eotf(_eetf(_pq_inverse_eotf(_GAIN_LIGHT))) / _GAIN_LIGHT
