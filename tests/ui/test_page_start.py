"""Start of the page, and the one sentence of a start that fails."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from aehub.errors import InputError
from aehub.ui import environment
from pageserver import ROOT


def started(*arguments: str, **variables: str) -> str:
    """Return the one sentence of a start that fails."""
    done = subprocess.run(
        [sys.executable, *arguments], env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
        capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, ""), done
    assert done.stderr.startswith("aehub: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("GRADIO_SERVER_PORT", port) for port in ("abc", "0", "99999", "", "7860.0", "-1", "१")),
        ("GRADIO_NUM_PORTS", "many"), ("GRADIO_NUM_WORKERS", "two"), ("GRADIO_DEBUG", "yes"),
        ("GRADIO_ANALYTICS_MAX_EVENTS", "x"), ("GRADIO_ANALYTICS_CACHE_FREQUENCY", "x"),
        *(("GRADIO_ROOT_PATH", root) for root in ("demo", "/a b", "ftp://host/demo", "/x?y=1",
                                                  "https://", "//\n")),
    ],
)
def test_a_variable_that_gradio_cannot_use_is_named_with_the_remedy(name: str, value: str) -> None:
    with pytest.raises(InputError, match=rf"^{name} is .* or unset it\.$"):
        environment.check({name: value})


@pytest.mark.parametrize("root", ["", "/demo", "/a/b/", "https://host.example:8/demo", "http://[::1]"])
def test_paths_behind_a_proxy_are_taken(root: str) -> None:
    environment.check({"GRADIO_ROOT_PATH": root, "GRADIO_SERVER_PORT": " 7860 "})


def test_the_page_names_a_bad_variable_however_it_is_started() -> None:
    for arguments in (["-m", "aehub", "serve"], [str(ROOT / "app.py")]):
        told = started(*arguments, GRADIO_SERVER_PORT="abc")
        assert "GRADIO_SERVER_PORT is 'abc'; give a whole number from 1 to 65535" in told
    assert "AEHUB_MAX_QUEUE is 'x'" in started(str(ROOT / "app.py"), AEHUB_MAX_QUEUE="x")


def test_a_port_that_is_taken_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        told = started("-m", "aehub", "serve", "--port", port)
        assert f"cannot be served on 127.0.0.1, port {port}: Address already in use" in told
        with pytest.raises(InputError, match=f"port {port}: Address already in use"):
            environment.listen_address(int(port), None)


def test_a_port_of_the_environment_is_the_port(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("GRADIO_SERVER_PORT", str(taken.getsockname()[1]))
        with pytest.raises(InputError, match="The port is that of --port or GRADIO_SERVER_PORT"):
            environment.listen_address(None, None)
    port = int(os.environ["GRADIO_SERVER_PORT"])
    assert environment.listen_address(None, None) == (port, "127.0.0.1")


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "a b", "x" * 70])
def test_a_host_that_is_not_this_machine_is_said(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_SERVER_NAME", host)
    with pytest.raises(InputError, match="the host that of GRADIO_SERVER_NAME"):
        environment.listen_address(None, None)


def test_a_library_that_is_no_folder_is_said() -> None:
    told = started("-m", "aehub", "serve", "--library", "absent-films")
    assert told == "aehub: the library 'absent-films' is no folder; give a folder of clips.\n"
