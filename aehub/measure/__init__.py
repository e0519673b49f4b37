"""Rate-distortion side by side: our codecs, their rivals, and the difference in bits."""

from __future__ import annotations

from aehub.measure.benchmark import compare, measure, parse_codecs
from aehub.measure.comparison import Comparison
from aehub.measure.points import BenchmarkCodec, Encoded, Point, Source

__all__ = [
    "BenchmarkCodec",
    "Comparison",
    "Encoded",
    "Point",
    "Source",
    "compare",
    "measure",
    "parse_codecs",
]
