"""The border to the browser: errors become sentences, model work goes to a GPU if one is lent."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

import gradio as gr

from aehub.errors import AEHubError

_Function = TypeVar("_Function", bound=Callable[..., Any])
GPU_SECONDS = 120


def errors_shown(handler: _Function) -> _Function:
    """Turn every error meant for the user into one sentence on the page; no traceback is printed.

    Works for functions and for generators; anything else stays a generic error of the page.
    """
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def generator(*args: Any, **kwargs: Any) -> Any:
            try:
                yield from handler(*args, **kwargs)
            except AEHubError as error:
                raise _to_gradio_error(error) from error

        return generator  # type: ignore[return-value]

    @functools.wraps(handler)
    def function(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except AEHubError as error:
            raise _to_gradio_error(error) from error

    return function  # type: ignore[return-value]


def _to_gradio_error(error: AEHubError) -> gr.Error:
    text = page_message(error)
    return gr.Error(text, title="That did not work", duration=12, print_exception=False)


def page_message(error: AEHubError) -> str:
    """What the visitor reads: no options, and a capital first, unless it is the name of a file."""
    text = error.message
    return text[:1].upper() + text[1:] if text.split(" ")[0].isalpha() else text


def gpu(handler: _Function) -> _Function:
    """Borrow a GPU for a handler on ZeroGPU Spaces; everywhere else, the handler itself."""
    try:
        spaces: Any = import_module("spaces")
    except ImportError:
        return handler
    lent: _Function = spaces.GPU(duration=GPU_SECONDS)(handler)
    return lent
