"""Fetch a model from a hub, check all of it, and keep it in the cache.

Nothing is fetched but configuration, weights in safetensors, card and the card's pictures; sizes
are bounded before the first byte, and every hash the hub, the config and the registry tell must be
that of what came.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aehub.arguments import check_function, check_text
from aehub.errors import ExistsError, HubError, Offline, UnknownModel, WeightsError
from aehub.files import path_of, refuse_overwriting, written
from aehub.hub import cache, remote
from aehub.hub.registry import MAIN, HubName, Known, bundled, is_commit, known, parse
from aehub.weights.model_folder import (
    CARD,
    CONFIG,
    MAX_WEIGHTS,
    WEIGHTS,
    is_tag,
    max_bytes,
    read_file,
    read_raw_config,
    refuse_foreign,
    safetensors_error,
    tag_of,
)

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo
    from huggingface_hub.hf_api import RepoSibling

Progress = Callable[[int, int], None]
_MOST_PICTURES = 16


def download(name: str = "d4-codec", *, to: str | os.PathLike[str] | None = None,
             endpoint: str | None = None, token: str | bool | None = None, force: bool = False,
             progress: Progress | None = None, patient: bool = True) -> Path:
    """Fetch a model and check it; a bundled or cached one is only checked.

    Args:
        name: bundled or known name, or hub id "org/name" or "org/name@revision".
        to: folder that shall hold the model's files; by default the cache of huggingface_hub.
        endpoint: address of a hub, or of a running AEHub; by default `HF_ENDPOINT`, or else
            https://huggingface.co. A name without a slash then means `aehub/NAME` there.
        token: for private models; by default as huggingface_hub finds it, but never sent to an
            `endpoint` given here.
        force: fetch again what is cached, and overwrite files in `to`.
        progress: called as `progress(done, total)` in bytes.
        patient: wait for a slow network.

    Returns:
        The folder of the model.

    Raises:
        UnknownModel: there is no such model.
        Offline: there is no network.
        HubError: the hub refuses, or `endpoint` is no address.
        WeightsError: what came is not what it should be; it is not kept.
        ExistsError: `to` holds files already and `force` is not set.
    """
    check_function("progress", progress)
    target = None if to is None else path_of(to, "folder")
    if target is not None:
        _refuse_overwriting(target, force)
    entry = _known(name)
    if endpoint is None and bundled(entry.name) is not None:
        folder = bundled(entry.name) or Path()
        check(folder, entry.sha256)
    else:
        seconds = remote.PATIENT if patient else remote.HASTY
        folder = _fetched(entry, endpoint, token, force, progress, seconds)
    return folder if target is None else _copied(folder, target)


def _known(name: str) -> Known:
    place, listed = parse(check_text("the model", name, "d4-codec or org/name")), known()
    if name in listed:
        return listed[name]
    if place is None:
        raise UnknownModel(f"{str(name)[:120]!r} is no name of a model to fetch; give one of "
                           f"{', '.join(listed)}, or a hub id such as org/name or "
                           "org/name@revision.")
    return Known(name, place.repo, revision=place.revision)


def _fetched(entry: Known, endpoint: str | None, token: str | bool | None, force: bool,
             progress: Progress | None, seconds: float) -> Path:
    place = HubName(entry.repo, entry.revision)
    held = _sound(cache.snapshot(*place), entry)
    if held is not None and not force and (is_commit(place.revision) or is_tag(place.revision)):
        # What such a revision names never changes, so nobody needs to be asked.
        return held
    at, token = remote.address(endpoint), remote.credential(endpoint, token)
    try:
        place, info = _listing(entry, place, at, token, seconds)
    except Offline as error:
        if held is None or force:
            how = "not on this machine, and" if held is None else (
                f"on this machine, in {held}, and cannot be fetched again:")
            raise Offline(f"the model {entry.name} is {how} {error.message}", error.option
                          ) from error
        return held
    return _fetch(info, place, at, entry.sha256, token, force, progress)


def _sound(folder: Path | None, entry: Known) -> Path | None:
    """The folder if its files are what they should be; a damaged one is thrown away."""
    try:
        if folder is not None:
            check(folder, entry.sha256, entry.revision)
    except WeightsError:
        cache.forget(folder or Path())
        return None
    return folder


def _listing(entry: Known, place: HubName, at: str, token: str | bool | None, seconds: float
             ) -> tuple[HubName, ModelInfo]:
    try:
        return place, remote.listing(place, at, token=token, seconds=seconds)
    except UnknownModel:
        # A hub without tags may still hold the very weights that the name means.
        if not is_tag(place.revision) or entry.sha256 is None:
            raise
        place = HubName(place.repo)
        found = remote.listing(place, at, token=token, seconds=seconds)
    if entry.sha256 not in [_sha256(file) for file in found.siblings or ()
                            if file.rfilename == WEIGHTS]:
        raise WeightsError(f"{at} holds another {entry.name} than this AEHub knows; upgrade aehub, "
                           f"or ask for {place.repo}@{MAIN} to take what is there.")
    return place, found


def _sha256(file: RepoSibling) -> str | None:
    """The SHA-256 of a file as the hub announces it; None if it does not tell."""
    return file.lfs["sha256"] if file.lfs else None


def _fetch(info: ModelInfo, place: HubName, at: str, sha256: str | None,
           token: str | bool | None, force: bool, progress: Progress | None) -> Path:
    # One file at a time and in this thread: where `snapshot_download` waits for its own threads, an
    # interrupt ends the download only when the file is there.
    from huggingface_hub import hf_hub_download

    wanted = _wanted(info, place.repo, at)
    total, folder = sum(file.size or 0 for file in wanted), Path()
    done = [0]

    def count(more: int) -> None:
        done[0] += more
        if progress is not None:
            progress(min(done[0], total), total)

    # Asked for by branch or tag, the first file leaves a note in the cache which commit that is.
    for file, revision in zip(wanted, [place.revision or MAIN] + [info.sha] * len(wanted)):
        with remote.translated(place, at):
            folder = Path(hf_hub_download(
                place.repo, file.rfilename, revision=revision, endpoint=at, token=token,
                force_download=force, library_name="aehub", tqdm_class=_bar(file.size or 0, count))
            ).parent
        if folder.name != info.sha:
            raise HubError(f"{place.repo} changed at {at} while it was fetched; run it again.")
    try:
        check(folder, sha256, place.revision)
        _check_announced(folder, wanted)
    except WeightsError as error:
        cache.forget(folder)
        raise WeightsError(f"what came from {at} for {place.repo} is not what it should be and "
                           f"was thrown away: {error}") from error
    # Files that were in the cache before were not counted.
    count(total - done[0])
    return folder


def _bar(limit: int, count: Callable[[int], None]) -> type[Any]:
    """The client's progress bar for one file: it counts instead of drawing, up to `limit` bytes."""
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
            """Bytes on the way to `update`, where the client tells them apart."""

        set_transfer_postfix_str = update_transfer

    return Bar


