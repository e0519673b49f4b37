"""Rate-distortion side by side: our codecs, their rivals, and the difference in bits."""

from __future__ import annotations

from aehub.compare.codec import Codec, Encoded, Source
from aehub.compare.comparison import Comparison
from aehub.compare.measurement import compare, measure
from aehub.compare.names import parse_codecs
from aehub.compare.points import Point

__all__ = [
    "Codec",
    "Comparison",
    "Encoded",
    "Point",
    "Source",
    "compare",
    "measure",
    "parse_codecs",
]
