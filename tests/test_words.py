"""Numbers in words."""

from __future__ import annotations

from aehub.cli import options
from aehub.errors import count_text
from aehub.ui import formatting


def test_one_of_a_kind_is_singular() -> None:
    assert [count_text(n, "frame") for n in (0, 1, 2)] == ["0 frames", "1 frame", "2 frames"]
    assert formatting.bytes_text(1) == options.bytes_text(1) == "1 byte"
