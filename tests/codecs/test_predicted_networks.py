"""The networks of predicted frames: they turn with the picture, and their integers are exact."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from aehub.codecs.d4.checkpoint import is_self_test, make_self_test, passes_self_test
from aehub.codecs.d4.classical_init import init_classical, init_classical_inter
from aehub.codecs.d4.entropy_model import N_DISTANCE_CLASSES, N_TABLES, SparseBlocks
from aehub.codecs.d4.frame import KnownCodes, code_latents
from aehub.codecs.d4.integer_conv import ACTIVATION_MAX, EXACT_LIMIT, IntegerConv2d, QualityBias
from aehub.codecs.d4.network import (
    HYPER_LATENTS,
    Codes,
    CodingPass,
    D4Network,
    FrameNetwork,
    InterCondition,
)
from aehub.codecs.d4.planes import PlaneBatch, unshuffle
from aehub.codecs.d4.symmetry import A1
from aehub.codecs.d4.tied_conv import TiedConv2d
from aehub.codecs.d4.transforms import BLOCK_SAMPLES, block_dct
from aehub.media.orientation import ELEMENTS, turn

LATENTS = block_dct().latents
CONTEXT = LATENTS.magnitudes() + A1 * 3
QUALITY = torch.tensor([43.21])
H, W = 8, 12
every_element = pytest.mark.parametrize("g", ELEMENTS.values(), ids=ELEMENTS.keys())


@torch.no_grad()
def random_network() -> D4Network:
    """A network without a single parameter at its start, its integers as full as allowed."""
    torch.manual_seed(22)
    network = D4Network(1, 0, 0, filter_fields=1, filter_layers=1)
    for module in network.modules():
        if isinstance(module, IntegerConv2d):
            module.theta.copy_(torch.randn_like(module.theta) * 0.1)
        elif isinstance(module, TiedConv2d):
            fan = module.inputs.channels * module.kernel**2
            module.theta.copy_(torch.randn_like(module.theta) / fan**0.5)
        elif isinstance(module, QualityBias):
            module.values.copy_(torch.randn_like(module.values) * 10)
    for name, parameter in network.named_parameters():
        if name.endswith(".values") and "scales" not in name:
            parameter.add_(torch.randn_like(parameter) * 0.2)
    network.constrain()
    return network.eval().requires_grad_(False)


def started_network() -> D4Network:
    network = D4Network(1, 0, 0, filter_fields=1, filter_layers=1)
    init_classical(network)
    init_classical_inter(network.inter)
    network.constrain()
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module", params=[random_network, started_network],
                ids=["random", "started"])
def network(request: pytest.FixtureRequest) -> D4Network:
    return request.param()


class Inputs(NamedTuple):
    """What a predicted frame's networks see, made up."""

    hyper: Tensor
    latent: Tensor
    pixels: Tensor
    context: Tensor

    def condition(self, distance_class: int = 1) -> InterCondition:
        return InterCondition(self.pixels, self.context, distance_class)

    def to(self, dtype: torch.dtype) -> Inputs:
        return Inputs(*(part.to(dtype) for part in self))

    def turn(self, g: int) -> Inputs:
        return Inputs(HYPER_LATENTS.act(self.hyper, g), LATENTS.act(self.latent, g),
                      BLOCK_SAMPLES.act(self.pixels, g), CONTEXT.act(self.context, g))


