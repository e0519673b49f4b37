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
from collections.abc import Iterator, Mapping
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
_HOMES = ("aehub.codecs", "aehub.generators")
_CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


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
        payload_format: the `coder` byte of the compressed files that its models make, 0 to 127;
            None if they make none.
        recipes: names for `aehub train`: "d4-codec" is the module
            `aehub.training.recipes.d4_codec`; a recipe of another package is "module:object".
        planner: of animations: "walk" through latents, or "cycle" of a walking character; empty if
            its models animate nothing.
        card: for the cards of its models.
        folders: model folders that its package ships.

    Raises:
        InputError: a field cannot be used.
    """

    name: str
    task: str
    loaded: str
    network: str = ""
    payload_format: int | None = None
    recipes: tuple[str, ...] = ()
    planner: str = ""
    card: CardFacts = CardFacts()
    folders: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        number, folders = self.payload_format, self.folders
        rules = (
            (self.name, is_model_name(self.name),
             "a name has letters, digits, dots, hyphens and underscores, at most 40"),
            (self.loaded, _is_class(self.loaded), "a class is a text as 'package.module:Class'"),
            (self.network, self.network == "" or _is_class(self.network),
             "a network is a text as 'package.module:Class', or empty"),
            (number, number is None or (type(number) is int and 0 <= number <= MAX_PAYLOAD_FORMAT),
             f"a payload format is a number from 0 to {MAX_PAYLOAD_FORMAT}"),
            (folders, isinstance(folders, tuple) and all(isinstance(f, Path) for f in folders),
             "folders are a tuple of paths"),
        )
        for value, holds, rule in rules:
            if not holds:
                raise InputError(f"the record of an architecture has {str(value)[:80]!r}; {rule}.")

    def network_class(self) -> Any:
        """Import the class of its network.

        Raises:
            WeightsError: it has none, or it cannot be imported.
        """
        if not self.network:
            raise WeightsError(f"models of {self.name} have no network; load them with aehub.load.")
        return self._import(self.network)

    def loaded_class(self) -> Any:
        """Import the class of its loaded models.

        Raises:
            WeightsError: it cannot be imported.
        """
        return self._import(self.loaded)

    def _import(self, path: str) -> Any:
        module, _, name = path.partition(":")
        try:
            return getattr(import_module(module), name)
        except Exception as err:  # Other people's modules may fail with anything.
            raise WeightsError(f"models of {self.name} need {path}, which cannot be imported: "
                               f"{_error_text(err)} Install or upgrade the package of "
                               f"{module.partition('.')[0]}.") from err


def _is_class(path: object) -> bool:
    return isinstance(path, str) and _CLASS.fullmatch(path) is not None


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
                 if record.payload_format == number), None)


def architecture_of(model: object) -> Architecture | None:
    """The architecture of a loaded model, by its class; None if it is of none.

    Architectures that share a class of loaded models are alike in all that this is asked for.
    """
    names = {f"{kind.__module__}:{kind.__qualname__}" for kind in type(model).__mro__}
    return next((record for record in architectures().values() if record.loaded in names), None)


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
        if record.payload_format is not None and record.payload_format == other.payload_format:
            return (f"its payload format {record.payload_format} is that of {owner}; uninstall one "
                    "of the two.")
    return ""


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.module.partition(".")[0]


def _error_text(error: Exception) -> str:
    """The first line of an error as a sentence."""
    line = next(iter(str(error).strip().splitlines()), "")[:200].rstrip(".")
    return f"{type(error).__name__}: {line}." if line else f"{type(error).__name__}."
