"""Pictures of the page in README and docs, stamped with a digest of all that draws the page."""

from __future__ import annotations

import hashlib
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pageserver import ROOT

PICTURES = {"docs/page.png": (1280, 920)}
"""Path of each picture and size of its window; `make pictures` makes them."""
_KEY = "page"


def digest(root: Path = ROOT) -> str:
    """SHA-256 of everything below `aehub/ui`, the finished example included, and Gradio's pin."""
    page = root / "aehub" / "ui"
    files = [path for path in page.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    pins = (root / "requirements.txt").read_text(encoding="utf-8").splitlines()
    found = hashlib.sha256(next(pin for pin in pins if pin.startswith("gradio==")).encode())
    for path in sorted(files, key=lambda path: path.relative_to(root).as_posix()):
        found.update(path.relative_to(root).as_posix().encode())
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def stamp(screenshot: Path, picture: Path) -> None:
    """Write a screenshot of the page as it is to `picture`."""
    text = PngInfo()
    text.add_text(_KEY, digest())
    with Image.open(screenshot) as image:
        image.save(picture, pnginfo=text, optimize=True)


def is_stale(picture: Path, root: Path = ROOT) -> bool:
    """Tell if the page has changed since the picture was made."""
    with Image.open(picture) as image:
        return image.info.get(_KEY) != digest(root)
