"""Pretrained autoencoders that compress video, edit the compressed file and animate latents.

Functions are found on first use (PEP 562), so `import aehub` loads neither torch nor numpy.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from aehub.errors import (
    AEHubError,
    DamagedError,
    ExistsError,
    FormatError,
    HubError,
    InputError,
    LimitError,
    ModelError,
    Offline,
    UnknownModel,
    WeightsError,
)

if TYPE_CHECKING:
    from aehub.api import (
        Archive,
        Compressed,
        Decompressed,
        compress,
        decompress,
        iter_compress,
        iter_decompress,
        open,
    )
    from aehub.compare import compare
    from aehub.hub import ModelEntry, list_models, load
    from aehub.inspection import Report, info, verify

__version__ = "0.1.0"

__all__ = [
    "AEHubError",
    "Archive",
    "Compressed",
    "DamagedError",
    "Decompressed",
    "ExistsError",
    "FormatError",
    "HubError",
    "InputError",
    "LimitError",
    "ModelEntry",
    "ModelError",
    "Offline",
    "Report",
    "UnknownModel",
    "WeightsError",
    "compare",
    "compress",
    "decompress",
    "info",
    "iter_compress",
    "iter_decompress",
    "list_models",
    "load",
    "open",
    "verify",
]

# Where a name is found if not in `aehub.api`; `info` and `verify` must not load torch.
_HOMES = {
    "ModelEntry": "aehub.hub",
    "Report": "aehub.inspection",
    "compare": "aehub.compare",
    "info": "aehub.inspection",
    "list_models": "aehub.hub",
    "load": "aehub.hub",
    "verify": "aehub.inspection",
}


class _Package(ModuleType):
    """The package itself; keeps public functions from being hidden by modules of the same name.

    Importing the module `aehub.compare` sets it as an attribute of the package, which would turn
    `aehub.compare(...)` into an error depending on what else was imported before.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (isinstance(value, ModuleType) and name in __all__):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES.get(name, "aehub.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
