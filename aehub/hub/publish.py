"""Publish a model on a hub: its files, its card, and a tag made of its hashes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aehub.arguments import check_text
from aehub.errors import HubError, InputError, UnknownModel, WeightsError
from aehub.hub import remote
from aehub.hub.card import Measured, make_card, problems
from aehub.hub.download import check
from aehub.hub.registry import RepoRef, parse_ref
from aehub.hub.resolve import ModelName, local
from aehub.weights import foreign
from aehub.weights.architectures import architecture
from aehub.weights.model_folder import (
    CARD,
    WEIGHTS,
    max_bytes,
    stays_inside,
    tag_of,
)


def loaded_class(folder: Path) -> Any:
    """The class that loads a model folder, by the record of its architecture.

    Raises:
        WeightsError: the config cannot be read, or names an architecture that this AEHub lacks.
    """
    return architecture(foreign.read_config(folder).get("architecture")).loaded_class()


@dataclass(frozen=True)
class Published:
    """A model that was put on a hub.

    Attributes:
        repo: its repository.
        url: its page.
        commit: the commit that holds it.
        tag: the hashes of its networks, by which compressed files find it.
    """

    repo: str
    url: str
    commit: str
    tag: str

    def to_json(self) -> dict[str, Any]:
        """The attributes, in order."""
        return asdict(self)


def publish(name: ModelName, repo: str, *, endpoint: str | None = None, token: str | None = None,
            private: bool = False, message: str | None = None,
            measured: Measured | Callable[[], Measured] | None = None, codec: str | None = None,
            datasets: Sequence[str] = ()) -> Published:
    """Publish a model through huggingface_hub; the repository is created if it does not exist.

    Args:
        name: bundled name, cached hub id or folder. Only its config, weights, card and the
            card's pictures are uploaded.
        repo: repository to upload to, "org/name".
        endpoint: address of the hub; by default `HF_ENDPOINT`, or else https://huggingface.co.
        token: by default as huggingface_hub finds it.
        private: make a new repository private.
        message: of the commit; by default the name and the hashes of the model.
        measured: a comparison (`aehub.compare(...).to_dict()`) to write a new card from, or a
            function that measures one, called once everything else has been checked.
        codec: the model's name in the comparison.
        datasets: ids of the training data, for a new card.

    Returns:
        Repository, address, commit and tag.

    Raises:
        UnknownModel: there is no such model on this machine.
        WeightsError: it cannot be loaded, or its card would be refused by the hub.
        Offline: the hub cannot be reached.
        HubError: it refuses, or `repo` is no name of a repository.
    """
    folder, ref, url = _source_and_target(name, repo, endpoint)
    if foreign.find(folder) is not None:
        raise WeightsError(f"{folder} holds a model of another library; publish it with that one.")
    if callable(measured):
        check(folder)
        remote.check_reachable(url, remote.EXPLICIT_TIMEOUT)
        measured = measured()
    if measured is not None and not (isinstance(measured, Mapping) and "codecs" in measured):
        raise InputError(f"measured is a {type(measured).__name__}; give what "
                         "aehub.compare(...).to_dict() returns.")
    with tempfile.TemporaryDirectory() as temporary:
        staging = Path(temporary)
        _copy_files(folder, staging, repo, measured, codec, datasets)
        remote.check_reachable(url, remote.EXPLICIT_TIMEOUT)
        tag = _loaded_tag(staging)
        if tag is None:
            raise WeightsError(f"the config in {folder} names no hashes to make a tag of; save the "
                               "model again.")
        commit = _upload(staging, ref, url, token, private, tag,
                         message or f"{folder.name} as of {tag}")
    return Published(repo, f"{url}/{repo}", commit, tag)


def _loaded_tag(folder: Path) -> str | None:
    """The tag of a model that has been loaded, and so can be."""
    import torch

    model = loaded_class(folder).from_pretrained(
        folder, device=torch.device("cpu"), dtype=torch.float32)
    return tag_of(model.config)


def _source_and_target(name: ModelName, repo: str, endpoint: str | None
                       ) -> tuple[Path, RepoRef, str]:
    """The folder to upload, the repository to upload to, and the hub's address."""
    ref = parse_ref(check_text("the repository", repo, "org/name"))
    if ref is None or ref.revision is not None:
        raise HubError(f"{repo!r} is no name of a repository; give one such as org/name.")
    folder = local(name)
    if folder is None:
        raise UnknownModel(f"there is no model {str(name)[:120]!r} on this machine; give a bundled "
                           "name, a cached hub id, or the path of a model folder.")
    return folder, ref, remote.address(endpoint)


def _copy_files(folder: Path, staging: Path, repo: str, measured: Measured | None,
                codec: str | None, datasets: Sequence[str]) -> None:
    """Copy the files of a model, and no others of its folder; write its card if there is none."""
    for path in sorted(folder.iterdir()):
        if max_bytes(path.name) is None or not path.is_file():
            continue
        if not stays_inside(folder, path):
            raise WeightsError(f"{path} is a link to a file outside of its folder, which will not "
                               "be sent; put a copy of the file there.")
        shutil.copyfile(path, staging / path.name)
    config = check(staging)
    card = staging / CARD
    if measured is not None or not card.is_file():
        card.write_text(make_card(config, size_bytes=(staging / WEIGHTS).stat().st_size,
                                  measured=measured, codec=codec, datasets=datasets, repo=repo),
                        encoding="utf-8")
    wrong = [problem for problem in problems(card.read_text(encoding="utf-8", errors="replace"))
             # The training data may have no id.
             if "datasets" not in problem]
    if wrong:
        raise WeightsError(f"the card {folder / CARD} will not do: {wrong[0]}.")


def _upload(staging: Path, ref: RepoRef, url: str, token: str | None, private: bool, tag: str,
            message: str) -> str:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=url, token=token, library_name="aehub")
    with remote.translated_errors(ref, url):
        api.create_repo(ref.repo, private=private, exist_ok=True)
        sent = api.upload_folder(repo_id=ref.repo, folder_path=staging, commit_message=message)
        api.create_tag(ref.repo, tag=tag, revision=sent.oid, exist_ok=True)
    return str(sent.oid)
