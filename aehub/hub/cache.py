"""The cache of huggingface_hub: models fetched before, found without a request.

    models--org--name/refs/main              a branch or tag: the commit it pointed to
    models--org--name/snapshots/<commit>/    the files, links into ../../blobs
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from aehub.hub.registry import MAIN, is_commit, parse_ref, readable_configs
from aehub.weights.model_folder import CONFIG, WEIGHTS, stays_inside

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
    found = folder / "snapshots" / commit if commit else None
    return found if found is not None and is_complete(found) else None


def is_complete(folder: Path) -> bool:
    """Return whether config and weights are present."""
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def models() -> Iterator[CachedModel]:
    """Yield every model of AEHub in the cache; of a repository, the commit of main first."""
    for folder in sorted(root().glob("models--*--*")):
        repo = folder.name.removeprefix("models--").replace("--", "/")
        if parse_ref(repo) is None:
            continue
        main = _commit_at(folder, MAIN)
        others = sorted(folder.glob("snapshots/*"))[:MAX_SNAPSHOTS]
        first = [path for path in others if path.name == main]
        others = first + [path for path in others if path.name != main]
        for path, config in readable_configs(list(filter(is_complete, others))):
            if config.get("library_name") == "aehub":
                name = repo if path.name == main else f"{repo}@{path.name}"
                yield CachedModel(name, path, config)


def discard(folder: Path) -> None:
    """Remove a damaged snapshot and the blobs it links to, so that it is fetched anew."""
    for path in folder.iterdir():
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
