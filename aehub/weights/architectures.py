"""Registry of architectures: one record each, of this package and of other people's.

A record is all that AEHub knows of an architecture without importing it. Records of this package
lie beside what they describe, in modules `record`. Another package names its record, an
`Architecture` or a tuple of them, as an entry point:

    [project.entry-points."aehub.codecs"]
    my-codec = "my_package.record:RECORD"

The module of a record imports nothing heavy, because `aehub models` reads it. A package whose
records cannot be used breaks nothing else: `record_errors` says why.
"""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from aehub.errors import InputError, WeightsError
from aehub.weights.model_folder import CONFIG, is_model_name

COMPRESSION = "video-compression"
"""Task of models that compress clips; a hub tells no more of one that is not on this machine."""
GROUP = "aehub.codecs"
"""Group of the entry points that name records of other packages."""
MAX_PAYLOAD_FORMAT = 127
"""Largest payload format of a file header."""
FIRST_OF_PACKAGES = 64
"""Least payload format of codecs of other packages; AEHub numbers its own from 1."""
PLANNERS = ("walk", "cycle")
"""Planners of animations: a walk through latents, and cycles of a walking character."""
_HOMES = ("aehub.codecs", "aehub.generators", "aehub.retrieval")
_CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def _check_fields(*rules: tuple[object, bool, str]) -> None:
    """Check fields of a record, given as (value, whether it can be used, the rule).

    Raises:
        InputError: one cannot be used.
    """
    for value, holds, rule in rules:
        if not holds:
            raise InputError(f"the record of an architecture has {str(value)[:80]!r}; {rule}.")


def _is_class(path: object) -> bool:
    return isinstance(path, str) and _CLASS.fullmatch(path) is not None


def _is_texts(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(text, str) for text in value)


@dataclass(frozen=True)
class CardFacts:
    """Facts of an architecture for the front matter of its models' cards.

    Attributes:
        pipeline: one of the hub's pipeline tags; empty for none.
        tags: for the search of a hub, besides the task.
        metrics: ids of the metrics that are measured.
    """

    pipeline: str = ""
    tags: tuple[str, ...] = ("autoencoder",)
    metrics: tuple[str, ...] = ("psnr",)

    def __post_init__(self) -> None:
        _check_fields(
            (self.pipeline, isinstance(self.pipeline, str), "a pipeline is a text"),
            (self.tags, _is_texts(self.tags), "tags are a tuple of texts"),
            (self.metrics, _is_texts(self.metrics), "metrics are a tuple of texts"))


@dataclass(frozen=True)
class Architecture:
    """The record of an architecture.

    The loaded class has `from_pretrained(folder, *, device, dtype)`, a class method that returns an
    instance of the class it is called on, `save_pretrained(folder)`, `name`, `device` and `config`,
    the contents of config.json; `aehub.weights.stored_network` reads and writes the folder.

    Attributes:
        name: in config.json.
        task: of its models, such as "video-compression".
        loaded: "module:Class" of a loaded model, imported when one is loaded.
        network: "module:Class" of the torch network; empty if there is none.
        payload_formats: `coder` bytes of compressed files, 0 to 127: of those that its models make,
            then of older ones that they read; empty if they make none.
        recipes: names for `aehub train`: "d4-codec" is the module
            `aehub.training.recipes.d4_codec`; a recipe of another package is "module:object".
        planner: of animations, one of `PLANNERS`; empty if its models animate nothing.
        card: for the cards of its models.
        folders: model folders that its package ships.
        foreign_classes: classes of other libraries whose models it loads
            (`aehub.weights.foreign`).

    Raises:
        InputError: a field cannot be used.
    """

    name: str
    task: str
    loaded: str
    network: str = ""
    payload_formats: tuple[int, ...] = ()
    recipes: tuple[str, ...] = ()
    planner: str = ""
    card: CardFacts = CardFacts()
    folders: tuple[Path, ...] = ()
    foreign_classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        formats, folders, recipes = self.payload_formats, self.folders, self.recipes
        _check_fields(
            (self.name, is_model_name(self.name),
             "a name has letters, digits, dots, hyphens and underscores, at most 40"),
            (self.task, is_model_name(self.task), f"a task is a name such as {COMPRESSION}"),
            (self.loaded, _is_class(self.loaded), "a class is a text as 'package.module:Class'"),
            (self.network, self.network == "" or _is_class(self.network),
             "a network is a text as 'package.module:Class', or empty"),
            (formats, isinstance(formats, tuple) and all(
                type(number) is int and 0 <= number <= MAX_PAYLOAD_FORMAT for number in formats),
             f"payload formats are a tuple of numbers from 0 to {MAX_PAYLOAD_FORMAT}"),
            (recipes, _is_texts(recipes) and all(
                is_model_name(name) or _is_class(name) for name in recipes),
             "recipes are a tuple of texts as 'package.module:object'"),
            (self.planner, self.planner in ("", *PLANNERS),
             f"a planner is {' or '.join(PLANNERS)}, or empty"),
            (self.card, isinstance(self.card, CardFacts), "a card is a CardFacts"),
            (folders, isinstance(folders, tuple) and all(isinstance(f, Path) for f in folders),
             "folders are a tuple of paths"),
            (self.foreign_classes, _is_texts(self.foreign_classes),
             "foreign classes are a tuple of texts"))

    def network_class(self) -> Any:
        """Import the class of its network.

        Raises:
            WeightsError: it has none, or it cannot be imported.
        """
        if not self.network:
            raise WeightsError(f"models of {self.name} have no network; load them with aehub.load.")
        return import_path(self.network, f"models of {self.name} need")

    def loaded_class(self) -> Any:
        """Import the class of its loaded models.

        Raises:
            WeightsError: it cannot be imported.
        """
        return import_path(self.loaded, f"models of {self.name} need")


