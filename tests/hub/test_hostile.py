"""Configs, headers and names made to hurt: refused in one sentence, in bounded memory."""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load as deserialised

from aehub.codecs.d4 import checkpoint
from aehub.errors import AEHubError, UnknownModel, WeightsError
from aehub.hub import find
from aehub.hub.download import check
from aehub.hub.registry import is_revision, parse_ref
from aehub.weights import stored_network
from aehub.weights.model_folder import (
    MAX_HEADER,
    is_model_name,
    migrate,
    read_file,
    read_raw_config,
    safetensors_error,
)
from hub.conftest import TINY

CONFIG = json.loads((TINY / "config.json").read_text())
WEIGHTS = (TINY / "model.safetensors").read_bytes()
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2**31, 2**63, 10**400, 1e308, float("nan"), float("inf"), "", "x", "../../x",
    "\0", "a" * 5000, [], {}, [[]] * 50, {"a": {"b": 1}}, "4018e319263402b0")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "model"))


def with_header(change: Any, body: bytes = b"") -> bytes:
    """A safetensors file with a header of one's own."""
    text = change if isinstance(change, bytes) else json.dumps(change).encode()
    return struct.pack("<Q", len(text)) + text + body


def split() -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(WEIGHTS[:8], "little")
    return json.loads(WEIGHTS[8:8 + length]), WEIGHTS[8 + length:]


def mutated_config(rng: random.Random) -> bytes:
    config = json.loads(json.dumps(CONFIG))
    for _ in range(rng.randint(1, 3)):
        place = config if rng.random() < 0.6 else config.get("arguments")
        if not isinstance(place, dict) or not place:
            continue
        name = rng.choice([*place, "more", "__class__"])
        if rng.random() < 0.15:
            place.pop(name, None)
        else:
            place[name] = rng.choice(VALUES)
    text = json.dumps(config).encode()
    if rng.random() < 0.2:
        begin = rng.randrange(len(text))
        text = text[:begin] + bytes(rng.randrange(256) for _ in range(3)) + text[begin + 2:]
    return text


def mutated_weights(rng: random.Random) -> bytes:
    entries, body = split()
    kind = rng.randrange(5)
    if kind == 0:
        data = bytearray(WEIGHTS)
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(min(len(data), 3000))] = rng.randrange(256)
        return bytes(data)
    if kind == 1:
        length = rng.choice([0, 1, 2**20, 2**32, 2**63, len(WEIGHTS)])
        return struct.pack("<Q", length) + WEIGHTS[8:]
    if kind == 2:
        return WEIGHTS[:rng.randrange(len(WEIGHTS))]
    name = rng.choice(list(entries))
    if kind == 3 and isinstance(entries[name], dict):
        entries[name][rng.choice(["dtype", "shape", "data_offsets", "more"])] = rng.choice(
            [*VALUES, [2**40, 2**40], [0, 2**62], [-1, 4], [1] * 64, "F64", "C128", [0, 0]])
    else:
        entries[rng.choice([name, "../../x", "\0", "a" * 4000])] = entries.pop(name)
    return with_header(entries, body)


def outcome(folder: Path) -> str:
    try:
        checkpoint.load(folder)
    except AEHubError as error:
        words = str(error)
        assert "\n" not in words and len(words) < 1000
        return type(error).__name__
    return "loaded"


@pytest.mark.slow
def test_a_thousand_mutated_pairs_are_loaded_or_refused_in_bounded_memory(folder: Path) -> None:
    rng = random.Random(6)
    outcomes: dict[str, int] = {}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(1000):
        config = mutated_config(rng) if rng.random() < 0.7 else json.dumps(CONFIG).encode()
        stored_network = mutated_weights(rng) if rng.random() < 0.7 else WEIGHTS
        if rng.random() < 0.9:
            # As a forger would: the hash in the config is that of the weights.
            config = config.replace(CONFIG["sha256"].encode(),
                                    hashlib.sha256(stored_network).hexdigest().encode())
        (folder / "config.json").write_bytes(config)
        (folder / "model.safetensors").write_bytes(stored_network)
        result = outcome(folder)
        outcomes[result] = outcomes.get(result, 0) + 1
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert set(outcomes) <= {"loaded", "WeightsError"} and outcomes["WeightsError"] > 700
    assert grown < 200_000, "kilobytes"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["model"]


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize("data", [
    b"", bytes(7), struct.pack("<Q", 2**63) + b"{}", with_header(b"[" * 100_000),
    with_header(b"[]"), with_header({"a": 7}), with_header(b"\xff"),
    *(with_header({"a": {**ENTRY, **change}}, bytes(4)) for change in (
        {"shape": [2**40]}, {"shape": [2**31, 2**31, 2**31]}, {"shape": [True]}, {"shape": [-1]},
        {"shape": [0, 2**60]}, {"data_offsets": [0, 8]}, {"data_offsets": [-4, 0]},
        {"data_offsets": [4, 0]}, {"data_offsets": [0]}, {"dtype": "PICKLE"}, {"dtype": None})),
    with_header({f"t{n}": ENTRY for n in range(9000)}, bytes(4)),
], ids=lambda data: f"{bytes(data[8:70])!r}")
def test_a_hostile_header_is_refused(data: bytes) -> None:
    problem = safetensors_error(data)
    assert problem and "\n" not in problem and len(problem) <= 200


