"""What a walk goes through: seeds, pictures, latents and frames of a clip."""

from __future__ import annotations

import hashlib
import io
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from aehub.arguments import check_iterable
from aehub.config import Limits
from aehub.errors import InputError, LimitError
from aehub.files import path_of
from aehub.generators.base import check_picture
from aehub.media.clip import open_clip
from aehub.media.clip import read_picture as read_still
from aehub.media.colour import to_rgb
from aehub.media.file_type import content_from_bytes, content_of
from aehub.media.still_images import StillImage
from aehub.media.timestamps import TimeSpan

MAX_KEYFRAMES = 256
MAX_SEED = 2**63 - 1
MAX_PIXELS = 1 << 28
"""Pixels of all pictures together, which are kept until the end."""
LAST = "last"
"""The moment of a clip's last frame."""
_FIRST = "0f"
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


@dataclass(frozen=True, eq=False)
class Keyframe:
    """One keyframe; exactly one of seed, picture and latent is given.

    Attributes:
        name: what to call it in messages.
        seed: of a picture that the model draws.
        picture: uint8 [H, W, 3] in RGB, or [H, W, 4] with coverage.
        latent: numbers of the model.
        file: where the picture comes from.
        moment: which frame of `file`, such as "12f", "1.5" or "last"; empty for a picture.
        notes: sentences about what of `file` was not taken.
    """

    name: str
    seed: int | None = None
    picture: np.ndarray | None = None
    latent: np.ndarray | None = None
    file: Path | None = None
    moment: str = ""
    notes: tuple[str, ...] = ()

    def visible(self) -> np.ndarray | None:
        """The picture, if there is one.

        Raises:
            InputError: all of it is transparent.
        """
        if self.picture is not None and self.picture.shape[2] == 4 and (
                not self.picture[..., 3].any()):
            raise InputError(f"{self.name} is transparent everywhere; give a picture that shows "
                             "something.")
        return self.picture


def gather_keyframes(seeds: Iterable[int] | None, keyframes: Iterable[Any] | None, clip: Any,
             at: Sequence[str] | None) -> list[Keyframe]:
    """All keyframes in order: seeds, then keyframes, then frames of a clip.

    Args:
        seeds: of pictures that the model draws.
        keyframes: seeds, paths of pictures, pictures uint8 [H, W, 3 or 4] or of Pillow, or latents,
            float [K].
        clip: as `aehub.compress` takes it.
        at: moments of the clip, as `keyframes_of_clip` takes them.

    Raises:
        InputError: something is none of these.
        LimitError: there are too many.
    """
    given = _counted([*map(_seed, _listed("seeds", seeds)), *_listed("keyframes", keyframes)])
    found, pixels = [], 0
    for number, entry in enumerate(given, 1):
        found.append(_keyframe(entry, number))
        picture = found[-1].picture
        pixels += 0 if picture is None else picture.shape[0] * picture.shape[1]
        if pixels > MAX_PIXELS:
            raise LimitError(f"the first {number} keyframes hold {pixels / 1e6:.0f} million pixels;"
                             f" {MAX_PIXELS / 1e6:.0f} million are the limit of all together. Make "
                             "them smaller, or give fewer.")
    if clip is not None:
        found += keyframes_of_clip(clip, at)
    elif at is not None:
        raise InputError(f"moments {str(at)[:80]} are given without a clip; give "
                         "it, too.", "It is named with --clip.")
    return _counted(found)


def _counted(entries: Iterable[Any]) -> list[Any]:
    """The entries, not one more looked at than may be."""
    found = []
    for entry in entries:
        found.append(entry)
        if len(found) > MAX_KEYFRAMES:
            count = f"{len(entries)}" if isinstance(entries, Sequence) else f"over {MAX_KEYFRAMES}"
            raise LimitError(f"{count} keyframes are given; a walk takes at most {MAX_KEYFRAMES}. "
                             "Leave some out, or join several walks.")
    return found


def _listed(name: str, given: Any) -> list[Any]:
    if given is None:
        return []
    check_iterable(name, given)
    return _counted(given)


