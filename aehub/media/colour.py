"""The one place where planes become RGB and RGB becomes planes.

    Y = kr R + kg G + kb B      Cb = (B - Y) / (2 - 2 kb)      Cr = (R - Y) / (2 - 2 kr)

Chroma samples sit in the centre of their 2x2 block (JPEG and MPEG-1 siting): going down is the
mean of the block, going up is bilinear with weights 9, 3, 3, 1 over 16.

High dynamic range (PQ, HLG) brought to standard range, BT.709.

The curve is the one of ITU-R BT.2390: light up to about 95 cd/m2 stays as it is, brighter light up
to 1000 cd/m2 is bent below 203 cd/m2, which becomes white. It acts on the largest of R, G, B and
scales all three alike, so hues stay. Wide primaries are clipped to those of BT.709.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aehub.errors import InputError
from aehub.media.picture import Colour, Planes

# H.273 matrix code point -> (kr, kb). "Not said" (2) is BT.601 here: what is of high definition
# went through `resolve_unspecified` when it was read.
_WEIGHTS = {
    1: (0.2126, 0.0722),
    2: (0.299, 0.114),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}

# Rows worked on at a time, even: strips keep the float32 copies of a large picture small, and cost
# nothing measurable at 640x360.
_STRIP_ROWS = 256

# High definition: from this height on, or wider than this. Players and browsers show clips of that
# size as BT.709 where the file does not say, and RGB sources of that height are stored so.
_HD_HEIGHT, _SD_WIDTH = 720, 1024
_BT709, _BT601, _UNSAID = 1, 6, 2


class _Scale(NamedTuple):
    """The affine map of one colour: `Y = y_gain * luma + y_zero`, chroma around 128."""

    kr: float
    kg: float
    kb: float
    y_gain: float
    y_zero: float
    c_gain: float


def rgb_colour(height: int) -> Colour:
    """The colour in which RGB pictures `height` rows high are stored: limited range, sRGB light."""
    return Colour(_BT709 if height >= _HD_HEIGHT else _BT601, primaries=1, transfer=13)


def resolve_unspecified(colour: Colour, width: int, height: int) -> Colour:
    """Return the colour that players take a file of this size for.

    Args:
        colour: the tags of the file.
        width: of the pictures as they are stored in the file, before any turn, trim or resize.
        height: of these pictures.

    Returns:
        BT.709 for what is of high definition and does not state its matrix, else `colour`.
    """
    return _said(colour, _BT709) if _needs_tags(colour, width, height) else colour


def tags_to_write(colour: Colour, width: int, height: int) -> Colour:
    """Return the tags from which `resolve_unspecified` gives `colour` again at this size.

    Unspecified means BT.601, unless the pictures have become as large as those of high definition:
    a turned or padded one of less.
    """
    return _said(colour, _BT601) if _needs_tags(colour, width, height) else colour


def is_plain(colour: Colour, width: int, height: int) -> bool:
    """Whether players show pictures of this size right that do not state their matrix."""
    guessed = resolve_unspecified(Colour(), width, height)
    return _WEIGHTS[guessed.matrix] == _WEIGHTS.get(colour.matrix)


def _needs_tags(colour: Colour, width: int, height: int) -> bool:
    """Whether nothing is said and players would take BT.709."""
    return colour.matrix == _UNSAID and (height >= _HD_HEIGHT or width > _SD_WIDTH)


def _said(colour: Colour, standard: int) -> Colour:
    """The colour with all that it does not say taken from one standard."""
    matrix, full_range, primaries, transfer = colour
    said = (standard if point == _UNSAID else point for point in (primaries, transfer))
    return Colour(standard, full_range, *said)


def to_rgb(planes: Planes, colour: Colour) -> np.ndarray:
    """Convert a picture to RGB.

    Args:
        planes: 4:2:0 picture, any size, odd ones included.
        colour: what the numbers mean.

    Returns:
        uint8 [H, W, 3].

    Raises:
        InputError: the matrix is one of those that are not Y, Cb, Cr (ICtCp, YCgCo).
    """
    scale = _scale(colour)
    height, width = planes.y.shape
    u, v = _doubled_rows(planes.u), _doubled_rows(planes.v)
    out = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, height)
        y = planes.y[top:bottom].astype(np.float32)
        y -= scale.y_zero - 0.5 * scale.y_gain
        y *= 1 / scale.y_gain
        blue, red = (_doubled_columns(c[top:bottom], width) for c in (u, v))
        _write_rgb(out[top:bottom], y, blue, red, scale)
    return out


def from_rgb(array: np.ndarray, colour: Colour) -> Planes:
    """Convert an RGB picture to 4:2:0 planes.

    Args:
        array: uint8 [H, W, 3].
        colour: what the planes shall mean; see `rgb_colour`.

    Returns:
        The planes, rounded to nearest.

    Raises:
        InputError: `array` is not such a picture, or the matrix is not one of Y, Cb, Cr.
    """
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or not array.size:
        raise InputError(
            f"A frame is {array.dtype} of shape {array.shape}; give uint8 [height, width, 3], RGB."
        )
    scale = _scale(colour)
    height, width = array.shape[:2]
    half = (height + 1) // 2, (width + 1) // 2
    planes = Planes(
        np.empty((height, width), np.uint8), np.empty(half, np.uint8), np.empty(half, np.uint8)
    )
    for top in range(0, height, _STRIP_ROWS):
        rows = slice(top, min(top + _STRIP_ROWS, height))
        half_rows = slice(top // 2, (rows.stop + 1) // 2)
        red, green, blue = (array[rows, :, c].astype(np.float32) for c in range(3))
        planes.y[rows] = _luma(red, green, blue, scale)
        red, green, blue = (_box(channel) for channel in (red, green, blue))
        luma = scale.kr * red + scale.kg * green + scale.kb * blue
        planes.u[half_rows] = _quantised(blue - luma, scale.c_gain / (2 - 2 * scale.kb))
        planes.v[half_rows] = _quantised(red - luma, scale.c_gain / (2 - 2 * scale.kr))
    return planes


def upsampled(chroma: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bring a 4:2:0 chroma plane of any depth to the size of luma: float32 [height, width]."""
    return _doubled_columns(_doubled_rows(chroma)[:height], width)


