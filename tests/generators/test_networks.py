"""Folders of models without an entropy coder: loaded whole and untouched, or refused."""

from __future__ import annotations

import hashlib
import json
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load as deserialised
from safetensors.torch import save as serialised
from torch import Tensor

import aehub
from aehub.bitstream import open_reader
from aehub.codecs.d4.codec import D4Codec
from aehub.errors import InputError, ModelError, WeightsError
from aehub.generators.autoencoder import Autoencoder
from aehub.generators.dense import DenseAutoencoder
from aehub.weights import stored_network
from aehub.weights.architectures import (
    Architecture,
    architecture_of,
    architecture_of_payload,
    architectures,
)
from aehub.weights.model_folder import is_tag, tag_of

SIZES = {"side": 8, "hidden": 12, "latent": 4, "anchors": 6}
BUILT = {**SIZES, "rectified": 0, "squashed": 1}
TINY = Path(__file__).resolve().parents[1] / "golden" / "tiny-d4"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small dense autoencoder that may be tampered with."""
    return write(tmp_path / "small")


def write(folder: Path, seed: int = 0, **arguments: int) -> Path:
    torch.manual_seed(seed)
    stored_network.save(folder, folder.name, DenseAutoencoder(
        **SIZES | arguments))
    return folder


def configure(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))


def refusal(folder: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        aehub.Model.from_folder(folder)
    words = str(caught.value)
    assert "\n" not in words and words.endswith(".") and len(words) < 600
    return words


# The folder.


def test_saving_and_loading_changes_nothing(folder: Path, tmp_path: Path) -> None:
    model = aehub.load(folder, device="cpu")
    model.save_pretrained(tmp_path / "copy")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "copy" / name).read_bytes() == (folder / name).read_bytes()
    assert "small" in (tmp_path / "copy" / "README.md").read_text()


def test_the_config_says_what_a_reader_needs(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert list(config) == ["format_version", "library_name", "architecture", "name", "task",
                            "arguments", "sha256", "parameters"]
    assert (config["architecture"], config["task"]) == ("dense", "latent-animation")
    stored = deserialised((folder / "model.safetensors").read_bytes())
    assert config["parameters"] == sum(tensor.numel() for tensor in stored.values())
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}


def test_a_class_may_ask_to_be_stored_in_16_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DenseAutoencoder, "STORED", torch.float16)
    first = stored_network.load(write(tmp_path / "half"))
    stored = deserialised((tmp_path / "half" / "model.safetensors").read_bytes())
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    assert {p.dtype for p in first.network.parameters()} == {torch.float32}
    stored_network.save(tmp_path / "again", "half", first.network)
    assert stored_network.load(tmp_path / "again").config == first.config
    monkeypatch.setattr(DenseAutoencoder, "STORED", torch.float32)
    assert "expected torch.float32" in refusal(tmp_path / "half")


@pytest.mark.parametrize(("changes", "words"), [
    ({"format_version": 2}, "format 2"),
    ({"architecture": "diffusion"}, "upgrade aehub"),
    ({"architecture": ["dense"]}, "upgrade aehub"),
    ({"task": "video-compression"}, "that of dense is latent-animation"),
    ({"arguments": {"side": 8}}, "side 4 to 64"),
    ({"arguments": {**BUILT, "latent": 10**9}},
     "latent 1 to 256"),
    ({"arguments": {**BUILT, "latent": 4.0}},
     "has the arguments"),
    ({"arguments": {**BUILT, "hidden": True}},
     "has the arguments"),
    ({"arguments": {**BUILT, "latent": 5}},
     "expected"),
    ({"arguments": None}, "has the arguments"),
    ({"name": "../x"}, "calls its model"),
    ({"name": ...}, "has no text 'name'"),
    ({"sha256": "0" * 64}, "does not match the SHA-256"),
])
def test_a_config_that_asks_for_something_else_is_refused(
    folder: Path, changes: dict[str, Any], words: str
) -> None:
    configure(folder, **changes)
    assert words in refusal(folder)


@pytest.mark.parametrize(("change", "words"), [
    (lambda t: t.pop("decoder.2.bias"), "lack 'decoder.2.bias'"),
    (lambda t: t.update(extra=torch.zeros(3)), "unknown 'extra'"),
    (lambda t: t.update(mean=t["mean"].double()), "'mean' is torch.float64"),
    (lambda t: t.update(mean=t["mean"][:3]), "expected torch.float32 [4]"),
    (lambda t: t.update(mean=t["mean"] * torch.nan), "not finite"),
])
def test_tensors_that_do_not_fit_are_named(
    folder: Path, change: Callable[[dict[str, Tensor]], Any], words: str
) -> None:
    path = folder / "model.safetensors"
    tensors = deserialised(path.read_bytes())
    change(tensors)
    path.write_bytes(serialised({n: t.contiguous() for n, t in tensors.items()}))
    configure(folder, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    assert words in refusal(folder)


def test_nothing_is_built_before_its_arguments_are_checked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {**BUILT, "hidden": 10**12}
    configure(folder, arguments=arguments)
    monkeypatch.setattr(DenseAutoencoder, "__init__", lambda *a, **k: pytest.fail("was built"))
    refusal(folder)


def test_numbers_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    made = DenseAutoencoder(side=8, hidden=4, latent=2)
    with torch.no_grad():
        made.mean[0] = torch.inf
    with pytest.raises(WeightsError, match="'mean' holds numbers that are not finite"):
        stored_network.save(tmp_path / "bad", "bad", made)
    assert not (tmp_path / "bad").exists()
    with pytest.raises(WeightsError, match="no model name"):
        stored_network.save(tmp_path / "bad", "../bad",
                            DenseAutoencoder(side=8, hidden=4, latent=2))


def test_an_architecture_that_is_not_listed_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not among the architectures"):
        stored_network.save(tmp_path / "bad", "bad", torch.nn.Linear(2, 2))


@pytest.mark.parametrize("value, limits, allowed", [
    (1, (0, 2), True), (3, (0, 2), False), (1.5, (0, 2), False), (1.5, (0.0, 2.0), True),
    (1, (0.0, 2.0), True), (float("nan"), (0.0, 2.0), False), ("1", (0, 2), False),
    (True, (0, 2), False), (None, (0, 2), False),
])
def test_bounds_of_whole_numbers_take_whole_numbers(
    value: Any, limits: tuple[float, float], allowed: bool
) -> None:
    try:
        stored_network.check_arguments({"a": value}, {"a": limits}, Path("config.json"))
    except WeightsError:
        assert not allowed
    else:
        assert allowed


@pytest.mark.parametrize("record", architectures().values(), ids=lambda record: record.name)
def test_every_record_names_classes_that_are_there(record: Architecture) -> None:
    assert hasattr(record.loaded_class(), "from_pretrained")
    if record.foreign_classes:
        return
    network = record.network_class()
    assert issubclass(network, torch.nn.Module)
    if not record.payload_formats:
        assert network.ARGUMENTS and network().config.keys() == network.ARGUMENTS.keys()


def test_files_bear_the_payload_format_of_the_record(tmp_path: Path) -> None:
    frames = np.zeros((1, 32, 32, 3), np.uint8)
    aehub.compress(frames, tmp_path / "a.aev", model=TINY, measure=False)
    with open_reader(tmp_path / "a.aev") as reader:
        record = architecture_of_payload(reader.header.coder)
    assert record is architecture_of(aehub.load(TINY)) is architectures()["d4-codec"]


# What is loaded.


def test_loading_gives_the_class_that_the_record_names(folder: Path) -> None:
    for model in (aehub.load(folder, device="cpu"), aehub.Model.from_pretrained(folder)):
        assert isinstance(model, aehub.Model) and isinstance(model, Autoencoder)
    codec = aehub.load(TINY, device="cpu")
    assert isinstance(codec, aehub.Model) and isinstance(codec, D4Codec)
    assert type(type(model).from_pretrained(folder)) is type(model)
    with pytest.raises(ModelError, match="small is of the class Autoencoder, not of D4Codec"):
        type(codec).from_pretrained(folder)
    with pytest.raises(WeightsError, match="expected is d4-codec"):
        D4Codec.from_pretrained(folder)


def test_a_pickled_model_comes_back_as_it_was(folder: Path) -> None:
    model = aehub.load(folder, device="cpu")
    again = pickle.loads(pickle.dumps(model))
    assert type(again) is type(model) and again.folder == model.folder
    assert np.array_equal(again.decode(again.sample([1]))[0], model.decode(model.sample([1]))[0])


def test_pictures_become_latents_and_latents_pictures(folder: Path) -> None:
    model = aehub.Model.from_pretrained(folder)
    frames = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
    latents = model.encode(frames)
    assert latents.shape == (40, 4) and latents.dtype == np.float32
    pictures = model.decode(latents)
    assert len(pictures) == 40
    assert all(p.shape == (8, 8, 3) and p.dtype == np.uint8 for p in pictures)
    assert np.array_equal(pictures[0][..., 0], pictures[0][..., 2])
    # Whatever goes through the network together, the numbers are the same.
    assert np.allclose(latents[7], model.encode(list(frames[7:8]))[0], atol=1e-6)
    assert model.encode([]).shape == (0, 4) and model.decode(np.zeros((0, 4))) == []


@pytest.mark.parametrize("frame", [
    np.zeros((8, 8, 2), np.uint8), np.zeros((8, 8, 3), np.float32), np.zeros((0, 8, 3), np.uint8),
    np.zeros(8, np.uint8), "picture", None,
])
def test_what_is_no_picture_is_refused(folder: Path, frame: Any) -> None:
    with pytest.raises(InputError, match="give uint8"):
        aehub.Model.from_pretrained(folder).encode([frame])


@pytest.mark.parametrize("latents", [np.zeros((2, 5)), np.zeros(4), np.full((1, 4), np.nan)])
def test_what_are_no_latents_is_refused(folder: Path, latents: np.ndarray) -> None:
    with pytest.raises(InputError, match="latents"):
        aehub.Model.from_pretrained(folder).decode(latents)


def test_the_same_seed_gives_the_same_picture(folder: Path) -> None:
    model = aehub.Model.from_pretrained(folder)
    first = model.sample([1, 2, 1])
    assert np.array_equal(first[0], first[2]) and not np.array_equal(first[0], first[1])
    assert np.array_equal(model.sample([2])[0], first[1])
    assert np.array_equal(model.sample([5], 0.0)[0], model.network.mean.numpy())


def test_one_model_serves_several_threads(folder: Path) -> None:
    model = aehub.Model.from_pretrained(folder)
    frames = np.random.default_rng(1).integers(0, 256, (64, 8, 8, 3), np.uint8)
    expected, found = model.decode(model.encode(frames)), []
    threads = [threading.Thread(target=lambda: found.append(model.decode(model.encode(frames))))
               for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and all(np.array_equal(expected, pictures) for pictures in found)


# A model that makes no files.


def test_a_model_without_codes_compresses_nothing_and_names_one_that_does(
    folder: Path, tmp_path: Path
) -> None:
    frames = np.zeros((1, 32, 32, 3), np.uint8)
    for model in (folder, aehub.load(folder, device="cpu")):
        with pytest.raises(ModelError, match="small makes no compressed files; use d4-codec or "
                           r"sandwich-av1\.$"):
            aehub.compress(frames, tmp_path / "a.aev", model=model)
    model.name = "d4-codec"
    with pytest.raises(ModelError, match="d4-codec makes no compressed files; use sandwich-av1"):
        aehub.compress(frames, tmp_path / "a.aev", model=model)
    model.name = "small"
    assert not (tmp_path / "a.aev").exists()
    aehub.compress(frames, tmp_path / "a.aev", model=TINY, measure=False)
    with pytest.raises(ModelError, match="small makes no compressed files"):
        next(iter(aehub.decompress(tmp_path / "a.aev", model=folder)))


# The tag.


@pytest.mark.parametrize(("config", "tag"), [
    ({"sha256": "ab" * 32}, "sha256-" + "ab" * 16),
    ({"entropy_hash": "0" * 16, "synthesis_hash": "1" * 16, "sha256": "ab" * 32},
     "0" * 16 + "-" + "1" * 16),
    ({"entropy_hash": "0" * 16, "sha256": "ab" * 32}, None),
    ({"entropy_hash": "sha256", "synthesis_hash": "0" * 32}, None),
    ({"sha256": "AB" * 32}, None), ({"sha256": 7}, None), ({}, None),
])
def test_the_tag_names_the_numbers(config: dict[str, Any], tag: str | None) -> None:
    assert tag_of(config) == tag
    assert is_tag(tag) == (tag is not None)
