"""Files of visitors: below one folder of this process, deleted when they are old and at its end."""

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

# Read once, for a page puts its own folder there.
_ASKED_FOR = os.environ.get("GRADIO_TEMP_DIR")
_PREFIX = "aehub-visitors-"
_TOKEN = re.compile(r"[0-9a-f]{32}")
_FACTS = "facts.json"


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


class ResultFolders:
    """One folder for each job, below a root that this process alone uses.

    Uploads lie below the root, too, and Gradio gives files away from there without copying them:
    nothing of a visitor lies anywhere else, and one sweep finds all of it. The root is locked as
    long as the process lives; whoever starts later deletes roots that no process holds.

    Args:
        keep_seconds: age at which an upload or a job's folder is deleted.
        place: where the root is made; by default `GRADIO_TEMP_DIR`, or a folder of this user.

    Attributes:
        root: the folder of this process.
        queued_paths: gives the paths that jobs in the queue name; those files are not deleted.
    """

    def __init__(self, keep_seconds: float, place: Path | None = None) -> None:
        self.keep_seconds = keep_seconds
        if place is None:
            place = Path(_ASKED_FOR) if _ASKED_FOR else private_folder("aehub-page")
        place.mkdir(parents=True, exist_ok=True)
        self.root = place.resolve() / f"{_PREFIX}{secrets.token_hex(8)}"
        self.queued_paths: Callable[[], Iterable[str]] = tuple
        self._running: set[str] = set()
        _delete_left_behind(self.root.parent)
        self._lock = _lock_of(self.root)
        self._lock.acquire(timeout=0)
        self.root.mkdir(mode=0o700)

    @contextmanager
    def new(self) -> Iterator[Path]:
        """A new folder; its name is its token. Its age begins when the block ends.

        Of a job that fails or is stopped, nothing is kept.
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
        """Address of a file in a job's folder, relative to the page."""
        return f"ae/jobs/{path.parent.name}/{quote(path.name)}"

    def file(self, token: str, name: str) -> Path | None:
        """The file of that name in the job's folder; None if there is none."""
        if not _TOKEN.fullmatch(token) or "/" in name or "\\" in name:
            return None
        path = self.root / token / name
        return path if path.is_file() else None

    def upload(self, path: Any) -> Path | None:
        """The file of an upload or a result, be it still there or not; None for anything else."""
        # Too long, a loop of links, or not even text that can name a file.
        with suppress(OSError, ValueError, RuntimeError, TypeError):
            file = Path(path).resolve()
            return file if self.root in file.parents else None
        return None

    def save_facts(self, folder: Path, facts: dict[str, Any]) -> None:
        """Keep what other requests need to know of a job."""
        (folder / _FACTS).write_text(json.dumps(facts))

    def load_facts(self, token: str) -> dict[str, Any] | None:
        """What was remembered; None if there is no such job any more."""
        path = self.file(token, _FACTS)
        return None if path is None else json.loads(path.read_text())

    def delete_old(self) -> None:
        """Delete what is older than `keep_seconds` and not needed by a job."""
        oldest = time.time() - self.keep_seconds
        needed = self._running | {self._entry(path) for path in self.queued_paths()}
        for entry in self.root.glob("*"):
            # Another thread may delete the same.
            with suppress(FileNotFoundError):
                if entry.name not in needed and _newest(entry) < oldest:
                    _delete(entry)

    def start_cleaner(self) -> None:
        """Sweep every so often as long as the process lives."""
        def loop() -> None:
            while True:
                time.sleep(max(1.0, self.keep_seconds / 12))
                self.delete_old()

        threading.Thread(target=loop, name="aehub-cleaner", daemon=True).start()

    def close(self) -> None:
        """Delete everything of this process."""
        # Jobs that still run find no folder to write to.
        gone = self.root.with_suffix(".gone")
        with suppress(OSError):
            self.root.rename(gone)
        for folder in (gone, self.root):
            _delete(folder)
        _release(self._lock)

    def _entry(self, path: str) -> str:
        """Name of what lies directly below the root and holds `path`; empty if nothing does."""
        with suppress(ValueError):
            return Path(path).relative_to(self.root).parts[0]
        return ""


def _delete_left_behind(place: Path) -> None:
    """Delete the roots of processes that are gone."""
    for root in place.glob(f"{_PREFIX}*"):
        if root.is_dir():
            lock = _lock_of(root)
            # Held by a process that lives, or of another user.
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
    """When the entry or anything in it was last written to."""
    return max(path.lstat().st_mtime for path in (entry, *entry.rglob("*")))


def _delete(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)
