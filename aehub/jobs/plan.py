"""From operands to a plan: which files are worked on, and what their results are called.

    compress films extra.mp4 -o DIR
        films/a.mp4        DIR/a.aev         folders are mirrored below the operand
        films/sub/b.mkv    DIR/sub/b.aev
        extra.mp4          DIR/extra.aev

Results that would share a name keep the suffix of their input (a.mp4.aev, a.mkv.aev), and after
that get numbers, in the order of their paths. A name that a manifest knows stays.
"""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from glob import has_magic
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from aehub.config import __version__
from aehub.errors import InputError
from aehub.files import check_path
from aehub.inputs import Input, Kinds, absolute, expand, expanded, find_inputs, stamp_of
from aehub.jobs.manifest import Manifest, path_from
from aehub.jobs.uris import find_remote, is_uri, without_scheme

MEDIA, COMPRESSED = Kinds(compressed=False), Kinds(media=False)
"""Clips and pictures; `.aev` files."""


@dataclass(frozen=True)
class Job:
    """A command and its options for all files of a run.

    Attributes:
        command: key of `aehub.jobs.work.COMMANDS`.
        options: arguments of it besides source and output; of plain values.
        suffix: of the results, such as ".aev"; empty for folders, None where nothing is written.
        kinds: of files to look for in folders.
        model_tag: identifies the weights that results depend on; empty if the inputs name them.
    """

    command: str
    options: Mapping[str, Any] = field(default_factory=dict)
    suffix: str | None = None
    kinds: Kinds = Kinds()
    model_tag: str = ""

    @property
    def settings(self) -> str:
        """Digest of all on which a result depends besides its input; of another version of aehub
        it differs, whose encoder may make other bytes."""
        facts = [__version__, self.command, self.model_tag, {
            name: value for name, value in self.options.items() if name not in _WITHOUT_EFFECT}]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


_WITHOUT_EFFECT = {"device"}
"""Options that change no result."""


@dataclass(frozen=True)
class FileTask:
    """One input on its way to its result.

    Attributes:
        number: in the plan, from 0.
        source: path of the input, as it was given.
        path: absolute, or an address.
        origin: path from the folder of results, or the address.
        output: name of the result below the folder, with slashes; empty if nothing is written.
        size: of the input in bytes.
        mtime_ns: last change of the input in nanoseconds; of a folder, a hash.
        error: sentence on why it cannot be worked on, or empty.
    """

    number: int
    source: str
    path: str
    origin: str
    output: str
    size: int = 0
    mtime_ns: int = 0
    error: str = ""


class Source(NamedTuple):
    """An input that an operand stands for.

    Attributes:
        found: absolute path, and what is wrong with it.
        shown: the path as it was given.
        name: path below the operand.
    """

    found: Input
    shown: Path
    name: PurePosixPath


def find_sources(operands: Sequence[str], kinds: Kinds, *, each: bool = False,
                 skip: Path | None = None) -> list[Source]:
    """All inputs of files, folders and patterns, each once.

    A folder that has no such file is an input with an error.

    Args:
        operands: as the user gave them.
        kinds: of files to look for in folders.
        each: take every picture of a folder for itself.
        skip: the folder of results, which may be below an operand.

    Raises:
        InputError: there is no operand, or one cannot be a path.
    """
    if not operands:
        raise _nothing_given()
    found: dict[Path, Source] = {}
    for operand in operands:
        for source in _sources_of(check_path(operand), kinds, each, skip):
            found.setdefault(source.found.path, source)
    return list(found.values())


def _nothing_given() -> InputError:
    return InputError("there is no input; give at least one file, folder or pattern.")


def _sources_of(operand: Path, kinds: Kinds, each: bool, skip: Path | None) -> Iterator[Source]:
    operand = expanded(operand)
    matches = expand(operand)
    is_pattern = matches != [operand]
    top = _fixed_part(operand) if is_pattern else operand
    # Whoever names the folder of results, or something in it, means it.
    if skip is not None and Path(os.path.realpath(top)).is_relative_to(os.path.realpath(skip)):
        skip = None
    # Files in these match by themselves.
    holding = {folder for path in matches for folder in path.parents}
    is_empty = True
    for path in matches:
        root = absolute(path)
        if is_pattern and (path in holding or skip and root.is_relative_to(absolute(skip))):
            continue
        for one in find_inputs(path, each=each, skip=skip, kinds=kinds):
            is_empty = False
            below = one.path.relative_to(root)
            name = (path / below).relative_to(top) if is_pattern else (
                below if below.parts else Path(root.name))
            yield Source(one, path / below, PurePosixPath(name.as_posix()))
    if is_empty:
        error = f"{operand} holds nothing to work on; give another folder."
        yield Source(Input(absolute(operand), error), operand, PurePosixPath(operand.name))


def _fixed_part(pattern: Path) -> Path:
    """The folders of a pattern that have no wildcard."""
    parts = list[str]()
    for part in pattern.parts[:-1]:
        if has_magic(part):
            break
        parts.append(part)
    return Path(*parts)


