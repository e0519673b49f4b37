"""Models that are no codecs travel as codecs do: listed, published, tagged, fetched, served."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import aehub
from aehub.generators.dense import DenseAutoencoder
from aehub.hub import registry
from aehub.hub.card import make_card, problems
from aehub.hub.remote import _task
from aehub.weights import stored_network
from hub.conftest import Client
from hub.standin import StandIn

LOAD = """
import json, sys, aehub
model = aehub.load(sys.argv[1], device="cpu")
print(json.dumps([type(model).__name__, model.name, len(model.decode(model.sample([1, 2])))]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small autoencoder among the bundled models of this test."""
    made = tmp_path / "weights" / "small"
    torch.manual_seed(0)
    stored_network.save(made, "small", DenseAutoencoder(side=8, hidden=12, latent=4))
    return made


def read_raw_config(folder: Path) -> dict[str, Any]:
    config = json.loads((folder / "config.json").read_text())
    assert isinstance(config, dict)
    return config


def test_it_is_published_under_the_hash_of_its_numbers_and_loads_back(
    hub: StandIn, aehub_command: Client, python: Callable[..., Any], folder: Path
) -> None:
    done = aehub_command("publish", folder, "--repo", "lab/small", "--endpoint", hub.url, "--json",
                         HF_TOKEN="hf_" + "a" * 34)
    assert done.code == 0, done.stderr
    tag = json.loads(done.out)["tag"]
    assert tag == f"sha256-{read_raw_config(folder)['sha256'][:32]}"
    assert hub.held("lab/small", tag)["config.json"] == (folder / "config.json").read_bytes()
    for name in (f"lab/small@{tag}", "lab/small"):
        assert python(LOAD, name, HF_ENDPOINT=hub.url) == ["Autoencoder", "small", 2]
    # A tag names numbers, so nobody is asked for it again.
    hub.asked.clear()
    assert python(LOAD, f"lab/small@{tag}", HF_ENDPOINT=hub.url)[1] == "small" and not hub.asked


def test_other_numbers_under_its_tag_are_refused(
    hub: StandIn, aehub_command: Client, folder: Path
) -> None:
    hub.put("lab/small", folder, "sha256-" + "0" * 32)
    text = aehub_command("download", "lab/small@sha256-" + "0" * 32, "--endpoint", hub.url).sentence
    assert "not the sha256-0000" in text


def test_it_is_listed_and_served_with_its_task(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("starlette")
    from aehub.endpoint import served_models

    monkeypatch.setattr(registry, "bundled_root", lambda: folder.parent)
    (entry,) = aehub.list_models(states=["bundled"])
    assert (entry.name, entry.task, entry.state) == ("small", "latent-animation", "bundled")
    assert entry.parameters == read_raw_config(folder)["parameters"]
    (served,) = served_models().values()
    assert served.tag == f"sha256-{read_raw_config(folder)['sha256'][:32]}"
    assert served.tag in served.revisions


@pytest.mark.parametrize("tags, task", [
    (["aehub", "sprite-animation"], "sprite-animation"), (["latent-animation"], "latent-animation"),
    (["video-compression", "aehub"], "video-compression"), (["aehub"], ""), (None, ""),
])
def test_a_hub_tells_the_task_of_every_kind(tags: list[str] | None, task: str) -> None:
    assert _task(tags) == task


def test_its_card_speaks_of_pictures(folder: Path) -> None:
    card = make_card(read_raw_config(folder), size_bytes=1, repo="lab/small")
    facts = yaml.safe_load(card.split("---")[1])
    assert problems(card) == []
    assert facts["pipeline_tag"] == "unconditional-image-generation"
    assert facts["metrics"] == ["psnr"]
    assert {"latent-animation", "autoencoder", "aehub"} <= set(facts["tags"])
    assert "video-compression" not in facts["tags"] and "Files that it writes" not in card
    assert f"sha256-{read_raw_config(folder)['sha256'][:32]}" in card
