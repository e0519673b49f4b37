"""The proxies that the environment names, which requests to this machine itself bypass.

HTTP clients read `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in either case of
letters, when they are made; one variable that they cannot use ends them, whatever they are for.
"""

from __future__ import annotations

import ipaddress
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from aehub.errors import HubError

_SCHEMES = ("http", "https", "all")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_HOST = re.compile(r"[\w.:%-]+")
# The environment belongs to all threads; one at a time may change it for a while.
_LOCK = threading.RLock()


class Proxy(NamedTuple):
    """Where a proxy listens, and the variable that names it."""

    host: str
    port: int
    variable: str


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine: localhost, 127.x.x.x, ::1."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.removeprefix("::ffff:"))
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def proxy_for(url: str) -> Proxy | None:
    """The proxy that requests for `url` go through, None if they go directly.

    Raises:
        HubError: it cannot be used.
    """
    parts = urlsplit(url)
    host, given = parts.hostname or "", getproxies()
    scheme = next((name for name in (parts.scheme, "all") if given.get(name)), None)
    if scheme is None or is_loopback(host) or proxy_bypass(host):
        return None
    found = _parse_proxy(given[scheme], _variable(scheme))
    if isinstance(found, str):
        raise HubError(found)
    return found


@contextmanager
def usable_proxies(*, none: bool = False) -> Iterator[None]:
    """Set the proxy variables in the block so that HTTP clients can be made, and bypass loopback.

    Args:
        none: make clients that use no proxy at all.
    """
    with _LOCK:
        names = [name for scheme in (*_SCHEMES, "no") for name in _spellings(scheme)]
        before = {name: os.environ[name] for name in names if name in os.environ}
        try:
            for scheme in _SCHEMES:
                for name in _spellings(scheme):
                    if none or isinstance(_parse_proxy(os.environ.get(name, ""), name), str):
                        os.environ.pop(name, None)
            direct = [text for text in map(before.get, _spellings("no")) if text][:1]
            for name in _spellings("no"):
                os.environ[name] = ",".join([*direct, *_LOOPBACK])
            yield
        finally:
            for name in names:
                os.environ.pop(name, None)
            os.environ.update(before)


def _parse_proxy(text: str, variable: str) -> Proxy | str | None:
    """The proxy that a variable names, or a sentence on why it cannot be used; None if empty."""
    if not text:
        return None
    remedy = f"correct {variable}, or unset it."
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not _HOST.fullmatch(host):
        return f"{variable} names no proxy that can be used; {remedy}"
    # The name and the password that may stand in the address are nobody's business.
    shown = f"{parts.scheme}://{host}"
    if parts.scheme not in _PORTS:
        return (f"the proxy {shown} of {variable} is of a kind that cannot be used; give one of "
                f"{', '.join(_PORTS)}, or unset it.")
    if parts.scheme.startswith("socks") and find_spec("socksio") is None:
        return (f"the proxy {shown} of {variable} needs the package socksio; run pip install "
                f"socksio, or {remedy}")
    return Proxy(host, port or _PORTS[parts.scheme], variable)


def _variable(scheme: str) -> str:
    """The variable that the proxy for a scheme comes from."""
    found = [name for name in _spellings(scheme) if os.environ.get(name)]
    return found[0] if found else "the system's settings"


def _spellings(scheme: str) -> tuple[str, str]:
    # The lower case counts first.
    return f"{scheme}_proxy", f"{scheme}_proxy".upper()
