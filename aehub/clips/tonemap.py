"""High dynamic range (PQ, HLG) brought to standard range, BT.709.

The curve is the one of ITU-R BT.2390: light up to about 95 cd/m2 stays as it is, brighter light up
to 1000 cd/m2 is bent below 203 cd/m2, which becomes white. It acts on the largest of R, G, B and
scales all three alike, so hues stay. Wide primaries are clipped to those of BT.709.
"""

from __future__ import annotations

import numpy as np

from aehub.clips import colour as colours
from aehub.clips.frames import Colour, Planes

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
        kr, kg, kb = colours.luma_weights(9)
        scene = light @ np.array([kr, kg, kb], np.float32)
        light = light * (scene ** np.float32(0.2))[..., None]
    light = light * _gain(light.max(axis=2))[..., None]
    if colour.primaries in (2, 9):
        light = light @ _TO_709.T
    # The inverse of a BT.1886 display.
    shown = np.clip(light, 0, 1) ** np.float32(1 / 2.4)
    return colours.from_rgb(np.rint(shown * 255).astype(np.uint8), RESULT)


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
    u, v = ((colours.upsampled(c, height, width) - neutral) / chroma_gain for c in planes[1:])
    kr, kg, kb = colours.luma_weights(9 if colour.matrix == 2 else colour.matrix)
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
