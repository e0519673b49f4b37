"""The page: a browser's way to the public functions. `build` makes it, `serve` runs it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from aehub.proxies import usable_proxies
from aehub.ui import environment

if TYPE_CHECKING:
    from aehub.ui.page import build
    from aehub.ui.server import serve

__all__ = ["build", "serve"]

_HOMES = {"build": "page", "serve": "server"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    environment.check()
    # Gradio makes HTTP clients when it is imported.
    with usable_proxies(none=True):
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
