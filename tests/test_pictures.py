"""Pictures of the page show the page as it is."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from pageserver import ROOT
from pictures import PICTURES, is_stale, stamp


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_of_the_page_is_as_new_as_the_page(name: str) -> None:
    assert not is_stale(ROOT / name), f"{name} shows an older page; run: make pictures"
    assert (ROOT / name).stat().st_size < 1_000_000


def test_the_picture_that_opens_the_readme_is_one_of_them() -> None:
    first = re.search(r"!\[[^\]]*\]\(([^)]*)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert first is not None and first[1] in PICTURES


def test_any_change_of_what_draws_the_page_makes_a_picture_stale(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "aehub/ui", tmp_path / "aehub/ui")
    shutil.copy(ROOT / "requirements.txt", tmp_path)
    Image.new("RGB", (4, 4)).save(tmp_path / "shot.png")
    picture = tmp_path / "page.png"
    stamp(tmp_path / "shot.png", picture)
    assert not is_stale(picture, tmp_path)
    for path in ("aehub/ui/page.py", "aehub/ui/assets/page.css", "aehub/ui/assets/opening/cat.aev"):
        kept = (tmp_path / path).read_bytes()
        (tmp_path / path).write_bytes(kept + b"\n")
        assert is_stale(picture, tmp_path), path
        (tmp_path / path).write_bytes(kept)
    (tmp_path / "aehub/ui/new.py").write_text("")
    assert is_stale(picture, tmp_path)
    (tmp_path / "aehub/ui/new.py").unlink()
    assert not is_stale(picture, tmp_path)
