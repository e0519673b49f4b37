"""Lazy imports: names of a package that are imported at their first use (PEP 562)."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path


def public_names(package: str, file: str
                 ) -> tuple[list[str], Callable[[str], object], Callable[[], list[str]]]:
    """Return `__all__`, `__getattr__` and `__dir__` of a package that a stub describes.

    The stub is the one list of names: type checkers read it instead of `__init__.py`.

    Args:
        package: its name.
        file: its `__init__.py`; the stub `__init__.pyi` lies beside it and has a line
            `from module import name as name` for each name.
    """
    stub = Path(file).with_suffix(".pyi").read_text(encoding="utf-8")
    modules = {name: module for module, name
               in re.findall(r"^from (\S+) import (\w+) as \2$", stub, re.MULTILINE)}

    def find(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(modules[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    listed = sorted(name for name in modules if not name.startswith("_"))
    return listed, find, lambda: sorted(modules)
