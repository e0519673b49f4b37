"""Foreign autoencoders behind one interface: exact counts and sizes, hostile weights, tiles."""

from __future__ import annotations

import json
import resource
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from aehub.codecs.quantised import diffusers_classes, taesd
from aehub.codecs.quantised.autoencoder import FrameAutoencoder
from aehub.errors import InputError, LimitError, ModelError, WeightsError
from foreign_models import ARGUMENTS, random_model, random_taesd, save_folder

needs_diffusers = pytest.mark.skipif(
    find_spec("diffusers") is None, reason="the extra aehub[diffusers] is not installed")
CONVOLUTIONS = {"AutoencoderTiny": 5, "AutoencoderKLLTXVideo": 8, "AutoencoderKLLTX2Video": 12}
"""Classes of convolutions alone, and a size of tiles to try."""


def fresh(name: str, **more: Any) -> FrameAutoencoder:
    """A tiny random autoencoder of a class of diffusers, or "taesd" or "taef2"."""
    if name.startswith("tae"):
        return taesd.load(random_taesd(pooled=name == "taef2"), **more)
    return diffusers_classes.load(*random_model(name), **more)


loaded = cache(fresh)
"""The same, shared by the tests that leave it as it is."""


def noise(n_frames: int, width: int, height: int) -> np.ndarray:
    """Random frames uint8 [T, H, W, 3]."""
    return np.random.default_rng(n_frames).integers(0, 256, (n_frames, height, width, 3), np.uint8)


every_class = pytest.mark.parametrize("name", [
    "taesd", "taef2", *(pytest.param(name, marks=needs_diffusers) for name in ARGUMENTS)])


def test_every_known_class_is_tried() -> None:
    assert ARGUMENTS.keys() == diffusers_classes.CLASSES.keys()


@every_class
def test_every_count_and_size_comes_back_exactly(name: str) -> None:
    model = loaded(name)
    draw = np.random.default_rng(list(ARGUMENTS).index(name) if name in ARGUMENTS else 99)
    for size in [(1, 1), (int(draw.integers(17, 72)), int(draw.integers(17, 40)))]:
        n_frames = int(draw.integers(1, min(model.max_frames, 9) + 1))
        frames = noise(n_frames, *size)
        latents = model.encode(frames)
        assert latents.shape == model.latent_shape(n_frames, size) and latents.dtype == np.float32
        decoded = model.decode(latents, n_frames, size)
        assert decoded.shape == frames.shape and decoded.dtype == np.uint8
    # The same again, whatever random numbers the caller draws.
    torch.manual_seed(n_frames)
    assert np.array_equal(model.encode(frames), latents)
    assert np.array_equal(model.decode(latents, n_frames, size), decoded)
    assert model.estimate_bytes(n_frames, size) > model.memory.weight_bytes > 0


@needs_diffusers
@pytest.mark.parametrize("name, more, downscale, counts", [
    ("AutoencoderKLWan", {"patch_size": 2, "is_residual": True, "in_channels": 12,
                          "out_channels": 12, "base_dim": 4}, 16, (1, 5, 9, 13, 17)),
    ("AutoencoderKLLTXVideo", {"timestep_conditioning": True, "decoder_inject_noise": [True] * 5,
                               "patch_size": 4}, 16, (1, 9, 17)),
    ("AutoencoderVidTok", {"is_causal": False}, 8, (16,)),
], ids=["Wan 2.2", "LTX with noise", "VidTok not causal"])
def test_variants_of_a_class_are_recognised_by_their_geometry(
    name: str, more: dict[str, Any], downscale: int, counts: tuple[int, ...]
) -> None:
    config, tensors = random_model(name, **more)
    # Noise that a decoder would add, were it not taken out.
    tensors |= {key: torch.ones_like(tensor) for key, tensor in tensors.items()
                if "per_channel_scale" in key}
    model = diffusers_classes.load(config, tensors)
    assert (model.downscale, model.frame_counts) == (downscale, counts)
    latents = model.encode(noise(2, 37, 23))
    decoded = model.decode(latents, 2, (37, 23))
    assert decoded.shape == (2, 23, 37, 3)
    assert np.array_equal(model.decode(latents, 2, (37, 23)), decoded)


