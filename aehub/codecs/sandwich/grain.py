"""Strength of the film grain of a picture, by which SVT-AV1 takes it out and describes it.

Source: Immerkær 1996, "Fast noise variance estimation".
"""

from __future__ import annotations

import numpy as np

from aehub.media.picture import Picture

MAX_LEVEL = 50
"""Largest level of SVT-AV1."""
_BLOCK = 16
"""Side of the blocks in which deviations are measured, in samples."""
_SHARE = 0.25
"""Share of the blocks that are taken for plain: the others hold texture, too."""
_ROUNDING = 1 / 12
"""Variance of the rounding to whole grey levels."""
_PER_GREY_LEVEL = 28.0
"""Level per grey level of the measured deviation: it gives synthetic grain of 1 to 4 grey levels
back at its variance."""
_LEAST_LEVEL = 6
"""Below it there is no grain to speak of: describing it takes about 100 bytes a frame."""


def level_of(picture: Picture) -> int:
    """Level of SVT-AV1 for a picture's film grain, 1 to 50; 0 if it has none.

    Args:
        picture: 4:2:0 of 8 bits, of which luma counts.
    """
    y = picture[0].astype(np.float32)
    # Difference of two Laplacians: 0 where samples change evenly.
    rows = y[:-2] - 2 * y[1:-1] + y[2:]
    detail = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    height, width = (n // _BLOCK for n in detail.shape)
    if not height or not width:
        return 0
    blocks = detail[:height * _BLOCK, :width * _BLOCK].reshape(height, _BLOCK, width, _BLOCK)
    # The squared coefficients of the filter sum to 36.
    deviation = float(np.quantile(blocks.std((1, 3)), _SHARE)) / 6
    grain = max(deviation**2 - _ROUNDING, 0.0) ** 0.5
    level = min(round(_PER_GREY_LEVEL * grain), MAX_LEVEL)
    return level if level >= _LEAST_LEVEL else 0
