"""A cache on disk for training: folders named after their contents and a hash of the inputs.

    cache = Cache(out / "frames")
    folder = cache.kept("frames", {"files": [...]}, make)       # make(folder) writes the files

Other inputs make another folder, so nothing stale is ever read; and a folder gets its name when it
is complete, so no process reads what another one is still writing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aehub.files import Stage
from aehub.version import __version__

_KEY = "made_of.json"


class Cache:
    """A folder that holds such folders.

    Args:
        folder: where they lie.
        leader: whether this process makes what is missing; the others wait for it.
        note: called with a sentence when something is made anew, or left out.
    """

    def __init__(self, folder: Path, leader: bool = True,
                 note: Callable[[str], None] | None = None) -> None:
        self.folder, self.leader, self._note = folder, leader, note

    def note(self, sentence: str) -> None:
        """Say something to whoever started the run."""
        if self._note is not None and self.leader:
            self._note(sentence)

    def kept(self, name: str, made_of: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
        """Return the folder for a name and its inputs; make it if it is not there.

        Args:
            name: of the contents; folders of that name and of other inputs are deleted.
            made_of: all that it depends on, as JSON can hold it; a "version" is that of the code.
            make: writes its files into the new folder it is given.
        """
        text = json.dumps({"aehub": __version__, **made_of}, sort_keys=True)
        folder = self.folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        while not folder.is_dir():
            if self.leader:
                self._make(folder, name, text, make)
            else:
                time.sleep(0.2)
        return folder

    def _make(self, folder: Path, name: str, text: str,
              make: Callable[[Path], None]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        earlier = [path for path in self.folder.glob(f"{name}-*") if path.is_dir()]
        stage = Stage(folder)
        try:
            stage.path.mkdir()
            make(stage.path)
            (stage.path / _KEY).write_text(text)
            # Another run may have made the same meanwhile, and read it by now.
            if not folder.is_dir():
                stage.publish()
        finally:
            stage.discard()
        for path in earlier:
            self.note(f"The {name} in {self.folder} were made anew, for they were made of other "
                      f"{_differing(path, text)}.")
            # Processes that still read it keep what they have opened.
            shutil.rmtree(path, ignore_errors=True)


def _differing(earlier: Path, text: str) -> str:
    """Names of what an earlier thing was made of otherwise."""
    try:
        before = json.loads((earlier / _KEY).read_text())
    except (OSError, ValueError):
        return "things"
    now = json.loads(text)
    return " and ".join(name for name in sorted(now) if before.get(name) != now[name])
