"""HTTP proxies of the environment; requests to this machine bypass them.

HTTP clients read `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in upper or lower case,
when they are created; one invalid variable makes that fail, whatever address is requested.
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
# The environment is shared by all threads; only one at a time may change it.
_LOCK = threading.RLock()


class Proxy(NamedTuple):
    """Host and port of a proxy, and the variable that sets it."""

    host: str
    port: int
    variable: str


def is_loopback(host: str) -> bool:
    """Return whether `host` is this machine: localhost, 127.x.x.x, ::1."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.removeprefix("::ffff:"))
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def proxy_for(url: str) -> Proxy | None:
    """Return the proxy for requests to `url`, None if they are direct.

    Raises:
        HubError: the proxy cannot be used.
    """
    parts = urlsplit(url)
    host, proxies = parts.hostname or "", getproxies()
    scheme = next((name for name in (parts.scheme, "all") if proxies.get(name)), None)
    if scheme is None or is_loopback(host) or proxy_bypass(host):
        return None
    proxy = _parse_proxy(proxies[scheme], _variable(scheme))
    if isinstance(proxy, str):
        raise HubError(proxy)
    return proxy


@contextmanager
def usable_proxies(*, none: bool = False) -> Iterator[None]:
    """Make the proxy variables valid within the block, and let loopback addresses bypass them.

    Args:
        none: remove all proxies.
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
    """Return the proxy set by a variable, or a sentence on why it is unusable; None if empty."""
    if not text:
        return None
    remedy = f"correct {variable}, or unset it."
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not _HOST.fullmatch(host):
        return f"{variable} is not the address of a proxy; {remedy}"
    # A user name and password in the address must not be printed.
    shown = f"{parts.scheme}://{host}"
    if parts.scheme not in _PORTS:
        return (f"the proxy {shown} of {variable} has an unknown protocol; give one of "
                f"{', '.join(_PORTS)}, or unset it.")
    if parts.scheme.startswith("socks") and find_spec("socksio") is None:
        return (f"the proxy {shown} of {variable} needs the package socksio; run pip install "
                f"socksio, or {remedy}")
    return Proxy(host, port or _PORTS[parts.scheme], variable)


def _variable(scheme: str) -> str:
    """Return the variable that sets the proxy for a scheme."""
    names = [name for name in _spellings(scheme) if os.environ.get(name)]
    return names[0] if names else "the system's settings"


def _spellings(scheme: str) -> tuple[str, str]:
    # Lower case takes precedence.
    return f"{scheme}_proxy", f"{scheme}_proxy".upper()
