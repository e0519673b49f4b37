"""Hierarchy of all errors that AEHub raises on purpose, and counts in words for messages.

    AEHubError
    ├── InputError (ValueError)      the clip, picture or argument given cannot be used
    │   ├── LimitError               it is too large or too long; the message states the limit
    │   └── BusyError                another process uses it; the same call works later
    ├── FormatError (ValueError)     the .aev file is not one, is newer, damaged or cut off
    │   └── DamagedError             some groups are lost; the intact ones were returned first
    ├── ModelError                   a model cannot be used
    │   ├── UnknownModel (KeyError)  no model of that name is bundled, cached or reachable
    │   └── WeightsError             missing, tampered or wrong weights: hash, key, shape or dtype
    ├── HubError (OSError)           a hub could not be reached or refused
    │   └── Offline                  the network is needed and absent or switched off
    └── ExistsError (FileExistsError)  the output exists and --force was not given

A message is one sentence or two: the value, the limit, the remedy. Remedies by a command line
option, an argument or a variable are kept apart in `option`: visitors of the page have none.
"""

from __future__ import annotations

import os


class AEHubError(Exception):
    """Root of all errors raised on purpose; `str(error)` is meant for the user.

    Args:
        message: for all users.
        option: a further sentence on options and variables, for whoever runs the program.
    """

    def __init__(self, message: str = "", option: str = "") -> None:
        super().__init__(message or self.__class__.__name__)
        self.option = option

    @property
    def message(self) -> str:
        """The part of the message for all users."""
        # KeyError and OSError format their arguments in their own way.
        return str(self.args[0])

    def __str__(self) -> str:
        return f"{self.message} {self.option}".rstrip()


class InputError(AEHubError, ValueError):
    """The clip, picture or argument given cannot be used."""


class LimitError(InputError):
    """The input is larger, longer or more than a stated limit."""


class BusyError(InputError):
    """Another process uses what is needed; the same call works once it is done."""


class FormatError(AEHubError, ValueError):
    """The bytes are not a readable `.aev` file."""


class DamagedError(FormatError):
    """Part of a `.aev` file is lost; raised after all intact groups were returned."""


class ModelError(AEHubError):
    """A model cannot be used."""


class UnknownModel(ModelError, KeyError):
    """No model of that name is bundled, cached or reachable."""


class WeightsError(ModelError):
    """Weights are missing, tampered with, or do not fit the architecture."""


class HubError(AEHubError, OSError):
    """A hub could not be reached, or it refused."""


class Offline(HubError):
    """The network is needed, and it is absent or switched off."""


class ExistsError(AEHubError, FileExistsError):
    """The output exists and overwriting was not requested."""


def sentence(error: BaseException) -> str:
    """Whatever went wrong, as one sentence on one line."""
    return " ".join(_message(error).split())


def _message(error: BaseException) -> str:
    if isinstance(error, AEHubError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        if error.filename is None:
            return f"{error.strerror}."
        # Names need not be UTF-8.
        name = os.fsencode(error.filename).decode(errors="replace") if isinstance(
            error.filename, (str, bytes)) else error.filename
        return f"{name}: {error.strerror}."
    if isinstance(error, MemoryError):
        return "there is not enough memory for this input; shorten it with --trim A:B."
    return (f"unexpected {type(error).__name__}: {error}; this is a bug, please report it with "
            "what AEHUB_DEBUG=1 prints.")


def count_text(count: int, noun: str) -> str:
    """Return a number with its noun: "1 frame", "2 frames"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