def _wanted(info: ModelInfo, repo: str, at: str) -> list[RepoSibling]:
    """The files to fetch, the config first; all others of the repository stay where they are."""
    files = {file.rfilename: file for file in info.siblings or ()}
    for name in (CONFIG, WEIGHTS):
        if name not in files:
            raise WeightsError(f"{repo} at {at} has no {name}; it is {_other(files)}.")
    first = [name for name in (CONFIG, WEIGHTS, CARD) if name in files]
    pictures = sorted(name for name in files if max_bytes(name) is not None and name not in first)
    names = first + pictures[:_MOST_PICTURES]
    for name in names:
        size, limit = files[name].size, max_bytes(name) or 0
        if type(size) is not int or not 0 <= size <= limit:
            raise WeightsError(f"{repo} at {at} announces {size} bytes for {name}, where "
                               f"at most {limit} are taken; it is no model of AEHub.")
    return [files[name] for name in names]


def _other(names: Iterable[str]) -> str:
    """What a repository that is no whole model of AEHub is."""
    if {"model_index.json", "diffusion_pytorch_model.safetensors"}.intersection(names):
        return "a model of diffusers, which this version of AEHub cannot read"
    pickles = [name for name in names
               if name.endswith((".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"))]
    return "no model of AEHub" + (
        f", and {pickles[0][:80]} is a pickle, which is never loaded" if pickles else "")


def check(folder: Path, sha256: str | None = None, revision: str | None = None
          ) -> dict[str, Any]:
    """Check the files of a model folder without running anything; returns its config.

    Args:
        folder: the model folder.
        sha256: what its weights must have, if that is known from elsewhere.
        revision: what was asked for; a tag of hashes must be the config's.

    Raises:
        WeightsError: they are damaged, or others than expected.
    """
    config = read_raw_config(folder)
    refuse_foreign(folder, config)
    data = read_file(folder, WEIGHTS, MAX_WEIGHTS)
    digest = hashlib.sha256(data).hexdigest()
    if digest != config.get("sha256"):
        raise WeightsError(f"{WEIGHTS} has the SHA-256 {digest[:16]}…, its config names "
                           f"{str(config.get('sha256'))[:16]}…; fetch it again.")
    if sha256 is not None and digest != sha256:
        raise WeightsError(f"{WEIGHTS} has the SHA-256 {digest[:16]}…, this AEHub knows the model "
                           f"by {sha256[:16]}…; upgrade aehub, or ask for a certain revision.")
    if is_tag(revision) and tag_of(config) != revision:
        raise WeightsError(f"its networks are {tag_of(config)}, asked for was {revision}.")
    if problem := safetensors_error(data):
        raise WeightsError(f"{WEIGHTS} is not a safetensors file: {problem}.")
    return config


def _check_announced(folder: Path, files: list[RepoSibling]) -> None:
    """Hold what came against the hashes in the hub's own list; the client compares sizes only."""
    for file in files:
        data = read_file(folder, file.rfilename, max_bytes(file.rfilename) or 0)
        if file.lfs:
            told, digest = _sha256(file), hashlib.sha256(data)
        else:
            told = file.blob_id
            digest = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False)
        if told not in (None, digest.hexdigest()):
            raise WeightsError(f"{file.rfilename} is not what the hub's list names; fetch it "
                               "again.")


def _refuse_overwriting(folder: Path, force: bool) -> None:
    held = [name for name in (CONFIG, WEIGHTS, CARD) if (folder / name).exists()]
    if held and not force:
        raise ExistsError(f"{folder} already holds {held[0]}; choose another folder.",
                          "Or add --force.")
    if folder.exists() and not folder.is_dir():
        raise ExistsError(f"{folder} is a file; choose another name for the folder.")
    # What is there of it must take files, or folders.
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    refuse_overwriting(there / CONFIG, force=True)


def _copied(folder: Path, target: Path) -> Path:
    """Copies of a model's files in a folder of the user's own, each whole or not at all."""
    target.mkdir(parents=True, exist_ok=True)
    names = [path.name for path in folder.iterdir() if max_bytes(path.name) is not None]
    # The config comes last: a folder is a model only when it is there.
    for name in sorted(names, key=lambda name: name == CONFIG):
        with written(target / name, force=True) as file:
            file.write((folder / name).read_bytes())
    return target
