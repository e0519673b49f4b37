"""Model folders of other libraries, described by the fields of our config.json.

    diffusers   config.json with _class_name, and diffusion_pytorch_model.safetensors or its shards;
                of a pipeline, the sub-folder vae/
    TAESD       NAME_encoder.safetensors and NAME_decoder.safetensors, or one file with the tensors
                of both, whose names begin with encoder. and decoder.; no config.json

The records of architectures say which classes of other libraries they read (`foreign_classes`).
A model is identified by the SHA-256 of its config and its weights, of which compressed files carry
the first half.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from aehub.errors import WeightsError
from aehub.files import is_lfs_pointer, open_output
from aehub.weights.architectures import Architecture, architectures
from aehub.weights.model_folder import (
    CONFIG,
    MAX_HEADER,
    MAX_WEIGHTS,
    WEIGHTS,
    is_complete,
    read_raw_config,
    stays_inside,
)

if TYPE_CHECKING:
    from torch import Tensor

SUBFOLDER = "vae"
"""Folder of the autoencoder in a pipeline of diffusers."""
TAESD = "TAESD"
"""Class of models in the layout of madebyollin/taesd."""
INDEX = "diffusion_pytorch_model.safetensors.index.json"
MAX_BYTES = 16 << 30
"""Bytes of all weight files of a model."""
MAX_INDEX = 4_000_000
"""Bytes of the index of shards, and of a config."""
_CLASS = "_class_name"
_SINGLE = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors",
           WEIGHTS)
_SHARD = re.compile(r"diffusion_pytorch_model-(\d{5})-of-(\d{5})\.safetensors")
_HALF = re.compile(r"([A-Za-z0-9._-]{0,80}?)_?(?:encoder|decoder)\.safetensors")
_BLOB, _NOT_IN_NAMES = re.compile(r"[0-9a-f]{64}"), re.compile(r"[^A-Za-z0-9._-]+")


def weight_files(names: Collection[str]) -> tuple[str, ...]:
    """The weight files of a model of another library among the names of a folder; empty if none.

    Raises:
        WeightsError: a shard is missing.
    """
    shards = sorted(match[0] for name in names if (match := _SHARD.fullmatch(name)))
    if INDEX in names or shards:
        count = int(shards[0][-17:-12]) if shards else 1
        wanted = [f"diffusion_pytorch_model-{number:05}-of-{count:05}.safetensors"
                  for number in range(1, count + 1)]
        if missing := sorted({*wanted} - {*shards}):
            raise WeightsError(f"the weights lack the shard {missing[0]}; fetch the model again.")
        return tuple(wanted)
    if found := [name for name in _SINGLE if name in names]:
        return (found[0],)
    stems = sorted(match[1] for name in names if (match := _HALF.fullmatch(name)))
    for stem in stems:
        pair = tuple(f"{stem}{'_' * bool(stem)}{half}.safetensors"
                     for half in ("encoder", "decoder"))
        if {*pair} <= {*names}:
            return pair
    return ()


def locate(names: Collection[str]) -> tuple[str, tuple[str, ...]] | None:
    """Find a model of another library among the paths of a repository.

    Returns:
        Its sub-folder, "" or "vae", and the names of its files there, the config first; None if
        there is none.

    Raises:
        WeightsError: a shard is missing.
    """
    for folder in ("", SUBFOLDER):
        begin = f"{folder}/" if folder else ""
        here = {name.removeprefix(begin) for name in names if name.startswith(begin)}
        if (files := weight_files(here)) and (CONFIG in here or _needs_no_config(files)):
            return folder, (*(name for name in (CONFIG, INDEX) if name in here), *files)
    return None


def _needs_no_config(files: tuple[str, ...]) -> bool:
    """Return whether weight files may be of the TAESD family, whose shapes say all."""
    return not files[0].startswith("diffusion_pytorch_model")


def model_folder(folder: Path) -> Path | None:
    """The folder of the model in this one: itself, or vae/ of a pipeline; None if it holds none."""
    if is_complete(folder) or (folder / CONFIG).is_file() and not _is_pipeline(folder):
        return folder
    found = locate(_names(folder)) if folder.is_dir() else None
    return None if found is None else folder / found[0]


def _is_pipeline(folder: Path) -> bool:
    return (folder / "model_index.json").is_file()


def _names(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for below in ("*.*", f"{SUBFOLDER}/*.*")
            for path in folder.glob(below)]


@dataclass(frozen=True)
class ForeignModel:
    """A model folder of another library.

    Attributes:
        folder: that holds the files.
        class_name: class of that library.
        arguments: of the class, unchecked.
        files: the weights.
    """

    folder: Path
    class_name: str
    arguments: Mapping[str, Any]
    files: tuple[Path, ...]

    @property
    def name(self) -> str:
        """Name for the files that it writes: of the repository, or of the folder."""
        home = self.folder.parent if self.folder.name == SUBFOLDER else self.folder
        home = home.resolve() if home.name in ("", "..") else home
        repository = home.parent.parent.name if home.parent.name == "snapshots" else ""
        name = repository.rpartition("--")[2] or home.name
        return _NOT_IN_NAMES.sub("-", name).strip("-._")[:40] or "model"

    @property
    def size_bytes(self) -> int:
        """Bytes of the weights."""
        return sum(path.stat().st_size for path in self.files)

    @property
    def n_parameters(self) -> int:
        """Numbers in the weights, by their headers."""
        return sum(_count(path) for path in self.files)

    def digest(self, *, trust_cache: bool = False) -> bytes:
        """SHA-256 of class, arguments and weights: 32 bytes.

        Args:
            trust_cache: take the hashes of files in the cache of huggingface_hub from their names.
        """
        described = json.dumps([self.class_name, self.arguments], sort_keys=True)
        sha256 = hashlib.sha256(described.encode())
        for path in self.files:
            target = path.resolve()
            is_named = trust_cache and target.parent.name == "blobs" and _BLOB.fullmatch(
                target.name)
            state = target.stat()
            sha256.update(bytes.fromhex(target.name) if is_named else
                          file_sha256(target, state.st_size, state.st_mtime_ns))
        return sha256.digest()

    def check(self) -> None:
        """Check the files without reading the tensors.

        Raises:
            WeightsError: one is no file of safetensors, or a link out of the folder.
        """
        for path in self.files:
            _check_file(self.folder, path)
            with _opened(path):
                pass

    def copy_to(self, folder: Path) -> None:
        """Copy config, index and weights to a folder, created if missing; the config last."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = [*self.files, *(self.folder / name for name in (INDEX, CONFIG))]
        for path in filter(Path.is_file, paths):
            with open_output(folder / path.name, force=True) as file, path.open("rb") as source:
                shutil.copyfileobj(source, file)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors, mapped from the files; those of a pair of files get their prefixes.

        Raises:
            WeightsError: a file cannot be read, or two files hold a tensor of the same name.
        """
        found: dict[str, Tensor] = {}
        for path in self.files:
            _check_file(self.folder, path)
            half = _HALF.fullmatch(path.name)
            prefix = f"{path.stem.rpartition('_')[2]}." if half else ""
            with _opened(path) as file:
                for name in file.keys():  # noqa: SIM118 - no mapping
                    full = name if name.startswith(prefix) else prefix + name
                    if full in found:
                        raise WeightsError(f"{path} holds {name!r}, which another file of "
                                           f"{self.folder} holds too; fetch the model again.")
                    found[full] = file.get_tensor(name)
        return found


def file_limits(folder: Path) -> dict[str, int]:
    """Size limits in bytes of the files of a model of another library; empty if there is none."""
    try:
        found = locate(_names(folder))
    except WeightsError:
        return {}
    return {name: file_limit(name) for name in found[1]} if found and not found[0] else {}


def file_limit(name: str, *, has_config: bool = True) -> int:
    """Size limit in bytes of a file of another library's model; without a config it is one of the
    TAESD family, which are small."""
    if not name.endswith(".safetensors"):
        return MAX_INDEX
    return MAX_BYTES if has_config else MAX_WEIGHTS


def find(folder: Path) -> ForeignModel | None:
    """The model of another library in a folder; None if the folder holds one of AEHub, or none.

    Raises:
        WeightsError: its config cannot be read, or files are missing.
    """
    config = read_raw_config(folder) if (folder / CONFIG).is_file() else {_CLASS: TAESD}
    class_name = config.get(_CLASS)
    if "architecture" in config or not isinstance(class_name, str):
        return None
    files = weight_files([path.name for path in folder.glob("*.*")])
    if class_name == TAESD and not (files and _needs_no_config(files)):
        return None
    if not files:
        raise WeightsError(f"{folder} has no weights in safetensors, such as {_SINGLE[0]}; other "
                           "formats are never loaded.")
    arguments = {key: value for key, value in config.items() if not key.startswith("_")}
    return ForeignModel(folder, class_name, arguments, tuple(folder / name for name in files))


def read_config(folder: Path, *, hashes: bool = False) -> dict[str, Any]:
    """config.json of a model of AEHub, or a description of another library's in the same fields.

    Args:
        folder: of the model.
        hashes: add the hashes of another library's model, for which its weights are read.

    Raises:
        WeightsError: it cannot be read, or is of a class that this AEHub does not read.
    """
    model = find(folder)
    if model is None:
        config = read_raw_config(folder)
        if config.get("architecture") is None and "model_type" in config:
            raise WeightsError(f"{folder} holds a model {str(config['model_type'])[:60]!r} of "
                               "transformers; give an autoencoder of diffusers, or a model of "
                               "AEHub.")
        return config
    record = _record_of(model.class_name, folder)
    config = {"architecture": record.name, "class": model.class_name, "name": model.name,
              "task": record.task, "arguments": dict(model.arguments),
              "parameters": model.n_parameters, "bytes": model.size_bytes}
    if hashes:
        digest = model.digest().hex()
        config |= {"entropy_hash": digest[:16], "synthesis_hash": digest[16:32], "sha256": digest}
    return config


def check_class(folder: Path) -> None:
    """Check that the config of a folder is one of AEHub, or of a class that it reads.

    Raises:
        WeightsError: it is not.
    """
    config = read_raw_config(folder)
    if "architecture" not in config and isinstance(name := config.get(_CLASS), str):
        _record_of(name, folder)


def _record_of(class_name: str, folder: Path) -> Architecture:
    records = architectures().values()
    record = next((record for record in records if class_name in record.foreign_classes), None)
    if record is None:
        known = sorted(name for record in records for name in record.foreign_classes)
        raise WeightsError(f"{folder} holds a {class_name[:60]!r} of diffusers; AEHub reads "
                           f"{', '.join(known)}. Give one of these.")
    return record


@lru_cache(maxsize=64)
def file_sha256(path: Path, size: int, stamp: int) -> bytes:
    """SHA-256 of a file of this size and time stamp, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _check_file(folder: Path, path: Path) -> None:
    if not stays_inside(folder, path):
        raise WeightsError(f"{path} is a link to a file outside of its folder; put a copy of the "
                           "file there.")
    with path.open("rb") as file:
        first = file.read(200)
    if is_lfs_pointer(first):
        raise WeightsError(f"{path} is a Git LFS pointer instead of the file itself; run git lfs "
                           "pull in its folder, or download the model again.")
    if int.from_bytes(first[:8], "little") > MAX_HEADER:
        raise WeightsError(f"{path} is not a safetensors file: its header is longer than "
                           f"{MAX_HEADER} bytes; download the model again.")


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, "pt")
    except (SafetensorError, OSError) as err:
        reason = str(err).partition("\n")[0][:200]
        raise WeightsError(f"{path} is not a safetensors file: {reason}; download the model "
                           "again.") from err


def _count(path: Path) -> int:
    """Numbers in a file of safetensors, by its header; 0 if it cannot be read."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length <= MAX_HEADER else {}
        shapes = [entry["shape"] for name, entry in header.items() if name != "__metadata__"]
        return sum(math.prod(shape) for shape in shapes)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return 0
