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
    from aehub.animation import animate, iter_animate
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
    from aehub.edit.operations import Flip, Reverse, Rotate, Transpose, Trim
    from aehub.editing import concat, edit, iter_concat, iter_edit
    from aehub.hub import ModelEntry, Published, download, list_models, load, publish
    from aehub.hub.model import Model
    from aehub.inspection import Report, info, verify
    from aehub.results import Animated, Edited

__version__ = "0.1.0"

__all__ = [
    "AEHubError",
    "Animated",
    "Archive",
    "Compressed",
    "DamagedError",
    "Decompressed",
    "Edited",
    "ExistsError",
    "Flip",
    "FormatError",
    "HubError",
    "InputError",
    "LimitError",
    "Model",
    "ModelEntry",
    "ModelError",
    "Offline",
    "Published",
    "Report",
    "Reverse",
    "Rotate",
    "Transpose",
    "Trim",
    "UnknownModel",
    "WeightsError",
    "animate",
    "compare",
    "compress",
    "concat",
    "decompress",
    "download",
    "edit",
    "info",
    "iter_animate",
    "iter_compress",
    "iter_concat",
    "iter_decompress",
    "iter_edit",
    "list_models",
    "load",
    "open",
    "publish",
    "verify",
]

# Where a name is found if not in `aehub.api`; `info` and `verify` must not load torch.
_HOMES = {
    "Animated": "aehub.results",
    "Edited": "aehub.results",
    "Flip": "aehub.edit.operations",
    "Model": "aehub.hub.model",
    "ModelEntry": "aehub.hub",
    "Published": "aehub.hub",
    "Report": "aehub.inspection",
    "Reverse": "aehub.edit.operations",
    "Rotate": "aehub.edit.operations",
    "Transpose": "aehub.edit.operations",
    "Trim": "aehub.edit.operations",
    "animate": "aehub.animation",
    "compare": "aehub.compare",
    "concat": "aehub.editing",
    "download": "aehub.hub",
    "edit": "aehub.editing",
    "info": "aehub.inspection",
    "iter_animate": "aehub.animation",
    "iter_concat": "aehub.editing",
    "iter_edit": "aehub.editing",
    "list_models": "aehub.hub",
    "load": "aehub.hub",
    "publish": "aehub.hub",
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
# Before anything loads torch.
import_module("aehub.threads").prepare()


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES.get(name, "aehub.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
