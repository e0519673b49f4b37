"""Models that come with the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aehub.errors import WeightsError
from aehub.models.folder import CONFIG, config_of


def bundled_root() -> Path:
    """The folder of bundled models: inside an installed wheel, or beside the package."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_weights"
    return installed if installed.is_dir() else package.parent / "weights"


def bundled(name: str) -> Path | None:
    """The folder of the bundled model of that name."""
    # The names are listed and compared, never joined to a path: none can lead elsewhere.
    return next((folder for folder in folders() if folder.name == name), None)


def folders() -> list[Path]:
    """Folders of all bundled models, by name."""
    root = bundled_root()
    return [folder for folder in sorted(root.glob("*")) if (folder / CONFIG).is_file()]


def readable(folders: Iterator[Path] | list[Path]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """(folder, config) of those whose config can be read."""
    for folder in folders:
        try:
            yield folder, config_of(folder)
        except WeightsError:
            continue
