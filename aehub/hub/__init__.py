"""Models by name, verified: bundled with the package, in the cache, or on a hub.

    find("d4-codec")              the folder that comes with the package
    find("org/name@revision")     the folder in the cache, fetched first if it is not there
    find("path/to/folder")        the folder itself

Nothing is trusted: configs and headers are bounded before they are parsed, weights are safetensors
whose SHA-256 must be the one expected, and no file of any other kind is ever read.
"""

from __future__ import annotations

from aehub.hub.download import download
from aehub.hub.known import KnownModel, known_models
from aehub.hub.loading import (
    ModelLike,
    codec_tag,
    load,
    load_for_file,
    resolve_codec,
    resolve_model,
)
from aehub.hub.publish import Published, publish
from aehub.hub.registry import bundled_root
from aehub.hub.remote import ModelEntry, list_models
from aehub.hub.resolve import ModelName, find, find_by_hashes
from aehub.weights.architectures import record_errors

__all__ = [
    "KnownModel", "ModelEntry", "ModelLike", "ModelName", "Published", "bundled_root",
    "codec_tag", "download", "find", "find_by_hashes", "known_models", "list_models", "load",
    "load_for_file", "publish", "record_errors", "resolve_codec", "resolve_model",
]
