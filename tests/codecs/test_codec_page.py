"""docs/codecs.md quotes the codec that the tests run with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aehub
from packages import zlib_installed
from pageserver import ROOT

PAGE = (ROOT / "docs" / "codecs.md").read_text(encoding="utf-8")


def test_the_page_quotes_the_package_as_it_is() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    package = ROOT / "tests" / "zlib_codec"
    assert blocks[:2] == [(package / name).read_text() for name in ("record.py", "codec.py")]
    assert len(blocks[1].splitlines()) < 120


def test_the_pictures_of_the_page_come_back_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
               if "PictureFormat(" in block]
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"aehub": aehub, "np": np}
    with zlib_installed(tmp_path / "site"):
        exec(code, names)
        with aehub.open("scan.aev") as archive:
            assert [int(archive.picture(n)[0].max()) for n in range(9)] == list(range(0, 900, 100))


def test_the_page_names_the_entry_point_that_the_tests_install() -> None:
    assert '[project.entry-points."aehub.codecs"]\nzlib_codec = "zlib_codec.record:RECORD"' in PAGE
