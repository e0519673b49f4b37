"""Files that a block opens, and temporary files that are open."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_OPENED: list[str] = []
_HOOKED: list[bool] = []


@contextmanager
def openings() -> Iterator[list[str]]:
    """Collect the paths that Python opens meanwhile, in any thread, as the interpreter reports."""
    if not _HOOKED:
        sys.addaudithook(lambda event, args: _OPENED.append(str(args[0]))
                         if event == "open" and _HOOKED[0] else None)
        _HOOKED.append(False)
    _OPENED.clear()
    _HOOKED[0] = True
    try:
        yield _OPENED
    finally:
        _HOOKED[0] = False


def temporary_files() -> list[str]:
    """List the files without a name that this process holds; skip the test where they have one."""
    files = Path("/proc/self/fd")
    if not files.exists():
        pytest.skip("the open files of a process are listed on Linux only")
    gc.collect()
    links = [link.readlink().name for link in files.iterdir() if link.is_symlink()]
    return sorted(name for name in links if "(deleted)" in name)
