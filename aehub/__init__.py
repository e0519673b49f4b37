"""Pretrained autoencoders that compress video, edit the compressed file and animate latents.

Names are imported at their first use (PEP 562): `import aehub` loads neither torch nor numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aehub import threads
from aehub.config import __version__ as __version__
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

if TYPE_CHECKING:
    from aehub.api.animate import animate, iter_animate
    from aehub.api.compress import (
        Archive,
        Compressed,
        Decompressed,
        compress,
        decompress,
        iter_compress,
        iter_decompress,
        open,
    )
    from aehub.api.edit import concat, edit, iter_concat, iter_edit
    from aehub.bitstream.validation import Report, info, verify
    from aehub.editing.operations import Flip, Reverse, Rotate, Transpose, Trim
    from aehub.hub import ModelEntry, Published, download, list_models, load, publish
    from aehub.hub.model import Model
    from aehub.measure import compare
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

# Before anything loads torch.
threads.configure_openmp()
__getattr__ = importer(__name__, {
    "aehub.api.animate": "animate iter_animate",
    "aehub.api.compress": "Archive Compressed Decompressed compress decompress iter_compress "
                          "iter_decompress open",
    "aehub.measure": "compare",
    "aehub.editing.operations": "Flip Reverse Rotate Transpose Trim",
    "aehub.api.edit": "concat edit iter_concat iter_edit",
    "aehub.hub": "ModelEntry Published download list_models load publish",
    "aehub.hub.model": "Model",
    # These must not load torch.
    "aehub.bitstream.validation": "Report info verify",
    "aehub.results": "Animated Edited",
})


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
