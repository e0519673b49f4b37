"""What is no model or no file of AEHub, but something well known: the sentence says what it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import aehub
from aehub.cli import main
from aehub.errors import AEHubError, UnknownModel, WeightsError
from aehub.weights.model_folder import CONFIG, WEIGHTS
from hub.conftest import TINY, Client
from hub.standin import StandIn
from material import moving_picture

POINTER = (b"version https://git-lfs.github.com/spec/v1\n"
           b"oid sha256:" + b"4d7a" * 16 + b"\nsize 12345\n")
DIFFUSERS = {"_class_name": "AutoencoderKL", "_diffusers_version": "0.30.0", "latent_channels": 4}


def message(*arguments: str | Path) -> str:
    """The one sentence with which the command refuses."""
    done = CliRunner().invoke(main, [str(part) for part in arguments])
    assert (done.exit_code, done.stdout) == (1, ""), done.stderr
    assert done.stderr.startswith("aehub: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_pointer_of_git_lfs_is_called_one(name: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(TINY, tmp_path / "model"))
    (folder / name).write_bytes(POINTER)
    with pytest.raises(WeightsError, match=f"{name} is a Git LFS pointer.*git lfs pull"):
        aehub.load(folder)


def test_a_clip_or_a_file_that_is_a_pointer_is_called_one(tmp_path: Path) -> None:
    for name, command in (("clip.mp4", "compress"), ("clip.png", "compress"), ("a.aev", "info"),
                          ("b.aev", "decompress"), ("c.aev", "verify")):
        (tmp_path / name).write_bytes(POINTER)
        assert "only a pointer of Git LFS" in message(command, tmp_path / name)


@pytest.mark.parametrize(
    ("file", "config", "words"),
    [
        (CONFIG, DIFFUSERS, "is not a safetensors file"),
        (CONFIG, {"model_type": "vit_mae", "architectures": ["ViTMAE"]}, "'vit_mae' of transf"),
        ("model_index.json", {"_class_name": "StableDiffusionPipeline"}, "nor vae/ with them"),
        ("notes.json", {}, "no model: it has no config.json"),
    ],
)
def test_a_model_of_another_library_is_called_so(
    file: str, config: dict[str, Any], words: str, tmp_path: Path
) -> None:
    (tmp_path / file).write_text(json.dumps(config))
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(b"\0" * 16)
    with pytest.raises((WeightsError, UnknownModel), match=words):
        aehub.load(str(tmp_path))
    with pytest.raises(AEHubError):
        aehub.load(tmp_path)


def test_a_repository_of_another_library_is_called_so(
    hub: StandIn, aehub_command: Client, tmp_path: Path
) -> None:
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / CONFIG).write_text(json.dumps(DIFFUSERS))
    (tmp_path / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"\0" * 16)
    hub.put("lab/vae", tmp_path / "vae")
    done = aehub_command("download", "lab/vae", "--endpoint", hub.url)
    assert "is not a safetensors file" in done.sentence


def test_force_without_a_network_says_that_the_model_is_here(
    hub: StandIn, aehub_command: Client
) -> None:
    hub.put("lab/tiny", TINY)
    folder = aehub_command("download", "lab/tiny", "--endpoint", hub.url).out.strip()
    again = aehub_command("download", "lab/tiny", "--force", HF_HUB_OFFLINE="1")
    assert f"lab/tiny is on this machine, in {folder}" in again.sentence
    assert "cannot be fetched again: the network is switched off" in again.sentence
    held = aehub_command("download", "lab/tiny", HF_HUB_OFFLINE="1")
    assert held.out.strip() == folder


def test_verify_tells_what_is_no_file_of_ours_from_what_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x18ftypisom" + b"\0" * 40)
    sentence = message("verify", tmp_path / "clip.mp4")
    assert "clip.mp4 is not an .aev file: it looks like an MP4" in sentence
    aehub.compress(moving_picture(1, width=32, height=32), tmp_path / "a.aev", measure=False)
    run = CliRunner().invoke
    assert "a.aev: 1 group, all intact" in run(main, ["verify", str(tmp_path / "a.aev")]).stdout
    content = bytearray((tmp_path / "a.aev").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "b.aev").write_bytes(content)
    done = run(main, ["verify", str(tmp_path / "b.aev")])
    count = len(done.stdout.splitlines())
    assert f"is damaged: {count} problem{'s' if count > 1 else ''}, 0 groups found." in done.stderr
    assert "1 frame of" in run(main, ["decompress", str(tmp_path / "a.aev")]).stdout
