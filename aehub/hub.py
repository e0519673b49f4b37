"""Models by name: where their folders are.

A name is looked up among the models that come with the package, then as a folder on disk.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aehub.errors import UnknownModel

if TYPE_CHECKING:
    from aehub.codec.model import Codec


def bundled_root() -> Path:
    """The folder of bundled models: inside an installed wheel, or beside the package."""
    package = Path(__file__).resolve().parent
    installed = package / "_weights"
    return installed if installed.is_dir() else package.parent / "weights"


@dataclass(frozen=True)
class ModelEntry:
    """One known model.

    Attributes:
        name: what `load` takes.
        task: what it does, e.g. "video-compression".
        parameters: stored numbers.
        bytes: size of its weight file.
        state: where it is: "bundled" or "folder".
        folder: its folder.
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


def find(name: str | os.PathLike[str]) -> Path:
    """The folder of a model.

    Args:
        name: name of a bundled model, or a path to a model folder.

    Raises:
        UnknownModel: there is no such model.
    """
    text = os.fspath(name)
    bundled = bundled_root() / text
    if "/" not in text and text not in ("", ".", "..") and (bundled / "config.json").is_file():
        return bundled
    if (Path(text) / "config.json").is_file():
        return Path(text)
    known = ", ".join(entry.name for entry in list_models()) or "none"
    raise UnknownModel(f"there is no model {text!r} here; known are: {known}. "
                       "Give one of these names, or the path of a model folder.")


def list_models() -> list[ModelEntry]:
    """Every bundled model, by name. Reads configs and cards, never weights."""
    root = bundled_root()
    return [_entry(folder) for folder in sorted(root.glob("*"))
            if (folder / "config.json").is_file()]


def _entry(folder: Path) -> ModelEntry:
    config = json.loads((folder / "config.json").read_text())
    weights = folder / "model.safetensors"
    return ModelEntry(
        name=config["name"], task=config["task"], parameters=config["parameters"],
        bytes=weights.stat().st_size if weights.exists() else 0, state="bundled",
        folder=str(folder), summary=_summary(folder / "README.md"))


def _summary(card: Path) -> str:
    """First line of prose of a card."""
    if not card.exists():
        return ""
    body = card.read_text().split("---", 2)[-1]
    lines = (line.strip() for line in body.splitlines())
    return next((line for line in lines if line and line[0] not in "#|![<"), "")


def load(name: str | os.PathLike[str] = "d4-codec", *, device: str = "auto") -> Codec:
    """Load a model, once: later calls with the same arguments return the same object.

    Args:
        name: name of a bundled model, or a path to a model folder.
        device: "cpu", "cuda", or "auto" for the best there is.

    Raises:
        UnknownModel: there is no such model.
        WeightsError: its weights are damaged, tampered with or of another architecture.
    """
    folder = find(name).resolve()
    stamp = (folder / "model.safetensors").stat().st_mtime_ns if (
        folder / "model.safetensors").exists() else 0
    return _load(folder, stamp, _device(device))


@lru_cache(maxsize=8)
def _load(folder: Path, stamp: int, device: str) -> Codec:
    from aehub.codec.model import Codec

    return Codec.from_pretrained(folder, device=device)


def _device(device: str) -> str:
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
