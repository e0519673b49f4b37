"""The page in a process of its own, as `python app.py` runs it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEAD_PROXIES = {"http_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "nonsense://",
                "ALL_PROXY": "socks5://127.0.0.1:9", "NO_PROXY": ""}
"""Proxy settings that must not matter: one does not answer, two are invalid for every client."""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class PageServer:
    """A running page: its URL, its process, and the seconds to be ready (wall, processor)."""

    url: str
    pid: int
    seconds_to_ready: float
    cpu_to_ready: float
    log: Path

    def cpu_seconds(self) -> float:
        """Processor time used so far, in all threads of the process and of its workers."""
        # Of each process: user, system, and those of its children that have ended.
        return sum(int(field) for pid in (self.pid, *self.children())
                   for field in _fields(pid)[11:15]) / _TICKS

    def children(self) -> list[int]:
        """Processes that the server has started and that run."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            fields = _fields(int(folder.name))
            if fields and int(fields[1]) == self.pid and fields[0] != "Z":
                found.append(int(folder.name))
        return found

    def workers(self) -> list[int]:
        """Of these, the worker processes of its jobs."""
        return [pid for pid in self.children()
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def peak_bytes(self) -> int:
        """Most memory that the process and its workers have had in use, each at its own time."""
        return sum(int(line.split()[1]) * 1024 for pid in (self.pid, *self.children())
                   for line in Path(f"/proc/{pid}/status").read_text().splitlines()
                   if line.startswith("VmHWM"))

    def get(self, path: str) -> tuple[int, bytes]:
        """(status, body) of a request."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


def _fields(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on; none if the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def page_server(folder: Path, **environment: str) -> Iterator[PageServer]:
    """Run `app.py` on a free port until the block ends.

    Args:
        folder: where the log and temporary files go.
        environment: variables on top of the current ones.
    """
    port, log = free_port(), folder / "page.log"
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    variables = os.environ | {
        "GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(temporary / "gradio"),
        "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE",
    } | DEAD_PROXIES | environment
    began = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, str(ROOT / "app.py")], cwd=folder,
                                   env=variables, stdout=out, stderr=subprocess.STDOUT,
                                   # Jobs in the background of a shell ignore it.
                                   preexec_fn=lambda: signal.signal(
                                       signal.SIGINT, signal.SIG_DFL))
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url + "/healthz", process, log)
        ready = time.monotonic() - began
        server = PageServer(url, process.pid, ready, 0.0, log)
        yield replace(server, cpu_to_ready=server.cpu_seconds())
    finally:
        process.terminate()
        process.wait(15)


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(1200):
        if process.poll() is not None:
            raise AssertionError(f"the page ended: {log.read_text()}")
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"the page is not ready after 120 s: {log.read_text()}")
