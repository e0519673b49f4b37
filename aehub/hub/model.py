"""Loaded models that load from, save to and publish on hubs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch

from aehub.config import DEFAULT_CODEC
from aehub.errors import ModelError
from aehub.files import FilePath
from aehub.hub.card import Measured, make_card
from aehub.hub.download import download
from aehub.hub.publish import Published, loaded_class, publish
from aehub.hub.registry import parse_ref
from aehub.hub.resolve import ModelName, find
from aehub.weights.device import Device
from aehub.weights.model_folder import CARD, CONFIG, WEIGHTS, max_bytes

_Model = TypeVar("_Model", bound="Model")


class Model:
    """A loaded model, as `aehub.load` returns it.

    A loaded model is also an instance of the class that the record of its architecture names
    (`aehub.weights.architectures`), with all methods of that. In a model that gives out its latents
    `encode` turns frames, uint8 [H, W, 3] each, into latents, and `decode` turns latents into as
    many frames; a codec without latents has neither.

    Attributes:
        name: recorded in the files it writes.
        device: of its networks.
        config: contents of its config.json.
        folder: it was loaded from.

    Example:
        >>> model = aehub.Model.from_pretrained("org/name", revision="v1")
        >>> model.save_pretrained("my-model")
        >>> model.push_to_hub("me/my-model")
    """

    name: str
    device: torch.device
    config: dict[str, Any]
    folder: Path | None = None
    encode: Callable[..., Any]
    decode: Callable[..., Any]
    _loaded: type

    @classmethod
    def from_pretrained(cls: type[_Model], name: ModelName = DEFAULT_CODEC, *,
                        device: Device = "cpu", dtype: torch.dtype = torch.float32,
                        revision: str | None = None, endpoint: str | None = None,
                        token: str | bool | None = None, force_download: bool = False) -> _Model:
        """Load a model by name, fetching it first if it is only on a hub.

        Args:
            name: bundled name, hub id "org/name", or a model folder.
            device: of its networks, as `aehub.load`.
            dtype: of its float networks: torch.float32, float64, bfloat16 or float16.
            revision: branch, tag or commit of a hub id.
            endpoint: address of a hub; by default `HF_ENDPOINT`, or else https://huggingface.co.
            token: for private models; by default as huggingface_hub finds it.
            force_download: fetch again what is cached.

        Raises:
            UnknownModel: there is no such model.
            Offline: it has to be fetched, and there is no network.
            WeightsError: hashes, names, shapes or types do not agree.
            ModelError: it is of another kind than this class, or its self-test is not exact on
                this device in this dtype.
            InputError: the device is not on this machine, or networks cannot compute in the dtype.
        """
        text = name if revision is None else f"{os.fspath(name)}@{revision}"
        if isinstance(text, str) and parse_ref(text) and (endpoint or token or force_download):
            folder = download(text, endpoint=endpoint, token=token, force=force_download)
        else:
            folder = find(text)
        return cls.from_folder(folder, device=device, dtype=dtype)

    @classmethod
    def from_folder(cls: type[_Model], folder: Path, *, device: Device = "cpu",
                    dtype: torch.dtype = torch.float32) -> _Model:
        """Load a model folder.

        Args:
            folder: with config.json and model.safetensors.
            device: as `from_pretrained`.
            dtype: as `from_pretrained`.

        Raises:
            WeightsError: hashes, names, shapes or types do not agree.
            ModelError: it is of another kind than this class.
        """
        loaded = loaded_class(folder)
        kind = _with_hub(loaded)
        if not issubclass(kind, cls):
            raise ModelError(f"{folder.name} is of the class {loaded.__name__}, not of "
                             f"{cls.__name__}; load it with aehub.load.")
        # That of the loaded class, on the class with both.
        load = super(Model, kind).from_pretrained  # type: ignore[misc]
        model: _Model = load(folder, device=device, dtype=dtype)
        model.folder = folder
        return model

    def __reduce__(self) -> tuple[Any, ...]:
        # Its class is made at run time, so that a pickle cannot name it.
        return _blank, (self._loaded,), self.__dict__

    def save_pretrained(self, folder: FilePath) -> None:
        """Write config.json, model.safetensors and README.md; an existing card is kept.

        Args:
            folder: created if it does not exist.
        """
        target = Path(folder)
        self._save(target)
        # A model of another library has a card of its author.
        if not (target / CARD).exists() and (target / WEIGHTS).exists():
            size = (target / WEIGHTS).stat().st_size
            (target / CARD).write_text(make_card(self.config, size_bytes=size),
                                       encoding="utf-8")

    def _save(self, target: Path) -> None:
        """Write the model, and the card it was loaded with unless there is one."""
        super().save_pretrained(target)  # type: ignore[misc]
        source = self.folder
        if source is None or not (source / CARD).is_file() or (target / CARD).exists():
            return
        for path in source.iterdir():
            if max_bytes(path.name) is not None and path.name not in (CONFIG, WEIGHTS):
                shutil.copyfile(path, target / path.name)

    def push_to_hub(self, repo_id: str, *, endpoint: str | None = None, token: str | None = None,
                    private: bool = False, commit_message: str | None = None,
                    measured: Measured | None = None, datasets: Sequence[str] = ()) -> Published:
        """Put the model on a hub, card included.

        Args:
            repo_id: repository to upload to, "org/name"; created if it does not exist.
            endpoint: as `aehub.publish`.
            token: as `aehub.publish`.
            private: make a new repository private.
            commit_message: by default one with the name and the hashes of the model.
            measured: as `aehub.publish`.
            datasets: as `aehub.publish`.

        Raises:
            Offline: the hub cannot be reached.
            HubError: it refuses.
        """
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary, self.name)
            # A missing card is written by `publish`, which knows the repository.
            self._save(folder)
            return publish(str(folder), repo_id, endpoint=endpoint, token=token, private=private,
                           message=commit_message, measured=measured, datasets=datasets)


@cache
def _with_hub(loaded: type) -> Any:
    """The class of loaded models that are also a `Model`."""
    return type(loaded.__name__, (Model, loaded),
                {"__doc__": loaded.__doc__, "__module__": loaded.__module__, "_loaded": loaded})


def _blank(loaded: type) -> Any:
    """A model without attributes, for pickles and copies."""
    kind = _with_hub(loaded)
    return kind.__new__(kind)
