"""Fetch a model from a hub, check all of it, and keep it in the cache.

Nothing is fetched but configuration, weights in safetensors, card and the card's pictures; sizes
are bounded before the first byte, and every hash the hub, the config and the registry tell must be
that of what came.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aehub.arguments import check_function, check_text
from aehub.errors import ExistsError, HubError, Offline, UnknownModel, WeightsError
from aehub.files import path_of, refuse_overwriting, written
from aehub.hub import cache, remote
from aehub.hub.bundled import bundled
from aehub.hub.meter import Meter
from aehub.hub.names import MAIN, HubName, is_commit, parse
from aehub.hub.registry import Known, known
from aehub.hub.remote import Listing, RemoteFile
from aehub.models.folder import (
    CARD,
    CONFIG,
    MAX_CONFIG,
    MAX_WEIGHTS,
    WEIGHTS,
    config_of,
    read_file,
    refuse_foreign,
)
from aehub.models.header import problem_of
from aehub.models.tag import is_tag, tag_of

Progress = Callable[[int, int], None]
PICTURE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,60}\.png")
"""Names of pictures that a card shows."""
_LIMITS = {CONFIG: MAX_CONFIG, WEIGHTS: MAX_WEIGHTS, CARD: 1_000_000}
_PICTURE_BYTES, _MOST_PICTURES = 4_000_000, 16
_OFF = ("0", "no", "off", "false", "never")


def may_fetch() -> bool:
    """Whether models may be fetched in passing, not only when asked (`AEHUB_AUTO_DOWNLOAD`)."""
    return os.environ.get("AEHUB_AUTO_DOWNLOAD", "").strip().lower() not in _OFF


def absent(name: str) -> Offline:
    """The error for a model that is not here and may not be fetched in passing."""
    return Offline(f"the model {name} is not on this machine, and none is fetched in passing; "
                   "press Download on the Models panel.", f"Or run aehub download {name}, "
                   "or unset AEHUB_AUTO_DOWNLOAD.")


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
        place, listing = _listing(entry, place, at, token, seconds)
    except Offline as error:
        if held is None or force:
            how = "not on this machine, and" if held is None else (
                f"on this machine, in {held}, and cannot be fetched again:")
            raise Offline(f"the model {entry.name} is {how} {error.message}", error.option
                          ) from error
        return held
    return _fetch(listing, place, at, entry.sha256, token, force, progress)


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
             ) -> tuple[HubName, Listing]:
    try:
        return place, remote.listing(place, at, token=token, seconds=seconds)
    except UnknownModel:
        # A hub without tags may still hold the very weights that the name means.
        if not is_tag(place.revision) or entry.sha256 is None:
            raise
        place = HubName(place.repo)
        found = remote.listing(place, at, token=token, seconds=seconds)
    weights = found.files.get(WEIGHTS)
    if weights is None or weights.sha256 != entry.sha256:
        raise WeightsError(f"{at} holds another {entry.name} than this AEHub knows; upgrade aehub, "
                           f"or ask for {place.repo}@{MAIN} to take what is there.")
    return place, found


def _fetch(listing: Listing, place: HubName, at: str, sha256: str | None,
           token: str | bool | None, force: bool, progress: Progress | None) -> Path:
    from huggingface_hub import hf_hub_download

    wanted = _wanted(listing, at)
    meter = Meter(sum(file.size or 0 for file in wanted), progress)

    def get(file: RemoteFile, revision: str) -> Path:
        with remote.translated(place, at):
            return Path(hf_hub_download(
                listing.repo, file.name, revision=revision, endpoint=at, token=token,
                force_download=force, library_name="aehub", tqdm_class=meter.bar(file.size)))

    # Asked for by branch or tag, the first file leaves a note in the cache which commit that is.
    folder = get(wanted[0], place.revision or MAIN).parent
    if folder.name != listing.commit:
        raise HubError(f"{listing.repo} changed at {at} while it was fetched; run it again.")
    for file in wanted[1:]:
        get(file, listing.commit)
    try:
        check(folder, sha256, place.revision)
        _check_announced(folder, wanted)
    except WeightsError as error:
        cache.forget(folder)
        raise WeightsError(f"what came from {at} for {listing.repo} is not what it should be and "
                           f"was thrown away: {error}") from error
    meter.finish()
    return folder


def _wanted(listing: Listing, at: str) -> list[RemoteFile]:
    """The files to fetch, the config first; all others of the repository stay where they are."""
    for name in (CONFIG, WEIGHTS):
        if name not in listing.files:
            raise WeightsError(
                f"{listing.repo} at {at} has no {name}; it is {_kind(listing)}"
                f"{_pickles(listing) if name == WEIGHTS else ''}.")
    pictures = sorted(filter(PICTURE.fullmatch, listing.files))[:_MOST_PICTURES]
    names = [name for name in (CONFIG, WEIGHTS, CARD, *pictures) if name in listing.files]
    for name in names:
        size, limit = listing.files[name].size, _LIMITS.get(name, _PICTURE_BYTES)
        if type(size) is not int or not 0 <= size <= limit:
            raise WeightsError(f"{listing.repo} at {at} announces {size} bytes for {name}, where "
                               f"at most {limit} are taken; it is no model of AEHub.")
    return [listing.files[name] for name in names]


def _kind(listing: Listing) -> str:
    if {"model_index.json", "diffusion_pytorch_model.safetensors"} & listing.files.keys():
        return "a model of diffusers, which this version of AEHub cannot read"
    return "no model of AEHub"


def _pickles(listing: Listing) -> str:
    others = [name for name in listing.files
              if name.endswith((".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"))]
    return f", and {others[0][:80]} is a pickle, which is never loaded" if others else ""


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
    config = config_of(folder)
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
    if problem := problem_of(data):
        raise WeightsError(f"{WEIGHTS} is not a safetensors file: {problem}.")
    return config


def _check_announced(folder: Path, files: list[RemoteFile]) -> None:
    """Hold what came against the hashes in the hub's own list."""
    for file in files:
        data = read_file(folder, file.name, _LIMITS.get(file.name, _PICTURE_BYTES))
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        if file.sha256 not in (None, hashlib.sha256(data).hexdigest()) or (
                file.git_sha1 not in (None, blob)):
            raise WeightsError(f"{file.name} is not what the hub's list names; fetch it again.")


def _refuse_overwriting(folder: Path, force: bool) -> None:
    held = [name for name in _LIMITS if (folder / name).exists()]
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
    names = [path.name for path in folder.iterdir()
             if path.name in _LIMITS or PICTURE.fullmatch(path.name)]
    # The config comes last: a folder is a model only when it is there.
    for name in sorted(names, key=lambda name: name == CONFIG):
        with written(target / name, force=True) as file:
            file.write((folder / name).read_bytes())
    return target
