"""Pictures of every format that a file can hold, with all of their range in them."""

from __future__ import annotations

import numpy as np

from aehub.media.picture import YUV420, Picture, PictureFormat, PlaneFormat

Y, U, V = YUV420.planes
FORMATS = {
    "420": PictureFormat((Y, U, V), 10),
    "422": PictureFormat((Y, PlaneFormat("U", 2), PlaneFormat("V", 2)), 9),
    "444": PictureFormat((Y, PlaneFormat("U"), PlaneFormat("V")), 12),
    "rgb": PictureFormat((PlaneFormat("R"), PlaneFormat("G"), PlaneFormat("B")), 16),
    "grey": PictureFormat((Y,), 16, signed=True),
    "signed": PictureFormat((PlaneFormat("height"),), 8, signed=True),
    "bands": PictureFormat(tuple(PlaneFormat(f"B{band:02}", 1 + band // 3, 1 + band // 2)
                                 for band in range(5)), 11, signed=True),
}


def deep_pictures(form: PictureFormat, n: int = 5, size: tuple[int, int] = (37, 23), seed: int = 0
                  ) -> list[Picture]:
    """`n` pictures of drifting gradients and noise; the lowest and the highest sample occur."""
    rng = np.random.default_rng(seed)
    pictures = []
    for number in range(n):
        planes = []
        for rows, columns in form.shapes(size):
            y, x = np.mgrid[:rows, :columns] / max(rows, columns)
            wave = 0.5 + 0.4 * np.sin(4 * x + 3 * y + 0.3 * number)
            levels = form.lowest + np.rint(form.peak * wave).astype(np.int64)
            levels += rng.integers(-3, 4, levels.shape)
            levels.flat[0], levels.flat[-1] = form.lowest, form.lowest + form.peak
            planes.append(levels.clip(form.lowest, form.lowest + form.peak).astype(form.dtype))
        pictures.append(Picture(planes, form))
    return pictures
