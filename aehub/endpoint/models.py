"""The served models as a hub describes them: files with hashes, a commit, a tag.

The commit of a model is computed from its files alone, so every AEHub that holds the same files
serves them under the same commit, and a cache filled from one is valid for another.
"""

from __future__ import annotations

import hashlib
import json
import stat
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from aehub import hub
from aehub.weights import foreign
from aehub.weights.model_folder import max_bytes, tag_of

OWNER = "aehub"
_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n"


@dataclass(frozen=True)
class ServedFile:
    """A file of a served model.

    Attributes:
        name: in the repository.
        path: on this machine.
        size: bytes.
        sha256: of its bytes.
        git_sha1: id of its git blob; of a large file, that of its LFS pointer.
        is_large: a hub would store it outside of git (LFS).
    """

    name: str
    path: Path
    size: int
    sha256: str
    git_sha1: str
    is_large: bool

    @property
    def etag(self) -> str:
        """The entity tag that identifies its content in the protocol."""
        return self.sha256 if self.is_large else self.git_sha1


@dataclass(frozen=True)
class ServedModel:
    """A served model.

    Attributes:
        repo: "aehub/NAME".
        task: such as "video-compression".
        commit: 40 hexadecimal digits computed from the files.
        tag: its hashes, by which compressed files find it; None if its config has none.
        files: by name.
        modified: seconds since 1970 of the newest file.
    """

    repo: str
    task: str
    commit: str
    tag: str | None
    files: dict[str, ServedFile]
    modified: float

    @property
    def revisions(self) -> tuple[str, ...]:
        """The branch, commit and tag it is served under."""
        return ("main", self.commit, *filter(None, [self.tag]))


def served_models() -> dict[str, ServedModel]:
    """The bundled models by repository; one whose files are changing is left out."""
    models: dict[str, ServedModel] = {}
    for entry in hub.list_models(states=["bundled"]):
        try:
            found = _served_model(f"{OWNER}/{entry.name}", entry.task, Path(entry.folder))
        except (OSError, ValueError):
            continue
        models[found.repo] = found
    return models


def _served_model(repo: str, task: str, folder: Path) -> ServedModel:
    files, modified = {}, 0.0
    limits = foreign.file_limits(folder)
    for path in sorted(folder.iterdir()):
        state = path.lstat()
        limit = max_bytes(path.name) or -1
        # A link may point outside the folder, so only regular files are served.
        if stat.S_ISREG(state.st_mode) and state.st_size <= limits.get(path.name, limit):
            files[path.name] = _served_file(path, state.st_size, state.st_mtime_ns)
            modified = max(modified, state.st_mtime)
    lines = "".join(f"{file.name} {file.sha256}\n" for file in files.values())
    commit = hashlib.sha1(f"{repo}\n{lines}".encode(), usedforsecurity=False).hexdigest()
    return ServedModel(repo, task, commit, _tag(files), files, modified)


@lru_cache(maxsize=256)
def _served_file(path: Path, size: int, stamp: int) -> ServedFile:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    is_large = path.suffix not in (".json", ".md")
    blob = _POINTER.format(sha256, size).encode() if is_large else path.read_bytes()
    git = hashlib.sha1(b"blob %d\0" % len(blob) + blob, usedforsecurity=False).hexdigest()
    return ServedFile(path.name, path, size, sha256, git, is_large)


def pointer_size(file: ServedFile) -> int:
    """Bytes of the LFS pointer of a large file."""
    return len(_POINTER.format(file.sha256, file.size))


def _tag(files: dict[str, ServedFile]) -> str | None:
    if "config.json" not in files:
        return None
    config: Any = json.loads(files["config.json"].path.read_bytes())
    if not isinstance(config, dict):
        return None
    return tag_of(config)
