"""The cache of huggingface_hub: models fetched before, found without a request.

    models--org--name/refs/main              a branch or tag: the commit it pointed to
    models--org--name/snapshots/<commit>/    the files, links into ../../blobs

Beside it, in aehub/, the folders elsewhere that models were loaded from, by their tags.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from aehub.errors import WeightsError
from aehub.hub.registry import MAIN, is_commit, parse_ref, readable_configs
from aehub.weights import foreign
from aehub.weights.model_folder import is_complete, stays_inside

MAX_SNAPSHOTS = 10_000
"""Snapshots listed of one repository."""


class CachedModel(NamedTuple):
    """A model in the cache; `name` is what `load` takes to get exactly this one."""

    name: str
    folder: Path
    config: dict[str, Any]


def root() -> Path:
    """The folder of the cache, by the rules of huggingface_hub (`HF_HOME`, `HF_HUB_CACHE`)."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser()


def snapshot(repo: str, revision: str | None = None) -> Path | None:
    """The snapshot folder of a complete model in the cache, None if there is none.

    Args:
        repo: "org/name".
        revision: branch, tag or commit; by default the branch main.
    """
    folder = root() / ("models--" + repo.replace("/", "--"))
    commit = revision if is_commit(revision) else _commit_at(folder, revision or MAIN)
    return _complete(folder / "snapshots" / commit) if commit else None


def _complete(folder: Path) -> Path | None:
    """The folder of a complete model in a snapshot; None if there is none."""
    if is_complete(folder):
        return folder
    try:
        found = foreign.model_folder(folder)
        return found if found is not None and foreign.find(found) is not None else None
    except WeightsError:
        return None


def models() -> Iterator[CachedModel]:
    """Yield every model in the cache that AEHub reads; of a repository, the commit of main first.
    """
    for folder in sorted(root().glob("models--*--*")):
        repo = folder.name.removeprefix("models--").replace("--", "/")
        if parse_ref(repo) is None:
            continue
        main = _commit_at(folder, MAIN)
        others = sorted(folder.glob("snapshots/*"))[:MAX_SNAPSHOTS]
        first = [path for path in others if path.name == main]
        others = first + [path for path in others if path.name != main]
        for path in others:
            found = _complete(path)
            if found is None or not is_readable(found):
                continue
            for _, config in readable_configs([found]):
                name = repo if path.name == main else f"{repo}@{path.name}"
                yield CachedModel(name, found, config)


def is_readable(folder: Path) -> bool:
    """Return whether a folder holds a model of AEHub, or one of another library that it reads."""
    try:
        config = foreign.read_config(folder)
        return config.get("library_name") == "aehub" or foreign.find(folder) is not None
    except WeightsError:
        return False


def remember(folder: Path, tag: str) -> None:
    """Note the folder of a model, so that compressed files find it; without effect in a cache that
    cannot be written."""
    if folder.resolve().is_relative_to(root().resolve()):
        return
    with suppress(OSError):
        _notes().mkdir(parents=True, exist_ok=True)
        (_notes() / tag).write_text(str(folder.resolve()), encoding="utf-8")


def remembered(tag: str) -> Path | None:
    """The folder that was noted for a tag, if it still is there."""
    try:
        folder = Path((_notes() / tag).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return folder if folder.is_dir() else None


def _notes() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HOME).expanduser() / "aehub"


def discard(folder: Path) -> None:
    """Remove the files of a damaged model and the blobs they link to, so that it is fetched anew.
    """
    for path in folder.iterdir():
        if path.is_dir():
            continue
        if stays_inside(folder, path):
            path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _commit_at(folder: Path, revision: str) -> str | None:
    try:
        with (folder / "refs" / revision).open(encoding="ascii") as file:
            commit = file.read(100).strip()
    except (OSError, ValueError):
        return None
    return commit if is_commit(commit) else None
