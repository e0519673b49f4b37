"""Public functions that index clips and find them, also used by the command line and the page.

As in `aehub.api.compress`, each has a form that yields progress; closing it cancels. An index that
is cancelled keeps what was added to it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from aehub.arguments import check_function, check_list, check_number, check_whole
from aehub.codecs.base import CodecLoader
from aehub.config import DEFAULT_FINGERPRINT
from aehub.errors import AEHubError, InputError
from aehub.files import FilePath, check_path, check_source, is_special
from aehub.hub import ModelLike, load_for_file, resolve_model
from aehub.inputs import Input, absolute, expand_all, file_number, find_inputs, stamp_of
from aehub.media.clip import ClipLike
from aehub.media.orientation import IDENTITY
from aehub.results import (
    Duplicates,
    Found,
    Indexed,
    IndexedFile,
    Match,
    Progress,
    ProgressCallback,
    relayed,
    run_job,
)
from aehub.retrieval import matching
from aehub.retrieval.copies import find_copies, whole_of
from aehub.retrieval.fingerprint import (
    FingerprintModel,
    Fingerprints,
    fingerprint_model,
    read_carried,
    read_fingerprints,
)
from aehub.retrieval.indexing import FileReader, Indexing, Reading, Writer, seconds_of
from aehub.retrieval.matching import DEFAULT_THRESHOLD
from aehub.retrieval.nearest import update_graph
from aehub.retrieval.sampling import QUERY_STEP, STEP
from aehub.retrieval.store import REPAIR, Library, damaged, default_folder
from aehub.retrieval.store import read as read_index
from aehub.weights.device import Device

__all__ = ["duplicates", "index", "iter_duplicates", "iter_index", "iter_search", "search"]

DEFAULT_LIMIT = 20
"""Matches returned where no number is given."""
_DENSE_SECONDS = 60.0
"""Longest query that is compared at every tenth of a second; longer ones have parts enough, and are
compared at the distance of an index."""


def index(paths: FilePath | Iterable[FilePath], index: FilePath | None = None, *,
          model: ModelLike = DEFAULT_FINGERPRINT, each: bool = False, store: bool = False,
          device: Device = "auto", reader: FileReader | None = None,
          progress: ProgressCallback | None = None) -> Indexed:
    """Bring an index of clips up to date, so that `search` finds them and parts of them.

    Files that have not changed since are skipped, those that vanished are removed, but none below a
    path that is not there itself, as on a disk that is not mounted. Whatever was added before an
    interruption stays, and the next call goes on from there. What the index lost by damage is added
    again; lost files that are not among those given are named until they are.

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
        reader: reads the files that are new elsewhere, several at once
            (`aehub.jobs.fingerprints`).
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
    job = iter_index(paths, index, model=model, each=each, store=store, device=device,
                     reader=reader)
    return run_job(job, progress)


def iter_index(paths: FilePath | Iterable[FilePath], index: FilePath | None = None, *,
               model: ModelLike = DEFAULT_FINGERPRINT, each: bool = False, store: bool = False,
               device: Device = "auto", reader: FileReader | None = None
               ) -> Generator[Progress, None, Indexed]:
    """Run `index`, yielding a `Progress` after each picture; closing it cancels.

    Arguments, result and errors are those of `index`.
    """
    check_function("reader", reader, "a function of an iterator of paths")
    began, folder = time.monotonic(), _folder(index)
    given = [absolute(path) for path in _paths(paths)]
    loaded = _loaded(model, device)
    inputs = {entry.path: entry for path in given
              for entry in find_inputs(path, each=each, skip=folder)}
    done: list[IndexedFile] = []
    with Writer(folder, loaded) as writer:
        job = Indexing(writer, loaded, _loader(device))
        removed = job.outdated(given, inputs)
        writer.remove(removed)
        done += [IndexedFile(path, "removed", 0) for path in removed]
        wanted = [entry for entry in inputs.values() if str(entry.path) not in removed]
        for number, (entry, reading) in enumerate(_readings(job, wanted, reader)):
            now = Progress(number, len(wanted))
            yield now
            done.append((yield from relayed(job.add(entry, reading), partial(_always, now))))
        if store:
            yield from job.keep(done)
        named = {file.path for file in done}
        done += [IndexedFile(path, "failed", 0, f"{path} was lost from the index, which was "
                             "damaged; index it again.")
                 for path in writer.lost() if path not in named]
        writer.compact()
        segments = writer.count()
        for _ in update_graph(read_index(folder, loaded)):
            yield Progress(len(wanted), len(wanted))
        yield Progress(len(wanted), len(wanted))
    done.sort(key=lambda file: file.path)
    return Indexed(str(folder), loaded.name, tuple(done), sum(
        file.error is not None for file in done), segments, round(time.monotonic() - began, 3))


