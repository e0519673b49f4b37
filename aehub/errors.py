"""Every error a user can meet, in one tree.

    AEHubError
    ├── InputError (ValueError)      the clip, picture or argument given cannot be used
    │   └── LimitError               it is too large or too long; the message names the limit
    ├── FormatError (ValueError)     the .aev file is not one, is newer, damaged or cut off
    │   └── DamagedError             some groups are lost; the intact ones were given back first
    ├── ModelError                   a model cannot be used
    │   ├── UnknownModel (KeyError)  no model of that name is bundled, cached or reachable
    │   └── WeightsError             missing, tampered or wrong weights: hash, key, shape or dtype
    ├── HubError (OSError)           a hub could not be reached or refused
    │   └── Offline                  the network is needed and absent or switched off
    └── ExistsError (FileExistsError)  the output is already there and --force was not given

A message is one sentence or two: what was given, what is allowed, what to do. What an option of the
command line, an argument or a variable can do about it stands apart: a page's visitors have none.

Numbers in words, for messages and tables.
"""

from __future__ import annotations


class AEHubError(Exception):
    """Root of all errors raised on purpose; `str(error)` is meant for the user.

    Args:
        message: for everyone.
        option: a further sentence for who runs the program, naming options and variables.
    """

    def __init__(self, message: str = "", option: str = "") -> None:
        super().__init__(message or self.__class__.__name__)
        self.option = option

    @property
    def message(self) -> str:
        """What is said to everyone."""
        # KeyError and OSError print their arguments in their own ways; a user wants the sentence.
        return str(self.args[0])

    def __str__(self) -> str:
        return f"{self.message} {self.option}".rstrip()


class InputError(AEHubError, ValueError):
    """The clip, picture or argument given cannot be used."""


class LimitError(InputError):
    """The input is larger, longer or more than a stated limit."""


class FormatError(AEHubError, ValueError):
    """The bytes are not a readable `.aev` file."""


class DamagedError(FormatError):
    """Part of a `.aev` file is lost; raised after every intact group was given back."""


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
    """The output is already there and overwriting was not asked for."""


def count_text(count: int, noun: str) -> str:
    """Return a number with its noun: "1 frame", "2 frames"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