@needs_diffusers
@pytest.mark.parametrize("name", ["AutoencoderKL", "AutoencoderKLWan", "AutoencoderKLHunyuanVideo"])
def test_reconstruction_is_that_of_the_bare_class(name: str) -> None:
    import diffusers

    _, tensors = random_model(name)
    model = loaded(name)
    network = getattr(diffusers, name)(**ARGUMENTS[name]).eval()
    network.load_state_dict(tensors)
    n_frames = model.frame_counts[-1]
    frames = noise(n_frames, 32, 16)
    given = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1
    if model.rules.kind == "video":
        network.use_framewise_encoding = network.use_framewise_decoding = False
        given = given.transpose(0, 1)[None]
    with torch.no_grad():
        raw = network.encode(given).latent_dist.mode()
        wanted = network.decode(raw).sample
    if model.rules.kind == "video":
        raw, wanted = raw[0].transpose(0, 1), wanted[0].transpose(0, 1)
    latents = model.encode(frames)
    if name == "AutoencoderKLWan":
        mean, std = (torch.tensor(network.config[key])[:, None, None]
                     for key in ("latents_mean", "latents_std"))
        assert np.allclose(latents, ((raw - mean) / std).numpy(), atol=1e-4)
    else:
        assert np.allclose(latents, raw.numpy() * network.config.scaling_factor, atol=1e-4)
    levels = ((wanted + 1) * 127.5).clamp(0, 255).permute(0, 2, 3, 1).numpy()
    assert np.abs(model.decode(latents, n_frames, (32, 16)) - levels).max() < 0.51


@needs_diffusers
def test_taesd_layout_computes_what_the_class_of_diffusers_does() -> None:
    tensors = random_taesd(latent_channels=16)
    renamed = {}
    for name, tensor in tensors.items():
        side, place, rest = name.split(".", 2)
        renamed[f"{side}.layers.{int(place) - (side == 'decoder')}.{rest}"] = tensor
    config = {"_class_name": "AutoencoderTiny", "latent_channels": 16,
              "encoder_block_out_channels": [8] * 4, "decoder_block_out_channels": [8] * 4}
    one, two = taesd.load(tensors), diffusers_classes.load(config, renamed)
    frames = noise(1, 40, 24)
    latents = one.encode(frames)
    assert np.allclose(latents, two.encode(frames), atol=1e-5)
    assert np.abs(one.decode(latents, 1, (40, 24)).astype(int)
                  - two.decode(latents, 1, (40, 24))).max() <= 1


@needs_diffusers
def test_a_saved_folder_loads(tmp_path: Path) -> None:
    folder = save_folder("AutoencoderKLLTXVideo", tmp_path / "vae")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    model = diffusers_classes.load(
        config, load_file(folder / "diffusion_pytorch_model.safetensors"))
    assert (model.latent_channels, model.downscale, model.max_frames) == (8, 4, 17)


