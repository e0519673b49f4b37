"""The registry of models known by name: their repositories and pinned revisions.

A folder of weights makes its model known, pinned to the hashes of its own config: those of this
package, those that the records of other packages name, and those of `AEHUB_WEIGHTS`, separated as
in `PATH`. `AEHUB_MODELS` adds hub ids, with commas between. Names of models on a hub are `org/name`
or `org/name@revision`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from aehub.errors import InputError, WeightsError
from aehub.weights import foreign
from aehub.weights.architectures import architectures
from aehub.weights.model_folder import CONFIG, tag_of

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9_]|[.-](?![.-])){0,94}(?<![.-])"
_REPO = re.compile(rf"{_PART}/{_PART}")
# Parts of a revision become file names in the cache, so none may leave its folder.
_REVISION_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]|\.(?!\.)){0,63}(?<!\.)"
_REVISION = re.compile(rf"{_REVISION_PART}(?:/{_REVISION_PART}){{0,3}}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
MAIN = "main"


class RepoRef(NamedTuple):
    """A repository and a revision; None is the newest."""

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.repo if self.revision is None else f"{self.repo}@{self.revision}"


def parse_ref(text: str) -> RepoRef | None:
    """Parse a name on a hub; None if `text` cannot be one.

    Example:
        >>> parse_ref("org/name@v1")
        RepoRef(repo='org/name', revision='v1')
        >>> parse_ref("../name")
    """
    repo, separator, revision = text.partition("@")
    if _REPO.fullmatch(repo) is None or repo.endswith(".git"):
        return None
    if separator and not is_revision(revision):
        return None
    return RepoRef(repo, revision if separator else None)


def is_revision(text: str) -> bool:
    """Return whether `text` may name a branch, a tag or a commit."""
    return _REVISION.fullmatch(text) is not None and not text.endswith(".lock")


def is_commit(text: str | None) -> bool:
    """Return whether `text` is a full commit hash, whose content never changes."""
    return text is not None and _COMMIT.fullmatch(text) is not None


def bundled_root() -> Path:
    """The folder of bundled models: inside an installed wheel, or beside the package."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_weights"
    return installed if installed.is_dir() else package.parent / "weights"


def bundled(name: str) -> Path | None:
    """The folder of the bundled model of that name."""
    # Names are listed and compared, never joined to a path, so none can leave the folder.
    return next((folder for folder in bundled_folders() if folder.name == name), None)


def bundled_folders() -> list[Path]:
    """Folders of all bundled models: those of this package, then those of others and those that
    `AEHUB_WEIGHTS` names, one a name."""
    named_folders = os.environ.get("AEHUB_WEIGHTS", "").split(os.pathsep)
    folders = [*sorted(bundled_root().glob("*")),
               *(folder for record in architectures().values() for folder in record.folders),
               *map(Path, filter(None, named_folders))]
    named: dict[str, Path] = {}
    for folder in folders:
        if (folder / CONFIG).is_file() or foreign.file_limits(folder):
            named.setdefault(folder.name, folder)
    return list(named.values())


def readable_configs(folders: Iterator[Path] | list[Path]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield (folder, config) of the folders whose config can be read."""
    for folder in folders:
        try:
            yield folder, foreign.read_config(folder)
        except WeightsError:
            continue


@dataclass(frozen=True)
class RegistryEntry:
    """A model known by name.

    Attributes:
        name: argument of `load`.
        repo: its repository on a hub, "org/name".
        task: such as "video-compression"; empty if unknown.
        revision: the commit or tag meant by the name; None is the newest.
        sha256: of its model.safetensors; None if it is not pinned.
    """

    name: str
    repo: str
    task: str = ""
    revision: str | None = None
    sha256: str | None = None


def registry_entries() -> dict[str, RegistryEntry]:
    """Every model known by name, in order: the bundled ones, then those of `AEHUB_MODELS`.

    Raises:
        InputError: `AEHUB_MODELS` holds something that is no hub id.
    """
    entries = {folder.name: _pinned(folder.name, config)
               for folder, config in readable_configs(bundled_folders())}
    for text in filter(None, map(str.strip, os.environ.get("AEHUB_MODELS", "").split(","))):
        ref = parse_ref(text)
        if ref is None:
            raise InputError(f"AEHUB_MODELS names {text!r}; give hub ids such as org/name or "
                             "org/name@revision, with commas between.")
        entries.setdefault(text, RegistryEntry(text, ref.repo, revision=ref.revision))
    return entries


def repo_of(name: str) -> str:
    """The repository of the model that a file names: that of the registry, or aehub/NAME."""
    entry = registry_entries().get(name)
    return entry.repo if entry else f"aehub/{name}"


def _pinned(name: str, config: dict[str, Any]) -> RegistryEntry:
    """The entry of a bundled model, pinned to the hashes of its config."""
    task, sha256 = config.get("task"), config.get("sha256")
    return RegistryEntry(name, f"aehub/{name}", task if isinstance(task, str) else "",
                         tag_of(config), sha256 if isinstance(sha256, str) else None)