def luma_weights(matrix: int) -> tuple[float, float, float]:
    """(kr, kg, kb) of an H.273 matrix number.

    Raises:
        InputError: the matrix is not one of Y, Cb, Cr.
    """
    if matrix not in _WEIGHTS:
        raise InputError(
            f"The colour matrix is number {matrix}; only {sorted(_WEIGHTS)} of H.273 can be shown. "
            "Convert the clip to BT.709 first."
        )
    kr, kb = _WEIGHTS[matrix]
    return kr, 1 - kr - kb, kb


def _scale(colour: Colour) -> _Scale:
    """The numbers of `colour`."""
    kr, kg, kb = luma_weights(colour.matrix)
    if colour.full_range:
        return _Scale(kr, kg, kb, 1.0, 0.0, 1.0)
    return _Scale(kr, kg, kb, 219 / 255, 16.0, 224 / 255)


def _doubled_rows(plane: np.ndarray) -> np.ndarray:
    """Double the rows of a chroma plane: float32 [2h, w + 2] with one column of rim a side."""
    padded = np.pad(plane, 1, mode="edge").astype(np.float32)
    padded *= 0.25
    near = padded[1:-1] * 3
    doubled = np.empty((2 * plane.shape[0], padded.shape[1]), np.float32)
    np.add(near, padded[:-2], out=doubled[0::2])
    np.add(near, padded[2:], out=doubled[1::2])
    return doubled


def _doubled_columns(rows: np.ndarray, width: int) -> np.ndarray:
    """Double the columns of `_doubled_rows`: float32 [h, width]."""
    quarter = rows * np.float32(0.25)
    near = quarter[:, 1:-1] * 3
    doubled = np.empty((rows.shape[0], 2 * near.shape[1]), np.float32)
    np.add(near, quarter[:, :-2], out=doubled[:, 0::2])
    np.add(near, quarter[:, 2:], out=doubled[:, 1::2])
    return doubled[:, :width]


def _write_rgb(
    out: np.ndarray, y: np.ndarray, blue: np.ndarray, red: np.ndarray, scale: _Scale
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


def _luma(red: np.ndarray, green: np.ndarray, blue: np.ndarray, scale: _Scale) -> np.ndarray:
    """Luma plus one half, so that truncation rounds."""
    luma = red * (scale.kr * scale.y_gain)
    luma += green * (scale.kg * scale.y_gain)
    luma += blue * (scale.kb * scale.y_gain)
    luma += scale.y_zero + 0.5
    return luma


def _quantised(difference: np.ndarray, gain: float) -> np.ndarray:
    """A chroma strip plus one half, so that truncation rounds."""
    difference *= gain
    difference += 128.5
    np.clip(difference, 0, 255, out=difference)
    return difference


def _box(channel: np.ndarray) -> np.ndarray:
    """Mean of 2x2 blocks; the last row or column of an odd size stands for its missing twin."""
    height, width = channel.shape
    if height % 2 or width % 2:
        channel = np.pad(channel, ((0, height % 2), (0, width % 2)), mode="edge")
    rows = channel[0::2] + channel[1::2]
    mean = rows[:, 0::2] + rows[:, 1::2]
    mean *= 0.25
    return mean


PQ, HLG = 16, 18
TRANSFERS = frozenset({PQ, HLG})
RESULT = Colour(matrix=1, full_range=False, primaries=1, transfer=1)

_SOURCE_PEAK = 1000.0
_WHITE = 203.0
# SMPTE ST 2084.
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
# ITU-R BT.2100, hybrid log-gamma.
_A, _B, _C = 0.17883277, 0.28466892, 0.55991073
_TABLE = np.arange(4096) / 4095

# Linear BT.2020 to BT.709 (ITU-R BT.2087).
_TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)


