"""Files and pictures do not depend on the torch contexts of the caller, the device or the type."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from elsewhere import another_device

import aehub
from aehub.codecs.d4 import checkpoint
from aehub.codecs.d4.network import D4Network
from aehub.training.recipes import d4_inter
from aehub.training.recipes.d4_sequences import GOP_STRUCTURES
from aehub.weights import device as devices
from aehub.weights import device as surroundings
from golden_files import MODEL
from predicted_files import orbit

FRAMES = orbit(5, 64, 48)


def results(device: str = "cpu", drawing: Sequence[str] = ("dense-28", "emoji-vae")
            ) -> dict[str, bytes]:
    """A file and its pictures, an edit, latents and back; and what the `drawing` models draw."""
    model = aehub.Model.from_pretrained(MODEL, device=device)
    packed, turned = io.BytesIO(), io.BytesIO()
    told = aehub.compress(FRAMES, packed, model=model)
    steps = [aehub.Rotate(90), aehub.Trim("1f:4f")]
    aehub.edit(io.BytesIO(packed.getvalue()), turned, steps, model=model)
    shown: Any = aehub.decompress(io.BytesIO(packed.getvalue()), model=model)
    latents = model.encode(FRAMES, quality=70)
    found = {"file": packed.getvalue(), "frames": np.stack(list(shown)).tobytes(),
             "edit": turned.getvalue(), "pictures": np.stack(model.decode(latents)).tobytes(),
             "told": repr(told.psnr).encode()}
    for name in drawing:
        drawer: Any = aehub.Model.from_pretrained(name, device=device)
        drawn = drawer.sample([1, 2])
        found[name] = drawn.tobytes() + np.stack(drawer.decode(drawn)).tobytes()
        found[name] += drawer.encode(drawer.decode(drawn)).tobytes()
    return found


@pytest.fixture(scope="module")
def plain() -> dict[str, bytes]:
    return results()


@contextmanager
def default_type(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


SURROUNDINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "gradients": torch.enable_grad,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "double by default": lambda: default_type(torch.float64),
    "bfloat16 by default": lambda: default_type(torch.bfloat16),
    # Where a tensor is made without a word of its device, it has no numbers.
    "another device by default": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_what_a_caller_has_set_changes_no_result(name: str, plain: dict[str, bytes]) -> None:
    with SURROUNDINGS[name]():
        assert results() == plain
        # Set back, too.
        assert torch.is_inference_mode_enabled() == (name == "inference mode")
        assert (torch.zeros(1).dtype, torch.zeros(1).device.type) == {
            "double by default": (torch.float64, "cpu"),
            "bfloat16 by default": (torch.bfloat16, "cpu"),
            "another device by default": (torch.float32, "meta")}.get(name, (torch.float32, "cpu"))


def test_a_model_loaded_in_inference_mode_serves_every_later_call(plain: dict[str, bytes]) -> None:
    aehub.hub.loading._load_once.cache_clear()
    with torch.inference_mode():
        model = aehub.load(MODEL, device="cpu")
        aehub.compress(FRAMES, io.BytesIO(), model=model, measure=False)
    assert aehub.load(MODEL, device="cpu") is model
    file = io.BytesIO()
    aehub.compress(FRAMES, file, model=model, measure=False)
    assert file.getvalue() == plain["file"]
    # A program may train what it loaded.
    network = model.network.train().requires_grad_(True)
    network.synthesise(torch.zeros(1, 96, 4, 4), torch.tensor([50.0])).y.sum().backward()
    assert network.synthesis.linear.theta.grad is not None
    aehub.hub.loading._load_once.cache_clear()


def test_a_walking_character_is_the_same_whatever_the_default_type() -> None:
    still = np.full((64, 64, 4), 255, np.uint8)
    still[..., 3] = 0
    still[16:60, 24:40] = (90, 60, 40, 255)

    def cycles() -> np.ndarray:
        model: Any = aehub.Model.from_pretrained("sprite-motion")
        return model.cycles(still, steps=2)

    before = cycles()
    with default_type(torch.bfloat16):
        assert np.array_equal(cycles(), before)


# Another device.


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(devices, "_count", lambda kind: 1)
    monkeypatch.setenv("AEHUB_THREADS", "1")  # The device exists in this thread alone.
    with another_device() as name:
        yield name


def test_another_device_makes_the_same_files_and_pictures(
    elsewhere: str, plain: dict[str, bytes]
) -> None:
    assert results(elsewhere) == plain


def test_integer_networks_stay_on_the_processor_where_the_device_is_not_exact(
    elsewhere: str, plain: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def exact(network: D4Network, vector: Any) -> bool:
        asked.append(network.scales.device.type)
        return asked[-1] == "cpu"

    monkeypatch.setattr(checkpoint, "passes_self_test", exact)
    assert results(elsewhere, ()).items() <= plain.items()
    assert asked == [elsewhere, "cpu"]


def test_a_step_of_training_is_the_same_on_another_device(elsewhere: str) -> None:
    rng, n = np.random.default_rng(0), len(GOP_STRUCTURES[1])
    batch = [torch.from_numpy(rng.integers(0, 256, (1, n, side, side), np.uint8))
             for side in (64, 32, 32)]
    batch += [torch.from_numpy(rng.integers(-8, 9, (1, n, 2, 2, 8, 8), np.int16)), torch.tensor(1)]

    def stepped(device: str) -> list[float]:
        torch.manual_seed(0)
        model = d4_inter.build(d4_inter.Options(base=str(MODEL))).to(device).train()
        torch.manual_seed(1)
        measured = d4_inter.losses(model, [part.to(device) for part in batch],
                                   torch.Generator().manual_seed(2))
        measured["loss"].backward()
        return [float(measured["cost"]), *(float(p.grad.abs().sum()) for p in model.parameters()
                                           if p.grad is not None)]

    # Predictions that need no gradient are made by compiled loops on the CPU, in another order.
    assert stepped(elsewhere) == pytest.approx(stepped("cpu"), rel=1e-5)


# Types.


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_every_float_type_reads_what_another_wrote(
    dtype: torch.dtype, plain: dict[str, bytes], tmp_path: Any
) -> None:
    model: Any = aehub.Model.from_pretrained(MODEL, dtype=dtype)
    frames: Any = list(aehub.decompress(io.BytesIO(plain["file"]), model=model))
    before = np.frombuffer(plain["frames"], np.uint8).reshape(np.shape(frames))
    apart = np.abs(np.stack(frames).astype(int) - before)
    assert apart.mean() < 0.3
    written = io.BytesIO()
    aehub.compress(FRAMES, written, model=model)
    single = aehub.Model.from_pretrained(MODEL)
    again: Any = list(aehub.decompress(io.BytesIO(written.getvalue()), model=single))
    assert np.abs(np.stack(again).astype(int) - np.stack(FRAMES)).mean() < 12
    # Parameters were not touched: what is saved is what was loaded.
    model.save_pretrained(tmp_path / "saved")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "saved" / name).read_bytes() == (MODEL / name).read_bytes()


def test_short_types_are_computed_in() -> None:
    model: Any = aehub.Model.from_pretrained(MODEL, dtype=torch.bfloat16)
    single: Any = aehub.Model.from_pretrained(MODEL)
    assert model.dtype == torch.bfloat16
    kinds = {name: module.compute_dtype for name, module in model.network.named_modules()
             if hasattr(module, "compute_dtype")}
    assert all((kind is None) == ("scales." in name or name.endswith((".linear", ".direct")))
               for name, kind in kinds.items())
    first, second = (np.stack(m.decode(m.encode(FRAMES))) for m in (model, single))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("name", ["dense-28", "emoji-vae"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_drawing_models_compute_in_every_float_type(name: str, dtype: torch.dtype) -> None:
    model: Any = aehub.Model.from_pretrained(name, dtype=dtype)
    single: Any = aehub.Model.from_pretrained(name)
    latents = single.sample([1, 2])
    assert np.allclose(model.sample([1, 2]), latents, atol=1e-4)
    apart = np.abs(np.stack(model.decode(latents)).astype(int) - np.stack(single.decode(latents)))
    assert apart.mean() < 2


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64, "float32", None])
def test_a_type_that_networks_cannot_compute_in_gets_a_sentence(dtype: Any) -> None:
    for name in (MODEL, "dense-28"):
        with pytest.raises(aehub.InputError, match="give torch.float32, float64"):
            aehub.Model.from_pretrained(name, dtype=dtype)


def test_a_model_that_fails_its_own_test_gets_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = checkpoint.StoredModel
    model: Any = aehub.Model.from_pretrained(MODEL)
    vector = {n: t + 1 if n == "index" else t for n, t in model.stored.self_test.items()}
    wrong = stored(model.name, model.stored.network, model.stored.tables, model.config, vector,
                   model.stored.inter_tables)
    with pytest.raises(aehub.ModelError, match=r"in torch.float64 on cpu; load it in"):
        checkpoint.place_on_device(wrong, torch.device("cpu"), torch.float64)


# Codes that programs hold.


def test_codes_are_decoded_at_the_quality_they_were_made_at() -> None:
    model: Any = aehub.load(MODEL)
    latents = model.encode(FRAMES, quality=70)
    assert latents.quality == 70
    hyper, latent = latents
    as_said = model.decode(latents, quality=70)
    for frames in (model.decode(latents), as_said):
        assert np.abs(np.stack(frames)[:, :48, :64].astype(int) - np.stack(FRAMES)).mean() < 12
    bare = type(latents)(hyper, latent)
    assert np.array_equal(model.decode(bare, quality=70), as_said)
    for wrong, sentence in (
            (lambda: model.decode(bare), "carry no quality"),
            (lambda: model.decode(latents, quality=50), "encoded at quality 70"),
            (lambda: model.decode(bare, quality=101), "0 to 100"),
            (lambda: model.decode(latents, size=(65, 48)), "the size \\(65, 48\\) does not fit"),
            (lambda: model.decode(type(latents)(latent, hyper), quality=70), "do not belong"),
            (lambda: model.encode([]), "0 frames"),
            (lambda: model.encode([FRAMES[0], FRAMES[1][:32]]), "2 sizes"),
            (lambda: model.encode(FRAMES, quality=-1), "0 to 100")):
        with pytest.raises(aehub.InputError, match=sentence):
            wrong()


def test_loading_is_one_at_a_time_where_the_default_type_is_changed() -> None:
    with default_type(torch.float64), surroundings.torch_defaults():
        assert torch.get_default_dtype() == torch.float32
        with surroundings.torch_defaults():
            assert torch.zeros(1).dtype == torch.float32
        assert torch.get_default_dtype() == torch.float32
