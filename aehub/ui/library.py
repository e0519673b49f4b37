"""The library that the panel Find searches: a folder of the server's, or the bundled examples."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path

from aehub import hub
from aehub.api.search import iter_index
from aehub.config import DEFAULT_FINGERPRINT
from aehub.errors import AEHubError, BusyError, FormatError, InputError, count_text
from aehub.jobs.fingerprints import file_reader
from aehub.results import Indexed, Progress, run_job
from aehub.retrieval.store import DATABASE
from aehub.ui import examples
from aehub.ui.page_jobs import PageJobs, TurnByTurn
from aehub.ui.result_folders import private_folder

VARIABLE = "AEHUB_LIBRARY"
"""Names the folder of the library."""
_POLL_SECONDS = 0.1
_RETRY_SECONDS = 2.0
"""Time between two attempts to index while another page of this machine does."""


class Library:
    """Clips that visitors may search, indexed by a thread.

    Nothing that visitors see names a folder of the server.

    Args:
        folder: of clips, with all folders below; None for the examples of the page.
        jobs: among which reading a file takes its turn; None reads in this process.
    """

    def __init__(self, folder: Path | None = None, jobs: PageJobs | None = None) -> None:
        self.folder, self._jobs = folder, jobs
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._progress = Progress(0, 0)
        self._indexed: Indexed | None = None
        self._is_locked = False
        self._error = ""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, jobs: PageJobs | None = None
                 ) -> Library:
        """Take the folder from `AEHUB_LIBRARY`.

        Raises:
            InputError: there is no such folder.
        """
        name = (os.environ if environ is None else environ).get(VARIABLE, "").strip()
        if name and not Path(name).is_dir():
            raise InputError(f"the library {name[:200]!r} is no folder; give a folder of clips.")
        return cls(Path(name).resolve() if name else None, jobs)

    @property
    def index(self) -> Path:
        """Folder of the index, a cache: one for each library and each model."""
        model = hub.find(DEFAULT_FINGERPRINT) / "config.json"
        key = hashlib.sha256(f"{self.folder}\n{examples.VERSION}\n".encode() + model.read_bytes())
        return private_folder("aehub-library") / key.hexdigest()[:16]

    @property
    def is_ready(self) -> bool:
        """True if all clips have been indexed, or indexing has failed."""
        return self._indexed is not None or bool(self._error)

    def start(self) -> None:
        """Begin to index in the background, once."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="aehub-library", daemon=True)
                self._thread.start()

    def wait(self) -> Iterator[Progress]:
        """Yield progress, in files, until the library can be searched.

        The examples are waited for; of a folder, and while another process indexes, whatever is
        indexed already is searched.

        Raises:
            InputError: it cannot be indexed, or nothing of it is yet.
        """
        self.start()
        while not self._can_be_searched:
            yield self._progress
            time.sleep(_POLL_SECONDS)
        if self._error:
            raise InputError(self._error)
        if self._indexed is not None and not self._indexed.segments:
            raise InputError("the library holds no clip that can be read; put some into its "
                             "folder, and start the page again.")

    @property
    def _can_be_searched(self) -> bool:
        if self.is_ready:
            return True
        if self._is_locked:
            return (self.index / DATABASE).is_file()
        return self.folder is not None and self._progress.done > 0

    @property
    def status(self) -> str:
        """Sentence on what is searched, and how far it is."""
        if self._error:
            return f"The library cannot be searched: {self._error}"
        if self.folder is None:
            return "Searches the four example clips of this page."
        name = f"Searches the library {self.folder.name}"
        if self._is_locked:
            return f"{name}, which another process is indexing."
        if self._indexed is None:
            done, total = self._progress
            far = f"{done} of {count_text(total, 'file')}" if total else "looking for files"
            return f"{name}, which is being indexed: {far}."
        read = [file for file in self._indexed.files if file.segments and file.state != "removed"]
        failed = self._indexed.failed
        more = f"; {count_text(failed, 'file')} could not be read whole" if failed else ""
        return f"{name}: {count_text(len(read), 'clip')}{more}."

    def hidden(self, text: str) -> str:
        """A sentence without the folders of this server."""
        for folder, name in ((self.index, "the index"), (self.folder, "the library")):
            if folder is not None:
                text = text.replace(f"{name} {folder}", name)
                text = text.replace(f"{folder}{os.sep}", "").replace(str(folder), name)
        return text

    def _run(self) -> None:
        """Index until it is done or cannot be; whatever happens, nobody waits for ever."""
        try:
            try:
                self._indexed = self._index()
            except FormatError:
                # A cache, and nobody else's: make it again.
                shutil.rmtree(self.index)
                self._indexed = self._index()
        except AEHubError as error:
            self._error = self.hidden(error.message)
        except OSError as error:
            self._error = f"{error.strerror or 'a file cannot be read'}."
        except Exception:
            traceback.print_exc()
            self._error = "indexing broke off unexpectedly; the log of the server says why."
        finally:
            self._is_locked = False

    def _index(self) -> Indexed:
        """Bring the index up to date, as soon as no other process writes it."""
        paths = ([examples.clip(name) for name in examples.EXAMPLES]
                 if self.folder is None else [self.folder])
        reader = None if self._jobs is None else file_reader(
            TurnByTurn(self._jobs), DEFAULT_FINGERPRINT)
        while True:
            try:
                return run_job(iter_index(paths, self.index, each=self.folder is not None,
                                          reader=reader), self._note)
            except BusyError:
                self._is_locked = True
            time.sleep(_RETRY_SECONDS)

    def _note(self, done: int, total: int) -> None:
        self._progress, self._is_locked = Progress(done, total), False
