"""Keyframes of a walk: seeds, pictures, latents and frames of a clip."""

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
from typing import Any, Union

import numpy as np
from PIL import Image, ImageOps

from aehub.arguments import check_iterable
from aehub.config import Limits
from aehub.errors import InputError, LimitError
from aehub.files import FilePath, check_path
from aehub.generators.base import check_picture
from aehub.media.clip import open_clip
from aehub.media.clip import read_picture as read_still
from aehub.media.conversion import to_rgb
from aehub.media.file_type import content_from_bytes, content_of
from aehub.media.still_images import StillImage
from aehub.media.timestamps import TimeSpan

KeyframeLike = Union[int, FilePath, np.ndarray, Image.Image, "Keyframe"]
"""A keyframe as callers give it: a seed, the path of a picture, a picture or a latent."""
MAX_KEYFRAMES = 256
"""Of one walk."""
MAX_SEED = 2**63 - 1
"""Largest seed of a PyTorch generator."""
MAX_PIXELS = 1 << 28
"""Pixels of all pictures together, which stay in memory until the end."""
LAST = "last"
"""The moment of a clip's last frame."""
_FIRST = "0f"
# Modes of Pillow that a PNG file keeps.
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


@dataclass(frozen=True, eq=False)
class Keyframe:
    """One keyframe; exactly one of seed, picture and latent is given.

    Attributes:
        name: for messages.
        seed: of a latent that the model samples.
        picture: uint8 [H, W, 3] in RGB, or [H, W, 4] with alpha.
        latent: float32 [K].
        file: source of the picture.
        moment: which frame of `file`, such as "12f", "1.5" or "last"; empty for a picture.
        notes: sentences about parts of `file` that are not used.
    """

    name: str
    seed: int | None = None
    picture: np.ndarray | None = None
    latent: np.ndarray | None = None
    file: Path | None = None
    moment: str = ""
    notes: tuple[str, ...] = ()

    def visible_picture(self) -> np.ndarray | None:
        """The picture, or None for a seed or a latent.

        Raises:
            InputError: all of the picture is transparent.
        """
        if self.picture is not None and self.picture.shape[2] == 4 and (
                not self.picture[..., 3].any()):
            raise InputError(f"{self.name} is transparent everywhere; give a picture that shows "
                             "something.")
        return self.picture


def gather_keyframes(seeds: Iterable[int] | None, keyframes: Iterable[KeyframeLike] | None,
                     clip: Any, at: Sequence[str] | None) -> list[Keyframe]:
    """All keyframes in order: seeds, then keyframes, then frames of a clip.

    Args:
        seeds: of latents that the model samples.
        keyframes: seeds, paths of pictures, pictures as arrays uint8 [H, W, 3 or 4] or of Pillow,
            or latents, float [K].
        clip: as `aehub.compress` takes it.
        at: moments of the clip, as `keyframes_of_clip` takes them.

    Raises:
        InputError: an entry is none of these.
        LimitError: there are too many, or their pictures are too large together.
    """
    entries = _limited([*map(_checked_seed, _as_list("seeds", seeds)),
                        *_as_list("keyframes", keyframes)])
    gathered, pixels = [], 0
    for number, entry in enumerate(entries, 1):
        gathered.append(_keyframe(entry, number))
        picture = gathered[-1].picture
        pixels += 0 if picture is None else picture.shape[0] * picture.shape[1]
        if pixels > MAX_PIXELS:
            raise LimitError(f"the first {number} keyframes hold {pixels / 1e6:.0f} million pixels;"
                             f" {MAX_PIXELS / 1e6:.0f} million are the limit of all together. Make "
                             "them smaller, or give fewer.")
    if clip is not None:
        gathered += keyframes_of_clip(clip, at)
    elif at is not None:
        raise InputError(f"moments {str(at)[:80]} are given without a clip; give "
                         "it, too.", "It is named with --clip.")
    return _limited(gathered)


def _limited(entries: Iterable[Any]) -> list[Any]:
    """The entries as a list; an endless iterator is read only up to the limit."""
    taken = []
    for entry in entries:
        taken.append(entry)
        if len(taken) > MAX_KEYFRAMES:
            count = f"{len(entries)}" if isinstance(entries, Sequence) else f"over {MAX_KEYFRAMES}"
            raise LimitError(f"{count} keyframes are given; a walk takes at most {MAX_KEYFRAMES}. "
                             "Leave some out, or join several walks.")
    return taken


def _as_list(name: str, value: Any) -> list[Any]:
    if value is None:
        return []
    check_iterable(name, value)
    return _limited(value)


