"""Models known by name: where they are published, and what exactly is meant by the name.

`registry.json` lists them; what a bundled model is comes from its own config, so new weights need
no edit here. `AEHUB_MODELS` adds hub ids of a laboratory's own, with commas between.

Names of models on a hub: `org/name`, with `@revision` if a certain one is meant.

Models that come with the package.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from aehub.errors import InputError, WeightsError
from aehub.weights.model_folder import CONFIG, read_raw_config, tag_of

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9_]|[.-](?![.-])){0,94}(?<![.-])"
_REPO = re.compile(rf"{_PART}/{_PART}")
# Parts of a revision become names of files in the cache, so none may lead elsewhere.
_STEP = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]|\.(?!\.)){0,63}(?<!\.)"
_REVISION = re.compile(rf"{_STEP}(?:/{_STEP}){{0,3}}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
MAIN = "main"


class HubName(NamedTuple):
    """A repository, and the revision wanted; None is whatever is newest."""

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.repo if self.revision is None else f"{self.repo}@{self.revision}"


def parse(text: str) -> HubName | None:
    """`text` as a name on a hub, None if it cannot be one.

    Example:
        >>> parse("org/name@v1")
        HubName(repo='org/name', revision='v1')
        >>> parse("../name")
    """
    repo, at, revision = text.partition("@")
    if _REPO.fullmatch(repo) is None or repo.endswith(".git"):
        return None
    if at and not is_revision(revision):
        return None
    return HubName(repo, revision if at else None)


def is_revision(text: str) -> bool:
    """Whether `text` may name a branch, a tag or a commit."""
    return _REVISION.fullmatch(text) is not None and not text.endswith(".lock")


def is_commit(text: str | None) -> bool:
    """Whether `text` is a whole commit hash, whose content never changes."""
    return text is not None and _COMMIT.fullmatch(text) is not None


def bundled_root() -> Path:
    """The folder of bundled models: inside an installed wheel, or beside the package."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_weights"
    return installed if installed.is_dir() else package.parent / "weights"


def bundled(name: str) -> Path | None:
    """The folder of the bundled model of that name."""
    # The names are listed and compared, never joined to a path: none can lead elsewhere.
    return next((folder for folder in folders() if folder.name == name), None)


def folders() -> list[Path]:
    """Folders of all bundled models, by name."""
    root = bundled_root()
    return [folder for folder in sorted(root.glob("*")) if (folder / CONFIG).is_file()]


def readable(folders: Iterator[Path] | list[Path]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """(folder, config) of those whose config can be read."""
    for folder in folders:
        try:
            yield folder, read_raw_config(folder)
        except WeightsError:
            continue


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
        config = read_raw_config(folder)
    except WeightsError:
        return entry
    sha256 = config.get("sha256")
    return Known(entry.name, entry.repo, entry.task, entry.summary, tag_of(config),
                 sha256 if isinstance(sha256, str) else None)