def _readings(job: Indexing, wanted: list[Input], reader: FileReader | None
              ) -> Iterator[tuple[Input, Reading | AEHubError | None]]:
    """Files with what was read of them elsewhere; None for those to be read here, or not at all."""
    new = {entry.path: entry for entry in wanted if reader is not None and job.is_new(entry)}
    for entry in wanted:
        if entry.path not in new:
            yield entry, None
    if reader is not None and new:
        with closing(reader(iter(new))) as read:
            for path, reading in read:
                yield new[path], reading


def search(query: ClipLike, index: FilePath | None = None, *, limit: int = DEFAULT_LIMIT,
           threshold: float = DEFAULT_THRESHOLD, model: ModelLike = DEFAULT_FINGERPRINT,
           device: Device = "auto", progress: ProgressCallback | None = None) -> list[Match]:
    """Find a clip, a part of one or a picture among the files of an index.

    Turned, mirrored, cropped, re-encoded and slightly changed ones are found as well.

    Args:
        query: clip, picture or compressed file.
        index: folder of the index, as for `index`.
        limit: number of matches, at most; above 32 as many clips are compared with each second of
            the query, instead of 32.
        threshold: least score of a match, 0 to 1.
        model: that the index was made with: name, folder, or a loaded model.
        device: where networks run, as `aehub.load`.
        progress: called as `progress(done, total)` in pictures of the query, which are read, then
            compared; total is 0 while it is unknown.

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


def iter_search(query: ClipLike, index: FilePath | None = None, *, limit: int = DEFAULT_LIMIT,
                threshold: float = DEFAULT_THRESHOLD,
                model: ModelLike = DEFAULT_FINGERPRINT, device: Device = "auto"
                ) -> Generator[Progress, None, Found]:
    """Run `search`, yielding a `Progress` after each picture; closing it cancels.

    Arguments and errors are those of `search`; the result has the matches, and sentences about
    files left out and about damage of the query.
    """
    began, limit = time.monotonic(), check_whole("limit", limit, 1)
    threshold = check_number("threshold", threshold, 0, 1)
    loaded = _loaded(model, device)
    library = _opened(index, loaded)
    with _spooled(query) as source:
        found, step, damage = yield from _query(source, loaded, _loader(device))
    states, n = _Presence(library), len(found.times)
    matches: list[Match] = []
    placed = yield from relayed(matching.search(library, found, step, limit),
                                lambda compared: Progress(n + compared, 2 * n))
    for content, match in placed:
        if match.score < threshold or len(matches) >= limit:
            break
        matches += [replace(_match(path, match.start, match.end, match.turn, match.score),
                            query_start=round(match.begins, 3), query_end=round(match.ends, 3),
                            speed=round(match.features.speed, 4))
                    for path in states.present(content.number)]
    notes = tuple(filter(None, (damage, *states.notes())))
    return Found(tuple(matches[:limit]), round(time.monotonic() - began, 3), damage or None, notes)


@contextmanager
def _spooled(query: ClipLike) -> Iterator[ClipLike]:
    """A pipe as a file: groups of a compressed file are read by their places."""
    if isinstance(query, (str, os.PathLike)):
        query = absolute(check_path(query, "query"))
        if is_special(query):
            with query.open("rb") as pipe, _spooled(pipe) as file:
                yield file
            return
    elif hasattr(query, "read"):
        stream = cast(BinaryIO, check_source(query))
        if not stream.seekable():
            with tempfile.TemporaryDirectory() as folder:
                # The name that messages give it.
                path = Path(folder) / "the query"
                with path.open("wb") as file:
                    shutil.copyfileobj(stream, file, 1 << 20)
                yield path
            return
    yield query


def _query(query: ClipLike, model: FingerprintModel, load: CodecLoader
           ) -> Generator[Progress, None, tuple[Fingerprints, float, str]]:
    """Fingerprints of a query, the seconds that its last picture stands for, and a sentence about
    damage."""
    dense = not isinstance(query, Path) or seconds_of(query, np.empty(0)) <= _DENSE_SECONDS
    found, damage = None if dense else read_carried(cast(Path, query), model), None
    if found is None:
        found, damage = yield from relayed(
            read_fingerprints(query, model, load, dense=dense), lambda done: Progress(done, 0))
    if not len(found.times):
        raise InputError("the query holds no picture; give a clip or a picture.")
    if found.times[-1] > _DENSE_SECONDS:
        found = matching.thinned(found, STEP)
    gaps = np.diff(found.times)
    return found, float(np.median(gaps)) if len(gaps) else QUERY_STEP, str(damage or "")


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
    states, contents = _Presence(library), library.contents
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


def _always(now: Progress, _: None) -> Progress:
    return now


class _Presence:
    """Files of an index that are as they were indexed, and those that are not or are lost."""

    def __init__(self, library: Library) -> None:
        self._files = library.paths()
        self._lost = [file.path for file in library.files if file.content is None]
        self._vanished: dict[str, None] = {}
        self._changed: dict[str, None] = {}

    def present(self, content: int) -> list[str]:
        """Files with a content, without those that vanished or changed; of links to one file one.
        """
        found: dict[tuple[int, int], str] = {}
        # Names of the file itself first.
        for file in sorted(self._files.get(content, ()), key=lambda file: (
                os.path.realpath(file.path) != file.path)):
            path = Path(file.path)
            try:
                as_indexed, number = stamp_of(path) == file.stamp, file_number(path)
            except OSError:
                self._vanished[file.path] = None
                continue
            if as_indexed:
                found.setdefault(number, file.path)
            else:
                self._changed[file.path] = None
        return list(found.values())

    def notes(self) -> Iterator[str]:
        """A sentence about each kind of files left out."""
        for paths, verb in ((list(self._vanished), "vanished since being indexed"),
                            (list(self._changed), "changed since being indexed"),
                            (self._lost, "got lost by damage of the index")):
            if paths:
                more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
                yield (f"{paths[0]}{more} {verb} and {'are' if more else 'is'} left out; index "
                       "again.")


def _paths(paths: FilePath | Iterable[FilePath]) -> list[Path]:
    if isinstance(paths, (str, os.PathLike)):
        return expand_all([check_path(paths)])
    found = [check_path(path) for path in check_list("paths", paths)]
    if not found:
        raise InputError("there is no path to index; give at least one.")
    return expand_all(found)


def _folder(index: FilePath | None) -> Path:
    return absolute(default_folder() if index is None else check_path(index, "index"))


def _loaded(model: ModelLike, device: Device) -> FingerprintModel:
    return fingerprint_model(resolve_model(model, device))


def _loader(device: Device) -> CodecLoader:
    return lambda header: load_for_file(header, device=device)


def _opened(index: FilePath | None, model: FingerprintModel) -> Library:
    folder = _folder(index)
    library = read_index(folder, model)
    if library.files and not library.contents:
        raise damaged(folder, "all that it held is lost", REPAIR)
    if not library.contents:
        raise InputError(f"the index {folder} is empty; index some clips first.")
    return library
