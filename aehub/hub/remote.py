"""Requests to a hub through huggingface_hub, and the list of models: bundled, cached, remote.

Every failure of a request is raised as one typed error with one sentence.
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
from aehub.hub.registry import (
    RegistryEntry,
    RepoRef,
    bundled_folders,
    parse_ref,
    readable_configs,
    registry_entries,
)
from aehub.proxies import proxy_for, usable_proxies
from aehub.weights.architectures import COMPRESSION, Architecture, architectures
from aehub.weights.model_folder import CARD, WEIGHTS

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

EXPLICIT_TIMEOUT, IMPLICIT_TIMEOUT = 10.0, 0.8
"""Seconds to wait for a connection: when the user asked for a download or a list, and when loading
a model caused it."""
MAX_LISTED = 1000
_CLIENTS = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")


def address(endpoint: str | None) -> str:
    """Return the hub's address: as given, or by the rules of huggingface_hub (`HF_ENDPOINT`).

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
        # Reading an invalid port raises ValueError.
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def token_for(endpoint: str | None, token: str | bool | None) -> str | bool | None:
    """The token to send: the one given, or the client's own to the client's own hub only."""
    from huggingface_hub import constants

    # A token for huggingface.co must not be sent to another hub.
    is_foreign = endpoint is not None and endpoint.rstrip("/") != constants.ENDPOINT
    return False if token is None and is_foreign else token


def check_reachable(endpoint: str, timeout: float) -> None:
    """Check within `timeout` seconds that a hub, or the proxy to it, accepts connections.

    The client limits the time to connect, but not the time of the name lookup: with a resolver that
    does not answer it would wait as long as that one.

    Raises:
        Offline: no connection comes about, or the network is switched off.
        HubError: the proxy to the hub cannot be used.
    """
    from huggingface_hub import constants

    if constants.is_offline_mode():
        raise Offline("the network is switched off on this machine.", "Unset HF_HUB_OFFLINE, or "
                      "bring the model here as a folder: aehub download NAME --to FOLDER "
                      "elsewhere, then give the folder's path as the model.")
    parts, proxy = urlsplit(endpoint), proxy_for(endpoint)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    reason = _connection_problem(*(proxy[:2] if proxy else (host, port)), timeout)
    if reason and proxy:
        raise Offline(f"{endpoint} cannot be reached: its proxy does not answer ({reason}).",
                      f"The proxy {proxy.host}:{proxy.port} is that of {proxy.variable}; "
                      "correct it, or unset it.")
    if reason:
        raise Offline(f"{endpoint} cannot be reached: {reason}. Check the network.", "Or fetch "
                      "from an AEHub that runs nearby with --endpoint or HF_ENDPOINT.")


def _connection_problem(host: str, port: int, timeout: float) -> str | None:
    """The reason why no connection comes about within `timeout` seconds, None if one does."""
    reasons: list[str | None] = []

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=timeout).close()
            reasons.append(None)
        except OSError as error:
            reasons.append(error.strerror or str(error) or "no answer")

    # A name lookup has no time limit, so it runs in a thread that can be abandoned.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(timeout)
    return reasons[0] if reasons else f"no answer within {timeout:g} s"


def repo_info(ref: RepoRef, endpoint: str, *, token: str | bool | None = None,
              timeout: float = EXPLICIT_TIMEOUT) -> ModelInfo:
    """Request the files of a repository with sizes and hashes.

    Raises:
        UnknownModel: there is no such repository or revision.
        Offline: the hub cannot be reached.
        HubError: it refuses.
    """
    check_reachable(endpoint, timeout)
    from huggingface_hub import HfApi

    with translated_errors(ref, endpoint):
        return HfApi(endpoint=endpoint, library_name="aehub").model_info(
            ref.repo, revision=ref.revision, files_metadata=True, timeout=EXPLICIT_TIMEOUT,
            token=token)


def list_remote(endpoint: str, *, token: str | bool | None = None) -> list[RegistryEntry]:
    """Request the models of AEHub on a hub, at most `MAX_LISTED`.

    Raises:
        Offline: the hub cannot be reached.
        HubError: it refuses.
    """
    endpoint = address(endpoint)
    check_reachable(endpoint, EXPLICIT_TIMEOUT)
    from huggingface_hub import HfApi

    with translated_errors(None, endpoint):
        found = list(HfApi(endpoint=endpoint, library_name="aehub").list_models(
            filter="aehub", limit=MAX_LISTED, token=token_for(endpoint, token)))
    return [RegistryEntry(model.id, model.id, task=_task(model.tags)) for model in found
            if parse_ref(model.id) is not None]


def _task(tags: list[str] | None) -> str:
    tasks = (record.task for record in architectures().values())
    return next((task for task in tasks if task in (tags or ())), "")


@contextmanager
def translated_errors(ref: RepoRef | None, endpoint: str) -> Iterator[None]:
    """Raise errors of the client inside the block as typed errors of one sentence."""
    from huggingface_hub import get_session

    try:
        # The client lives as long as the process and reads its proxies when it is created.
        with usable_proxies():
            get_session()
        yield
    except AEHubError:
        raise
    except Exception as error:
        typed = _typed_error(error, ref, endpoint)
        if typed is None:
            raise
        raise typed from error


