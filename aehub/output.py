"""Where results go: a path, whole or not at all, or a stream."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from aehub.errors import ExistsError, InputError


def refuse_overwriting(path: Path, force: bool) -> None:
    """Check before the work that the result may be written.

    Raises:
        ExistsError: `path` exists and `force` is not set.
        InputError: its folder does not exist.
    """
    if path.exists() and not force:
        raise ExistsError(f"{path.name} already exists; choose another name, or add --force.")
    if not path.absolute().parent.is_dir():
        raise InputError(f"the folder {path.parent} does not exist; create it first.")


@contextmanager
def written(target: Path | BinaryIO, *, force: bool) -> Iterator[BinaryIO]:
    """A stream that becomes `target` when the block ends well, and leaves nothing otherwise."""
    if not isinstance(target, Path):
        yield target
        target.flush()
        return
    refuse_overwriting(target, force)
    handle, name = tempfile.mkstemp(suffix=".part", prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "w+b") as stream:
            yield stream
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
