"""Check the environment variables that Gradio reads before it does: its errors name no remedy."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping

from aehub.errors import InputError
from aehub.ui.limits import PageLimits

PORT, HOST, ROOT = "GRADIO_SERVER_PORT", "GRADIO_SERVER_NAME", "GRADIO_ROOT_PATH"
# As Gradio: the first port to try, and how many from there.
_FIRST_PORT, _MAX_PORTS = 7860, 100
# Integer variables and their ranges.
_NUMBERS = {
    PORT: (1, 65535), "GRADIO_NUM_PORTS": (1, 65535), "GRADIO_NODE_NUM_PORTS": (1, 65535),
    "GRADIO_NUM_WORKERS": (1, 1024), "GRADIO_DEBUG": (0, 1),
    "GRADIO_ANALYTICS_MAX_EVENTS": (1, 10**9), "GRADIO_ANALYTICS_CACHE_FREQUENCY": (1, 10**9),
}
_ROOT_PATH = re.compile(r"(https?://[\w.:%\[\]-]+)?(/[\w.~!$&'()*+,;=:@%/-]*)?", re.ASCII)


def check(environ: Mapping[str, str] | None = None) -> None:
    """Check the variables that the page and Gradio read on import and on launch.

    Raises:
        InputError: one of them has an invalid value.
    """
    environ = os.environ if environ is None else environ
    for name, (low, high) in _NUMBERS.items():
        text = environ.get(name)
        if text is not None and not (_is_digits(text) and low <= int(text) <= high):
            raise InputError(f"{name} is {text[:40]!r}; give a whole number from {low} to {high}, "
                             "or unset it.")
    PageLimits.from_env(environ)
    root = environ.get(ROOT, "")
    if not _ROOT_PATH.fullmatch(root):
        raise InputError(f"{ROOT} is {root[:80]!r}; give the path under which a proxy serves the "
                         "page, such as /demo, or its whole address, or unset it.")


def listen_address(port: int | None, host: str | None) -> tuple[int, str]:
    """Return the port and the host to serve on.

    Args:
        port: by default `GRADIO_SERVER_PORT`, or the first free one from 7860.
        host: by default `GRADIO_SERVER_NAME`, or this machine only.

    Raises:
        InputError: the port is taken, or the host is not this machine.
    """
    host = host or os.environ.get(HOST) or "127.0.0.1"
    if port is None and PORT in os.environ:
        port = int(os.environ[PORT])
    count = int(os.environ.get("GRADIO_NUM_PORTS", _MAX_PORTS))
    tried = range(_FIRST_PORT, min(_FIRST_PORT + count, 65536)) if port is None else [port]
    reason: OSError | None = None
    for candidate in tried:
        reason = _bind_error(host, candidate)
        if reason is None:
            return candidate, host
        if isinstance(reason, socket.gaierror):
            break
    shown = f"{tried[0]}" if len(tried) == 1 else f"{tried[0]} to {tried[-1]}"
    why = reason.strerror if reason else "no port is left"
    raise InputError(f"the page cannot be served on {host}, port {shown}: {why}; choose another "
                     "port or host.",
                     f"The port is that of --port or {PORT}, the host that of {HOST}.")


def _is_digits(text: str) -> bool:
    return re.fullmatch(r"\s*\d{1,10}\s*", text, re.ASCII) is not None


def _bind_error(host: str, port: int) -> OSError | None:
    """Return the error of binding to the port, None if it is free."""
    try:
        for family, kind, number, _, address in socket.getaddrinfo(
                host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE):
            with socket.socket(family, kind, number) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except (OSError, UnicodeError) as error:
        return error if isinstance(error, OSError) else socket.gaierror(0, "no such host")
    return None