def made_up(seed: int, batch: int = 1) -> Inputs:
    generator = torch.Generator().manual_seed(seed)

    def normal(channels: int, scale: float, cell: int = 1) -> Tensor:
        shape = (batch, channels, H // cell, W // cell)
        return scale * torch.randn(shape, generator=generator, dtype=torch.float64)

    context = torch.randint(0, ACTIVATION_MAX + 1, (batch, CONTEXT.channels, H, W),
                            generator=generator)
    return Inputs(normal(24, 3, 4).round(), normal(96, 4).round(), normal(96, 0.2),
                  context.double())


def decoder_of(network: D4Network) -> FrameNetwork:
    return network.inter


def walked(network: FrameNetwork, x: Inputs) -> tuple[Tensor, Tensor, Tensor]:
    """Means and indices of all codes, each where its pass writes, and the latents."""
    means: list[Tensor] = []

    class Watched(KnownCodes):
        def latent(self, part: CodingPass, mean: Tensor, index: Tensor) -> Tensor:
            here = (mean * part.mask).expand_as(index)
            means.append(means.pop() + here if part.number == 1 else here)
            return super().latent(part, mean, index)

    coder = Watched(Codes(x.hyper, x.latent))
    found = code_latents(network, coder, x.hyper, QUALITY.to(x.hyper.dtype), x.condition())
    assert torch.equal(found.codes.latent, x.latent)
    return torch.cat(means, 1), found.tables.latent, found.y_hat


# Turns. Texture masking computes in float32 always.


@every_element
def test_means_and_tables_turn_with_the_frame(network: D4Network, g: int) -> None:
    network, x = copy.deepcopy(decoder_of(network)).double(), made_up(1)
    mean, index, latents = walked(network, x)
    turned = walked(network, x.turn(g))
    assert torch.equal(turned[1], LATENTS.magnitudes().act(index, g))
    for found, plain in ((turned[0], mean), (turned[2], latents)):
        wanted = LATENTS.act(plain, g)
        assert (found - wanted).abs().max() < 1e-6 * plain.abs().max().clamp(min=1)
    assert index.unique().numel() > 5


@every_element
def test_the_synthesis_turns_with_the_frame(network: D4Network, g: int) -> None:
    network, x = copy.deepcopy(decoder_of(network)).double(), made_up(2)
    there = x.turn(g)
    planes = network.synthesise(x.latent, QUALITY.double(), x.condition())
    turned = network.synthesise(there.latent, QUALITY.double(), there.condition())
    for found, plane in zip(turned, planes, strict=True):
        assert (found - turn(plane, g)).abs().max() < 1e-6 * plane.abs().max().clamp(min=1)
        assert g == 0 or plane.shape != found.shape or (found - plane).abs().max() > 0.01


def test_everything_that_is_given_is_used() -> None:
    network, x = decoder_of(random_network()).double(), made_up(3)
    mean, index, _ = walked(network, x)
    other = made_up(4)
    assert not torch.equal(walked(network, x._replace(pixels=other.pixels))[0], mean)
    # Tables must not depend on pixels: decoders differ in their last bits.
    assert torch.equal(walked(network, x._replace(pixels=other.pixels))[1], index)
    assert not torch.equal(walked(network, x._replace(context=other.context))[1], index)
    assert torch.equal(walked(network, x._replace(context=other.context))[0], mean)


@torch.no_grad()
def test_codes_of_zero_at_step_0_show_the_prediction_itself() -> None:
    network = decoder_of(started_network())
    planes = PlaneBatch(*(torch.rand(1, 1, 8 * H // n, 8 * W // n) - 0.5 for n in (1, 2, 2)))
    x = made_up(5).to(torch.float32)
    condition = InterCondition(unshuffle(planes), x.context, 0)
    shown = network.synthesise(torch.zeros_like(x.latent), QUALITY, condition)
    for ours, theirs in zip(shown, planes, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


# Integers.


def answers(network: FrameNetwork, x: Inputs, sparse: SparseBlocks | None = None
            ) -> Iterator[Tensor]:
    """Activations and tables of all passes for every distance class at several qualities."""
    for distance_class in range(N_DISTANCE_CLASSES):
        quality = torch.tensor([(0, 3141, 6250, 10_000)[distance_class]])
        yield network.scales.hyper_index(quality, distance_class)
        features = network.scales.features(x.hyper, quality, (x.context, distance_class), sparse)
        yield features
        for part in network.coding_passes(H, W, torch.device("cpu")):
            known = x.latent[:, :(0, part.end, part.begin, part.begin)[part.number]]
            yield network.scales(part.number, features, known if part.number else None,
                                 part.mask, quality, sparse)


def test_both_precisions_agree_on_every_integer(network: D4Network) -> None:
    network = copy.deepcopy(decoder_of(network))
    x = made_up(6)
    single = [a.double() for a in answers(network.float(), x.to(torch.float32))]
    double = list(answers(network.double(), x))
    assert len(single) == len(double) == 6 * N_DISTANCE_CLASSES
    for one, other in zip(single, double, strict=True):
        assert torch.equal(one, other) and torch.equal(one, one.round())
        assert 0 <= one.min() and one.max() <= max(N_TABLES - 1, ACTIVATION_MAX)


def test_compiled_loops_give_the_same_integers(network: D4Network) -> None:
    importlib.import_module("numba")  # Without it, operations of torch do the same.
    network, x = decoder_of(copy.deepcopy(network)), made_up(9)
    network.float().requires_grad_(False)
    x = x.to(torch.float32)
    cells = torch.zeros(1, 1, H // 4, W // 4)
    cells[0, 0, 0, -1] = 1
    for sparse in (None, SparseBlocks(cells)):
        wanted = list(answers(network, x, sparse))
        with torch.no_grad():
            found = list(answers(network, x, sparse))
        assert all(torch.equal(one.float(), other)
                   for one, other in zip(found, wanted, strict=True))


def test_the_order_of_a_batch_changes_no_integer(network: D4Network) -> None:
    network, x = decoder_of(network), made_up(7, batch=3).to(torch.float32)
    order = [2, 0, 1]
    whole = list(answers(network, x))
    permuted = list(answers(network, Inputs(*(part[order] for part in x))))
    alone = list(answers(network, Inputs(*(part[:1] for part in x))))
    for first, second, third in zip(whole, permuted, alone, strict=True):
        assert len(first) == 1 or torch.equal(first[order], second)
        assert torch.equal(first[:1], third)


@pytest.mark.parametrize("wanted", [[], [0], [4], [1, 2, 3, 5], range(6)], ids=str)
def test_a_part_of_the_cells_gets_the_integers_of_the_whole(network: D4Network,
                                                            wanted: Sequence[int]) -> None:
    network, x = decoder_of(network), made_up(9).to(torch.float32)
    cells = torch.zeros(1, 1, H // 4, W // 4)
    cells.view(-1)[list(wanted)] = 1
    where = cells.repeat_interleave(4, 2).repeat_interleave(4, 3)
    everywhere = list(answers(network, x))
    for number, part in enumerate(answers(network, x, SparseBlocks(cells))):
        if number % 6 == 1:  # Features of blocks with their margins.
            assert part.shape[2:] == (8, 8) and len(part) == len(wanted)
        elif number % 6:
            assert torch.equal(part, everywhere[number] * where)


def test_few_cells_are_run_alone_and_many_with_the_rest() -> None:
    cells = torch.zeros(1, 1, 4, 5)
    cells.view(-1)[:8] = 1
    assert SparseBlocks.of(cells) is not None
    cells.view(-1)[:9] = 1
    assert SparseBlocks.of(cells) is None


def test_layers_that_see_the_context_stay_below_their_bound(network: D4Network) -> None:
    layers = decoder_of(network).scales.integer_layers()
    assert "context" in layers
    for name, layer in layers.items():
        assert 0 < layer.bound() < EXACT_LIMIT
        layer.check_bound(name)


def test_kinds_of_frames_are_told_apart() -> None:
    network, x = decoder_of(random_network()), made_up(8).to(torch.float32)
    quality = torch.tensor([5000])
    found = [network.scales.features(x.hyper, quality, (x.context, distance_class))
             for distance_class in range(N_DISTANCE_CLASSES)]
    assert all(not torch.equal(found[0], other) for other in found[1:])
    hyper = [network.scales.hyper_index(quality, distance_class)
             for distance_class in range(N_DISTANCE_CLASSES)]
    assert all(not torch.equal(hyper[0], other) for other in hyper[1:])


# The self-test.


def test_the_probe_of_a_network_with_predicted_frames_is_whole(network: D4Network) -> None:
    vector = make_self_test(network)
    assert is_self_test(vector)
    assert passes_self_test(network, vector)
    assert vector["inter_context"].max() == ACTIVATION_MAX
    assert len(vector["inter_index"].unique()) > 10


LAYERS = sorted(decoder_of(random_network()).scales.integer_layers())


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_the_probe_tells_other_integer_weights_of_predicted_frames(name: str) -> None:
    network = random_network()
    vector = make_self_test(network)
    decoder_of(network).scales.integer_layers()[name].theta[::16] += 1 / 256
    assert not passes_self_test(network, vector)


@pytest.mark.parametrize("place", range(0, 3000, 331))
@torch.no_grad()
def test_the_probe_tells_a_single_other_weight_of_the_context(place: int) -> None:
    network = random_network()
    vector = make_self_test(network)
    theta = decoder_of(network).scales.context.theta
    theta[place % len(theta)] += 2 / 256
    assert not passes_self_test(network, vector)