def import_path(path: str, need: str) -> Any:
    """Import a module, or what "module:name" names in it.

    Args:
        path: of anybody's package.
        need: beginning of the message, such as "models of my-codec need".

    Raises:
        WeightsError: it cannot be imported.
    """
    module, _, name = path.partition(":")
    try:
        found = import_module(module)
        return getattr(found, name) if name else found
    except Exception as err:  # Other people's modules may fail with anything.
        raise WeightsError(f"{need} {path}, which cannot be imported: {_error_text(err)} "
                           f"Install or upgrade the package of {module.partition('.')[0]}."
                           ) from err


class _Registry(NamedTuple):
    records: Mapping[str, Architecture]
    errors: tuple[str, ...]


def architectures() -> Mapping[str, Architecture]:
    """Every known architecture by name: those of this package, then those of others."""
    return _registry().records


def record_errors() -> tuple[str, ...]:
    """A sentence on each record of another package that cannot be used."""
    return _registry().errors


def refresh() -> None:
    """Search for records again: they are searched once in a process."""
    _registry.cache_clear()


def architecture(name: object) -> Architecture:
    """Look up an architecture by name.

    Raises:
        WeightsError: there is none of that name.
    """
    found = architectures().get(name) if isinstance(name, str) else None
    if found is None:
        raise WeightsError(f"the model is of the architecture {str(name)[:40]!r}, this AEHub knows "
                           f"{', '.join(architectures())}; upgrade aehub, install the package that "
                           "brings the architecture, or name another model.",
                           " ".join(record_errors()))
    return found


def architecture_of_payload(number: int) -> Architecture | None:
    """The architecture whose models make files of this payload format; None if none is known."""
    return next((record for record in architectures().values()
                 if number in record.payload_formats), None)


def architecture_of(model: object) -> Architecture | None:
    """The architecture of a loaded model: that of its config, or else by its class; None if none.

    Architectures that share a class of loaded models are alike in all that this is asked for.
    """
    config = getattr(model, "config", None)
    name = config.get("architecture") if isinstance(config, Mapping) else None
    found = architectures().get(name) if isinstance(name, str) else None
    return found or _of_class(type(model).__mro__, Architecture.loaded_class)


def architecture_of_network(network: object) -> Architecture | None:
    """The architecture of a network, by its class; None if it is of none."""
    return _of_class((type(network),), Architecture.network_class)


def _of_class(kinds: tuple[type, ...], named: Callable[[Architecture], Any]) -> Architecture | None:
    """The record that names the first of these classes; a path may lead to a re-exported one."""
    known = []
    for record in architectures().values():
        with suppress(WeightsError):  # That of a package that is broken is none of these.
            known.append((named(record), record))
    return next((record for kind in kinds for found, record in known if found is kind), None)


@lru_cache(maxsize=1)
def _registry() -> _Registry:
    records = {record.name: record for home in _HOMES for record in _records_below(home)}
    owners, errors = dict.fromkeys(records, "AEHub"), []
    for point in sorted(entry_points(group=GROUP), key=lambda p: (_package(p), p.name)):
        for record in _records_of(point):
            error = record if isinstance(record, str) else _conflict(record, records, owners)
            if error:
                errors.append(f"The package {_package(point)} brings the codec {point.name}, "
                              f"which cannot be used: {error}")
            elif isinstance(record, Architecture):
                records[record.name], owners[record.name] = record, _package(point)
                # A model that is still to be made needs the record.
                errors += [f"The package {_package(point)} names the model {folder}, which has no "
                           f"{CONFIG}; make it, or install the package again."
                           for folder in record.folders if not (folder / CONFIG).is_file()]
    return _Registry(MappingProxyType(records), tuple(errors))


def _records_below(home: str) -> Iterator[Architecture]:
    """Records of the modules `record` in a package of ours and its sub-packages."""
    for module in pkgutil.walk_packages(import_module(home).__path__, f"{home}."):
        if module.name.endswith(".record"):
            yield from import_module(module.name).RECORDS


def _records_of(point: EntryPoint) -> Iterator[Architecture | str]:
    """Records of an entry point, or the reason why there are none."""
    try:
        found = point.load()
    except Exception as err:  # Other people's modules may fail with anything.
        yield f"{_error_text(err)} Upgrade or uninstall {_package(point)}."
        return
    for record in found if isinstance(found, tuple) else (found,):
        yield record if isinstance(record, Architecture) else (
            f"{point.value} is a {type(record).__name__} and no Architecture; upgrade or uninstall "
            f"{_package(point)}.")


def _conflict(record: Architecture, records: Mapping[str, Architecture],
              owners: Mapping[str, str]) -> str:
    """The reason why a record cannot stand beside the others; empty if it can."""
    for other in records.values():
        owner = f"{other.name} of {owners[other.name]}"
        if record.name == other.name:
            return f"its name is that of {owner}; uninstall one of the two."
        if taken := sorted({*record.recipes} & {*other.recipes}):
            return f"its recipe {taken[0]} is that of {owner}; uninstall one of the two."
        if same := sorted({*record.payload_formats} & {*other.payload_formats}):
            return f"its payload format {same[0]} is that of {owner}; uninstall one of the two."
    return ""


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.module.partition(".")[0]


def _error_text(error: Exception) -> str:
    """The first line of an error as a sentence."""
    line = next(iter(str(error).strip().splitlines()), "")[:200].rstrip(".")
    return f"{type(error).__name__}: {line}." if line else f"{type(error).__name__}."
