"""Proxies of the environment: loopback goes past them, and an unusable proxy is one sentence."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from aehub.errors import HubError
from aehub.proxies import is_loopback, proxy_for, usable_proxies
from hub.conftest import TINY, Client
from hub.standin import StandIn
from pageserver import DEAD_PROXIES

ELSEWHERE = "http://hub.example"


@pytest.fixture
def tiny(hub: StandIn) -> StandIn:
    hub.put("lab/tiny", TINY)
    return hub


@pytest.mark.parametrize(
    "variables",
    [DEAD_PROXIES, {"HTTP_PROXY": "socks://127.0.0.1:9", "no_proxy": "hub.example"},
     {"ALL_PROXY": "http://127.0.0.1:9", "https_proxy": "::::"}],
    ids=" ".join,
)
def test_a_hub_on_this_machine_is_reached_past_any_proxy(
    tiny: StandIn, aehub_command: Client, variables: dict[str, str]
) -> None:
    place = tiny.url.replace("127.0.0.1", "localhost") if "no_proxy" in variables else tiny.url
    done = aehub_command("download", "lab/tiny", "--endpoint", place, **variables)
    assert done.code == 0, done.stderr
    assert (Path(done.out.strip()) / "config.json").is_file() and done.stderr == "" and tiny.asked


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"http_proxy": "http://127.0.0.1:9"}, "The proxy 127.0.0.1:9 is that of http_proxy"),
        ({"HTTP_PROXY": "127.0.0.1:9"}, "The proxy 127.0.0.1:9 is that of HTTP_PROXY;"),
        ({"ALL_PROXY": "socks://me:secret@127.0.0.1:9"}, "socks://127.0.0.1 of ALL_PROXY has an"),
        ({"HTTP_PROXY": "http://"}, "HTTP_PROXY is not the address of a proxy"),
        ({"HTTP_PROXY": "http://a:port"}, "HTTP_PROXY is not the address of a proxy"),
        ({"HTTP_PROXY": "what is this"}, "HTTP_PROXY is not the address of a proxy"),
    ],
    ids=str,
)
def test_a_proxy_that_cannot_be_used_is_one_sentence(
    aehub_command: Client, variables: dict[str, str], words: str
) -> None:
    done = aehub_command("download", "lab/tiny", "--endpoint", ELSEWHERE, **variables)
    assert words in done.sentence and "unset it" in done.sentence
    assert "secret" not in done.stderr


@pytest.mark.skipif(find_spec("socksio") is not None, reason="SOCKS proxies can be used here")
def test_a_socks_proxy_names_the_package_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:9")
    with pytest.raises(HubError, match="of all_proxy needs the package socksio; run pip install"):
        proxy_for(ELSEWHERE)


@pytest.mark.slow
def test_the_page_and_its_hub_answer_behind_dead_proxies(
    served: str, python: Callable[..., Any]
) -> None:
    # The server has these in its environment; the client of this test goes straight.
    with urllib.request.urlopen(f"{served}/healthz", timeout=30) as answer:
        assert json.load(answer)["status"] == "ok"
    code = ("import sys, json, aehub; models = aehub.list_models(endpoint=sys.argv[1])\n"
            "model = aehub.Model.from_pretrained('aehub/d4-codec', endpoint=sys.argv[1])\n"
            "print(json.dumps([model.name, len(models)]))")
    name, count = python(code, served, **DEAD_PROXIES)
    assert name == "d4-codec" and count > 0


@pytest.mark.parametrize(
    ("host", "answer"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("[::1]", True), ("LOCALHOST", True),
     ("hub.localhost", True), ("::ffff:127.0.0.1", True), ("0.0.0.0", True),
     ("192.168.0.1", False), ("localhost.example", False), ("", False)],
)
def test_loopback_is_distinguished_from_other_hosts(host: str, answer: bool) -> None:
    assert is_loopback(host) is answer


def test_the_environment_is_as_before_when_clients_were_made(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in DEAD_PROXIES.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with pytest.raises(ZeroDivisionError), usable_proxies():
        assert os.environ["http_proxy"] == DEAD_PROXIES["http_proxy"]
        assert not {"HTTPS_PROXY", "ALL_PROXY"} & os.environ.keys() or find_spec("socksio")
        assert "::1" in os.environ["no_proxy"]
        raise ZeroDivisionError
    with usable_proxies(none=True):
        assert not {"http_proxy", "HTTPS_PROXY", "ALL_PROXY"} & os.environ.keys()
    assert dict(os.environ) == before