def _checked_seed(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise InputError(f"a seed is {str(seed)[:40]!r}; give whole numbers.")
    if not 0 <= seed <= MAX_SEED:
        raise InputError(f"a seed is {str(seed)[:40]}; seeds go from 0 to {MAX_SEED}.")
    return int(seed)


def _keyframe(entry: Any, number: int) -> Keyframe:
    name = f"keyframe {number}"
    if isinstance(entry, Keyframe):
        return entry
    if isinstance(entry, (int, np.integer)):
        return Keyframe(name, seed=_checked_seed(entry))
    if isinstance(entry, (str, os.PathLike)):
        path = check_path(entry)
        picture = read_picture(path)
        return Keyframe(path.name, picture=picture, file=path, notes=_multipage_notes(path))
    if isinstance(entry, Image.Image):
        return Keyframe(name, picture=_from_pillow(entry, name))
    if isinstance(entry, np.ndarray) and entry.ndim == 1 and entry.dtype.kind == "f":
        if not np.isfinite(entry).all():
            raise InputError(f"{name} holds latents that are not finite; leave those out.")
        return Keyframe(name, latent=entry.astype(np.float32))
    return Keyframe(name, picture=check_picture(entry, name))


def read_picture(path: Path, limits: Limits | None = None) -> np.ndarray:
    """A picture file as uint8 [H, W, 3], or [H, W, 4] if it has transparent parts.

    Args:
        path: of the file.
        limits: largest picture to accept; by default from the environment.

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


def _multipage_notes(path: Path) -> tuple[str, ...]:
    """A note if the file holds several pictures, of which only the first is used."""
    n_pictures = 1
    with suppress(InputError), open_clip(path) as opened:
        n_pictures = opened.info.n_frames or sum(1 for _ in islice(opened, 2))
    return () if n_pictures == 1 else (
        f"{path.name} holds several pictures, and the first of them is the keyframe; give it as a "
        "clip for others.",)


def _from_pillow(image: Image.Image, name: str) -> np.ndarray:
    """A Pillow image of any mode, converted as `read_picture` converts files."""
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
        clip: as `aehub.compress` takes it, but neither a stream nor an iterator, because it is read
            more than once.
        at: moments: seconds, frame numbers with a trailing f, or "last"; by default the first and
            the last frame.
        limits: largest clip to accept; by default from the environment.

    Raises:
        InputError: the clip cannot be read, or is shorter than a moment.
        LimitError: there are too many moments, or the clip is larger than `limits`.
    """
    if hasattr(clip, "read") or isinstance(clip, Iterator):
        raise InputError("a clip for keyframes is read more than once; give a path or an array.")
    if at is None:
        first, last = _frame_at(clip, _FIRST, limits), last_frame(clip, limits)
        return [first, last] if last.moment == LAST else [first]
    moments = [str(moment) for moment in _limited(at)]
    if not moments:
        raise InputError("no moments of the clip are given; name some, or leave them out for its "
                         "first and its last frame.")
    return [last_frame(clip, limits) if moment == LAST else _frame_at(clip, moment, limits)
            for moment in moments]


def last_frame(clip: Any, limits: Limits | None = None) -> Keyframe:
    """The last frame of a clip, found by seeking to the time of its last packet.

    Args:
        clip: as `keyframes_of_clip` takes it.
        limits: largest clip to accept, from its first frame on; by default from the environment.

    Returns:
        The keyframe at the moment "last", or "0f" if the clip has one frame.

    Raises:
        InputError: the clip cannot be read.
        LimitError: it is larger than `limits`.
    """
    with open_clip(clip, limits=limits) as opened:
        start = opened.last_frame_time() or Fraction(0)
    try:
        number, picture = _last_picture(clip, TimeSpan(start), limits)
    except InputError:
        if not start:
            raise
        # Packets may lie after the last frame shown, for example because of an edit list.
        number, picture = _last_picture(clip, TimeSpan(), limits)
    return _clip_keyframe(clip, LAST if start or number else _FIRST, picture)


def _last_picture(clip: Any, trim: TimeSpan, limits: Limits | None) -> tuple[int, np.ndarray]:
    """(number from the start of the trim, picture uint8 [H, W, 3]) of the last frame."""
    with open_clip(clip, trim=trim, limits=limits) as opened:
        ((number, frame),) = deque(enumerate(opened), 1)
        return number, to_rgb(frame.picture, opened.info.colour)


def _frame_at(clip: Any, moment: str, limits: Limits | None) -> Keyframe:
    with open_clip(clip, trim=_span_from(moment), limits=limits) as opened:
        return _clip_keyframe(clip, moment, to_rgb(next(iter(opened)).picture, opened.info.colour))


def _clip_keyframe(clip: Any, moment: str, picture: np.ndarray) -> Keyframe:
    path = Path(clip) if isinstance(clip, (str, os.PathLike)) else None
    name = f"frame {moment} of {path.name if path else 'the clip'}"
    return Keyframe(name, picture=picture, file=path, moment=moment)


def _span_from(moment: str) -> TimeSpan:
    try:
        if ":" in moment or not moment.strip():
            raise InputError("")
        # The picture on screen at that time, not the nearest one.
        return replace(TimeSpan.parse(f"{moment}:"), exact=True)
    except InputError as err:
        raise InputError(f"{moment[:40]!r} is no moment of a clip; give seconds such as 1.5, "
                         f"frames such as 45f, or {LAST}.") from err


def digest_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal, by which a recipe detects a change."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
