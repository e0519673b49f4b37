"""Folders of uploads and results: below one root per process, deleted by age and at its end."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from filelock import FileLock

from aehub.errors import InputError

# Read at import: the page overwrites the variable with its own root.
_CONFIGURED_ROOT = os.environ.get("GRADIO_TEMP_DIR")
_PREFIX = "aehub-visitors-"
_TOKEN = re.compile(r"[0-9a-f]{32}")
_FACTS = "facts.json"


def private_folder(name: str) -> Path:
    """Return a folder in the temporary directory that only this user can enter.

    Raises:
        InputError: another user owns a folder of that name.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir(), f"{name}-{user}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and folder.stat().st_uid != user:
        raise InputError(f"{folder} belongs to another user; set TMPDIR to a folder of your own.")
    return folder


class ResultFolders:
    """One folder for each job, below a root that this process alone uses.

    Uploads lie below the root, too, and Gradio serves files from there without copying them: no
    file of a visitor lies anywhere else, and one pass finds all of them. The root is locked as long
    as the process lives; later processes delete roots that nobody holds a lock on.

    Args:
        keep_seconds: age at which an upload or a job's folder is deleted.
        parent: folder of the root; by default `GRADIO_TEMP_DIR`, or a folder of this user.

    Attributes:
        root: the folder of this process.
        queued_paths: returns the paths that queued jobs use; those files are not deleted.
    """

    def __init__(self, keep_seconds: float, parent: Path | None = None) -> None:
        self.keep_seconds = keep_seconds
        if parent is None:
            parent = Path(_CONFIGURED_ROOT) if _CONFIGURED_ROOT else private_folder("aehub-page")
        parent.mkdir(parents=True, exist_ok=True)
        self.root = parent.resolve() / f"{_PREFIX}{secrets.token_hex(8)}"
        self.queued_paths: Callable[[], Iterable[str]] = tuple
        self._running: set[str] = set()
        _delete_orphaned(self.root.parent)
        self._lock = _lock_of(self.root)
        self._lock.acquire(timeout=0)
        self.root.mkdir(mode=0o700)

    @contextmanager
    def new(self) -> Iterator[Path]:
        """Make a folder whose name is a random token. Its age counts from the end of the block.

        A job that fails or is stopped leaves nothing.
        """
        folder = self.root / secrets.token_hex(16)
        self._running.add(folder.name)
        try:
            folder.mkdir(parents=True)
            yield folder
            with suppress(FileNotFoundError):
                os.utime(folder)
        except BaseException:
            _delete(folder)
            raise
        finally:
            self._running.discard(folder.name)

    def url(self, path: Path) -> str:
        """Return the URL of a file in a job's folder, relative to the page."""
        return f"ae/jobs/{path.parent.name}/{quote(path.name)}"

    def file(self, token: str, name: str) -> Path | None:
        """Return the file of that name in a job's folder; None if there is none."""
        if not _TOKEN.fullmatch(token) or "/" in name or "\\" in name:
            return None
        path = self.root / token / name
        return path if path.is_file() else None

    def upload(self, path: Any) -> Path | None:
        """Return a path below the root, whether or not the file exists; None for any other."""
        # Too long, a loop of links, or no text.
        with suppress(OSError, ValueError, RuntimeError, TypeError):
            file = Path(path).resolve()
            return file if self.root in file.parents else None
        return None

    def save_facts(self, folder: Path, facts: dict[str, Any]) -> None:
        """Store data of a job that other requests need."""
        (folder / _FACTS).write_text(json.dumps(facts))

    def load_facts(self, token: str) -> dict[str, Any] | None:
        """Return the stored data of a job; None if the job does not exist any more."""
        path = self.file(token, _FACTS)
        return None if path is None else json.loads(path.read_text())

    def delete_old(self) -> None:
        """Delete files older than `keep_seconds` that no job uses."""
        oldest = time.time() - self.keep_seconds
        needed = self._running | {self._entry(path) for path in self.queued_paths()}
        for entry in self.root.glob("*"):
            # Another thread may delete the same file.
            with suppress(FileNotFoundError):
                if entry.name not in needed and _newest(entry) < oldest:
                    _delete(entry)

    def start_cleaner(self) -> None:
        """Call `delete_old` regularly as long as the process lives."""
        def loop() -> None:
            while True:
                time.sleep(max(1.0, self.keep_seconds / 12))
                self.delete_old()

        threading.Thread(target=loop, name="aehub-cleaner", daemon=True).start()

    def close(self) -> None:
        """Delete everything of this process."""
        # Renamed first, so that running jobs find no folder to write to.
        renamed = self.root.with_suffix(".gone")
        with suppress(OSError):
            self.root.rename(renamed)
        for folder in (renamed, self.root):
            _delete(folder)
        _release(self._lock)

    def _entry(self, path: str) -> str:
        """Return the name of the entry of the root that holds `path`; empty if none does."""
        with suppress(ValueError):
            return Path(path).relative_to(self.root).parts[0]
        return ""


def _delete_orphaned(parent: Path) -> None:
    """Delete the roots of processes that have ended."""
    for root in parent.glob(f"{_PREFIX}*"):
        if root.is_dir():
            lock = _lock_of(root)
            # Locked by a running process, or of another user.
            with suppress(OSError):
                lock.acquire(timeout=0)
                _delete(root)
                _release(lock)


def _lock_of(root: Path) -> FileLock:
    return FileLock(f"{root}.lock")


def _release(lock: FileLock) -> None:
    lock.release()
    Path(lock.lock_file).unlink(missing_ok=True)


def _newest(entry: Path) -> float:
    """Return the time of the last change of the entry or of anything in it."""
    return max(path.lstat().st_mtime for path in (entry, *entry.rglob("*")))


def _delete(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)
