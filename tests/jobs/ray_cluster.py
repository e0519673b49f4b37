"""A Ray of two cores on this machine, in processes of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from jobs.conftest import ENVIRONMENT

_TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
"""Ports of Ray are open to the network; this keeps everybody else out."""
_SECONDS = 90
"""Until the head answers."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cluster(NamedTuple):
    """A head that runs: its address and process."""

    address: str
    process: int

    def workers(self) -> list[int]:
        """Processes of the workers of aehub on it, by the names that Ray gives them."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
                if _read(pid, "cmdline").startswith("ray::_Actor") and _is_below(pid, self.process)]


@contextmanager
def cluster(**settings: str) -> Iterator[Cluster]:
    """A head that runs within the block; keywords are variables of it."""
    port = free_port()
    # Sockets below it have names of at most 107 bytes.
    place = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    for name, value in _TOKEN.items():
        os.environ[name] = ENVIRONMENT[name] = value
    environment = ENVIRONMENT | {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"} | settings
    head = subprocess.Popen(
        [sys.executable, "-P", "-m", "ray.scripts.scripts", "start", "--head", "--block",
         f"--port={port}", "--num-cpus=2", "--object-store-memory=150000000",
         "--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={place}"],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield Cluster(_when_it_answers(port, head), head.pid)
    finally:
        head.terminate()
        head.wait(60)
        shutil.rmtree(place, ignore_errors=True)


def _when_it_answers(port: int, head: subprocess.Popen[bytes]) -> str:
    """The address, at which the head listens by the machine's own one."""
    deadline = time.monotonic() + _SECONDS
    host = socket.gethostbyname(socket.gethostname())
    while time.monotonic() < deadline and head.poll() is None:
        for name in (host, "127.0.0.1"):
            try:
                socket.create_connection((name, port), 1).close()
            except OSError:
                continue
            return f"{name}:{port}"
        time.sleep(0.2)
    raise AssertionError(f"Ray does not answer at port {port}; code {head.poll()}")


def _read(pid: int, name: str) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    return ""


def _is_below(pid: int, ancestor: int) -> bool:
    while pid > 1 and pid != ancestor:
        fields = _read(pid, "stat").rpartition(")")[2].split()
        pid = int(fields[1]) if fields else 0
    return pid == ancestor
