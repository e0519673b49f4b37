"""Rate-distortion comparison of codecs: models of the zoo and standard codecs."""

from __future__ import annotations

from aehub.measure.benchmark import compare, measure, parse_codecs
from aehub.measure.comparison import Comparison
from aehub.measure.points import BenchmarkCodec, Encoded, Point, SourceClip

__all__ = [
    "BenchmarkCodec",
    "Comparison",
    "Encoded",
    "Point",
    "SourceClip",
    "compare",
    "measure",
    "parse_codecs",
]
