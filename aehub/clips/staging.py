"""Outputs appear whole or not at all: written under another name, renamed when done."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO

from aehub.errors import ExistsError, InputError

_FRAME_NAME = re.compile(r"\d{6,}\.png")


class Stage:
    """A place to write until the output is complete.

    Attributes:
        name: what to call the output in messages.
        path: where to write; not there yet.
    """

    def __init__(self, target: Path | BinaryIO) -> None:
        """Pick a name beside `target`, or in the temporary folder for a file object.

        Raises:
            InputError: the folder to write into does not exist.
        """
        self._target = target
        part = f".{secrets.token_hex(6)}.part"
        if isinstance(target, Path):
            self.name = target.name
            if not target.parent.is_dir():
                raise InputError(f"The folder {target.parent} does not exist; make it first.")
            self.path = target.with_name(f".{target.name}{part}")
        else:
            self.name = "the output"
            self.path = Path(tempfile.gettempdir()) / f"aehub{part}"

    def publish(self) -> None:
        """Put the finished output in its place."""
        if not isinstance(self._target, Path):
            with self.path.open("rb") as finished:
                shutil.copyfileobj(finished, self._target, 1 << 20)
            self.discard()
            return
        if self.path.is_dir() and self._target.is_dir():
            shutil.rmtree(self._target)
        os.replace(self.path, self._target)

    def discard(self) -> None:
        """Leave nothing behind."""
        if self.path.is_dir():
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            self.path.unlink(missing_ok=True)


def check_folder(folder: Path) -> None:
    """Allow a new folder, or one that holds nothing but frames written earlier.

    Raises:
        ExistsError: something else lies there and would be lost.
    """
    if not folder.exists():
        return
    if not folder.is_dir() or any(not _FRAME_NAME.fullmatch(p.name) for p in folder.iterdir()):
        raise ExistsError(
            f"{folder.name} is there and holds something else than frames; choose another name."
        )
