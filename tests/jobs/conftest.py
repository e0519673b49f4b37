"""Small clips, the command in processes of its own, and what runs left."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from material import moving_picture, write_clip

ROOT = Path(__file__).resolve().parent.parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
FRAMES, SIDE = 8, 64


def small_clips(folder: Path, count: int, n_frames: int = FRAMES) -> Path:
    """Write clips of 64x64 into three folders below one."""
    for number in range(count):
        place = folder / f"reel{number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        write_clip(place / f"{number:03}.mp4", moving_picture(n_frames, SIDE, SIDE, number))
    return folder


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-P", "-m", "aehub", *map(str, arguments)]


def run(*arguments: str | Path, cwd: Path, timeout: float = 300
        ) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(command(*arguments), cwd=cwd, env=ENVIRONMENT, capture_output=True,
                          text=True, timeout=timeout, check=False)


def contents(folder: Path) -> dict[str, str]:
    """Visible files below a folder, and their checksums."""
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and ".aehub" not in path.parts}


def leftovers(folder: Path) -> list[str]:
    """Files that a run should not leave."""
    return [str(path) for path in folder.rglob("*")
            if path.name.endswith(".part") or "work" in path.parts]


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips in three folders, and one that is none."""
    folder = small_clips(tmp_path_factory.mktemp("clips") / "films", 6)
    (folder / "reel0" / "broken.mp4").write_bytes(b"no film" * 99)
    return folder


@pytest.fixture(scope="session")
def compressed(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clips, compressed in one run."""
    out = tmp_path_factory.mktemp("compressed") / "out"
    done = run("compress", "films", "-o", out, "--effort", "0", cwd=clips.parent)
    assert done.returncode == 1, done.stderr
    return out


Runner = Callable[..., subprocess.CompletedProcess[str]]
