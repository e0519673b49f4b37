"""Each way in which fetching fails is its own sentence, and nothing bad is kept."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from aehub.errors import WeightsError
from aehub.hub.download import _counting_bar
from hub.conftest import TINY, Client
from hub.standin import StandIn
from hub.test_download import FIND, files_of

FETCH = ("download", "lab/tiny-d4")


def kept(home: Path) -> list[Path]:
    """Weights in the cache, whole or in part."""
    return [path for path in home.rglob("*") if path.is_file() and path.stat().st_size > 10_000]


def test_a_missing_repository_is_named(hub: StandIn, aehub_command: Client) -> None:
    message = aehub_command(*FETCH, HF_ENDPOINT=hub.url).sentence
    assert f"there is no model lab/tiny-d4 at {hub.url}" in message and "private" in message


def test_a_missing_revision_is_named(hub: StandIn, aehub_command: Client) -> None:
    hub.put("lab/tiny-d4", TINY)
    message = aehub_command("download", "lab/tiny-d4@v9", HF_ENDPOINT=hub.url).sentence
    assert "lab/tiny-d4 has no revision v9" in message


def test_a_gated_repository_tells_where_to_ask(hub: StandIn, aehub_command: Client) -> None:
    hub.put("lab/tiny-d4", TINY)
    hub.gated.add("lab/tiny-d4")
    message = aehub_command(*FETCH, HF_ENDPOINT=hub.url).sentence
    assert "is gated" in message and f"{hub.url}/lab/tiny-d4" in message and "HF_TOKEN" in message


@pytest.mark.parametrize("status", [500, 503, 403, 429])
def test_a_hub_that_refuses_is_one_sentence(
    hub: StandIn, aehub_command: Client, status: int
) -> None:
    hub.status = status
    message = aehub_command(*FETCH, HF_ENDPOINT=hub.url).sentence
    words = {500: "answered 500", 503: "answered 503", 403: "does not let you", 429: "pause"}
    assert words[status] in message


def test_offline_misses_fail_at_once_and_tell_the_remedy(aehub_command: Client) -> None:
    with ExitStack() as stack:
        deaf = stack.enter_context(socket.socket())
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        silent = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        # Its queue of connections is full from here on: nobody answers, nobody refuses.
        waiting = [stack.enter_context(socket.socket()) for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(deaf.getsockname())
        begin = aehub_command("--version").seconds
        ways = [
            ({"HF_HUB_OFFLINE": "1"}, "switched off on this machine. Unset HF_HUB_OFFLINE",
             "--to FOLDER"),
            ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "Connection refused", "--endpoint"),
            ({"HF_ENDPOINT": "http://hub.invalid"}, "cannot be reached", "--endpoint"),
            ({"HF_ENDPOINT": silent}, "cannot be reached", "--endpoint"),
            ({"AEHUB_AUTO_DOWNLOAD": "0"}, "AEHUB_AUTO_DOWNLOAD", "aehub download lab/tiny-d4"),
        ]
        for environment, reason, remedy in ways:
            done = aehub_command("compress", "clip.mp4", "--model", "lab/tiny-d4", **environment)
            assert "lab/tiny-d4 is not on this machine" in done.sentence
            assert reason in done.sentence and remedy in done.sentence
            # A busy machine takes its time to start the interpreter and to load torch; the client
            # of the hub by itself would try for 10 s and longer.
            assert done.seconds - begin < 3, environment


def test_a_token_goes_to_the_clients_own_hub_only(hub: StandIn, aehub_command: Client) -> None:
    hub.put("lab/tiny-d4", TINY)
    token = "hf_" + "b" * 34
    assert aehub_command(*FETCH, "--endpoint", hub.url, HF_TOKEN=token).code == 0
    assert aehub_command("models", "--endpoint", hub.url, HF_TOKEN=token).code == 1
    assert hub.tokens == set()
    assert aehub_command(*FETCH, HF_ENDPOINT=hub.url, HF_TOKEN=token).code == 0
    assert hub.tokens == {f"Bearer {token}"}


def test_an_address_that_is_none_is_refused(aehub_command: Client) -> None:
    for address in ("127.0.0.1:7860", "ftp://x", "http://", "file:///etc/passwd"):
        message = aehub_command(*FETCH, "--endpoint", address).sentence
        assert "is not the address of a hub" in message


def test_a_corrupt_body_of_the_right_length_is_refused_and_thrown_away(
    hub: StandIn, aehub_command: Client, home: Path
) -> None:
    hub.put("lab/tiny-d4", TINY)
    hub.corrupt.add("model.safetensors")
    message = aehub_command(*FETCH, HF_ENDPOINT=hub.url).sentence
    assert "SHA-256" in message and "thrown away" in message
    assert kept(home) == []
    hub.corrupt.clear()
    done = aehub_command(*FETCH, HF_ENDPOINT=hub.url)
    assert files_of(Path(done.out.strip())) == files_of(TINY)


def test_a_corrupt_config_is_refused_by_the_hash_of_the_list(
    hub: StandIn, aehub_command: Client
) -> None:
    hub.put("lab/tiny-d4", TINY, **{"README.md": b"# a card"})
    hub.corrupt.add("README.md")
    assert "README.md is not what the hub's list names" in aehub_command(
        *FETCH, HF_ENDPOINT=hub.url).sentence


def test_a_transfer_that_breaks_off_is_taken_up_again(
    hub: StandIn, aehub_command: Client
) -> None:
    hub.put("lab/tiny-d4", TINY)
    hub.cut = {20_000: 2}
    done = aehub_command(*FETCH, HF_ENDPOINT=hub.url)
    assert done.code == 0, done.stderr
    assert files_of(Path(done.out.strip())) == files_of(TINY)


def test_a_transfer_that_never_ends_well_leaves_no_model(
    hub: StandIn, aehub_command: Client, home: Path
) -> None:
    hub.put("lab/tiny-d4", TINY)
    hub.cut = {20_000: 1000}
    done = aehub_command(*FETCH, HF_ENDPOINT=hub.url)
    assert "broke off" in done.sentence and "Run it again" in done.sentence
    assert done.stderr.count("\n") == 1
    assert not [path for path in home.rglob("model.safetensors")]
    assert "cached" not in aehub_command("models", HF_ENDPOINT=hub.url).out
    hub.cut = {}
    assert aehub_command(*FETCH, HF_ENDPOINT=hub.url).code == 0


def test_a_damaged_cache_is_fetched_anew(
    hub: StandIn, aehub_command: Client, python: Callable[..., Any]
) -> None:
    hub.put("lab/tiny-d4", TINY)
    folder = Path(aehub_command(*FETCH, HF_ENDPOINT=hub.url).out.strip())
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(5000)
        file.write(b"\xff\x00\xff")
    assert aehub_command(*FETCH, HF_ENDPOINT=hub.url).code == 0
    _, files = python(FIND, "lab/tiny-d4", HF_HUB_OFFLINE="1")
    assert {name: bytes.fromhex(data) for name, data in files.items()} == files_of(TINY)


def test_a_pickle_is_never_fetched(hub: StandIn, aehub_command: Client) -> None:
    hub.put("lab/tiny-d4", TINY, **{"model.safetensors": None, "pytorch_model.bin": b"\x80\x02."})
    message = aehub_command(*FETCH, HF_ENDPOINT=hub.url).sentence
    assert "has no model.safetensors" in message and "pickle, which is never loaded" in message
    assert not [asked for asked in hub.asked if "resolve" in asked]


def test_a_file_announced_too_large_is_refused_before_it_is_fetched(
    hub: StandIn, aehub_command: Client
) -> None:
    hub.put("lab/tiny-d4", TINY, **{"config.json": b" " * 200_000})
    assert "announces 200000 bytes for config.json" in aehub_command(
        *FETCH, HF_ENDPOINT=hub.url).sentence
    assert not [asked for asked in hub.asked if "resolve" in asked]


def test_other_weights_under_a_known_name_are_refused(
    hub: StandIn, aehub_command: Client
) -> None:
    hub.put("aehub/d4-codec", TINY)
    message = aehub_command("download", "d4-codec", "--endpoint", hub.url).sentence
    assert "another d4-codec than this version of AEHub knows" in message
    assert aehub_command("download", "aehub/d4-codec@main", "--endpoint", hub.url).code == 0


def test_a_tag_of_hashes_that_leads_to_other_weights_is_refused(
    hub: StandIn, aehub_command: Client
) -> None:
    config = json.loads((TINY / "config.json").read_text())
    hub.put("lab/tiny-d4", TINY, f"{'0' * 16}-{config['synthesis_hash']}")
    message = aehub_command("download", f"lab/tiny-d4@{'0' * 16}-{config['synthesis_hash']}",
                            HF_ENDPOINT=hub.url).sentence
    assert "asked for" in message


def test_a_hub_without_hashes_is_still_held_to_the_config(
    hub: StandIn, aehub_command: Client
) -> None:
    hub.put("lab/tiny-d4", TINY)
    hub.hide_hashes = True
    assert aehub_command(*FETCH, HF_ENDPOINT=hub.url).code == 0
    hub.put("lab/tiny-d4", TINY, **{"model.safetensors": bytes(30_000)})
    assert "SHA-256" in aehub_command(*FETCH, HF_ENDPOINT=hub.url).sentence


def test_each_byte_is_counted_once_and_none_beyond_what_was_announced() -> None:
    counted: list[int] = []
    bar = _counting_bar(10, counted.append)(total=10, desc="file", unit="B")
    bar.update(4)
    # Clients of newer storage tell twice: bytes on the way, and bytes written.
    bar.update_transfer(6)
    bar.update(6)
    assert counted == [4, 6]
    with pytest.raises(WeightsError, match="more than the 10 bytes it announced"):
        bar.update(1)
