"""Loops over samples and symbols that Numba compiles."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cached_property, update_wrapper
from typing import Any


def numba_is_loaded() -> bool:
    """Return whether Numba is imported already: some loops are worth it only then."""
    return "numba" in sys.modules


class compiled:
    """A loop that Numba compiles at its first call, keeping the result on disk.

    Kept beside the package, in `NUMBA_CACHE_DIR` or in the user's cache folder; where none of them
    can be written it is compiled in every process. Numba itself is imported by the first call of
    any loop: that takes half a second, which reading a file's header or a picture need not.
    """

    def __init__(self, loop: Callable[..., Any]) -> None:
        self.loop = loop
        update_wrapper(self, loop)

    @cached_property
    def dispatcher(self) -> Any:
        """The loop as Numba knows it."""
        from numba import njit

        options: dict[str, Any] = {"nogil": True, "fastmath": {"contract", "reassoc", "nsz"}}
        try:
            return njit(cache=True, **options)(self.loop)
        except RuntimeError:
            return njit(**options)(self.loop)

    @property
    def _numba_type_(self) -> Any:
        """Type by which Numba compiles the calls of other loops to this one."""
        return self.dispatcher._numba_type_

    def __call__(self, *arguments: Any) -> Any:
        return self.dispatcher(*arguments)
