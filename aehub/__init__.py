"""Pretrained autoencoders that compress video, edit the compressed file and animate latents.

Functions are found on first use (PEP 562), so `import aehub` loads neither torch nor numpy.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

from aehub import threads
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
from aehub.lazy import importer
from aehub.version import __version__ as __version__

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

__all__ = [
    "AEHubError", "Animated", "Archive", "Compressed", "DamagedError", "Decompressed", "Edited",
    "ExistsError", "Flip", "FormatError", "HubError", "InputError", "LimitError", "Model",
    "ModelEntry", "ModelError", "Offline", "Published", "Report", "Reverse", "Rotate",
    "Transpose", "Trim", "UnknownModel", "WeightsError", "animate", "compare", "compress",
    "concat", "decompress", "download", "edit", "info", "iter_animate", "iter_compress",
    "iter_concat", "iter_decompress", "iter_edit", "list_models", "load", "open", "publish",
    "verify",
]


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
threads.prepare()
__getattr__ = importer(__name__, {
    "aehub.animation": "animate iter_animate",
    "aehub.api": "Archive Compressed Decompressed compress decompress iter_compress "
                 "iter_decompress open",
    "aehub.compare": "compare",
    "aehub.edit.operations": "Flip Reverse Rotate Transpose Trim",
    "aehub.editing": "concat edit iter_concat iter_edit",
    "aehub.hub": "ModelEntry Published download list_models load publish",
    "aehub.hub.model": "Model",
    # These must not load torch.
    "aehub.inspection": "Report info verify",
    "aehub.results": "Animated Edited",
})


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
