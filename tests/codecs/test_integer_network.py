"""The scale network: exact integers in every type, layout and order of summation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

import aehub
from aehub.codecs.d4 import integer_conv
from aehub.codecs.d4.checkpoint import make_self_test, passes_self_test
from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.d4.entropy_model import N_TABLES, ScaleNetwork
from aehub.codecs.d4.integer_conv import (
    ACTIVATION_MAX,
    BIAS_LIMIT,
    EXACT_LIMIT,
    SHIFT,
    QualityBias,
    knot_weights,
    log_levels,
)
from aehub.codecs.d4.network import D4Network
from aehub.codecs.d4.symmetry import E
from aehub.errors import WeightsError
from aehub.hub import find


@torch.no_grad()
def random_network() -> D4Network:
    """Integer layers as full as their bound allows."""
    torch.manual_seed(5)
    network = D4Network(1, 0, 0)
    for layer in network.scales.integer_layers().values():
        layer.theta.copy_(torch.randn_like(layer.theta) * 0.1)
        layer.constrain()
    for module in network.modules():
        if isinstance(module, QualityBias):
            module.values.copy_(torch.randn_like(module.values) * 10)
    return network.eval().requires_grad_(False)


NETWORKS = {"bundled": lambda: aehub.load(device="cpu").network, "random": random_network}


@pytest.fixture(scope="module", params=NETWORKS.values(), ids=NETWORKS.keys())
def network(request: pytest.FixtureRequest) -> D4Network:
    return request.param()


@pytest.fixture(scope="module")
def scales(network: D4Network) -> ScaleNetwork:
    return network.scales


def codes(shape: tuple[int, ...], seed: int) -> Tensor:
    """Integers from zero to far beyond the last level."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.laplace(0, 10 ** rng.uniform(-1, 3), shape).round()).float()


def answers(network: D4Network, dtype: torch.dtype) -> Iterator[Tensor]:
    """Activations and table indices of random codes at several qualities, per part."""
    scales = network.scales.to(dtype)
    try:
        for seed, quality in enumerate([0, 1, 3141, 5000, 9999, 10_000]):
            hundredths = torch.tensor([quality])
            yield scales.hyper_index(hundredths)
            features = scales.features(codes((1, 24, 2, 3), seed).to(dtype), hundredths)
            yield features
            for part in network.coding_passes(8, 12, torch.device("cpu")):
                width = scales.stages[part.number].first.inputs.channels - features.shape[1] - 1
                known = codes((1, width, 8, 12), seed + 99).to(dtype) if width > 0 else None
                yield scales(part.number, features, known, part.mask, hundredths)
    finally:
        network.scales.float()


def test_every_answer_is_an_integer_in_its_range(network: D4Network) -> None:
    for answer in answers(network, torch.float32):
        assert torch.equal(answer, answer.round())
        assert answer.min() >= 0
        assert answer.max() <= max(N_TABLES - 1, ACTIVATION_MAX)


def test_single_and_double_precision_agree_on_every_answer(network: D4Network) -> None:
    single, double = ([a.double() for a in answers(network, dtype)]
                      for dtype in (torch.float32, torch.float64))
    assert len(single) == len(double) > 30
    assert all(torch.equal(a, b) for a, b in zip(single, double, strict=True))
    assert len(torch.cat([a.flatten() for a in single]).unique()) > 20


