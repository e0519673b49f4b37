"""Names of models on a hub: `org/name`, with `@revision` if a certain one is meant."""

from __future__ import annotations

import re
from typing import NamedTuple

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
