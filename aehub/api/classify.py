"""Public functions that label clips by a few examples of each label.

As in `aehub.api.compress`, there is a form that yields progress; closing it cancels.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from aehub.arguments import check_iterable
from aehub.config import DEFAULT_FINGERPRINT
from aehub.errors import AEHubError, InputError, count_text
from aehub.files import FilePath, check_path
from aehub.hub import ModelLike, load_for_file, resolve_model
from aehub.inputs import Input, absolute, expand_all, find_inputs
from aehub.media.file_type import is_hidden, list_folder
from aehub.results import Classified, Progress, ProgressCallback, run_job
from aehub.retrieval.classify import Classifier, Parts, clip_parts
from aehub.retrieval.fingerprint import fingerprint_model
from aehub.weights.device import Device

__all__ = ["classify", "iter_classify"]

Examples = FilePath | Mapping[str, Iterable[FilePath]]
"""A folder with a folder for each label, or the files of each label."""


def classify(paths: FilePath | Iterable[FilePath], examples: Examples, *,
             model: ModelLike = DEFAULT_FINGERPRINT, each: bool = False,
             device: Device = "auto",
             progress: ProgressCallback | None = None) -> list[Classified]:
    """Label clips, pictures and `.aev` files by a few examples of each label.

    A label is found from colours, textures, motion and fingerprints, all of which are the same for
    the eight orientations of a clip: so is the answer, exactly. A clip unlike all examples gets
    none. With one label the answer is that label or none.

    Args:
        paths: a file or several; a folder stands for the clips, pictures and `.aev` files in it
            and in all folders below. A folder of pictures alone is one clip.
        examples: a folder in which each folder is a label and holds its clips, or a mapping of
            labels to files. A few different clips of each label are enough.
        model: of fingerprints: loaded, or its name, folder or hub id.
        each: take every picture of a folder of `paths` for itself.
        device: as `aehub.load`.
        progress: called as `progress(done, total)` in files, examples included.

    Returns:
        A result for each file, in order. That of a file that cannot be read has its `error`.

    Raises:
        InputError: there is no file, no label, or a label without an example that can be read.
        ModelError: the model is of another kind.

    Example:
        >>> for found in aehub.classify("inbox", "examples"):
        ...     print(found.path, found.label, found.confidence)
    """
    job = iter_classify(paths, examples, model=model, each=each, device=device)
    return run_job(job, progress)


def iter_classify(paths: FilePath | Iterable[FilePath], examples: Examples, *,
                  model: ModelLike = DEFAULT_FINGERPRINT, each: bool = False,
                  device: Device = "auto") -> Generator[Progress, None, list[Classified]]:
    """Run `classify`, yielding a `Progress` after each file; closing it cancels.

    Arguments, result and errors are those of `classify`.
    """
    files, given = _files(paths, each), _labelled(examples)
    loaded = fingerprint_model(resolve_model(model, device))
    parts_of = partial(clip_parts, model=loaded, load=partial(load_for_file, device=device))
    total = sum(map(len, given.values())) + len(files)
    labels: list[str] = []
    learned: list[Parts] = []
    notes: list[str] = []
    done = 0
    for label, clips in given.items():
        for clip in clips:
            try:
                learned.append(parts_of(clip))
                labels.append(label)
            except (AEHubError, OSError) as error:
                notes.append(f"the example {label}/{clip.name} is left out: {_sentence(error)}")
            done += 1
            yield Progress(done, total)
        if label not in labels:
            raise InputError(f"no example of the label {label!r} can be read: "
                             f"{notes[-1].partition(': ')[2]}")
    classifier = Classifier(labels, learned)
    results = []
    for file in files:
        results.append(_classified(file, parts_of, classifier, tuple(notes)))
        done += 1
        yield Progress(done, total)
    return results


def _classified(given: Input, parts_of: Callable[[Path], Parts], classifier: Classifier,
                notes: tuple[str, ...]) -> Classified:
    file = str(given.path)
    try:
        if given.error:
            raise InputError(given.error)
        found = classifier.predict(parts_of(given.path))
    except (AEHubError, OSError) as error:
        return Classified(file, None, 0.0, {}, error=_sentence(error), notes=notes)
    scores = {label: round(share, 6) for label, share in found.scores.items()}
    return Classified(file, found.label, round(found.confidence, 6), scores, notes=notes)


def _sentence(error: AEHubError | OSError) -> str:
    if isinstance(error, AEHubError):
        return error.message
    return f"it cannot be read: {error.strerror or error}."


def _files(paths: Any, each: bool) -> list[Input]:
    """Files to label; those of folders by name, with the folder as it was given."""
    given = ([paths] if isinstance(paths, str | os.PathLike) else
             list(check_iterable("paths", paths)))
    if not given:
        raise InputError("there is no clip to label; give at least one.")
    found: list[Input] = []
    for path in expand_all(map(check_path, given)):
        inside = [one._replace(path=path / one.path.relative_to(absolute(path)))
                  for one in find_inputs(path, each=each)] if path.is_dir() else [Input(path)]
        if not inside:
            raise InputError(f"{path} holds no clip, picture or .aev file; give another folder.")
        found += inside
    return found


def _labelled(examples: Examples) -> dict[str, list[Path]]:
    """Examples of each label, in the order of labels."""
    if isinstance(examples, Mapping):
        given = {str(label): [check_path(path, "example") for path in
                              check_iterable(f"the value of the label {label!r}", files)]
                 for label, files in examples.items()}
        where = "the examples"
    else:
        folder = check_path(examples, "examples")
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder; give one that holds a folder for each label.")
        try:
            given = {path.name: _files_in(path) for path in sorted(folder.iterdir())
                     if path.is_dir() and not is_hidden(path)}
        except OSError as error:
            raise InputError(f"the folder {error.filename or folder} cannot be read: "
                             f"{error.strerror}.") from error
        where = str(folder)
    if not given:
        raise InputError(f"{where} has no labels; make a folder for each, with a few clips in it.")
    empty = [label for label, files in given.items() if not files]
    if empty:
        raise InputError(f"{count_text(len(empty), 'label')} of {where} without an example: "
                         f"{', '.join(empty[:3])}; give each at least one clip or picture.")
    return given


def _files_in(folder: Path) -> list[Path]:
    """Files in a folder, except hidden ones; others than clips are refused later, by name."""
    listing = list_folder(folder)
    return [path for path in (*listing.clips, *listing.pictures, *listing.others) if path.is_file()]
