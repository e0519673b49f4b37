"""Settings of the encoder of `sandwich-av1`: decoders read whatever it chooses."""

from __future__ import annotations

import math

_CRF_AT_5, _CRF_AT_95 = 60.0, 20.0
"""Rate factors at the qualities 5 and 95."""
_LEAST_CRF, _MOST_CRF = 1.0, 63.0
"""Range of SVT-AV1."""
_PRESETS = (10, 9, 8, 8, 7, 6, 5, 4, 3, 2)
"""Preset of SVT-AV1 of each effort, 0 to 9."""
LOG_RATE_PER_DB = 0.18
"""Change of log(rate) per dB of PSNR, set by hand."""
LEAST_SAMPLED = 6
"""Frames of a group that weights are solved on at least, set by hand."""
SAMPLED_SHARE = 15
"""Weights are solved on one of so many frames in long groups, set by hand."""
LEAST_HALVED_CRF, LEAST_HALVED_SIDE = 50.0, 128
"""Rate factor and side of the picture from which on coding at half the size is tried, by hand."""
HALVED_CRF_OFFSET = 14.0
"""By which the rate factor at half the size is lower, set by hand."""


def crf_of(quality: float) -> float:
    """Constant rate factor of a quality, 0..100, in the quarters that SVT-AV1 knows."""
    share = (quality - 5) / 90
    crf = _CRF_AT_5 + (_CRF_AT_95 - _CRF_AT_5) * share
    return min(max(math.floor(4 * crf + 0.5) / 4, _LEAST_CRF), _MOST_CRF)


def preset_of(effort: int) -> int:
    """Preset of SVT-AV1 of an effort, 0..9."""
    return _PRESETS[effort]
