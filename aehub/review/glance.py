"""What a clip says of itself before anything is done with it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from aehub.clips.clip import open_clip
from aehub.clips.colour import to_rgb
from aehub.clips.trim import Trim
from aehub.config import Limits


@dataclass(frozen=True)
class Look:
    """A first look at a clip.

    Attributes:
        width: shown width in pixels, upright.
        height: shown height in pixels, upright.
        fps: nominal frames per second.
        n_frames: frames in the part looked at; None if the file does not say.
        seconds: its duration; None if the file does not say.
        bytes: size of the file.
        has_sound: whether it carries a sound track.
        picture: its first frame, uint8 [H, W, 3] in RGB.
        notes: what reading it changes.
    """

    width: int
    height: int
    fps: Fraction
    n_frames: int | None
    seconds: float | None
    bytes: int
    has_sound: bool
    picture: np.ndarray
    notes: tuple[str, ...]


def look(
    source: str | Path,
    *,
    trim: Trim | None = None,
    limits: Limits | None = None,
    with_sound: bool = True,
) -> Look:
    """Decode the first frame of a clip and gather what its header says.

    Args:
        source: path of a clip.
        trim: the part that is wanted.
        limits: the largest picture to accept; limits of length hold as far as the header tells.
        with_sound: also find out whether there is sound, which reads the packets of the track.

    Raises:
        InputError: it is no clip.
        LimitError: it is larger than `limits`.
    """
    limits = Limits() if limits is None else limits
    with open_clip(source, trim=trim, limits=limits) as clip:
        picture = next(iter(clip))
        info = clip.info
        seconds = None if info.n_frames is None else float(info.n_frames / info.fps)
        return Look(
            width=info.width,
            height=info.height,
            fps=info.fps,
            n_frames=info.n_frames,
            seconds=seconds,
            bytes=Path(source).stat().st_size,
            has_sound=with_sound and clip.audio is not None,
            picture=to_rgb(picture.planes, info.colour),
            notes=info.notes,
        )
