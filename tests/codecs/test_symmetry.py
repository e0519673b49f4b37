"""D4: composition of its elements, and layers that commute with it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from aehub.codecs.d4.integer_conv import IntegerConv2d
from aehub.codecs.d4.network import HYPER_LATENTS, D4Network
from aehub.codecs.d4.symmetry import A1, A2, B1, B2, REGULAR, E, Representation, block_samples
from aehub.codecs.d4.tied_conv import TiedConv2d
from aehub.codecs.d4.transforms import BLOCK_SAMPLES, block_dct
from aehub.media.orientation import ELEMENTS, IDENTITY, ORDER, compose, inverse, turn

GROUP = range(ORDER)
LATENTS = block_dct().latents
REPRESENTATIONS = {
    "A1": A1, "A2": A2, "B1": B1, "B2": B2, "E": E, "regular": REGULAR, "hyper": HYPER_LATENTS,
    "latents": LATENTS, "magnitudes": LATENTS.magnitudes(), "planes": BLOCK_SAMPLES,
    "pixels 8": block_samples(8), "pixels 3": block_samples(3), "blocks": (REGULAR + E).blocks(4),
    "sum": (A2 + E) * 3 + B1,
}
every_representation = pytest.mark.parametrize(
    "kind", REPRESENTATIONS.values(), ids=REPRESENTATIONS.keys()
)


def integers(kind: Representation, seed: int = 0) -> np.ndarray:
    """Features of a plane that is not square: int64 [2, C, 8, 12]."""
    return np.random.default_rng(seed).integers(-99, 100, (2, kind.channels, 8, 12))


def scramble(layer: TiedConv2d, seed: int = 0) -> None:
    """Fill a layer with random parameters, also where it starts at zero."""
    generator = torch.Generator().manual_seed(seed)
    layer.theta.copy_(torch.randn(layer.theta.shape, generator=generator) * 0.1)


# The group.


def test_the_eight_elements_are_a_group() -> None:
    assert sorted(ELEMENTS.values()) == list(GROUP)
    for g in GROUP:
        assert compose(g, IDENTITY) == compose(IDENTITY, g) == g
        assert compose(inverse(g), g) == compose(g, inverse(g)) == IDENTITY
        assert sorted(compose(g, h) for h in GROUP) == list(GROUP)


@pytest.mark.parametrize(
    ("name", "turned"),
    [
        ("identity", [[1, 2, 3], [4, 5, 6]]),
        ("flip-horizontal", [[3, 2, 1], [6, 5, 4]]),
        ("flip-vertical", [[4, 5, 6], [1, 2, 3]]),
        ("rotate-180", [[6, 5, 4], [3, 2, 1]]),
        ("transpose", [[1, 4], [2, 5], [3, 6]]),
        ("rotate-90", [[4, 1], [5, 2], [6, 3]]),
        ("rotate-270", [[3, 6], [2, 5], [1, 4]]),
        ("transverse", [[6, 3], [5, 2], [4, 1]]),
    ],
)
def test_names_mean_what_the_screen_shows(name: str, turned: list[list[int]]) -> None:
    square = np.array([[1, 2, 3], [4, 5, 6]])
    assert turn(square, ELEMENTS[name]).tolist() == turned
    assert turn(torch.from_numpy(square), ELEMENTS[name]).tolist() == turned


# Representations.


@every_representation
def test_turning_twice_is_turning_by_the_product(kind: Representation) -> None:
    x = integers(kind)
    for first in GROUP:
        for then in GROUP:
            twice = kind.act(kind.act(x, first), then)
            assert np.array_equal(twice, kind.act(x, compose(then, first)))


@every_representation
def test_turning_back_is_exact(kind: Representation) -> None:
    x = integers(kind)
    for g in GROUP:
        assert np.array_equal(kind.act(kind.act(x, g), inverse(g)), x)
    assert np.array_equal(kind.act(x, IDENTITY), x)


@every_representation
def test_tensors_turn_as_arrays_do(kind: Representation) -> None:
    x = integers(kind)
    for g in GROUP:
        turned = kind.act(torch.from_numpy(x).float(), g)
        assert turned.dtype == torch.float32
        assert np.array_equal(turned.numpy(), kind.act(x, g))


@every_representation
def test_every_element_is_a_signed_permutation(kind: Representation) -> None:
    for g in GROUP:
        assert sorted(kind.source[g]) == list(range(kind.channels))
        assert set(kind.sign[g]) <= {-1, 1}


@every_representation
def test_channels_that_swap_share_a_slot_and_no_others(kind: Representation) -> None:
    orbits = kind.orbits()
    for channel in range(kind.channels):
        reached = {kind.source[g][channel] for g in GROUP}
        assert reached == set(np.flatnonzero(orbits == orbits[channel]).tolist())


@pytest.mark.parametrize("k", [2, 4, 8])
def test_blocks_turn_with_the_plane_they_are_cut_from(k: int) -> None:
    plane = torch.arange(16.0 * 24).view(1, 1, 16, 24)
    for g in GROUP:
        cut = F.pixel_unshuffle(turn(plane, g), k)
        assert torch.equal(cut, block_samples(k).act(F.pixel_unshuffle(plane, k), g))


def test_blocks_of_any_features_turn_with_them() -> None:
    kind = A2 + E + REGULAR
    x = torch.from_numpy(integers(kind)).float()
    for g in GROUP:
        cut = F.pixel_unshuffle(kind.act(x, g), 4)
        assert torch.equal(cut, kind.blocks(4).act(F.pixel_unshuffle(x, 4), g))


def test_the_transform_of_blocks_turns_with_them_and_is_orthonormal() -> None:
    matrix = block_dct().matrix
    assert np.abs(matrix @ matrix.T - np.eye(96)).max() < 1e-12
    x = np.random.default_rng(0).standard_normal((96, 2, 3))
    for g in GROUP:
        turned = np.einsum("oi,ihw->ohw", matrix, BLOCK_SAMPLES.act(x, g))
        expected = LATENTS.act(np.einsum("oi,ihw->ohw", matrix, x), g)
        assert np.abs(turned - expected).max() < 1e-12


# Tied convolutions.


def layers() -> Iterator[tuple[str, TiedConv2d]]:
    """Every tied layer of the codec, once for each kind."""
    torch.manual_seed(0)
    seen = set()
    for name, layer in D4Network(1, 1, 1).named_modules():
        if not isinstance(layer, TiedConv2d):
            continue
        kind = (type(layer), layer.inputs, layer.outputs, layer.kernel, layer.stride)
        if kind not in seen:
            seen.add(kind)
            yield name, layer


LAYERS = dict(layers())


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_a_layer_commutes_with_every_turn(name: str) -> None:
    layer = LAYERS[name].double()
    scramble(layer)
    generator = torch.Generator().manual_seed(1)
    shape = (2, layer.inputs.channels, 8, 12)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    if isinstance(layer, IntegerConv2d):
        x = (8 * x).round()
    y = layer(x)
    assert y.abs().max() > 1e-3
    for g in GROUP:
        turned = layer(layer.inputs.act(x, g))
        assert (turned - layer.outputs.act(y, g)).abs().max() < 1e-10 * y.abs().max().clamp(min=1)


def test_an_ordinary_convolution_does_not_commute() -> None:
    x = torch.randn((1, 8, 8, 12), generator=torch.Generator().manual_seed(2))
    weight = torch.randn((8, 8, 3, 3), generator=torch.Generator().manual_seed(3))
    turned = F.conv2d(REGULAR.act(x, 5), weight, padding=1)
    assert (turned - REGULAR.act(F.conv2d(x, weight, padding=1), 5)).abs().max() > 1


@pytest.mark.parametrize(
    ("kernel", "stride"), [(3, 2), (4, 2), (2, 1), (4, 1), (4, 3), (3, 4), (1, 2)]
)
def test_kernels_and_strides_that_break_the_symmetry_are_refused(kernel: int, stride: int) -> None:
    with pytest.raises(ValueError, match="does not commute"):
        TiedConv2d(REGULAR, REGULAR, kernel, stride=stride)


@pytest.mark.parametrize("train", [False, True])
def test_gain_and_bias_are_applied_after_the_convolution(train: bool) -> None:
    layer = LAYERS["synthesis.head"].double()
    x = torch.randn((3, 96, 4, 4), dtype=torch.float64)
    gain, bias = torch.rand((2, 1, 8, 1, 1), dtype=torch.float64)
    with torch.set_grad_enabled(train):
        assert torch.allclose(layer(x, gain, bias), layer(x) * gain + bias, atol=1e-12)
        each = gain.expand(3, -1, -1, -1)
        assert torch.allclose(layer(x, each), layer(x) * gain, atol=1e-12)


def test_weights_are_expanded_anew_when_parameters_change() -> None:
    layer = TiedConv2d(REGULAR, E)
    x = torch.randn(1, 8, 4, 4)
    with torch.no_grad():
        before = layer(x)
        layer.theta.mul_(2)
        assert torch.allclose(layer(x), 2 * before, atol=1e-5)


@pytest.mark.parametrize("name", ["synthesis.linear", "synthesis.head", "fold", "hyper"])
def test_the_gradient_of_the_expansion_is_that_of_plain_indexing(name: str) -> None:
    layer = LAYERS[name].double()
    wanted = torch.randn(layer.shape, dtype=torch.float64)
    (ours,) = torch.autograd.grad((layer.dense() * wanted).sum(), layer.theta)
    plain = (layer.theta[layer.index.long()] * layer.sign.double()).view(layer.shape)
    (autograd,) = torch.autograd.grad((plain * wanted).sum(), layer.theta)
    assert torch.allclose(ours, autograd, atol=1e-12)


def test_the_gradient_of_the_expansion_passes_gradcheck() -> None:
    layer = TiedConv2d(E, B1).double()

    def weights(theta: Tensor) -> Tensor:
        x = torch.ones((1, 2, 3, 3), dtype=torch.float64)
        return torch.func.functional_call(layer, {"theta": theta}, (x,))

    theta = layer.theta.detach().clone().requires_grad_(True)
    assert torch.autograd.gradcheck(weights, (theta,))


def group_mean(weight: Tensor, inputs: Representation, outputs: Representation) -> Tensor:
    """Dense weights averaged over the group: what commutes with it, nearest to `weight`."""
    total = torch.zeros_like(weight)
    for g in GROUP:
        signs = torch.tensor(inputs.sign[g]).view(-1, 1, 1)
        moved = weight[:, list(inputs.source[g])] * signs
        total += outputs.act(moved.transpose(0, 1), g).transpose(0, 1)
    return total / ORDER


@pytest.mark.parametrize("kernel", [1, 3, 4])
@torch.no_grad()
def test_set_dense_is_the_projection_on_tied_weights(kernel: int) -> None:
    inputs, outputs = HYPER_LATENTS + REGULAR, LATENTS
    layer = TiedConv2d(inputs, outputs, kernel, stride=kernel).double()
    weight = torch.randn(layer.shape, dtype=torch.float64)
    layer.set_dense(weight)
    tied = layer.dense()
    assert torch.allclose(tied, group_mean(weight, inputs, outputs), atol=1e-12)
    layer.set_dense(tied)
    assert torch.allclose(layer.dense(), tied, atol=1e-12)
