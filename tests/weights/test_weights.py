"""Model folders: loaded complete and unmodified, or refused with one sentence."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load as deserialised
from safetensors.torch import save as serialised
from torch import Tensor

import aehub
from aehub.codecs.d4 import checkpoint
from aehub.codecs.d4.checkpoint import from_tensors, to_tensors
from aehub.codecs.d4.codec import D4Codec
from aehub.errors import WeightsError
from golden_files import MODEL

Tensors = dict[str, Tensor]
ARGUMENTS = json.loads((MODEL / "config.json").read_text())["arguments"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the tiny model that may be tampered with."""
    return Path(shutil.copytree(MODEL, tmp_path / "model"))


def refusal(folder: Path) -> str:
    """The sentence with which a folder is refused."""
    with pytest.raises(WeightsError) as caught:
        D4Codec.from_pretrained(folder)
    words = str(caught.value)
    assert "\n" not in words and words.endswith(".") and len(words) < 600
    return words


def configure(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))


def replace_tensors(
    folder: Path, change: Callable[[Tensors], Any], *, rehash: bool = False
) -> None:
    """Change tensors as a forger would: the SHA-256 fits, on demand the other hashes too."""
    path = folder / "model.safetensors"
    tensors = deserialised(path.read_bytes())
    change(tensors)
    path.write_bytes(serialised({n: t.contiguous() for n, t in tensors.items()}))
    changes = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    if rehash:
        stored = {n: t for n, t in tensors.items() if not n.startswith("probe.")}
        arguments = json.loads((folder / "config.json").read_text())["arguments"]
        hashes = checkpoint.hashes(stored, arguments)
        changes |= dict(zip(("entropy_hash", "synthesis_hash"), hashes, strict=True))
    configure(folder, **changes)


def put(name: str, value: Callable[[Tensor], Tensor]) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        tensors[name] = value(tensors[name])
    return change


def test_the_folder_loads_before_it_is_tampered_with(folder: Path) -> None:
    model = D4Codec.from_pretrained(folder)
    assert model.name == "tiny-d4"
    replace_tensors(folder, lambda tensors: None, rehash=True)
    assert D4Codec.from_pretrained(folder).stored.entropy_hash == model.stored.entropy_hash


# Bytes.


@pytest.mark.parametrize("place", [0, 7, 100, 5000, 0.3, 0.6, 0.9, -1])
def test_a_flipped_byte_is_found(folder: Path, place: float) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[int(place * len(data)) if isinstance(place, float) else place] ^= 1
    path.write_bytes(data)
    assert "does not match the SHA-256" in refusal(folder)


def test_a_cut_file_is_found(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert "does not match the SHA-256" in refusal(folder)


@pytest.mark.parametrize("data", [b"", b"text", b"\xff" * 64, b"\x80\x02}q\x00."])
def test_what_is_no_safetensors_file_is_refused(folder: Path, data: bytes) -> None:
    (folder / "model.safetensors").write_bytes(data)
    configure(folder, sha256=hashlib.sha256(data).hexdigest())
    assert "is not a safetensors file" in refusal(folder)


def test_a_huge_file_is_refused_before_it_is_read(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", 1 << 40)
    assert "is larger than" in refusal(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"has no {name}" in refusal(folder)


# Tensors.


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("synthesis.tail.theta"), "lack 'synthesis.tail.theta'"),
        (lambda t: t.update(extra=torch.zeros(3)), "hold an unknown 'extra'"),
        (put("fold.theta", lambda t: t[:-1]), "'fold.theta' is torch.float32"),
        (put("fold.theta", lambda t: t.double()), "'fold.theta' is torch.float64"),
        (put("fold.theta", lambda t: t[None]), "expected torch.float32"),
        (put("scales.unfold.theta", lambda t: t.float()), "expected torch.int8"),
        (put("gain.values", lambda t: t * torch.nan), "not finite"),
        (put("analysis.linear.theta", lambda t: t + torch.inf), "not finite"),
        (lambda t: t.pop("tables.frequencies"), "no frequency tables"),
        (put("tables.frequencies", lambda t: t.bfloat16()), "no frequency tables"),
        (put("tables.frequencies", lambda t: t.double()), "no frequency tables"),
        (put("tables.frequencies", lambda t: t[1:]), "no valid frequency tables"),
        (put("tables.frequencies", lambda t: t + 1), "no valid frequency tables"),
        (put("tables.frequencies", lambda t: -t), "no valid frequency tables"),
        (lambda t: t.pop("probe.index"), "no valid self-test"),
        (lambda t: t.update({"probe.more": torch.zeros(1)}), "no valid self-test"),
        (put("probe.codes", lambda t: t[:, :5]), "no valid self-test"),
        (put("probe.hyper", lambda t: t.float()), "no valid self-test"),
    ],
)
def test_tensors_that_do_not_fit_the_architecture_are_named(
    folder: Path, change: Callable[[Tensors], None], words: str
) -> None:
    replace_tensors(folder, change)
    assert words in refusal(folder)


@pytest.mark.parametrize(
    "name",
    ["scales.stages.2.second.theta", "scales.hyper_bias.values", "synthesis.tail.theta",
     "means.unfold.theta", "gain.values", "hyper_gain.values"],
)
def test_numbers_other_than_the_hashes_name_are_refused(folder: Path, name: str) -> None:
    replace_tensors(folder, put(name, lambda t: t + 1))
    assert "hashes differ from those in its config" in refusal(folder)


