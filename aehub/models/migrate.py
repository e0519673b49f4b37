"""Older forms of config.json, brought up to date one version at a time.

A new format version adds one function here, so every model ever saved stays loadable:

    MIGRATIONS = {1: from_1_to_2, 2: from_2_to_3}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Config = dict[str, Any]
Migration = Callable[[Config], Config]

MIGRATIONS: dict[int, Migration] = {}
"""Format version -> the function that turns a config of it into one of the next version."""


def migrate(config: Mapping[str, Any], newest: int,
            migrations: Mapping[int, Migration] | None = None) -> Config:
    """`config` in format version `newest`, or in the version where no migration leads further.

    Args:
        config: config.json of any version; it is not changed.
        newest: format version that this AEHub reads.
        migrations: by default `MIGRATIONS`.
    """
    known = MIGRATIONS if migrations is None else migrations
    current = dict(config)
    version = current.get("format_version")
    while type(version) is int and version < newest and version in known:
        version += 1
        current = {**known[version - 1](dict(current)), "format_version": version}
    return current
