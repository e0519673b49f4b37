"""A decorator of page handlers: errors as messages."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import gradio as gr

from aehub.errors import AEHubError

_Function = TypeVar("_Function", bound=Callable[..., Any])


def errors_shown(handler: _Function) -> _Function:
    """Show every `AEHubError` of a handler as one sentence on the page; no traceback is printed.

    Works for functions and for generators. Other exceptions stay a generic error of the page.
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
    """Return the message without options, capitalised unless it begins with the name of a file."""
    text = error.message
    return text[:1].upper() + text[1:] if text.split(" ")[0].isalpha() else text
