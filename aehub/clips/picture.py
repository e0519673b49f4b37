"""Reading one picture with all its detail, where a clip has 4:2:0 planes over white."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np

from aehub.clips.clip import open_clip
from aehub.clips.colour import to_rgb
from aehub.clips.source import Source
from aehub.clips.still import KINDS, Still
from aehub.config import Limits
from aehub.errors import InputError, LimitError

_KINDS = KINDS | {"jpeg_pipe", "gif"}


def read_picture(path: Path, limits: Limits | None = None) -> np.ndarray:
    """Read the one picture of a file, all its detail and transparency kept.

    Args:
        path: a picture; of an animation, its first frame is taken.
        limits: the largest picture to accept; default: from the environment.

    Returns:
        uint8 [H, W, 3] in RGB, or [H, W, 4] with its opacity.

    Raises:
        InputError: it is missing, damaged, or no picture.
        LimitError: it is larger than `limits`.
    """
    limits = Limits.from_env() if limits is None else limits
    with closing(Source(path)) as source:
        if source.kind in _KINDS and not source.missing_bytes:
            try:
                with Still(source.file, source.name, limits) as picture:
                    return picture.page(0)
            except LimitError:
                raise
            except InputError:
                # libavcodec reads some photographs that Pillow does not.
                if source.kind not in ("jpeg_pipe", "avif"):
                    raise
    with open_clip(path, limits=limits) as clip:
        return to_rgb(next(iter(clip)).planes, clip.info.colour)