def test_other_tables_than_the_hash_names_are_refused(folder: Path) -> None:
    def change(tensors: Tensors) -> None:
        tensors["tables.frequencies"][0] += 2
        tensors["tables.frequencies"][1] -= 1

    replace_tensors(folder, change)
    assert "hashes differ from those in its config" in refusal(folder)


def test_an_integer_layer_beyond_its_bound_is_refused_whatever_the_hashes(folder: Path) -> None:
    name = "scales.stages.3.second.theta"
    replace_tensors(folder, put(name, lambda t: torch.full_like(t, 127)), rehash=True)
    assert "'scales.stages.3.second' can reach" in refusal(folder)


@pytest.mark.parametrize("value", [2**31 - 1, -(2**31), 2**20])
def test_an_integer_bias_beyond_its_bound_is_refused(folder: Path, value: int) -> None:
    name = "scales.stages.0.last_bias.values"
    replace_tensors(folder, put(name, lambda t: torch.full_like(t, value)), rehash=True)
    assert "integer bias 'scales.stages.0.last_bias' reaches" in refusal(folder)


# The config.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format_version": 2}, "format 2"),
        ({"architecture": "vae"}, "name another model"),
        ({"arguments": ARGUMENTS | {"fields": 10**9}}, "fields 1 to 64"),
        ({"arguments": ARGUMENTS | {"fields": 0}}, "arguments"),
        ({"arguments": ARGUMENTS | {"analysis_blocks": -1}}, "arguments"),
        ({"arguments": ARGUMENTS | {"fields": 2.0}}, "arguments"),
        ({"arguments": ARGUMENTS | {"fields": True}}, "arguments"),
        ({"arguments": {"fields": 2}}, "arguments"),
        ({"arguments": ["fields"] * 1000}, "arguments"),
        ({"arguments": ARGUMENTS | {"fields": 3}}, "expected"),
        ({"arguments": ARGUMENTS | {"analysis_blocks": 1}}, "lack"),
        ({"name": ...}, "has no text 'name'"),
        ({"sha256": 7}, "has no text 'sha256'"),
        ({"entropy_hash": ...}, "has no text 'entropy_hash'"),
        ({"synthesis_hash": None}, "has no text 'synthesis_hash'"),
        ({"entropy_hash": "0" * 16}, "hashes differ from those in its config"),
        ({"encoder": [1]}, "encoder settings"),
        ({"encoder": {"lambda": "0.1"}}, "encoder settings"),
        ({"encoder": {"lambda": float("nan")}}, "encoder settings"),
    ],
)
def test_a_config_that_asks_for_something_else_is_refused(
    folder: Path, changes: dict[str, Any], words: str
) -> None:
    configure(folder, **changes)
    assert words in refusal(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '"d4-codec"', "\udcff", "[" * 50_000])
def test_a_config_that_is_no_object_is_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    refusal(folder)


# What is saved is what was loaded.


def test_saving_and_loading_changes_nothing(tmp_path: Path) -> None:
    D4Codec.from_pretrained(MODEL).save_pretrained(tmp_path / "copy")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "copy" / name).read_bytes() == (MODEL / name).read_bytes()


def test_integers_are_stored_as_integers_and_come_back_exactly() -> None:
    network = D4Codec.from_pretrained(MODEL).network
    tensors = to_tensors(network)
    kinds = {t.dtype for n, t in tensors.items() if n.startswith("scales.")}
    assert kinds == {torch.int8, torch.int32}
    before = {n: p.clone() for n, p in network.named_parameters()}
    from_tensors(network, tensors)
    assert all(torch.equal(p, before[n]) for n, p in network.named_parameters())


def test_the_hashes_cover_what_a_decoder_runs_and_nothing_else() -> None:
    model = D4Codec.from_pretrained(MODEL)
    tensors, arguments = to_tensors(model.network), model.network.config
    before = checkpoint.hashes(tensors, arguments)
    for name in tensors:
        changed = {**tensors, name: tensors[name] + 1}
        entropy, synthesis = checkpoint.hashes(changed, arguments)
        part = name.removeprefix("inter.")
        decodes = part.startswith(
            ("means.", "synthesis.", "post_filter.", "gain.", "hyper_gain."))
        assert (entropy != before[0]) == part.startswith("scales."), name
        assert (synthesis != before[1]) == decodes, name


def test_saving_refuses_what_loading_would(tmp_path: Path) -> None:
    model = D4Codec.from_pretrained(MODEL)
    with torch.no_grad():
        model.network.scales.stages[3].second.theta.fill_(0.4)
    with pytest.raises(WeightsError, match="can reach"):
        model.save_pretrained(tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


def test_saved_weights_can_be_read_by_everyone_the_folder_lets_in(tmp_path: Path) -> None:
    D4Codec.from_pretrained(MODEL).save_pretrained(tmp_path)
    modes = {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_a_loaded_model_does_not_change_with_its_file(folder: Path) -> None:
    stored = D4Codec.from_pretrained(folder).stored
    before = stored.tables.frequencies.copy()
    with (folder / "model.safetensors").open("r+b") as file:
        file.write(bytes(os.path.getsize(file.name)))
    assert (stored.tables.frequencies == before).all()
    assert stored.self_test["index"].any()


def test_a_tampered_model_is_refused_by_name_and_folder(folder: Path) -> None:
    assert aehub.load(folder).name == "tiny-d4"
    replace_tensors(folder, put("gain.values", lambda t: t + 1))
    with pytest.raises(WeightsError):
        aehub.load(folder)