def _seed(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise InputError(f"a seed is {str(seed)[:40]!r}; give whole numbers.")
    if not 0 <= seed <= MAX_SEED:
        raise InputError(f"a seed is {str(seed)[:40]}; seeds go from 0 to {MAX_SEED}.")
    return int(seed)


def _keyframe(given: Any, number: int) -> Keyframe:
    name = f"keyframe {number}"
    if isinstance(given, Keyframe):
        return given
    if isinstance(given, (int, np.integer)):
        return Keyframe(name, seed=_seed(given))
    if isinstance(given, (str, os.PathLike)):
        path = path_of(given)
        picture = read_picture(path)
        return Keyframe(path.name, picture=picture, file=path, notes=_notes_of(path))
    if isinstance(given, Image.Image):
        return Keyframe(name, picture=_of_image(given, name))
    if isinstance(given, np.ndarray) and given.ndim == 1 and given.dtype.kind == "f":
        if not np.isfinite(given).all():
            raise InputError(f"{name} holds latents that are not finite; leave those out.")
        return Keyframe(name, latent=given.astype(np.float32))
    return Keyframe(name, picture=check_picture(given, name))


def read_picture(path: Path, limits: Limits | None = None) -> np.ndarray:
    """A picture file as uint8 [H, W, 3], or [H, W, 4] if it has transparent parts.

    Args:
        path: of the file.
        limits: the largest picture to accept; by default from the environment.

    Raises:
        InputError: it is missing, a clip, too large or no picture.
    """
    if not path.exists():
        raise InputError(f"the keyframe {path} does not exist; name a picture.")
    if content_of(path) == "clip":
        raise InputError(f"the keyframe {path.name} is a clip; give a picture.", "A clip is "
                         "named with --clip, and its frames with --at.")
    if not content_from_bytes(path):
        raise InputError(f"the keyframe {path.name} is no picture that can be read; give a PNG, "
                         "JPEG or WebP file.")
    return read_still(path, limits)


def _notes_of(path: Path) -> tuple[str, ...]:
    """What of a file with several pictures is not taken."""
    count = 1
    with suppress(InputError), open_clip(path) as opened:
        count = opened.info.n_frames or sum(1 for _ in islice(opened, 2))
    return () if count == 1 else (
        f"{path.name} holds several pictures, and the first of them is the keyframe; give it as a "
        "clip for others.",)


def _of_image(image: Image.Image, name: str) -> np.ndarray:
    """A picture of Pillow, of any mode, as `read_picture` reads files."""
    upright, file = ImageOps.exif_transpose(image), io.BytesIO()
    if upright.mode in ("I", "F"):
        upright.save(file, "TIFF")
    else:
        (upright if upright.mode in _PNG_MODES else upright.convert("RGB")).save(file, "PNG")
    with StillImage(file, name, Limits.from_env()) as still:
        return still.page(0)


def keyframes_of_clip(clip: Any, at: Sequence[str] | None, limits: Limits | None = None
              ) -> list[Keyframe]:
    """Frames of a clip as keyframes.

    Args:
        clip: as `aehub.compress` takes it, but neither a stream nor an iterator, for it is read
            more than once.
        at: moments: seconds, frames with a trailing f, or "last"; by default the first and the
            last frame.
        limits: the largest clip to accept; by default from the environment.

    Raises:
        InputError: the clip cannot be read, or is shorter than a moment.
        LimitError: there are too many moments, or the clip is larger than `limits`.
    """
    if hasattr(clip, "read") or isinstance(clip, Iterator):
        raise InputError("a clip to walk through is read more than once; give a path or an array.")
    if at is None:
        first, last = _frame_at(clip, _FIRST, limits), last_frame(clip, limits)
        return [first, last] if last.moment == LAST else [first]
    moments = [str(moment) for moment in _counted(at)]
    if not moments:
        raise InputError("no moments of the clip are given; name some, or leave them out for its "
                         "first and its last frame.")
    return [last_frame(clip, limits) if moment == LAST else _frame_at(clip, moment, limits)
            for moment in moments]


def last_frame(clip: Any, limits: Limits | None = None) -> Keyframe:
    """The last frame of a clip, found by the times of its packets: long clips are sought in.

    Args:
        clip: as `keyframes_of_clip` takes it.
        limits: the largest clip to accept, from its first frame on; by default from the
            environment.

    Returns:
        The keyframe at the moment "last", or "0f" where the clip has one frame.

    Raises:
        InputError: the clip cannot be read.
        LimitError: it is larger than `limits`.
    """
    with open_clip(clip, limits=limits) as opened:
        start = opened.last_frame_time() or Fraction(0)
    try:
        number, picture = _end_of(clip, TimeSpan(start), limits)
    except InputError:
        if not start:
            raise
        # Packets may promise more than is shown, behind an edit list for instance.
        number, picture = _end_of(clip, TimeSpan(), limits)
    return _of_clip(clip, LAST if start or number else _FIRST, picture)


def _end_of(clip: Any, trim: TimeSpan, limits: Limits | None) -> tuple[int, np.ndarray]:
    """(number counted from the start of the trim, picture) of the last frame."""
    with open_clip(clip, trim=trim, limits=limits) as opened:
        ((number, frame),) = deque(enumerate(opened), 1)
        return number, to_rgb(frame.planes, opened.info.colour)


def _frame_at(clip: Any, moment: str, limits: Limits | None) -> Keyframe:
    with open_clip(clip, trim=_from(moment), limits=limits) as opened:
        return _of_clip(clip, moment, to_rgb(next(iter(opened)).planes, opened.info.colour))


def _of_clip(clip: Any, moment: str, picture: np.ndarray) -> Keyframe:
    path = Path(clip) if isinstance(clip, (str, os.PathLike)) else None
    name = f"frame {moment} of {path.name if path else 'the clip'}"
    return Keyframe(name, picture=picture, file=path, moment=moment)


def _from(moment: str) -> TimeSpan:
    try:
        if ":" in moment or not moment.strip():
            raise InputError("")
        # The picture on screen then, be another ever so near.
        return replace(TimeSpan.parse(f"{moment}:"), exact=True)
    except InputError as err:
        raise InputError(f"{moment[:40]!r} is no moment of a clip; give seconds such as 1.5, "
                         f"frames such as 45f, or {LAST}.") from err


def digest_of(path: Path) -> str:
    """SHA-256 of a file, so that a recipe notices when it changes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