def _typed_error(error: Exception, ref: RepoRef | None, endpoint: str) -> AEHubError | None:
    """The typed error for `error`, None if it does not come from the hub."""
    from huggingface_hub import errors

    repo = ref.repo if ref else "the hub"
    if isinstance(error, errors.GatedRepoError):
        return HubError(f"{repo} is gated: ask for access at {endpoint}/{repo}.",
                        "Then log in with hf auth login, or set HF_TOKEN.")
    if isinstance(error, errors.RepositoryNotFoundError):
        return UnknownModel(f"there is no model {repo} at {endpoint}, or it is private; check the "
                            "name.", "Or log in with hf auth login or HF_TOKEN.")
    if isinstance(error, errors.RevisionNotFoundError):
        return UnknownModel(f"{repo} has no revision {ref.revision if ref else ''} at "
                            f"{endpoint}; leave it out for the newest.")
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, FileNotFoundError):
        return WeightsError(f"{repo} at {endpoint} lacks a file of its own list; fetch it again.")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return Offline("the network is switched off on this machine.",
                       "Unset HF_HUB_OFFLINE to fetch models.")
    if isinstance(error, errors.HfHubHTTPError):
        return HubError(_refusal_text(error, repo, endpoint))
    if type(error).__module__.split(".")[0] in _CLIENTS or isinstance(
            error, (errors.LocalEntryNotFoundError, ConnectionError, TimeoutError)):
        return Offline(f"the connection to {endpoint} broke off; what came is not used. "
                       "Run it again.")
    if isinstance(error, (OSError, ValueError, KeyError, TypeError)):
        return HubError(f"the request for {repo} at {endpoint} failed: {_first_line(error)}")
    return None


def _refusal_text(error: Any, repo: str, endpoint: str) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return (f"{endpoint} does not let you do that with {repo}; log in with hf auth login, or "
                "set HF_TOKEN to a token that may.")
    if status == 429:
        return f"{endpoint} asks for a pause: too many requests. Try again in some minutes."
    return f"{endpoint} answered {status} for {repo}; try again later."


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200].rstrip(".") + "."


STATES = ("bundled", "cached", "remote")
_CARD_BYTES = 100_000


@dataclass(frozen=True)
class ModelEntry:
    """One known model.

    Attributes:
        name: argument of `load`.
        task: such as "video-compression".
        parameters: stored numbers, 0 if unknown.
        bytes: size of its weight file, 0 if unknown.
        state: "bundled", "cached" or "remote".
        folder: its folder, empty if it is remote.
        summary: first sentence of its card.
        architecture: by its config; empty if it is remote.
    """

    name: str
    task: str
    parameters: int
    bytes: int
    state: str
    folder: str
    summary: str
    architecture: str = ""

    @property
    def record(self) -> Architecture | None:
        """The record of its architecture; None if that is unknown."""
        return architectures().get(self.architecture)

    @property
    def compresses(self) -> bool:
        """True if it makes compressed files; of a remote model, by its task."""
        if not self.architecture:
            return self.task == COMPRESSION
        return self.record is not None and bool(self.record.payload_formats)

    @property
    def planner(self) -> str:
        """The planner of its animations; empty if it makes none, or is remote."""
        return self.record.planner if self.record else ""

    def to_json(self) -> dict[str, Any]:
        """The attributes but the architecture, in order."""
        facts = asdict(self)
        del facts["architecture"]
        return facts


def list_models(*, endpoint: str | None = None, states: Collection[str] = STATES
                ) -> list[ModelEntry]:
    """List every known model: bundled, cached, and those of the registry that are remote.

    Reads configs and cards, never weights, and sends no request unless `endpoint` is given.

    Args:
        endpoint: address of a hub, or of a running AEHub, whose models are listed last.
        states: those to list, of "bundled", "cached" and "remote".

    Raises:
        HubError: the hub does not answer.
    """
    if unknown := {str(state) for state in check_list("states", states)} - set(STATES):
        raise InputError(f"there is no state {sorted(unknown)[0][:40]!r}; give some of "
                         f"{', '.join(STATES)}.")
    entries = {folder.name: _entry(folder.name, "bundled", folder, config)
               for folder, config in readable_configs(bundled_folders())}
    if set(states) != {"bundled"}:
        found = map(_remote, list_remote(endpoint)) if endpoint is not None else ()
        for entry in (*map(_registered, registry_entries().values()), *_cached(), *found):
            if entry.folder not in {other.folder for other in entries.values() if other.folder}:
                entries.setdefault(entry.name, entry)
    return [entry for entry in entries.values() if entry.state in states]


def _registered(known: RegistryEntry) -> ModelEntry:
    """List a model of the registry: as cached if the revision it pins is in the cache."""
    folder = cache.snapshot(known.repo, known.revision)
    for found, config in readable_configs([folder] if folder else []):
        return _entry(known.name, "cached", found, config)
    return _remote(known)


def _cached() -> Iterator[ModelEntry]:
    for name, folder, config in cache.models():
        yield _entry(name, "cached", folder, config)


def _remote(known: RegistryEntry) -> ModelEntry:
    return ModelEntry(known.name, known.task, 0, 0, "remote", "", "")


def _entry(name: str, state: str, folder: Path, config: dict[str, Any]) -> ModelEntry:
    task, architecture = (str(config.get(key) or "")[:80] for key in ("task", "architecture"))
    parameters, weights = config.get("parameters"), folder / WEIGHTS
    size = config.get("bytes", weights.stat().st_size if weights.is_file() else 0)
    return ModelEntry(
        name=name, task=task, architecture=architecture,
        parameters=parameters if isinstance(parameters, int) else 0,
        bytes=size if isinstance(size, int) else 0, state=state,
        folder=str(folder), summary=_summary(folder / CARD))


def _summary(card: Path) -> str:
    """The first line of prose of a card."""
    if not card.is_file():
        return ""
    with card.open(encoding="utf-8", errors="replace") as file:
        body = file.read(_CARD_BYTES).split("---", 2)[-1]
    return next(_prose(body), "")


def _prose(text: str) -> Iterator[str]:
    lines = (line.strip() for line in text.splitlines())
    return (line for line in lines if line and line[0] not in "#|![<`")
