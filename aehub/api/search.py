"""Public functions that index clips and find them, also used by the command line and the page.

As in `aehub.api.compress`, each has a form that yields progress; closing it cancels. An index that
is cancelled keeps what was added to it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Generator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aehub.arguments import check_list, check_number, check_whole
from aehub.bitstream.validation import info
from aehub.codecs.base import CodecLoader
from aehub.config import DEFAULT_FINGERPRINT
from aehub.errors import AEHubError, DamagedError, InputError
from aehub.files import FilePath, check_path
from aehub.hub import ModelLike, load_for_file, resolve_model
from aehub.media.clip import ClipLike, open_clip
from aehub.media.file_type import content_of
from aehub.media.orientation import IDENTITY
from aehub.results import (
    Duplicates,
    Found,
    Indexed,
    IndexedFile,
    Match,
    Progress,
    ProgressCallback,
    run_job,
)
from aehub.retrieval import matching
from aehub.retrieval.copies import find_copies, whole_of
from aehub.retrieval.fingerprint import (
    FingerprintModel,
    Fingerprints,
    fingerprint_model,
    keep_in_file,
    read_carried,
)
from aehub.retrieval.inputs import (
    Input,
    absolute,
    default_folder,
    digest_of,
    find_inputs,
    is_compressed,
    stamp_of,
)
from aehub.retrieval.matching import DEFAULT_THRESHOLD
from aehub.retrieval.nearest import update_graph
from aehub.retrieval.sampling import QUERY_STEP, STEP, small_pictures
from aehub.retrieval.store import Library, Writer
from aehub.retrieval.store import read as read_index
from aehub.weights.device import Device

__all__ = ["duplicates", "index", "iter_duplicates", "iter_index", "iter_search", "search"]

_DEFAULT_LIMIT = 20
"""Matches returned where no number is given."""
_DENSE_SECONDS = 60.0
"""Longest query that is compared at every tenth of a second; longer ones have parts enough."""


def index(paths: FilePath | Iterable[FilePath], index: FilePath | None = None, *,
          model: ModelLike = DEFAULT_FINGERPRINT, each: bool = False, store: bool = False,
          device: Device = "auto", progress: ProgressCallback | None = None) -> Indexed:
    """Bring an index of clips up to date, so that `search` finds them and parts of them.

    Files that have not changed since are skipped, those that vanished are removed. Whatever was
    added before an interruption stays, and the next call goes on from there.

    Args:
        paths: clips, pictures, compressed files and folders of them, which are searched with all
            folders below; a folder of pictures alone is one clip.
        index: folder of the index; by default `AEHUB_INDEX`, or one in the user's data folder.
        model: makes the fingerprints: name, folder, or a loaded model.
        each: take every picture of a folder for itself.
        store: also keep the fingerprints of each compressed file in the file itself, which is
            written anew, so that another index of it decodes nothing; one that cannot be written
            is indexed all the same.
        device: where networks run, as `aehub.load`.
        progress: called as `progress(done, total)` in files.

    Returns:
        The files and their states; a file that cannot be read is among them, and does not stop the
        others.

    Raises:
        InputError: another process writes the index, or it cannot be written.
        FormatError: the index is damaged.
        WeightsError: the index was made with another model.

    Example:
        >>> aehub.index("films").failed
    """
    job = iter_index(paths, index, model=model, each=each, store=store, device=device)
    return run_job(job, progress)


def iter_index(paths: FilePath | Iterable[FilePath], index: FilePath | None = None, *,
               model: ModelLike = DEFAULT_FINGERPRINT, each: bool = False, store: bool = False,
               device: Device = "auto") -> Generator[Progress, None, Indexed]:
    """Run `index`, yielding a `Progress` after each picture; closing it cancels.

    Arguments, result and errors are those of `index`.
    """
    began, folder = time.monotonic(), _folder(index)
    given = [absolute(path) for path in _paths(paths)]
    loaded = _loaded(model, device)
    inputs = {entry.path: entry for path in given
              for entry in find_inputs(path, each=each, skip=folder)}
    done: list[IndexedFile] = []
    with Writer(folder, loaded) as writer:
        job = _Indexing(writer, loaded, _loader(device))
        removed = job.superfluous(given, inputs)
        writer.remove(removed)
        done += [IndexedFile(path, "removed", 0) for path in removed]
        wanted = [entry for entry in inputs.values() if str(entry.path) not in removed]
        for number, entry in enumerate(wanted):
            yield Progress(number, len(wanted))
            one = job.add(entry)
            try:
                while True:
                    next(one)
                    yield Progress(number, len(wanted))
            except StopIteration as end:
                done.append(end.value)
            finally:
                one.close()
        if store:
            yield from job.keep(done)
        writer.compact()
        segments = writer.count()
        for _ in update_graph(read_index(folder, loaded)):
            yield Progress(len(wanted), len(wanted))
        yield Progress(len(wanted), len(wanted))
    done.sort(key=lambda file: file.path)
    return Indexed(str(folder), loaded.name, tuple(done), sum(
        file.error is not None for file in done), segments, round(time.monotonic() - began, 3))


class _New(NamedTuple):
    """Content of a file that is new in an index; the arguments of `Writer.add`."""

    stamp: tuple[int, int]
    sha256: str
    found: Fingerprints
    seconds: float
    error: str


class _Indexing:
    """Files on their way into an index."""

    def __init__(self, writer: Writer, model: FingerprintModel, load: CodecLoader) -> None:
        self._writer, self._model, self._load = writer, model, load
        self._known = writer.files()

    def superfluous(self, given: list[Path], inputs: Collection[Path]) -> list[str]:
        """Known files at or below paths that vanished, or that now are part of another input."""
        names = [str(path) for path in given]
        below = [Path(path) for path in sorted(self._known) if any(
            path == name or path.startswith(name.rstrip(os.sep) + os.sep) for name in names)]
        return [str(path) for path in below if not path.exists() or path.parent in inputs
                or path.is_dir() and path not in inputs]

    def add(self, entry: Input) -> Generator[None, None, IndexedFile]:
        """Add a file, or note why it cannot be; yields after each picture."""
        path = str(entry.path)
        try:
            state = yield from self._read(entry)
        except (AEHubError, OSError) as error:
            self._writer.remove([path])
            return IndexedFile(path, "failed", 0, _sentence(path, error))
        if isinstance(state, _New):
            self._writer.add(path, *state)
            state = "added"
        return IndexedFile(path, state, *self._writer.segments(path))

    def _read(self, entry: Input) -> Generator[None, None, _New | str]:
        """The new content of a file; or its state, if the index has its content."""
        path, name = entry.path, str(entry.path)
        if entry.error is not None:
            raise entry.error
        stamp = stamp_of(path)
        if name in self._known and self._known[name].stamp == stamp:
            return "unchanged"
        digest = digest_of(path)
        if self._writer.reuse(name, stamp, digest):
            return "added"
        found, error = yield from self._fingerprints(path)
        if not len(found.times):
            raise InputError(error or f"{path} holds no picture; give a clip with some.")
        if stamp_of(path) != stamp:
            raise InputError(f"{path} changed while it was read; index it again.")
        return _New(stamp, digest, found, seconds_of(path, found.times), error)

    def _fingerprints(self, path: Path) -> Generator[None, None, tuple[Fingerprints, str]]:
        """Fingerprints of what can be read, and a sentence about what cannot."""
        carried = read_carried(path, self._model)
        if carried is not None:
            return carried, ""
        parts, error = [self._model.fingerprints(())], ""
        try:
            for picture in small_pictures(path, self._load):
                parts.append(self._model.fingerprints([picture]))
                yield
        except DamagedError as damage:
            error = str(damage)
        return _joined(parts), error

    def keep(self, files: list[IndexedFile]) -> Generator[Progress, None, None]:
        """Keep the fingerprints of compressed files in these themselves, after all were added.

        Args:
            files: those of the run; one that cannot be written gets a sentence.
        """
        library = read_index(self._writer.folder, self._model)
        contents = {content.number: content for content in library.contents}
        # Of a damaged file nothing is kept; it has its sentence.
        known = {file.path: (file.stamp, contents[file.content]) for file in library.files
                 if file.content is not None and not file.error}
        for place, file in enumerate(files):
            if file.path not in known or not is_compressed(Path(file.path)):
                continue
            yield Progress(place, len(files))
            stamp, content = known[file.path]
            try:
                self._keep(Path(file.path), stamp, library.fingerprints(content))
            except (AEHubError, OSError) as error:
                files[place] = replace(file, error=(
                    f"{file.path} is in the index, but was not written anew: "
                    f"{_sentence(file.path, error)}"))

    def _keep(self, path: Path, stamp: tuple[int, int], found: Fingerprints) -> None:
        if keep_in_file(path, self._model, found, stamp):
            self._writer.rewritten(str(path), stamp_of(path), digest_of(path))
        elif stamp_of(path) != stamp:
            # Another name of a file that was written a moment ago.
            for _ in self.add(Input(path)):
                pass


def _sentence(path: str, error: AEHubError | OSError) -> str:
    if isinstance(error, AEHubError):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return f"{path} does not exist; check the path."
    return f"{path} cannot be read: {error.strerror or error}."


def seconds_of(path: Path, times: np.ndarray) -> float:
    """Duration of a file in seconds, 0 of a picture.

    Args:
        path: of the file.
        times: float64 [n], of its segments, for files that do not tell.
    """
    last = float(times[-1]) if len(times) else 0.0
    if content_of(path) == "picture":
        return 0.0
    if is_compressed(path):
        try:
            return max(float(info(path)["seconds"]), last)
        except AEHubError:
            return last + STEP
    with open_clip(path) as clip:
        at, properties = clip.last_frame_time(), clip.info
    if at is not None:
        return max(float(at + properties.frame_ticks * properties.time_base), last)
    if properties.n_frames:
        return max(float(properties.n_frames / properties.fps), last)
    return last + STEP


def search(query: ClipLike, index: FilePath | None = None, *, limit: int = _DEFAULT_LIMIT,
           threshold: float = DEFAULT_THRESHOLD, model: ModelLike = DEFAULT_FINGERPRINT,
           device: Device = "auto", progress: ProgressCallback | None = None) -> list[Match]:
    """Find a clip, a part of one or a picture among the files of an index.

    Turned, mirrored, cropped, re-encoded and slightly changed ones are found as well.

    Args:
        query: clip, picture or compressed file.
        index: folder of the index, as for `index`.
        limit: number of matches, at most.
        threshold: least score of a match, 0 to 1.
        model: that the index was made with: name, folder, or a loaded model.
        device: where networks run, as `aehub.load`.
        progress: called as `progress(done, total)` in pictures of the query; total is 0: unknown.

    Returns:
        The matches, the best first. Files that vanished or changed since they were indexed are left
        out; `iter_search` tells which.

    Raises:
        InputError: there is no index, it is empty, or the query cannot be read.
        FormatError: the index is damaged.
        WeightsError: the index was made with another model.

    Example:
        >>> for match in aehub.search("part.mp4"):
        ...     print(match.path, match.start, match.orientation)
    """
    job = iter_search(query, index, limit=limit, threshold=threshold, model=model, device=device)
    return list(run_job(job, progress).matches)


def iter_search(query: ClipLike, index: FilePath | None = None, *, limit: int = _DEFAULT_LIMIT,
                threshold: float = DEFAULT_THRESHOLD,
                model: ModelLike = DEFAULT_FINGERPRINT, device: Device = "auto"
                ) -> Generator[Progress, None, Found]:
    """Run `search`, yielding a `Progress` after each picture; closing it cancels.

    Arguments and errors are those of `search`; the result has the matches, and sentences about
    files left out.
    """
    began, limit = time.monotonic(), check_whole("limit", limit, 1)
    threshold = check_number("threshold", threshold, 0, 1)
    loaded = _loaded(model, device)
    library = _opened(index, loaded)
    found, step, damage = yield from _query(query, loaded, _loader(device))
    states = _States(library)
    matches: list[Match] = []
    for content, match in matching.search(library, found, step, limit):
        if match.score < threshold or len(matches) >= limit:
            break
        matches += [replace(_match(path, match.start, match.end, match.turn, match.score),
                            query_start=round(match.begins, 3), query_end=round(match.ends, 3),
                            speed=round(match.features.speed, 4))
                    for path in states.present(content.number)]
    notes = tuple(filter(None, (damage, *states.notes())))
    return Found(tuple(matches[:limit]), round(time.monotonic() - began, 3), notes)


def _query(query: ClipLike, model: FingerprintModel, load: CodecLoader
           ) -> Generator[Progress, None, tuple[Fingerprints, float, str]]:
    """Fingerprints of a query, the seconds that its last picture stands for, and a sentence about
    damage."""
    dense = True
    if isinstance(query, (str, os.PathLike)):
        query = absolute(check_path(query, "query"))
        # A pipe can be read once only.
        if query.is_file() or query.is_dir():
            dense = seconds_of(query, np.empty(0)) <= _DENSE_SECONDS
    carried = read_carried(query, model) if isinstance(query, Path) and not dense else None
    parts, damage = [model.fingerprints(()) if carried is None else carried], ""
    try:
        for picture in small_pictures(query, load, dense=dense) if carried is None else ():
            parts.append(model.fingerprints([picture]))
            yield Progress(len(parts) - 1, 0)
    except DamagedError as error:
        if len(parts) == 1:
            raise
        damage = str(error)
    found = _joined(parts)
    if not len(found.times):
        raise InputError("the query holds no picture; give a clip or a picture.")
    gaps = np.diff(found.times)
    return found, float(np.median(gaps)) if len(gaps) else QUERY_STEP, damage


def duplicates(index: FilePath | None = None, *, model: ModelLike = DEFAULT_FINGERPRINT,
               device: Device = "auto", progress: ProgressCallback | None = None) -> Duplicates:
    """Find the copies among the files of an index, and the parts that other files share.

    Copies may be turned, mirrored, cropped, re-encoded and slightly changed, and an excerpt is a
    copy of the file it is from. Intros and the like, which otherwise different files have in
    common, make no copies.

    Args:
        index: folder of the index, as for `index`.
        model: that the index was made with: name, folder, or a loaded model.
        device: where networks run, as `aehub.load`.
        progress: called as `progress(done, total)` in files, then in pairs of files too.

    Returns:
        Groups of copies and groups of common parts.

    Raises:
        InputError: there is no index, or it is empty.
        FormatError: the index is damaged.
        WeightsError: the index was made with another model.

    Example:
        >>> for group in aehub.duplicates().copies:
        ...     print(*(copy.path for copy in group))
    """
    job = iter_duplicates(index, model=model, device=device)
    return run_job(job, progress)


def iter_duplicates(index: FilePath | None = None, *, model: ModelLike = DEFAULT_FINGERPRINT,
                    device: Device = "auto") -> Generator[Progress, None, Duplicates]:
    """Run `duplicates`, yielding a `Progress` after each comparison; closing it cancels.

    Arguments, result and errors are those of `duplicates`.
    """
    began = time.monotonic()
    library = _opened(index, _loaded(model, device))
    groups, parts = yield from find_copies(library)
    states, contents = _States(library), library.contents
    grouped = {copy.part.content for group in groups for copy in group}
    groups += [[whole_of(library, place)] for place in range(len(contents)) if place not in grouped]
    copies = [[_match(path, copy.part.start, copy.part.end, copy.turn, copy.score)
               for copy in group for path in states.present(contents[copy.part.content].number)]
              for group in groups]
    shared = [[_match(path, part.start, part.end, IDENTITY, 1.0) for part in group
               for path in states.present(contents[part.content].number)] for group in parts]
    several = tuple(tuple(tuple(group) for group in found if len(group) > 1)
                    for found in (copies, shared))
    return Duplicates(several[0], several[1], round(time.monotonic() - began, 3),
                      tuple(states.notes()))


def _match(path: str, start: float, end: float, turn: int, score: float) -> Match:
    return Match(path, round(start, 3), round(end, 3), matching.EDITS[turn], score)


class _States:
    """Files of an index that are no longer as they were indexed."""

    def __init__(self, library: Library) -> None:
        self._files = library.paths()
        self._vanished: dict[str, None] = {}
        self._changed: dict[str, None] = {}

    def present(self, content: int) -> list[str]:
        """Files with a content, without those that vanished or changed."""
        found = []
        for file in self._files.get(content, ()):
            try:
                as_indexed = stamp_of(Path(file.path)) == file.stamp
            except OSError:
                self._vanished[file.path] = None
                continue
            if as_indexed:
                found.append(file.path)
            else:
                self._changed[file.path] = None
        return found

    def notes(self) -> Iterator[str]:
        """A sentence about each kind of files left out."""
        for paths, verb in ((self._vanished, "vanished"), (self._changed, "changed")):
            if paths:
                more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
                yield (f"{next(iter(paths))}{more} {verb} since being indexed and "
                       f"{'are' if more else 'is'} left out; index again.")


def _paths(paths: FilePath | Iterable[FilePath]) -> list[Path]:
    if isinstance(paths, (str, os.PathLike)):
        return [check_path(paths)]
    found = [check_path(path) for path in check_list("paths", paths)]
    if not found:
        raise InputError("there is no path to index; give at least one.")
    return found


def _folder(index: FilePath | None) -> Path:
    return absolute(default_folder() if index is None else check_path(index, "index"))


def _loaded(model: ModelLike, device: Device) -> FingerprintModel:
    return fingerprint_model(resolve_model(model, device))


def _loader(device: Device) -> CodecLoader:
    return lambda header: load_for_file(header, device=device)


def _opened(index: FilePath | None, model: FingerprintModel) -> Library:
    folder = _folder(index)
    library = read_index(folder, model)
    if not library.contents:
        raise InputError(f"the index {folder} is empty; index some clips first.")
    return library


def _joined(parts: list[Fingerprints]) -> Fingerprints:
    return Fingerprints(*(np.concatenate(part) for part in zip(*parts, strict=True)))
