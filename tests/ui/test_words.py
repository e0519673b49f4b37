"""Numbers of the page in words."""

from __future__ import annotations

from aehub.ui.words import bytes_text, count_text


def test_one_of_a_kind_is_singular() -> None:
    assert [count_text(n, "frame") for n in (0, 1, 2)] == ["0 frames", "1 frame", "2 frames"]
    assert bytes_text(1) == "1 byte"
