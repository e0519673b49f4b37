"""Every known model and where it is: bundled, cached, or remote."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aehub.arguments import check_list
from aehub.errors import InputError
from aehub.hub import cache
from aehub.hub.bundled import folders, readable
from aehub.hub.registry import Known, known
from aehub.models.folder import CARD, WEIGHTS

STATES = ("bundled", "cached", "remote")
_CARD_BYTES = 100_000


@dataclass(frozen=True)
class ModelEntry:
    """One known model.

    Attributes:
        name: what `load` takes.
        task: what it does, e.g. "video-compression".
        parameters: stored numbers, 0 if unknown.
        bytes: size of its weight file, 0 if unknown.
        state: where it is: "bundled", "cached" or "remote".
        folder: its folder, empty if it is remote.
        summary: first sentence of its card.
    """

    name: str
    task: str
    parameters: int
    bytes: int
    state: str
    folder: str
    summary: str

    def to_json(self) -> dict[str, Any]:
        """The attributes, in order."""
        return asdict(self)


def list_models(*, endpoint: str | None = None, states: Collection[str] = STATES
                ) -> list[ModelEntry]:
    """Every known model: the bundled ones, those fetched before, and those known to be on a hub.

    Reads configs and cards, never weights, and sends no request unless `endpoint` is given.

    Args:
        endpoint: a hub to ask, or a running AEHub; its models come last.
        states: which to list.

    Raises:
        HubError: the hub does not answer.
    """
    if unknown := {str(state) for state in check_list("states", states)} - set(STATES):
        raise InputError(f"there is no state {sorted(unknown)[0][:40]!r}; give some of "
                         f"{', '.join(STATES)}.")
    entries = {folder.name: _entry(folder.name, "bundled", folder, config)
               for folder, config in readable(folders())}
    if set(states) != {"bundled"}:
        for entry in (*map(_known, known().values()), *_cached(), *_published(endpoint)):
            if entry.folder not in {other.folder for other in entries.values() if other.folder}:
                entries.setdefault(entry.name, entry)
    return [entry for entry in entries.values() if entry.state in states]


def _known(place: Known) -> ModelEntry:
    """A model known by name: cached if the very revision meant is in the cache."""
    folder = cache.snapshot(place.repo, place.revision)
    for found, config in readable([folder] if folder else []):
        return _entry(place.name, "cached", found, config)
    return _remote(place)


def _cached() -> Iterator[ModelEntry]:
    for name, folder, config in cache.models():
        yield _entry(name, "cached", folder, config)


def _published(endpoint: str | None) -> Iterator[ModelEntry]:
    if endpoint is not None:
        from aehub.hub.remote import published

        yield from map(_remote, published(endpoint))


def _remote(place: Known) -> ModelEntry:
    return ModelEntry(place.name, place.task, place.parameters, place.bytes, "remote", "",
                      place.summary)


def _entry(name: str, state: str, folder: Path, config: dict[str, Any]) -> ModelEntry:
    task, parameters = config.get("task"), config.get("parameters")
    weights = folder / WEIGHTS
    return ModelEntry(
        name=name, task=task[:80] if isinstance(task, str) else "",
        parameters=parameters if isinstance(parameters, int) else 0,
        bytes=weights.stat().st_size if weights.is_file() else 0, state=state,
        folder=str(folder), summary=_summary(folder / CARD))


def _summary(card: Path) -> str:
    """First line of prose of a card."""
    if not card.is_file():
        return ""
    with card.open(encoding="utf-8", errors="replace") as file:
        body = file.read(_CARD_BYTES).split("---", 2)[-1]
    return next(_prose(body), "")


def _prose(text: str) -> Iterator[str]:
    lines = (line.strip() for line in text.splitlines())
    return (line for line in lines if line and line[0] not in "#|![<`")
