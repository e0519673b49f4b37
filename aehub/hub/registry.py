"""Models known by name: where they are published, and what exactly is meant by the name.

`registry.json` lists them; what a bundled model is comes from its own config, so new weights need
no edit here. `AEHUB_MODELS` adds hub ids of a laboratory's own, with commas between.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from aehub.errors import InputError, WeightsError
from aehub.hub.bundled import bundled
from aehub.hub.names import HubName, parse
from aehub.models.folder import config_of
from aehub.models.tag import tag_of


@dataclass(frozen=True)
class Known:
    """A model known by name.

    Attributes:
        name: what `load` takes.
        repo: its repository on a hub, "org/name".
        task: what it does.
        summary: one sentence.
        revision: the commit or tag meant by the name; None is whatever is newest.
        sha256: of its model.safetensors; None if it is not pinned.
        parameters: stored numbers, 0 if unknown.
        bytes: size of its weights, 0 if unknown.
    """

    name: str
    repo: str
    task: str = ""
    summary: str = ""
    revision: str | None = None
    sha256: str | None = None
    parameters: int = 0
    bytes: int = 0


def known() -> dict[str, Known]:
    """Every model known by name, in order.

    Raises:
        InputError: `AEHUB_MODELS` holds something that is no hub id.
    """
    listed = {entry.name: entry for entry in map(_pinned, _packaged())}
    for text in filter(None, map(str.strip, os.environ.get("AEHUB_MODELS", "").split(","))):
        place = parse(text)
        if place is None:
            raise InputError(f"AEHUB_MODELS names {text!r}; give hub ids such as org/name or "
                             "org/name@revision, with commas between.")
        listed.setdefault(text, Known(text, place.repo, revision=place.revision))
    return listed


def place_of(name: str) -> HubName:
    """Where a model that files call `name` is published, as far as is known."""
    entry = known().get(name)
    return HubName(entry.repo if entry else f"aehub/{name}")


@lru_cache(maxsize=1)
def _packaged() -> list[Known]:
    entries = json.loads(Path(__file__).with_name("registry.json").read_text(encoding="utf-8"))
    return [Known(name, **entry) for name, entry in entries.items()]


def _pinned(entry: Known) -> Known:
    """The entry, pinned to what is bundled under its name."""
    folder = bundled(entry.name)
    if folder is None:
        return entry
    try:
        config = config_of(folder)
    except WeightsError:
        return entry
    sha256 = config.get("sha256")
    return Known(entry.name, entry.repo, entry.task, entry.summary, tag_of(config),
                 sha256 if isinstance(sha256, str) else None)
