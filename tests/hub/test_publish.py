"""Models put on a hub by the real client, and loaded back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hub.conftest import TINY, Client
from hub.standin import StandIn
from hub.test_download import FIND, files_of

TOKEN = "hf_" + "a" * 34


def front_matter(card: bytes) -> dict[str, Any]:
    facts = yaml.safe_load(card.decode().split("---")[1])
    assert isinstance(facts, dict)
    return facts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder with things beside the model."""
    made = Path(shutil.copytree(TINY, tmp_path / "mine"))
    (made / "notes.txt").write_text("private")
    (made / "optimizer.pt").write_bytes(b"\x80\x02.")
    (made / "curves.png").write_bytes(b"\x89PNG\r\n")
    return made


def test_a_published_model_loads_back_byte_identical(
    hub: StandIn, aehub_command: Client, python: Callable[..., Any], folder: Path
) -> None:
    done = aehub_command("publish", "mine", "--repo", "lab/tiny", "--endpoint", hub.url, "--json",
                         HF_TOKEN=TOKEN)
    assert done.code == 0, done.stderr
    result = json.loads(done.out)
    held = hub.held("lab/tiny")
    assert set(held) == {"config.json", "model.safetensors", "README.md", "curves.png"}
    assert hub.tokens == {f"Bearer {TOKEN}"}
    config = json.loads(held["config.json"])
    assert result["tag"] == f"{config['entropy_hash']}-{config['synthesis_hash']}"
    assert hub.held("lab/tiny", result["tag"]) == held
    assert b'aehub.load("lab/tiny")' in held["README.md"] and done.stderr == ""
    assert hub.repos["lab/tiny"].refs["main"] == result["commit"]
    _, files = python(FIND, f"lab/tiny@{result['tag']}", HF_ENDPOINT=hub.url)
    for file in ("config.json", "model.safetensors"):
        assert bytes.fromhex(files[file]) == (TINY / file).read_bytes()
    hub.status = 403
    again = aehub_command("publish", "mine", "--repo", "lab/tiny", "--endpoint", hub.url)
    assert "does not let you" in again.sentence and "HF_TOKEN" in again.sentence


def test_push_to_hub_sends_what_was_loaded(
    hub: StandIn, python: Callable[..., Any], folder: Path, measured: dict[str, Any]
) -> None:
    result = python("""
import json, sys, aehub
model = aehub.load("mine", device="cpu")
sent = model.push_to_hub("lab/pushed", endpoint=sys.argv[1], measured=json.loads(sys.argv[2]),
                         datasets=["lab/clips"])
print(json.dumps(sent.to_json()))
""", hub.url, json.dumps(measured))
    held = hub.held("lab/pushed")
    assert result["repo"] == "lab/pushed" and result["url"] == f"{hub.url}/lab/pushed"
    assert {name: held[name] for name in files_of(TINY)} == files_of(TINY)
    facts = front_matter(held["README.md"])
    assert facts["library_name"] == "aehub" and facts["datasets"] == ["lab/clips"]
    assert "| tiny-d4 | -12.3 % | -4.6 % |" in held["README.md"].decode()


@pytest.mark.parametrize("repo", ["tiny", "../tiny", "lab/tiny@v1", "lab//tiny", "lab/ti ny"])
def test_a_name_that_is_no_repository_is_refused(aehub_command: Client, repo: str) -> None:
    message = aehub_command("publish", "d4-codec", "--repo", repo).sentence
    assert "is no name of a repository" in message


def test_what_would_not_load_is_not_published(
    hub: StandIn, aehub_command: Client, folder: Path
) -> None:
    with (folder / "model.safetensors").open("r+b") as file:
        file.write(b"\xff")
    message = aehub_command("publish", "mine", "--repo", "lab/tiny", "--endpoint", hub.url).sentence
    assert "SHA-256" in message and not hub.repos


def test_links_out_of_the_folder_are_not_published(
    hub: StandIn, aehub_command: Client, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("secret")
    (folder / "secret.png").symlink_to(tmp_path / "secret")
    message = aehub_command("publish", "mine", "--repo", "lab/tiny", "--endpoint", hub.url).sentence
    assert "will not be sent" in message and not hub.repos


def test_a_card_without_its_front_matter_is_not_published(
    hub: StandIn, aehub_command: Client, folder: Path
) -> None:
    (folder / "README.md").write_text("# mine\n")
    message = aehub_command("publish", "mine", "--repo", "lab/tiny", "--endpoint", hub.url).sentence
    assert "front matter" in message and not hub.repos


def test_publishing_needs_the_network(aehub_command: Client, folder: Path) -> None:
    message = aehub_command("publish", "mine", "--repo", "lab/tiny", HF_HUB_OFFLINE="1").sentence
    assert "HF_HUB_OFFLINE" in message
