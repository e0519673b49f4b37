"""Walk cycles of characters, and which of them training may see.

The material is an archive of walk cycles, `walk` uint8 [N, 4, 9, 64, 64, 3] on white (directions
up, left, down, right; standing, then eight steps) with `names` and `layers` (the files each was
composed of). Held out are some characters, and all of some hair styles: by hash, so that no list
of them has to be kept.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aehub.clips.contents import is_hidden
from aehub.errors import InputError

DOWN = 2
_HAIR_SHARE, _CHARACTER_SHARE = 14, 9


@dataclass(frozen=True)
class Characters:
    """Walk cycles.

    Attributes:
        walk: uint8 [N, 4, 9, S, S, 3] on white.
        names: of the characters.
        layers: the files each was composed of, bottom first, joined by " | ".
        unseen_hair: bool [N], whose hair style is never trained on.
        held_out: bool [N], that are never trained on, unseen hair included.
    """

    walk: np.ndarray
    names: list[str]
    layers: list[str]
    unseen_hair: np.ndarray
    held_out: np.ndarray

    @classmethod
    def read(cls, data: Path) -> Characters:
        """The one archive with walk cycles in a folder, or that archive itself.

        Raises:
            InputError: there is none.
        """
        found = [data]
        if data.is_dir():
            found = sorted(p for p in data.glob("*walk*.npz") if not is_hidden(p))
        if len(found) != 1:
            raise InputError(f"{data} holds {len(found)} archives named *walk*.npz; give the one "
                             "with walk cycles.")
        with np.load(found[0], allow_pickle=False) as archive:
            if "walk" not in archive:
                raise InputError(f"{found[0].name} holds no array 'walk' of walk cycles.")
            walk, names = archive["walk"], [str(name) for name in archive["names"]]
            layers = [str(some) for some in archive["layers"]]
            styles = [hair_style(some) for some in layers]
        unseen = np.array([_share(f"hair {style}") < _HAIR_SHARE and bool(style)
                           for style in styles])
        apart = np.array([_share(f"character {name}") < _CHARACTER_SHARE for name in names])
        return cls(walk, names, layers, unseen, unseen | apart)


def hair_style(layers: str) -> str:
    """The hair style among the files a character is composed of; empty if it has none."""
    for path in layers.split(" | "):
        if path.startswith("hair/"):
            return path.split("/")[2].removesuffix(".png")
    return ""


def _share(text: str) -> int:
    """A number 0..99 that only depends on the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big") % 100
