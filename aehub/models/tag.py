"""The tag under which a model is published: it names the numbers, so it never moves.

    f3675de7ee4a9b43-191b9cb466725daf          a codec: entropy hash, synthesis hash
    sha256-0123456789abcdef0123456789abcdef    any other model: the first half of its weights' hash
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_HASH, _DIGEST = re.compile(r"[0-9a-f]{16}"), re.compile(r"[0-9a-f]{64}")
_TAG = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}|sha256-[0-9a-f]{32}")
_HALF = 32


def tag_of(config: Mapping[str, Any]) -> str | None:
    """The tag of a model by its config; None if the config names no hashes.

    A compressed file carries the two hashes of its codec, so it finds the revision that wrote it.
    """
    hashes = [config.get(name) for name in ("entropy_hash", "synthesis_hash")]
    if hashes == [None, None]:
        digest = config.get("sha256")
        return f"sha256-{str(digest)[:_HALF]}" if _is(_DIGEST, digest) else None
    return "-".join(map(str, hashes)) if all(_is(_HASH, text) for text in hashes) else None


def is_tag(text: str | None) -> bool:
    """Whether `text` is such a tag."""
    return _is(_TAG, text)


def _is(form: re.Pattern[str], text: object) -> bool:
    return isinstance(text, str) and form.fullmatch(text) is not None