def test_convolutions_of_bytes_and_of_floats_agree(
    network: D4Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not integer_conv.has_exact_bytes():
        pytest.skip("this build of torch has no exact convolution of bytes")
    with torch.inference_mode():
        in_bytes = [answer.float() for answer in answers(network, torch.float32)]
        monkeypatch.setattr(integer_conv, "has_exact_bytes", lambda: False)
        in_floats = list(answers(network, torch.float32))
    assert any(answer.max() > 0 for answer in in_floats)
    assert all(torch.equal(a, b) for a, b in zip(in_bytes, in_floats, strict=True))


@pytest.mark.parametrize("missing", ["qconv_prepack", "qconv2d_pointwise"])
def test_without_kernels_of_bytes_sums_are_those_of_floats(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise AttributeError(missing)

    monkeypatch.setattr(torch.ops.onednn, missing, fails, raising=False)
    assert not integer_conv.has_exact_bytes.__wrapped__()


def test_every_layer_stays_below_its_bound(scales: ScaleNetwork) -> None:
    found = scales.integer_layers()
    assert len(found) == 13
    for name, layer in found.items():
        assert 0 < layer.bound() < EXACT_LIMIT
        layer.check_bound(name)


def integer_convolution(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Convolution with zero padding in 64-bit integers: [I, H, W] and [O, I, k, k]."""
    k = weight.shape[-1]
    padded = np.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    windows = sliding_window_view(padded, (k, k), axis=(1, 2))
    return np.einsum("ihwyx,oiyx->ohw", windows, weight, dtype=np.int64)


@torch.no_grad()
def test_the_worst_input_of_every_layer_gives_the_exact_sum(scales: ScaleNetwork) -> None:
    for name, layer in scales.integer_layers().items():
        dense = layer.dense().double()
        weight = dense.long().numpy()
        assert torch.equal(dense, dense.round()) and np.abs(weight).max() <= 127
        totals = np.abs(weight).sum((1, 2, 3))
        for sign in (1, -1):
            worst = weight[totals.argmax()] * sign
            # Where activations may be negative, all terms add up; else those of one sign.
            x = ACTIVATION_MAX * (np.sign(worst) if name == "unfold" else (worst > 0))
            x = np.tile(x, (1, 5, 5)).astype(np.int64)
            exact = integer_convolution(x, weight)
            found = layer(torch.from_numpy(x)[None].float())[0]
            assert np.array_equal(found.double().numpy(), exact)
            if name == "unfold":
                assert np.abs(exact).max() == layer.bound()


def test_a_layer_beyond_its_bound_is_refused_and_can_be_shrunk() -> None:
    layer = random_network().scales.stages[3].second
    with torch.no_grad():
        layer.theta.fill_(127 / 256)
    with pytest.raises(WeightsError, match="stages.3.second.*can reach"):
        layer.check_bound("stages.3.second")
    layer.constrain()
    layer.check_bound("stages.3.second")


# Quality.


def test_every_quality_mixes_its_knots_to_sixteen_parts() -> None:
    parts = knot_weights(torch.arange(10_001))
    assert parts.dtype == torch.int64
    assert parts.min() == 0
    assert (parts.sum(1) == 16).all()
    assert ((parts > 0).sum(1) <= 2).all()
    assert parts[0, 0] == parts[-1, -1] == 16
    centre = (parts * torch.arange(8)).sum(1)
    assert (centre.diff() >= 0).all()


@torch.no_grad()
def test_biases_are_exact_integers_at_every_quality() -> None:
    bias = QualityBias(E + E)
    bias.values.copy_(torch.randn_like(bias.values) * 100)
    stored = (bias.values.double() * 16).round().long()
    quality = torch.arange(0, 10_001, 7)
    expected = (knot_weights(quality) @ stored)[:, bias.orbits]
    assert torch.equal(bias(quality)[:, :, 0, 0].long(), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(bias(quality)[:, :, 0, 0].long(), expected)


@torch.no_grad()
def test_a_bias_that_could_lose_a_unit_is_refused() -> None:
    bias = QualityBias(E)
    bias.values.fill_(BIAS_LIMIT / 2**SHIFT - 1)
    bias.check_bound("last_bias")
    bias.values[3, 0] = -BIAS_LIMIT / 2**SHIFT
    with pytest.raises(WeightsError, match="'last_bias' reaches"):
        bias.check_bound("last_bias")


# Levels.


def test_levels_are_four_times_the_logarithm() -> None:
    magnitudes = torch.arange(2000)
    expected = (4 * torch.log2(1.0 + magnitudes.double())).round().clamp(max=31)
    assert torch.equal(log_levels(magnitudes.double()), expected)
    assert torch.equal(log_levels(-magnitudes.float()), expected.float())
    assert torch.equal(log_levels(-magnitudes.float(), signed=True), -expected.float())


# The self-test.


def test_this_machine_reproduces_the_probe_of_the_bundled_weights() -> None:
    stored = aehub.load(device="cpu").stored
    assert passes_self_test(stored.network, stored.self_test)


def test_the_probe_reaches_the_limits(network: D4Network) -> None:
    vector = make_self_test(network)
    assert passes_self_test(network, vector)
    assert len(vector["index"].unique()) > 10
    assert log_levels(vector["codes"].float()).max() == ACTIVATION_MAX


@pytest.mark.parametrize("name", sorted(random_network().scales.integer_layers()))
@torch.no_grad()
def test_the_probe_tells_other_integer_weights(name: str) -> None:
    stored = D4Codec.from_pretrained(find("d4-codec")).stored
    layer = stored.network.scales.integer_layers()[name]
    layer.theta[::16] += 1 / 256
    assert not passes_self_test(stored.network, stored.self_test)
