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
        """Processor time the process has used so far, in all its threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def peak_bytes(self) -> int:
        """Most memory the process has had in use."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024

    def get(self, path: str) -> tuple[int, bytes]:
        """(status, body) of a request."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


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