@needs_diffusers
@pytest.mark.parametrize("change, said", [
    ({"_class_name": "AutoModel"}, "names the class 'AutoModel'"),
    ({"_class_name": ["AutoencoderKL"]}, "names the class"),
    ({"remote": "code.py"}, "unknown argument 'remote'"),
    ({"block_out_channels": [2, 1 << 40]}, "has block_out_channels"),
    ({"layers_per_block": 10 ** 6}, "has layers_per_block"),
    ({"block_out_channels": [2] * 10 ** 5}, "has block_out_channels"),
    ({"block_out_channels": [[[2]]]}, "has block_out_channels"),
    ({"scaling_factor": float("nan")}, "has scaling_factor"),
    ({"scaling_factor": -1.0}, "no positive standard deviation"),
    ({"act_fn": {"import": "os"}}, "has act_fn"),
    ({"act_fn": "os.system"}, "arguments that it refuses"),
    ({"latent_channels": "4"}, "arguments that it refuses"),
    ({"in_channels": 4}, "conv_in.weight"),
    ({"latents_mean": [0.0] * 7, "latents_std": [1.0] * 7}, "7 latents_mean for 4 channels"),
])
def test_a_config_is_not_trusted(change: dict[str, Any], said: str) -> None:
    config, tensors = random_model("AutoencoderKL")
    with pytest.raises(WeightsError) as caught:
        diffusers_classes.load(config | change, tensors)
    assert said in str(caught.value) and str(caught.value).count(". ") <= 1


@needs_diffusers
def test_a_config_that_asks_for_a_terabyte_gets_nothing() -> None:
    config, tensors = random_model("AutoencoderKL")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WeightsError, match="expected are floats"):
        diffusers_classes.load(config | {"block_out_channels": [1 << 18, 1 << 19]}, tensors)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def without(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in tensors.items() if key != name}


@every_class
def test_weights_that_do_not_fit_are_refused_by_name(name: str) -> None:
    def load(tensors: dict[str, Tensor]) -> FrameAutoencoder:
        return diffusers_classes.load(config, tensors) if config else taesd.load(tensors)

    config, tensors = ({}, random_taesd()) if name.startswith("tae") else random_model(name)
    first = next(iter(tensors))
    wrong = torch.cat([tensors[first], tensors[first]], -1)
    for changed, said in [
        (without(tensors, first), "lack"),
        (tensors | {"encoder.99.extra": torch.zeros(1)}, "unknown 'encoder.99.extra'"),
        (tensors | {first: wrong}, first),
        (tensors | {first: tensors[first] * torch.nan}, "not finite"),
    ]:
        with pytest.raises(WeightsError, match=said):
            load(changed)


