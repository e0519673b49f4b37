"""Names of codecs, and what they stand for."""

from __future__ import annotations

import re
from collections.abc import Sequence

from aehub.compare import rivals, stills
from aehub.compare.codec import Codec
from aehub.compare.ours import ModelCodec
from aehub.errors import InputError

MODELS = ("d4-codec",)
"""Models that may be named without a slash; folders and hub ids carry one."""

_PRESETS = "ultrafast|superfast|veryfast|faster|fast|medium|slow|slower|veryslow|placebo"
_PATTERNS = (
    (rf"x264-({_PRESETS})", rivals.x264),
    (rf"x264-({_PRESETS})-bf0", lambda preset: rivals.x264(preset, b_frames=False)),
    (rf"x265-({_PRESETS})", rivals.x265),
    (r"svtav1-([0-9]|1[0-3])", lambda preset: rivals.svtav1(int(preset))),
    ("vp9", rivals.vp9),
    ("jpeg", stills.jpeg),
    ("webp", stills.webp),
    ("avif", stills.avif),
)


def parse_codecs(text: str, *, models: Sequence[str] = MODELS) -> list[Codec]:
    """Codecs from names between commas, in the order given.

    Args:
        text: e.g. `d4-codec,x264-medium,svtav1-6`. `x264-PRESET`, `x264-PRESET-bf0` (no
            bidirectional frames), `x265-PRESET`, `svtav1-0` to `svtav1-13`, `vp9`, `jpeg`,
            `webp`, `avif`, a model, or anything with a slash (a model's folder or hub id).
        models: names that stand for models of the zoo.

    Raises:
        InputError: a name is unknown or given twice, or there is none.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise InputError("no codec is named; give names with commas, such as x264-medium,avif.")
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"codec '{name}' is named twice; name each codec once.")
    return [_codec(name, models) for name in names]


def _codec(name: str, models: Sequence[str]) -> Codec:
    if name in models or "/" in name:
        return ModelCodec(name)
    for pattern, build in _PATTERNS:
        if match := re.fullmatch(pattern, name):
            return build(*match.groups())
    raise InputError(
        f"codec '{name}' is unknown; known are {', '.join(models)}, x264-PRESET[-bf0], "
        "x265-PRESET (presets ultrafast to placebo), svtav1-0 to svtav1-13, vp9, jpeg, webp, avif."
    )
