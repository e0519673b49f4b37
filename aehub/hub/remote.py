"""A hub over the network, spoken to through huggingface_hub; each way it fails is one sentence.

Every known model and where it is: bundled, cached, or remote.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aehub.arguments import check_list, check_text
from aehub.errors import AEHubError, HubError, InputError, Offline, UnknownModel, WeightsError
from aehub.hub import cache
from aehub.hub.registry import HubName, Known, folders, known, parse, readable
from aehub.proxies import proxy_for, usable_proxies
from aehub.weights.architectures import TASKS
from aehub.weights.model_folder import CARD, WEIGHTS

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

PATIENT, HASTY = 10.0, 0.8
"""Seconds until a hub must have taken the connection: asked for on purpose, and in passing."""
_MOST_LISTED = 1000
_CLIENTS = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")


def address(endpoint: str | None) -> str:
    """The hub's address: as given, or by the rules of huggingface_hub (`HF_ENDPOINT`).

    Raises:
        HubError: it is no http address.
    """
    from huggingface_hub import constants

    given = constants.ENDPOINT if endpoint is None else endpoint
    text = check_text("the hub", given, "https://huggingface.co").rstrip("/")
    if not _is_address(text):
        raise HubError(f"{text!r} is not the address of a hub; give one such as "
                       "https://huggingface.co or http://127.0.0.1:7860.")
    return text


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        # Reading the port is what refuses a wrong one.
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def credential(endpoint: str | None, token: str | bool | None) -> str | bool | None:
    """The token to send: one that is given, or the client's own to the client's own hub only."""
    from huggingface_hub import constants

    # A token for huggingface.co is no business of a machine that merely has models.
    is_foreign = endpoint is not None and endpoint.rstrip("/") != constants.ENDPOINT
    return False if token is None and is_foreign else token


def reach(endpoint: str, seconds: float) -> None:
    """Make sure within `seconds` that somebody listens there.

    The client limits how long it connects, but not how long it looks a name up: with a resolver
    that does not answer it waits as long as that one.

    Raises:
        Offline: nobody does, or the network is switched off.
        HubError: it would take a proxy that cannot be used.
    """
    from huggingface_hub import constants

    if constants.is_offline_mode():
        raise Offline("the network is switched off on this machine.", "Unset HF_HUB_OFFLINE, or "
                      "bring the model here as a folder: aehub download NAME --to FOLDER "
                      "elsewhere, then give the folder's path as the model.")
    parts, proxy = urlsplit(endpoint), proxy_for(endpoint)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    reason = _unreachable(*(proxy[:2] if proxy else (host, port)), seconds)
    if reason and proxy:
        raise Offline(f"{endpoint} cannot be reached: its proxy does not answer ({reason}).",
                      f"The proxy {proxy.host}:{proxy.port} is that of {proxy.variable}; "
                      "correct it, or unset it.")
    if reason:
        raise Offline(f"{endpoint} cannot be reached: {reason}. Check the network.", "Or fetch "
                      "from an AEHub that runs nearby with --endpoint or HF_ENDPOINT.")


def _unreachable(host: str, port: int, seconds: float) -> str | None:
    """Why no connection comes about within `seconds`, None if one does."""
    reasons: list[str | None] = []

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=seconds).close()
            reasons.append(None)
        except OSError as error:
            reasons.append(error.strerror or str(error) or "no answer")

    # Looking a name up knows no time limit, so it happens where it can be left behind.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    return reasons[0] if reasons else f"no answer within {seconds:g} s"


def listing(place: HubName, endpoint: str, *, token: str | bool | None = None,
            seconds: float = PATIENT) -> ModelInfo:
    """The files of a repository with sizes and hashes, in one request.

    Raises:
        UnknownModel: there is no such repository or revision.
        Offline: the hub cannot be reached.
        HubError: it refuses.
    """
    reach(endpoint, seconds)
    from huggingface_hub import HfApi

    with translated(place, endpoint):
        return HfApi(endpoint=endpoint, library_name="aehub").model_info(
            place.repo, revision=place.revision, files_metadata=True, timeout=PATIENT, token=token)


def published(endpoint: str, *, token: str | bool | None = None) -> list[Known]:
    """Models of AEHub on a hub, as far as its list tells.

    Raises:
        Offline: the hub cannot be reached.
        HubError: it refuses.
    """
    endpoint = address(endpoint)
    reach(endpoint, PATIENT)
    from huggingface_hub import HfApi

    with translated(None, endpoint):
        found = list(HfApi(endpoint=endpoint, library_name="aehub").list_models(
            filter="aehub", limit=_MOST_LISTED, token=credential(endpoint, token)))
    return [Known(model.id, model.id, task=_task(model.tags)) for model in found
            if parse(model.id) is not None]


def _task(tags: list[str] | None) -> str:
    return next((task for task in TASKS if task in (tags or ())), "")


@contextmanager
def translated(place: HubName | None, endpoint: str) -> Iterator[None]:
    """Turn what the client raises inside the block into one sentence."""
    from huggingface_hub import get_session

    try:
        # The client lives as long as the process, and takes its proxies when it is made.
        with usable_proxies():
            get_session()
        yield
    except AEHubError:
        raise
    except Exception as error:
        told = _sentence(error, place, endpoint)
        if told is None:
            raise
        raise told from error


def _sentence(error: Exception, place: HubName | None, endpoint: str) -> AEHubError | None:
    """The typed error for `error`, None if it is none of the hub's."""
    from huggingface_hub import errors

    what = str(place.repo if place else "the hub")
    if isinstance(error, errors.GatedRepoError):
        return HubError(f"{what} is gated: ask for access at {endpoint}/{what}.",
                        "Then log in with hf auth login, or set HF_TOKEN.")
    if isinstance(error, errors.RepositoryNotFoundError):
        return UnknownModel(f"there is no model {what} at {endpoint}, or it is private; check the "
                            "name.", "Or log in with hf auth login or HF_TOKEN.")
    if isinstance(error, errors.RevisionNotFoundError):
        return UnknownModel(f"{what} has no revision {place.revision if place else ''} at "
                            f"{endpoint}; leave it out for the newest.")
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, FileNotFoundError):
        return WeightsError(f"{what} at {endpoint} lacks a file of its own list; fetch it again.")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return Offline("the network is switched off on this machine.",
                       "Unset HF_HUB_OFFLINE to fetch models.")
    if isinstance(error, errors.HfHubHTTPError):
        return HubError(_refusal(error, what, endpoint))
    if type(error).__module__.split(".")[0] in _CLIENTS or isinstance(
            error, (errors.LocalEntryNotFoundError, ConnectionError, TimeoutError)):
        return Offline(f"the connection to {endpoint} broke off; what came is not used. "
                       "Run it again.")
    if isinstance(error, (OSError, ValueError, KeyError, TypeError)):
        return HubError(f"{endpoint} and {what} did not work out: {_first_line(error)}")
    return None


def _refusal(error: Any, what: str, endpoint: str) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return (f"{endpoint} does not let you do that with {what}; log in with hf auth login, or "
                "set HF_TOKEN to a token that may.")
    if status == 429:
        return f"{endpoint} asks for a pause: too many requests. Try again in some minutes."
    return f"{endpoint} answered {status} for {what}; try again later."


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200].rstrip(".") + "."


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
        # gone

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
