"""Folders for results: found by a name nobody can guess, deleted when they are old."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from aehub.errors import InputError

_TOKEN = re.compile(r"[0-9a-f]{32}")
_FACTS = "study.json"


def private_folder(name: str) -> Path:
    """A folder among the temporary ones that only this user can enter; the same at each start.

    Raises:
        InputError: somebody else made a folder of that name.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir(), f"{name}-{user}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and folder.stat().st_uid != user:
        raise InputError(f"{folder} belongs to another user; set TMPDIR to a folder of your own.")
    return folder


class Jobs:
    """One folder for each job, below one root.

    Args:
        keep_seconds: age at which a folder is deleted.
        root: where the folders are; by default one place for all processes of a user, so that
            what an earlier one left behind is deleted in time.
    """

    def __init__(self, keep_seconds: float, root: Path | None = None) -> None:
        self.keep_seconds = keep_seconds
        self._root = private_folder("aehub-page") if root is None else root
        self._own: list[Path] = []

    def new(self) -> Path:
        """A new folder; its name is its token. Old folders go."""
        self.sweep()
        folder = self._root / secrets.token_hex(16)
        folder.mkdir(parents=True)
        self._own.append(folder)
        return folder

    def file(self, token: str, name: str) -> Path | None:
        """The file of that name in the job's folder; None if there is none."""
        if not _TOKEN.fullmatch(token) or "/" in name or "\\" in name or name.startswith("."):
            return None
        path = self._root / token / name
        return path if path.is_file() else None

    def remember(self, folder: Path, facts: dict[str, Any]) -> None:
        """Keep what other requests need to know of a job."""
        (folder / _FACTS).write_text(json.dumps(facts))

    def facts(self, token: str) -> dict[str, Any] | None:
        """What was remembered; None if there is no such job any more."""
        path = self.file(token, _FACTS)
        return None if path is None else json.loads(path.read_text())

    def sweep(self) -> None:
        """Delete what is older than `keep_seconds`."""
        oldest = time.time() - self.keep_seconds
        for folder in self._root.glob("*"):
            try:
                if folder.stat().st_mtime < oldest:
                    shutil.rmtree(folder, ignore_errors=True)
            except FileNotFoundError:
                # Another request swept it.
                continue

    def keep_sweeping(self) -> None:
        """Sweep every so often as long as the process lives."""
        def loop() -> None:
            while True:
                time.sleep(max(1.0, self.keep_seconds / 4))
                self.sweep()

        threading.Thread(target=loop, name="aehub-sweep", daemon=True).start()

    def close(self) -> None:
        """Delete everything made by this process."""
        for folder in self._own:
            shutil.rmtree(folder, ignore_errors=True)
