"""Training data on disk: a cache of derived files, decoded frames, and batches of random crops.

Clips and pictures are decoded once into one file of raw 4:2:0 planes next to a JSON index, and
memory-mapped from then on: memory stays bounded whatever the amount of data, workers share pages,
and a crop reads only its own bytes.

The cache holds folders named after their contents and a hash of their inputs:

    cache = Cache(out / "frames")
    folder = cache.get_or_make("frames", {"files": [...]}, make)    # make(folder) writes the files

Other inputs make another folder, so nothing stale is ever read; a folder gets its name when it is
complete, so no process reads what another one is still writing.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from aehub.config import Limits, __version__
from aehub.errors import AEHubError, InputError
from aehub.files import PendingOutput
from aehub.media.clip import open_clip
from aehub.media.file_type import iter_media_files
from aehub.media.picture import Picture

_INPUTS = "inputs.json"
# Version of the decoding and the layout of frames, for the cache.
_VERSION = 1


class Cache:
    """Folders of derived files, each named after its contents and a hash of its inputs.

    Args:
        folder: that holds them.
        leader: True for the process that makes missing folders; the others wait for it.
        note: called with a sentence when a folder is rebuilt or a file is left out.
    """

    def __init__(self, folder: Path, leader: bool = True,
                 note: Callable[[str], None] | None = None) -> None:
        self.folder, self.leader, self._note = folder, leader, note

    def note(self, sentence: str) -> None:
        """Pass a sentence to the caller of the run, from the leading process only."""
        if self._note is not None and self.leader:
            self._note(sentence)

    def get_or_make(self, name: str, inputs: Mapping[str, Any], make: Callable[[Path], None]
                    ) -> Path:
        """Return the folder of a name and its inputs; make it if it does not exist.

        Args:
            name: of the contents; folders of the same name and of other inputs are deleted.
            inputs: everything it depends on, as JSON values; "version" is that of the code.
            make: writes the files into the new folder it is given.
        """
        text = json.dumps({"aehub": __version__, **inputs}, sort_keys=True)
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
        pending = PendingOutput(folder)
        try:
            pending.path.mkdir()
            make(pending.path)
            (pending.path / _INPUTS).write_text(text)
            # Another run may have made the same folder meanwhile, and may be reading it.
            if not folder.is_dir():
                pending.commit()
        finally:
            pending.discard()
        for path in earlier:
            self.note(f"The cached {name} in {self.folder} were rebuilt: "
                      f"{_differing(path, text)} changed.")
            # Processes that still read them keep their open files.
            shutil.rmtree(path, ignore_errors=True)


def _differing(earlier: Path, text: str) -> str:
    """Names of the inputs that differ from those of an earlier folder."""
    try:
        before = json.loads((earlier / _INPUTS).read_text())
    except (OSError, ValueError):
        return "their inputs"
    now = json.loads(text)
    return " and ".join(name for name in sorted(now) if before.get(name) != now[name])


@dataclass(frozen=True)
class StoredClip:
    """Index entry of one clip: `n_frames` pictures of width x height from byte `offset` on."""

    name: str
    source: str
    offset: int
    n_frames: int
    width: int
    height: int

    @property
    def frame_bytes(self) -> int:
        return self.width * self.height * 3 // 2


def recording_of(name: str) -> str:
    """Name of the recording a snippet was cut from: without trailing `_0004_00015` counters."""
    return re.sub(r"(_\d+)+$", "", Path(name).stem)


def is_held_out(source: str, share: float = 0.05) -> bool:
    """Return True if a source is held out: a hash of its name decides, so it never changes."""
    return int(hashlib.sha256(source.encode()).hexdigest()[:8], 16) < share * 2**32


def split(clips: Sequence[StoredClip]) -> dict[bool, list[StoredClip]]:
    """Split clips into training clips (False) and held-out clips (True), one at least."""
    held_out = {clip.source for clip in clips if is_held_out(clip.source)} or {clips[0].source}
    return {out: [clip for clip in clips if (clip.source in held_out) == out]
            for out in (False, True)}


class FrameStore:
    """Decoded frames on disk.

    Args:
        folder: holds `frames.raw` and `frames.json`, written by `FrameStore.build`.

    Attributes:
        clips: index entries.
        name: of the folder; stores of equal names hold equal frames.
    """

    def __init__(self, folder: Path) -> None:
        index = json.loads((folder / "frames.json").read_text())
        self.clips = [StoredClip(**entry) for entry in index["clips"]]
        self.notes: list[str] = index.get("notes", [])
        """Sentences about files that could not be read."""
        self.name = folder.name
        self._raw = np.memmap(folder / "frames.raw", np.uint8, "r")

    @classmethod
    def build(cls, data: Path, cache: Cache,
              progress: Callable[[int, int], None] | None = None) -> FrameStore:
        """Decode every clip and picture below `data`, or open them from the cache.

        Sizes are cropped to even numbers. Unreadable files are left out, with a note.

        Raises:
            InputError: `data` holds nothing readable.
        """
        files = list(iter_media_files(data))
        stats = [(str(path.relative_to(data)), path.stat()) for path in files]
        inputs = {"version": _VERSION, "limits": asdict(Limits.from_env()), "files": [
            [name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]}

        def make(folder: Path) -> None:
            clips: list[StoredClip] = []
            notes: list[str] = []
            with open(folder / "frames.raw", "wb") as raw:
                for done, path in enumerate(files):
                    begin = raw.tell()
                    try:
                        clips += _store(path, str(path.relative_to(data)), raw)
                    except AEHubError as error:
                        raw.truncate(raw.seek(begin))
                        notes.append(f"{path.relative_to(data)} was left out: {error}")
                    if progress:
                        progress(done + 1, len(files))
            if not clips:
                raise InputError(f"{data} holds no clip or picture that can be read; "
                                 "name a folder of videos or photos with --data.")
            index = {"notes": notes, "clips": [asdict(clip) for clip in clips]}
            (folder / "frames.json").write_text(json.dumps(index))

        return cls(cache.get_or_make("frames", inputs, make))

    def planes(self, clip: StoredClip, frame: int) -> Picture:
        """Return frame number `frame` as views into the mapped file."""
        begin = clip.offset + frame * clip.frame_bytes
        flat = self._raw[begin:begin + clip.frame_bytes]
        n, w, h = clip.width * clip.height, clip.width, clip.height
        return Picture((flat[:n].reshape(h, w), flat[n:n * 5 // 4].reshape(h // 2, w // 2),
                        flat[n * 5 // 4:].reshape(h // 2, w // 2)))


def _store(path: Path, name: str, raw: BinaryIO) -> Iterator[StoredClip]:
    offset, n_frames, size = raw.tell(), 0, (0, 0)
    with open_clip(path) as clip:
        for frame in clip:
            w, h = (n // 2 * 2 for n in frame.picture.size)
            size = (w, h)
            for plane, (pw, ph) in zip(frame.picture, ((w, h), (w // 2, h // 2), (w // 2, h // 2)),
                                       strict=True):
                raw.write(np.ascontiguousarray(plane[:ph, :pw]).tobytes())
            n_frames += 1
    if n_frames:
        yield StoredClip(name, recording_of(name), offset, n_frames, *size)


class Crops:
    """Random crops of random frames, some downscaled: endless batches for a `DataLoader`.

    All clips are equally likely, whatever their length; a picture is a clip of one frame. A
    twentieth of the sources is held out.

    Args:
        store: decoded frames.
        size: side of a crop in luma samples, a multiple of 32.
        batch: crops per batch.
        shrink: share of training crops that are cut larger and downscaled, by 1 to 2 times.

    Raises:
        InputError: no clip is large enough, or all come from one source.
    """

    def __init__(self, store: FrameStore, *, size: int, batch: int, shrink: float = 0.3) -> None:
        self.store, self.size, self.batch, self.shrink = store, size, batch, shrink
        self.notes = store.notes
        clips = [c for c in store.clips if min(c.width, c.height) >= size]
        if not clips:
            raise InputError(f"no training picture is at least {size}x{size}; give larger ones.")
        self._clips = split(clips)
        if not self._clips[False]:
            raise InputError("all training pictures come from one source; give a second one, which "
                             "is held out to detect overfitting.")

    def batches(self, first: int, seed: int, *, held_out: bool = False
                ) -> Iterator[list[np.ndarray]]:
        """Batches from number `first` on: uint8 [B, S, S] luma, [B, S/2, S/2] each chroma."""
        for number in count(first):
            rng = np.random.default_rng((seed, number))
            crops = [self._crop(rng, held_out) for _ in range(self.batch)]
            yield [np.stack(planes) for planes in zip(*crops, strict=True)]

    def _crop(self, rng: np.random.Generator, held_out: bool) -> Picture:
        clips = self._clips[held_out]
        clip = clips[rng.integers(len(clips))]
        luma, *chroma = self.store.planes(clip, int(rng.integers(clip.n_frames)))
        side = self.size
        if not held_out and rng.random() < self.shrink:
            most = min(2 * self.size, clip.width, clip.height)
            side = int(rng.integers(self.size, most + 1)) // 2 * 2
        x = int(rng.integers((clip.width - side) // 2 + 1))
        y = int(rng.integers((clip.height - side) // 2 + 1))
        half = side // 2
        cut = Picture([luma[2 * y:2 * y + side, 2 * x:2 * x + side],
                       *(plane[y:y + half, x:x + half] for plane in chroma)])
        return cut if side == self.size else Picture(
            _resize(p, s) for p, s in zip(cut, (self.size, self.size // 2, self.size // 2),
                                          strict=True))


def _resize(plane: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(plane).resize((side, side), Image.Resampling.BICUBIC))
