"""Lazy imports: names of a package that are imported at their first use (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def importer(package: str, sources: Mapping[str, str]) -> Callable[[str], object]:
    """Return a `__getattr__` that imports names of a package at their first use.

    Args:
        package: its name.
        sources: module -> the names defined there, separated by spaces.
    """
    modules = {name: module for module, names in sources.items() for name in names.split()}

    def find(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(modules[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return find