def test_a_long_header_is_refused_before_the_library_sees_it(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {**ENTRY, "shape": [0], "data_offsets": [0, 0]}
    data = with_header({f"t{n}": entry for n in range(20_000)})
    assert len(data) > MAX_HEADER and len(deserialised(data)) == 20_000
    monkeypatch.setattr("aehub.weights.model_folder.deserialize", None)
    assert f"longer than {MAX_HEADER}" in (safetensors_error(data) or "")


def test_what_the_header_check_lets_through_is_what_the_library_reads() -> None:
    assert safetensors_error(WEIGHTS) is None
    assert len(deserialised(WEIGHTS)) > 10


def test_files_that_are_no_files_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")
    with pytest.raises(WeightsError, match="has no model.safetensors"):
        checkpoint.load(folder)
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/dev/zero")
    with pytest.raises(WeightsError, match="has no config.json"):
        checkpoint.load(folder)


def test_a_link_out_of_the_folder_is_refused_and_one_within_the_cache_is_followed(
    folder: Path, tmp_path: Path
) -> None:
    stored_network = folder / "model.safetensors"
    stored_network.rename(tmp_path / "elsewhere")
    stored_network.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WeightsError, match="link to a file outside"):
        checkpoint.load(folder)
    home = tmp_path / "hub" / "models--lab--tiny"
    snapshot = home / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (home / "blobs").mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(TINY / name, home / "blobs" / name)
        (snapshot / name).symlink_to(Path("../../blobs") / name)
    assert check(snapshot)["name"] == "tiny-d4"


def test_a_large_config_is_not_read(folder: Path) -> None:
    (folder / "config.json").write_bytes(b" " * 200_000 + b"{}")
    with pytest.raises(WeightsError, match="larger than"):
        read_raw_config(folder)
    os.truncate(folder / "model.safetensors", 1 << 40)
    with pytest.raises(WeightsError, match="larger than"):
        read_file(folder, "model.safetensors", 1000)


@pytest.mark.parametrize("name", [
    "..", "../x", "/etc/passwd", "a/b/c", "a/../b", "a//b", "a/b@", "a/b@..", "a/b@x/../y",
    "a/b@/x", "a/b@x/", "a/b@.x", "a/b@x.lock", "a/b.git", "-a/b", "a/-b", "a/b-", "a--b/c",
    "a/b..c", "a/b\n", "a/b@x\n", "a\\b/c", "a/b%2e", "\u00e4/b", "a/" + "b" * 200,
    "a/b@" + "c/" * 9, "a/b@c d", "a/b@\u00e9", "datasets", ".", "~/x/y",
])
def test_a_name_that_could_lead_elsewhere_is_none_of_a_hub(name: str) -> None:
    assert parse_ref(name) is None
    with pytest.raises(UnknownModel):
        find(name)


@pytest.mark.parametrize("name", ["org/name", "Org.x/na_me-2.0", "a/b", "org/name@main",
                                  "org/name@" + "0" * 40, "org/name@v1.0", "org/name@refs/pr/1"])
def test_usual_names_of_hubs_are_understood(name: str) -> None:
    place = parse_ref(name)
    assert place is not None and str(place) == name


def test_names_of_models_and_revisions_are_held_to_plain_characters() -> None:
    assert is_model_name("d4-codec") and is_model_name("tiny_d4.v2")
    for name in ("", ".", "..", "a/b", "a b", "-a", "x" * 41, "\u00e4", None, 7, "a\n"):
        assert not is_model_name(name)
    assert not is_revision("a" * 5000)


def test_a_config_that_names_a_path_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({**CONFIG, "name": "../../x"}))
    with pytest.raises(WeightsError, match="calls its model"):
        checkpoint.load(folder)


def test_an_older_config_is_brought_up_to_date_and_loads(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The config of today is the older one of tomorrow; a format 0 leads to it in two steps."""
    newest = stored_network.FORMAT_VERSION
    older = {**CONFIG, "format_version": newest - 2, **CONFIG["encoder"]}
    older["networks"] = older.pop("arguments")
    older.pop("encoder")

    def rename(config: dict[str, Any]) -> dict[str, Any]:
        config["arguments"] = config.pop("networks")
        return config

    def gather(config: dict[str, Any]) -> dict[str, Any]:
        config["encoder"] = {name: config.pop(name) for name in CONFIG["encoder"]}
        return config

    (folder / "config.json").write_text(json.dumps(older))
    with pytest.raises(WeightsError, match=f"of format {newest - 2}, this AEHub reads"):
        checkpoint.load(folder)
    table = {newest - 2: rename, newest - 1: gather}
    monkeypatch.setattr("aehub.weights.model_folder.MIGRATIONS", table)
    loaded = checkpoint.load(folder)
    assert loaded.config == {**CONFIG, "format_version": newest}
    assert migrate(older, newest - 1, table)["format_version"] == newest - 1
    assert "networks" in older, "what was given is not changed"


@pytest.mark.parametrize("version", [99, -5, None, "1", 1.0, True, [], 10**400])
def test_a_format_that_nobody_knows_is_refused(folder: Path, version: Any) -> None:
    (folder / "config.json").write_text(json.dumps({**CONFIG, "format_version": version}))
    assert outcome(folder) == "WeightsError" or version in (1.0, True)