def amplified(name: str, factor: float) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A model whose activations after the first convolution of the encoder are larger."""
    config, tensors = random_model(name)
    return config, tensors | {"encoder.conv_in.weight": tensors["encoder.conv_in.weight"] * factor}


@needs_diffusers
def test_half_precision_that_overflows_is_computed_in_float32() -> None:
    config, tensors = amplified("AutoencoderKL", 1e7)
    exact = diffusers_classes.load(config, tensors)
    half = diffusers_classes.load(config, tensors, dtype=torch.float16)
    frames = noise(1, 24, 16)
    assert np.allclose(half.encode(frames), exact.encode(frames))
    assert half.notes == ["Half precision overflowed; computed in float32."] and not exact.notes
    ordinary = fresh("AutoencoderKL", dtype=torch.bfloat16)
    latents = ordinary.encode(frames)
    assert np.isfinite(ordinary.decode(latents, 1, (24, 16))).all() and not ordinary.notes


@needs_diffusers
def test_what_is_not_finite_never_becomes_a_picture() -> None:
    for dtype in (torch.float32, torch.float16):
        model = diffusers_classes.load(*amplified("AutoencoderKL", 1e38), dtype=dtype)
        with pytest.raises(WeightsError, match="not finite"):
            model.encode(noise(1, 24, 16))
    latents = np.full(model.latent_shape(1, (24, 16)), np.nan, np.float32)
    with pytest.raises(InputError, match="not finite"):
        model.decode(latents, 1, (24, 16))


@needs_diffusers
@pytest.mark.parametrize("name", [
    name for name, rules in diffusers_classes.CLASSES.items() if rules.keeps_state])
def test_a_failed_call_leaves_nothing_behind(name: str) -> None:
    model, frames = loaded(name), noise(5, 24, 16)
    wanted = model.encode(frames)
    last = [module for module in model._network.encoder.modules()
            if isinstance(module, torch.nn.Conv3d)][-1]

    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    with last.register_forward_hook(fail), pytest.raises(RuntimeError):
        model.encode(frames)
    assert np.array_equal(model.encode(frames), wanted)


@needs_diffusers
@pytest.mark.parametrize("name", ["AutoencoderKLMagvit", "AutoencoderKLWan", "AutoencoderKL"])
def test_threads_do_not_disturb_each_other(name: str) -> None:
    model = loaded(name)
    clips = [noise(min(5, model.max_frames), 16 + n, 16) for n in range(4)]
    wanted = [model.encode(clip) for clip in clips]
    with ThreadPoolExecutor(4) as pool:
        for one, two in zip(wanted * 2, pool.map(model.encode, clips * 2)):
            assert np.array_equal(one, two)


@pytest.mark.parametrize("name, tile", [
    ("taesd", 7), *(pytest.param(name, tile, marks=needs_diffusers)
                    for name, tile in CONVOLUTIONS.items())])
def test_tiles_of_convolutions_equal_the_whole(name: str, tile: int) -> None:
    model = fresh(name)
    size = (30 * model.downscale - 1, 12 * model.downscale)
    frames = noise(1, *size)
    latents = model.encode(frames)
    whole = model.decode(latents, 1, size)
    model.tile = tile
    assert np.abs(model.encode(frames) - latents).max() < 1e-4
    assert np.abs(model.decode(latents, 1, size).astype(int) - whole).max() <= 1
    assert not model.notes


@pytest.mark.parametrize("name", [
    "taef2", pytest.param("AutoencoderKL", marks=needs_diffusers)])
def test_tiles_of_other_networks_come_close_and_say_so(name: str) -> None:
    model = fresh(name)
    size = (40 * model.downscale, 32 * model.downscale)
    latents = np.random.default_rng(0).standard_normal(model.latent_shape(1, size))
    whole = model.decode(latents, 1, size).astype(int)
    model.tile = 16
    distance = np.abs(model.decode(latents, 1, size) - whole)
    assert "tiles" in model.notes[0]
    if name == "taef2":
        # The statistics of its few normalisations are those of the whole.
        assert distance.max() <= 1
    else:
        assert distance.mean() < 5


def test_memory_is_kept_under_the_limit_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model, size = loaded("taesd"), (1024, 768)
    whole = model.estimate_bytes(1, size)
    wanted = model.decode(latents := model.encode(noise(1, *size)), 1, size)
    limit = whole * 3 // 4 >> 20
    monkeypatch.setenv("AEHUB_MEMORY_MB", str(limit))
    assert model.estimate_bytes(1, size) <= limit << 20 < whole
    assert np.abs(model.decode(latents, 1, size).astype(int) - wanted).max() <= 1
    monkeypatch.setenv("AEHUB_MEMORY_MB", "1")
    with pytest.raises(LimitError, match="even in small tiles, and the limit is 1 MB") as caught:
        model.estimate_bytes(1, size)
    assert "AEHUB_MEMORY_MB" in caught.value.option


def test_arguments_out_of_range_are_refused() -> None:
    model = loaded("taesd")
    frames = noise(1, 16, 16)
    for wrong in (frames[0], frames.astype(np.float32), frames[..., :1], frames.tolist()):
        with pytest.raises(InputError):
            model.encode(wrong)
    for n_frames, size in [(0, (16, 16)), (2, (16, 16)), (1, (0, 16)), (1, (16, 2.5))]:
        with pytest.raises(InputError):
            model.latent_shape(n_frames, size)
    with pytest.raises(InputError, match=r"\[1, 4, 2, 3\]"):
        model.decode(np.zeros((1, 4, 2, 2)), 1, (17, 16))


def test_without_diffusers_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ModelError, match=r'pip install "aehub\[diffusers\]"'):
        diffusers_classes.load({"_class_name": "AutoencoderKL"}, {})
