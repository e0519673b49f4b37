"""Fetch a model from a hub into the cache, and verify it.

Only the config, weights in safetensors, the card and its pictures are fetched. Sizes are bounded
before the first byte, and the files must match every hash that the hub, the config and the registry
give.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aehub.arguments import check_function, check_text
from aehub.config import DEFAULT_CODEC
from aehub.errors import ExistsError, HubError, Offline, UnknownModel, WeightsError
from aehub.files import FilePath, check_path, open_output, refuse_overwriting
from aehub.hub import cache, remote
from aehub.hub.registry import (
    MAIN,
    RegistryEntry,
    RepoRef,
    bundled,
    is_commit,
    parse_ref,
    registry_entries,
)
from aehub.results import ProgressCallback
from aehub.weights import foreign
from aehub.weights.model_folder import (
    CARD,
    CONFIG,
    MAX_WEIGHTS,
    WEIGHTS,
    is_tag,
    max_bytes,
    read_file,
    read_raw_config,
    safetensors_error,
    tag_of,
)

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo
    from huggingface_hub.hf_api import RepoSibling

MAX_PICTURES = 16
"""Pictures of a card that are fetched; the rest are left on the hub."""


def download(name: str = DEFAULT_CODEC, *, to: FilePath | None = None,
             endpoint: str | None = None, token: str | bool | None = None, force: bool = False,
             progress: ProgressCallback | None = None, patient: bool = True) -> Path:
    """Fetch a model and check it; a bundled or cached one is only checked.

    Args:
        name: bundled or known name, or hub id "org/name" or "org/name@revision".
        to: folder to copy the model's files to; by default they stay in the cache.
        endpoint: address of a hub, or of a running AEHub; by default `HF_ENDPOINT`, or else
            https://huggingface.co. A name without a slash then means `aehub/NAME` there.
        token: for private models; by default the one huggingface_hub finds, which is never sent
            to an `endpoint` given here.
        force: fetch again what is cached, and overwrite files in `to`.
        progress: called as `progress(done, total)` in bytes.
        patient: wait up to 10 seconds for a connection instead of 0.8.

    Returns:
        The folder of the model.

    Raises:
        UnknownModel: there is no such model.
        Offline: there is no network.
        HubError: the hub refuses, or `endpoint` is no address.
        WeightsError: the files fail a check; they are removed.
        ExistsError: `to` holds files already and `force` is not set.
    """
    check_function("progress", progress)
    target = None if to is None else check_path(to, "folder")
    if target is not None:
        _refuse_overwriting(target, force)
    entry = _registry_entry(name)
    if endpoint is None and bundled(entry.name) is not None:
        folder = bundled(entry.name) or Path()
        check(folder, entry.sha256)
    else:
        timeout = remote.EXPLICIT_TIMEOUT if patient else remote.IMPLICIT_TIMEOUT
        folder = _cached_or_fetched(entry, endpoint, token, force, progress, timeout)
    return folder if target is None else _copy(folder, target)


def _registry_entry(name: str) -> RegistryEntry:
    ref = parse_ref(check_text("the model", name, "d4-codec or org/name"))
    entries = registry_entries()
    if name in entries:
        return entries[name]
    if ref is None:
        raise UnknownModel(f"{str(name)[:120]!r} is no name of a model to fetch; give one of "
                           f"{', '.join(entries)}, or a hub id such as org/name or "
                           "org/name@revision.")
    return RegistryEntry(name, ref.repo, revision=ref.revision)


def _cached_or_fetched(entry: RegistryEntry, endpoint: str | None, token: str | bool | None,
                       force: bool, progress: ProgressCallback | None, timeout: float) -> Path:
    ref = RepoRef(entry.repo, entry.revision)
    cached = _intact(cache.snapshot(*ref), entry)
    if cached is not None and not force and (is_commit(ref.revision) or is_tag(ref.revision)):
        # The content of such a revision never changes, so no request is needed.
        return cached
    url, token = remote.address(endpoint), remote.token_for(endpoint, token)
    try:
        ref, info = _repo_info(entry, ref, url, token, timeout)
    except Offline as error:
        if cached is None or force:
            state = "not on this machine, and" if cached is None else (
                f"on this machine, in {cached}, and cannot be fetched again:")
            raise Offline(f"the model {entry.name} is {state} {error.message}", error.option
                          ) from error
        return cached
    return _fetch(info, ref, url, entry.sha256, token, force, progress)


def _intact(folder: Path | None, entry: RegistryEntry) -> Path | None:
    """The folder if its files pass the checks; a damaged model is removed from the cache, which
    holds those of other programs too."""
    try:
        if folder is not None:
            check(folder, entry.sha256, entry.revision)
    except WeightsError:
        if folder is not None and cache.is_readable(folder):
            cache.discard(folder)
        return None
    return folder


def _repo_info(entry: RegistryEntry, ref: RepoRef, url: str, token: str | bool | None,
               timeout: float) -> tuple[RepoRef, ModelInfo]:
    try:
        return ref, remote.repo_info(ref, url, token=token, timeout=timeout)
    except UnknownModel:
        # A hub without tags may still hold the weights that the registry pins.
        if not is_tag(ref.revision) or entry.sha256 is None:
            raise
        ref = RepoRef(ref.repo)
        info = remote.repo_info(ref, url, token=token, timeout=timeout)
    if entry.sha256 not in [_sha256(file) for file in info.siblings or ()
                            if file.rfilename == WEIGHTS]:
        raise WeightsError(f"{url} holds another {entry.name} than this version of AEHub knows; "
                           f"upgrade aehub, or ask for {ref.repo}@{MAIN} to take what is there.")
    return ref, info


def _sha256(file: RepoSibling) -> str | None:
    """The SHA-256 that the hub announces for a file, None if it announces none."""
    return file.lfs["sha256"] if file.lfs else None


def _fetch(info: ModelInfo, ref: RepoRef, url: str, sha256: str | None,
           token: str | bool | None, force: bool, progress: ProgressCallback | None) -> Path:
    # One file at a time and in this thread: `snapshot_download` waits for its own threads, so that
    # an interrupt takes effect only when the file is complete.
    from huggingface_hub import hf_hub_download

    wanted = _files_to_fetch(info, ref.repo, url)
    total, folder = sum(file.size or 0 for file in wanted), Path()
    home = Path(wanted[0].rfilename).parent
    done = [0]
    if progress is not None:
        progress(0, total)

    def count(more: int) -> None:
        done[0] += more
        if progress is not None:
            progress(min(done[0], total), total)

    # Requesting the first file by branch or tag records its commit in the cache (refs/).
    for file, revision in zip(wanted, [ref.revision or MAIN] + [info.sha] * len(wanted)):
        with remote.translated_errors(ref, url):
            path = Path(hf_hub_download(
                ref.repo, file.rfilename, revision=revision, endpoint=url, token=token,
                force_download=force, library_name="aehub",
                tqdm_class=_counting_bar(file.size or 0, count)))
        snapshot = path.parents[file.rfilename.count("/")]
        if snapshot.name != info.sha:
            raise HubError(f"{ref.repo} changed at {url} while it was fetched; run it again.")
        folder = snapshot / home
        if file is wanted[0] and path.name == CONFIG:
            # Before gigabytes of weights that nothing here reads.
            foreign.check_class(folder)
    try:
        check(folder, sha256, ref.revision)
        _check_announced(folder, wanted)
    except WeightsError as error:
        cache.discard(folder)
        raise WeightsError(f"what came from {url} for {ref.repo} is not what it should be and "
                           f"was thrown away: {error}") from error
    # Files that were already in the cache have not been counted yet.
    count(total - done[0])
    return folder


def _counting_bar(limit: int, count: Callable[[int], None]) -> type[Any]:
    """Progress bar class for one file that counts instead of drawing, up to `limit` bytes."""
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options | {"disable": True})

        def update(self, n: float | None = 1) -> None:
            # A server may send more than it announced, without end.
            self.n += int(n or 0)
            if self.n > limit:
                raise WeightsError(f"the hub sends more than the {limit} bytes it announced; what "
                                   "came is not used.")
            count(int(n or 0))

        def update_transfer(self, n: float | None = 1) -> None:
            """Ignore bytes on the wire, which the client may report apart from those written."""

        set_transfer_postfix_str = update_transfer

    return Bar


def _files_to_fetch(info: ModelInfo, repo: str, url: str) -> list[RepoSibling]:
    """The files to fetch, the config first; no other file of the repository is fetched."""
    files = {file.rfilename: file for file in info.siblings or ()}
    if not {CONFIG, WEIGHTS} <= files.keys() and (found := foreign.locate(files)) is not None:
        return _foreign_files(files, *found, repo, url)
    for name in (CONFIG, WEIGHTS):
        if name not in files:
            raise WeightsError(f"{repo} at {url} has no {name}; it is {_foreign_kind(files)}.")
    first = [name for name in (CONFIG, WEIGHTS, CARD) if name in files]
    pictures = sorted(name for name in files if max_bytes(name) is not None and name not in first)
    names = first + pictures[:MAX_PICTURES]
    for name in names:
        size, limit = files[name].size, max_bytes(name) or 0
        if type(size) is not int or not 0 <= size <= limit:
            raise WeightsError(f"{repo} at {url} announces {size} bytes for {name}, where "
                               f"at most {limit} are taken; it is no model of AEHub.")
    return [files[name] for name in names]


def _foreign_files(files: dict[str, RepoSibling], folder: str, names: Collection[str], repo: str,
                   url: str) -> list[RepoSibling]:
    """The files of a model of another library, the config first."""
    wanted = [files[f"{folder}/{name}" if folder else name] for name in names]
    wanted += [files[CARD]] if CARD in files and not folder else []
    for file in wanted:
        limit = foreign.file_limit(file.rfilename, has_config=CONFIG in names)
        if type(file.size) is not int or not 0 <= file.size <= limit:
            raise WeightsError(f"{repo} at {url} announces {file.size} bytes for {file.rfilename}, "
                               f"where at most {limit} are taken; name another model.")
    total = sum(file.size or 0 for file in wanted)
    if total > foreign.MAX_BYTES:
        raise WeightsError(f"{repo} at {url} announces {total} bytes; at most {foreign.MAX_BYTES} "
                           "are taken. Name another model.")
    return wanted


def _foreign_kind(names: Iterable[str]) -> str:
    """Describe a repository that is no complete model of AEHub."""
    pickles = [name for name in names
               if name.endswith((".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"))]
    return "no model with weights in safetensors" + (
        f", and {pickles[0][:80]} is a pickle, which is never loaded" if pickles else "")


def check(folder: Path, sha256: str | None = None, revision: str | None = None
          ) -> dict[str, Any]:
    """Check the files of a model folder without loading the model; return its config.

    Args:
        folder: the model folder.
        sha256: required hash of the weights, if the registry pins it.
        revision: the revision requested; a tag of hashes must be that of the config.

    Raises:
        WeightsError: a file is damaged, or another than expected.
    """
    if (model := foreign.find(folder)) is not None:
        if sha256 is not None or is_tag(revision):
            raise WeightsError(f"{folder} holds a model of another library, not the one asked for; "
                               "fetch it from another hub.")
        model.check()
        return foreign.read_config(folder)
    config = read_raw_config(folder)
    data = read_file(folder, WEIGHTS, MAX_WEIGHTS)
    digest = hashlib.sha256(data).hexdigest()
    if digest != config.get("sha256"):
        raise WeightsError(f"{WEIGHTS} has the SHA-256 {digest[:16]}…, its config names "
                           f"{str(config.get('sha256'))[:16]}…; fetch it again.")
    if sha256 is not None and digest != sha256:
        raise WeightsError(f"{WEIGHTS} has the SHA-256 {digest[:16]}…, this AEHub knows the model "
                           f"by {sha256[:16]}…; upgrade aehub, or ask for a certain revision.")
    if is_tag(revision) and tag_of(config) != revision:
        raise WeightsError(f"its networks are {tag_of(config)}, not the {revision} asked for.")
    if problem := safetensors_error(data):
        raise WeightsError(f"{WEIGHTS} is not a safetensors file: {problem}.")
    return config


def _check_announced(folder: Path, files: list[RepoSibling]) -> None:
    """Compare the files with the hashes in the hub's list; the client compares sizes only."""
    for file in files:
        path = folder / Path(file.rfilename).name
        if file.lfs:
            with path.open("rb") as stream:
                announced, digest = _sha256(file), hashlib.file_digest(stream, "sha256")
        else:
            data = read_file(folder, path.name, file.size or 0)
            announced = file.blob_id
            digest = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False)
        if announced not in (None, digest.hexdigest()):
            raise WeightsError(f"{file.rfilename} is not what the hub's list names; fetch it "
                               "again.")


def _refuse_overwriting(folder: Path, force: bool) -> None:
    present = [name for name in (CONFIG, WEIGHTS, CARD) if (folder / name).exists()]
    present += sorted(path.name for path in folder.glob("*.safetensors"))
    if present and not force:
        raise ExistsError(f"{folder} already holds {present[0]}; choose another folder.",
                          "Or add --force.")
    if folder.exists() and not folder.is_dir():
        raise ExistsError(f"{folder} is a file; choose another name for the folder.")
    # The nearest existing parent must be writable.
    parent = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    refuse_overwriting(parent / CONFIG, force=True)


def _copy(folder: Path, target: Path) -> Path:
    """Copy a model's files to a folder of the user, each completely or not at all."""
    target.mkdir(parents=True, exist_ok=True)
    if (model := foreign.find(folder)) is not None:
        model.copy_to(target)
        return target
    names = [path.name for path in folder.iterdir() if max_bytes(path.name) is not None]
    # The config comes last, because a folder counts as a model once it has one.
    for name in sorted(names, key=lambda name: name == CONFIG):
        with open_output(target / name, force=True) as file:
            file.write((folder / name).read_bytes())
    return target