def plan_files(job: Job, operands: Sequence[str], folder: Path | None = None, *,
               each: bool = False, manifest: Manifest | None = None) -> list[FileTask]:
    """Plan a run: a task for every input, in the order of operands and names.

    Args:
        job: for all of them.
        operands: files, folders and patterns, or addresses of such.
        folder: of the results; None where nothing is written.
        each: take every picture of a folder for itself.
        manifest: of the folder.

    Raises:
        InputError: as `find_sources`.
    """
    base = absolute(folder or Path("."))
    found: dict[str, _Found] = {}
    if not operands:
        raise _nothing_given()
    for operand in operands:
        for one in _found_of(str(operand), job.kinds, each, folder, base):
            found.setdefault(one.path, one)
    outputs = [""] * len(found)
    if job.suffix is not None:
        last = [manifest.last(one.origin, job.suffix) if manifest else None
                for one in found.values()]
        known = [entry.output if entry else None for entry in last]
        outputs = name_outputs([one.name for one in found.values()],
                               [one.origin for one in found.values()], job.suffix, known)
    return [_file_task(number, one, output, base, found)
            for number, (one, output) in enumerate(zip(found.values(), outputs, strict=True))]


class _Found(NamedTuple):
    """An input of a plan: path or address, as it is shown, as the manifest has it, its name below
    the operand; a stamp where it was listed with one."""

    path: str
    shown: str
    origin: str
    name: PurePosixPath
    error: str = ""
    stamp: tuple[int, int] | None = None


def _found_of(operand: str, kinds: Kinds, each: bool, folder: Path | None, base: Path
              ) -> Iterator[_Found]:
    if is_uri(operand):
        for remote in find_remote(operand, kinds, each=each):
            yield _Found(remote.uri, remote.uri, remote.uri, remote.name, remote.error,
                         remote.stamp)
        return
    for source in find_sources([without_scheme(operand)], kinds, each=each, skip=folder):
        path = source.found.path
        yield _Found(str(path), str(source.shown), path_from(base, path), source.name,
                     source.found.error)


def _file_task(number: int, found: _Found, output: str, folder: Path, inputs: Container[str]
               ) -> FileTask:
    error, stamp, target = found.error, found.stamp or (0, 0), folder / output
    if not error and output and str(target) in inputs:
        error = f"{target} is both input and output; choose another folder."
    if not error and found.stamp is None:
        path = Path(found.path)
        try:
            stamp = stamp_of(path)
            if output and os.path.lexists(target) and path.samefile(target):
                error = f"{found.shown} is both input and output; choose another folder."
        except FileNotFoundError:
            error = f"{found.shown} does not exist; check the path."
        except OSError as reason:
            error = f"{found.shown} cannot be read: {reason.strerror or reason}."
    return FileTask(number, found.shown, found.path, found.origin, output, *stamp, error)


def as_it_is(file: FileTask) -> FileTask:
    """A file of a plan with the size and time that it has now: it may have grown since then."""
    if not is_uri(file.path):
        with suppress(OSError):
            size, mtime_ns = stamp_of(Path(file.path))
            return replace(file, size=size, mtime_ns=mtime_ns)
    return file


def name_outputs(names: Sequence[PurePosixPath], origins: Sequence[str], suffix: str,
                 known: Sequence[str | None] = ()) -> list[str]:
    """Names of results, no two alike, also where capital letters do not count; below the folder of
    results, and none that of a folder with others in it.

    Args:
        names: of the inputs below their operands.
        origins: their paths, which order those that need numbers.
        suffix: of the results; empty for folders.
        known: the name that each had before.
    """
    plain = [_renamed(name, name.stem if name.suffix else name.name, suffix) for name in names]
    alike = Counter(map(_folded, plain))
    # No result has the name of a folder that holds others.
    taken = {_folded(str(folder)) for name in plain for folder in PurePosixPath(name).parents}
    chosen: list[str | None] = [None] * len(names)
    for at, name in enumerate(known):
        if name is not None and _folded(name) not in taken:
            taken.add(_folded(name))
            chosen[at] = name
    # Those that share no name first, then the others by their paths.
    order = sorted(range(len(names)),
                   key=lambda at: (alike[_folded(plain[at])] > 1, origins[at]))
    numbers = Counter[str]()
    for at in order:
        if chosen[at] is None:
            name = plain[at]
            if alike[_folded(name)] > 1 or _folded(name) in taken:
                name = _numbered(names[at], suffix, taken, numbers)
            taken.add(_folded(name))
            chosen[at] = name
    return [name or "" for name in chosen]


def _folded(name: str) -> str:
    """A name as file systems see it for which capitals, or ways to write an accent, are alike."""
    return unicodedata.normalize("NFC", name.casefold())


def _numbered(name: PurePosixPath, suffix: str, taken: set[str], numbers: Counter[str]) -> str:
    """The first of a.mp4.aev, a.mp4-2.aev, a.mp4-3.aev... that is not taken; `numbers` are those
    tried so far, so that many files of one name do not try all of them again."""
    key = _folded(str(name))
    while True:
        numbers[key] += 1
        mark = "" if numbers[key] == 1 else f"-{numbers[key]}"
        found = _renamed(name, name.name + mark, suffix)
        if _folded(found) not in taken:
            return found


def _renamed(name: PurePosixPath, stem: str, suffix: str) -> str:
    # Below the folder of results, whatever an address or a pattern says.
    folders = [part for part in name.parent.parts if part not in ("..", "/")]
    # A name with a dot is no folder of pictures.
    return str(PurePosixPath(*folders, stem + suffix if suffix else stem.replace(".", "_")))
