"""A wheel in an empty environment elsewhere: all that is needed is inside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from hub.conftest import ROOT
from material import moving_picture, write_clip

# Whoever opens a connection is a bug: the wheel works where there is no network.
NO_NETWORK = """
import socket
def refuse(*args, **options):
    raise RuntimeError("the network was asked for")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
"""


def run(*command: object, folder: Path, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "HF_", "AEHUB_", "VIRTUAL_ENV"))}
    done = subprocess.run(list(map(str, command)), cwd=folder, env=kept | environment,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build_wheel(folder: Path) -> Path:
    tree = folder / "tree"
    tree.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    for name in ("aehub", "weights"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, folder=tree)
    shutil.rmtree(tree)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """The programs of a new environment that holds the wheel, and sees what it depends on."""
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps",
        "--disable-pip-version-check", wheel, folder=folder)
    (site,) = folder.glob("lib/python3*/site-packages")
    # Its own packages come first; those it depends on are lent, without their .pth files.
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (site / "sitecustomize.py").write_text(NO_NETWORK)
    return python.parent


@pytest.mark.slow
def test_a_wheel_installed_elsewhere_compresses_without_a_network(tmp_path: Path) -> None:
    programs = install(build_wheel(tmp_path), tmp_path / "environment")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_clip(elsewhere / "clip.mp4", moving_picture(3, 64, 64))
    models = json.loads(run(programs / "aehub", "models", "--json", folder=elsewhere,
                            HF_HOME=str(tmp_path / "home")))["models"]
    (flagship,) = [model for model in models if model["name"] == "d4-codec"]
    assert flagship["state"] == "bundled"
    assert Path(flagship["folder"]).is_relative_to(tmp_path / "environment")
    made = json.loads(run(programs / "aehub", "compress", "clip.mp4", "--json", folder=elsewhere,
                          HF_HOME=str(tmp_path / "home")))
    assert made["frames"] == 3 and made["bytes"] == (elsewhere / "clip.aev").stat().st_size
    assert "intact" in run(programs / "aehub", "verify", "clip.aev", folder=elsewhere)
    assert not (tmp_path / "home").exists(), "nothing was written to the cache"