def to_sdr(planes: list[np.ndarray], depth: int, colour: Colour) -> Planes:
    """Map one picture.

    Args:
        planes: luma [H, W] and two chroma planes on the 4:2:0 grid, samples of `depth` bits.
        depth: bits per sample.
        colour: their meaning; the transfer is `PQ` or `HLG`.

    Returns:
        8-bit planes of colour `RESULT`.
    """
    signal = _signal(planes, depth, colour)
    light = _LIGHT[colour.transfer][np.rint(signal * 4095).astype(np.uint16)]
    if colour.transfer == HLG:
        kr, kg, kb = luma_weights(9)
        scene = light @ np.array([kr, kg, kb], np.float32)
        light = light * (scene ** np.float32(0.2))[..., None]
    light = light * _gain(light.max(axis=2))[..., None]
    if colour.primaries in (2, 9):
        light = light @ _TO_709.T
    # The inverse of a BT.1886 display.
    shown = np.clip(light, 0, 1) ** np.float32(1 / 2.4)
    return from_rgb(np.rint(shown * 255).astype(np.uint8), RESULT)


def _signal(planes: list[np.ndarray], depth: int, colour: Colour) -> np.ndarray:
    """Non-linear R'G'B', float32 [H, W, 3] in 0..1."""
    height, width = planes[0].shape
    if colour.full_range:
        zero, gain, chroma_gain = 0.0, (1 << depth) - 1.0, (1 << depth) - 1.0
    else:
        step = 2.0 ** (depth - 8)
        zero, gain, chroma_gain = 16 * step, 219 * step, 224 * step
    y = (planes[0].astype(np.float32) - np.float32(zero)) / np.float32(gain)
    neutral = 1 << (depth - 1)
    u, v = ((upsampled(c, height, width) - neutral) / chroma_gain for c in planes[1:])
    kr, kg, kb = luma_weights(9 if colour.matrix == 2 else colour.matrix)
    red, blue = y + (2 - 2 * kr) * v, y + (2 - 2 * kb) * u
    green = (y - kr * red - kb * blue) / kg
    return np.clip(np.stack([red, green, blue], axis=2), 0, 1).astype(np.float32)


def _pq_light(signal: np.ndarray) -> np.ndarray:
    """PQ signal to light, in units of `_WHITE`."""
    root = signal ** (1 / _M2)
    light = 10000 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)
    return (light / _WHITE).astype(np.float32)


def _pq_signal(light: np.ndarray) -> np.ndarray:
    """Light in units of `_WHITE` to PQ signal."""
    power = (light * _WHITE / 10000) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


def _hlg_light(signal: np.ndarray) -> np.ndarray:
    """HLG signal to scene light such that scene luminance to the power 1.2 is display light."""
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - _C) / _A) + _B) / 12)
    return (scene * (_SOURCE_PEAK / _WHITE) ** (1 / 1.2)).astype(np.float32)


def _bent(signal: np.ndarray) -> np.ndarray:
    """The Hermite curve of BT.2390 on PQ signal."""
    peak = _pq_signal(np.array(_SOURCE_PEAK / _WHITE))
    top = _pq_signal(np.array(1.0)) / peak
    knee = 1.5 * top - 0.5
    source = np.minimum(signal / peak, 1)
    t = np.maximum(source - knee, 0) / (1 - knee)
    spline = (
        (2 * t**3 - 3 * t**2 + 1) * knee
        + (t**3 - 2 * t**2 + t) * (1 - knee)
        + (-2 * t**3 + 3 * t**2) * top
    )
    return np.where(source < knee, source, spline) * peak


def _gain(brightest: np.ndarray) -> np.ndarray:
    """By how much to scale a pixel whose largest channel is `brightest`."""
    return np.interp(brightest, _GAIN_AT, _GAIN).astype(np.float32)


_LIGHT = {PQ: _pq_light(_TABLE), HLG: _hlg_light(_TABLE)}
_GAIN_AT = np.maximum(_pq_light(_TABLE).astype(np.float64), 1e-9)
_GAIN = _pq_light(_bent(_pq_signal(_GAIN_AT))) / _GAIN_AT
