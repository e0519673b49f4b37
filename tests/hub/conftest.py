"""Hubs on loopback, and clients in processes of their own: the client reads its settings once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hub.standin import StandIn, stand_in
from pageserver import DEAD_PROXIES, ROOT, _wait, free_port

TINY = ROOT / "tests/golden/tiny-d4"


@dataclass(frozen=True)
class Done:
    """What a process of a client did."""

    code: int
    out: str
    stderr: str
    seconds: float

    @property
    def sentence(self) -> str:
        """The one sentence of a failure."""
        assert self.code == 1, (self.code, self.out, self.stderr)
        lines = [line for line in self.stderr.splitlines() if line.startswith("aehub: ")]
        assert len(lines) == 1 and "Traceback" not in self.stderr, self.stderr
        return lines[0]


Client = Callable[..., Done]


@pytest.fixture
def hub() -> Iterator[StandIn]:
    with stand_in() as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where clients of this test keep their cache."""
    return tmp_path / "home"


@pytest.fixture
def settings(home: Path) -> dict[str, str]:
    """Environment of a client: a cache of its own, no huggingface.co."""
    return client_settings(home)


def client_settings(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("HF_", "AEHUB_", "TRANSFORMERS_"))}
    return kept | {
        "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1", "HF_ENDPOINT": "http://127.0.0.1:9",
        "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def aehub_command(settings: dict[str, str], tmp_path: Path) -> Client:
    """`aehub ARGUMENTS` in a process; keywords are environment variables."""
    def run(*arguments: object, **environment: str) -> Done:
        return process([sys.executable, "-m", "aehub", *map(str, arguments)], tmp_path,
                       settings | environment)
    return run


@pytest.fixture
def python(settings: dict[str, str], tmp_path: Path) -> Callable[..., Any]:
    """What `code` prints as JSON in a process of its own."""
    def run(code: str, *arguments: object, **environment: str) -> Any:
        done = process([sys.executable, "-W", "error::ResourceWarning", "-c", code,
                        *map(str, arguments)], tmp_path, settings | environment)
        assert done.code == 0, done.stderr
        return json.loads(done.out.splitlines()[-1])
    return run


def process(command: list[str], folder: Path, environment: dict[str, str]) -> Done:
    began = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True,
                          timeout=120, check=False)
    return Done(done.returncode, done.stdout, done.stderr, time.monotonic() - began)


@contextmanager
def serving(folder: Path, *options: object) -> Iterator[str]:
    """The address of a running `aehub serve`."""
    port, log = free_port(), folder / "serve.log"
    environment = client_settings(folder / "home") | {
        "GRADIO_TEMP_DIR": str(folder / "gradio"), "TMPDIR": str(folder),
        "OMP_WAIT_POLICY": "PASSIVE", **DEAD_PROXIES}
    with log.open("wb") as out:
        running = subprocess.Popen(
            [sys.executable, "-m", "aehub", "serve", "--port", str(port), *map(str, options)],
            cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        _wait(f"http://127.0.0.1:{port}/healthz", running, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait(15)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One running `aehub serve` for all tests of this folder."""
    pytest.importorskip("gradio")
    with serving(tmp_path_factory.mktemp("serve")) as address:
        yield address


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of the same name with other weights: another revision."""
    from golden_files import write_model

    folder = tmp_path_factory.mktemp("other") / "tiny-d4"
    write_model(folder, seed=8)
    return folder


@pytest.fixture
def measured() -> dict[str, Any]:
    """A comparison as `aehub.compare(...).to_dict()` gives it."""
    def codec(name: str, psnr: float | None, ms_ssim: float | None) -> dict[str, Any]:
        return {"name": name, "bd_rate_psnr": psnr, "bd_rate_ms_ssim": ms_ssim}

    point = {"clip": "street", "codec": "tiny-d4", "quality": 50.0, "bytes": 1234,
             "bits_per_pixel": 0.5, "psnr": 33.3, "ms_ssim": None}
    return {"anchor": "x264-medium", "points": [point],
            "clips": [{"name": "street", "width": 352, "height": 288}],
            "codecs": [codec("x264-medium", 0.0, 0.0), codec("tiny-d4", -12.34, -4.56)]}
