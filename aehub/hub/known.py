"""Well-known autoencoders on hubs: what is stated of each, and where.

Facts are of `known_models.json`; what no source states is None. The hub is asked before a download:
sizes and revisions there count.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class KnownModel:
    """A published autoencoder.

    Attributes:
        repo: argument of `load` and `download`, "org/name".
        name: for people.
        class_name: class of diffusers, or "TAESD".
        kind: "image", or "video" where frames share latents.
        licence: id as hubs have it.
        bytes: of its weights.
        downscale: pixels on a side of a latent position.
        frames: frames of a latent frame.
        channels: of the latents.
        revision: commit that the facts are of.
        sources: where each field is stated, by its name in the file.
    """

    repo: str
    name: str
    class_name: str
    kind: str
    licence: str | None
    bytes: int | None
    downscale: int | None
    frames: int | None
    channels: int | None
    revision: str | None
    sources: dict[str, str]

    @property
    def compression(self) -> float | None:
        """Samples of RGB pictures for each number of a latent."""
        if None in (self.downscale, self.frames, self.channels):
            return None
        return 3 * self.downscale ** 2 * self.frames / self.channels  # type: ignore[operator]

    def to_json(self) -> dict[str, Any]:
        """The attributes as in the file."""
        facts = dict(vars(self))
        facts["class"] = facts.pop("class_name")
        return facts


@lru_cache(maxsize=1)
def known_models() -> tuple[KnownModel, ...]:
    """All well-known autoencoders that AEHub reads, those of images first."""
    entries = json.loads(Path(__file__).with_name("known_models.json").read_text(encoding="utf-8"))
    return tuple(KnownModel(class_name=entry.pop("class"), **entry) for entry in entries)
