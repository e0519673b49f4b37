"""A compressed file finds the very model it was written with: bundled, cached, or by its tag."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants

import aehub
from aehub.bitstream import FileHeader
from aehub.codecs.d4.codec import D4Codec
from aehub.errors import UnknownModel, WeightsError
from aehub.hub import find_by_hashes, load_for_file, registry
from hub.conftest import TINY
from hub.standin import StandIn
from material import moving_picture

FOUND = """
import json, sys, aehub
from aehub.hub import find_by_hashes
folder = find_by_hashes(sys.argv[1], bytes.fromhex(sys.argv[2]), bytes.fromhex(sys.argv[3]))
print(json.dumps(str(folder) if folder else None))
"""


def hashes(folder: Path) -> tuple[str, str]:
    config = json.loads((folder / "config.json").read_text())
    return config["entropy_hash"], config["synthesis_hash"]


def tag(folder: Path) -> str:
    return "-".join(hashes(folder))


def into_cache(root: Path, repo: str, folder: Path, commit: str, main: bool = True) -> Path:
    """Put a model where the client would."""
    home = root / ("models--" + repo.replace("/", "--"))
    made = Path(shutil.copytree(folder, home / "snapshots" / commit))
    if main:
        (home / "refs").mkdir(exist_ok=True)
        (home / "refs" / "main").write_text(commit)
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file written with the tiny model."""
    frames = np.stack(moving_picture(2, 64, 64))
    path = tmp_path / "tiny.aev"
    aehub.compress(frames, path, model=D4Codec.from_pretrained(TINY), measure=False)
    return path


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: Path) -> Path:
    """A machine whose bundled tiny-d4 has other weights, and whose cache is empty."""
    shutil.copytree(other, tmp_path / "weights" / "tiny-d4")
    monkeypatch.setattr(registry, "bundled_root", lambda: tmp_path / "weights")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_another_revision_is_refused_with_both_hashes(machine: Path, file: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        list(aehub.decompress(file))
    assert any(part in str(caught.value) for part in hashes(TINY))


def test_the_right_revision_is_found_in_the_cache_whatever_its_name(
    machine: Path, file: Path, other: Path
) -> None:
    into_cache(machine / "cache", "lab/newer", other, "b" * 40)
    into_cache(machine / "cache", "lab/older", TINY, "a" * 40, main=False)
    assert len(list(aehub.decompress(file))) == 2
    with aehub.open(file) as archive:
        assert archive[0].shape == (64, 64, 3)


def test_the_right_revision_is_found_among_the_bundled(machine: Path, file: Path) -> None:
    shutil.copytree(TINY, machine / "weights" / "another-name")
    assert len(list(aehub.decompress(file))) == 2


def test_a_file_names_no_path(
    machine: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(machine / "weights")
    shutil.copytree(TINY, machine / "here" / "tiny-d4")
    monkeypatch.chdir(machine / "here")
    with pytest.raises(UnknownModel, match="'tiny-d4'.*--model"):
        list(aehub.decompress(file))
    assert len(list(aehub.decompress(file, model="tiny-d4"))) == 2


def test_the_hub_is_asked_for_the_tag_of_the_hashes(
    hub: StandIn, python: Callable[..., Any], other: Path
) -> None:
    hub.put("aehub/tiny-d4", TINY, tag(TINY))
    hub.put("aehub/tiny-d4", other, tag(other))
    for folder in (TINY, other):
        found = python(FOUND, "tiny-d4", *hashes(folder), HF_ENDPOINT=hub.url)
        weights = Path(found) / "model.safetensors"
        assert weights.read_bytes() == (folder / "model.safetensors").read_bytes()
    hub.asked.clear()
    assert python(FOUND, "tiny-d4", *hashes(TINY), HF_ENDPOINT=hub.url)
    assert hub.asked == []
    assert python(FOUND, "tiny-d4", "0" * 16, "1" * 16, HF_ENDPOINT=hub.url) is None
    hub.asked.clear()
    assert python(FOUND, "tiny-d4", "0" * 16, "1" * 16, HF_ENDPOINT=hub.url,
                  AEHUB_AUTO_DOWNLOAD="0") is None
    assert hub.asked == []


@pytest.mark.parametrize("name", ["../x", "a/b", "/etc", "", "x" * 41, "x\0", "aehub/d4-codec"])
def test_a_hostile_name_in_a_file_reaches_no_folder_and_no_hub(name: str) -> None:
    assert find_by_hashes(name, bytes(8), bytes(8)) is None
    with pytest.raises(UnknownModel):
        load_for_file(FileHeader(name, bytes(8), bytes(8), 1, 64, 64, Fraction(25), 5000, 32))
