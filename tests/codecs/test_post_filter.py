"""The post-filter: commutes with D4, starts as the identity, enters the synthesis hash."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from aehub.codecs.d4 import checkpoint
from aehub.codecs.d4.planes import PlaneBatch
from aehub.codecs.d4.post_filter import PostFilter
from aehub.errors import WeightsError
from aehub.media.orientation import ELEMENTS, turn

GOLDEN = Path(__file__).parents[1] / "golden"
QUALITY = torch.tensor([43.21])
H, W = 64, 96
both_kinds = pytest.mark.parametrize("conditional", [False, True], ids=["still", "predicted"])


@torch.no_grad()
def random_filter(conditional: bool, fields: int = 2) -> PostFilter:
    """Without a single parameter at its start."""
    torch.manual_seed(5)
    loop = PostFilter(fields, 2, conditional).double()
    for parameter in loop.parameters():
        parameter.copy_(0.3 * torch.randn_like(parameter))
    return loop.eval().requires_grad_(False)


def picture(seed: int) -> PlaneBatch:
    rng = torch.Generator().manual_seed(seed)

    def plane(h: int, w: int) -> Tensor:
        return 0.2 * torch.randn(1, 1, h, w, generator=rng, dtype=torch.float64)

    return PlaneBatch(plane(H, W), plane(H // 2, W // 2), plane(H // 2, W // 2))


def turned(planes: PlaneBatch, g: int) -> PlaneBatch:
    return PlaneBatch(*(turn(p, g).contiguous() for p in planes))


def prediction_for(loop_is_conditional: bool) -> PlaneBatch | None:
    return picture(2) if loop_is_conditional else None


@both_kinds
@pytest.mark.parametrize("g", ELEMENTS.values(), ids=ELEMENTS.keys())
def test_it_turns_with_the_picture(conditional: bool, g: int) -> None:
    loop, prediction = random_filter(conditional), prediction_for(conditional)
    plain = loop(picture(1), QUALITY.double(), prediction)
    there = loop(turned(picture(1), g), QUALITY.double(),
                 None if prediction is None else turned(prediction, g))
    for found, wanted, before in zip(there, turned(plain, g), turned(picture(1), g), strict=True):
        assert torch.allclose(found, wanted, atol=1e-12)
        assert (found - before).abs().max() > 1e-3


@both_kinds
def test_it_begins_as_nothing_and_can_learn(conditional: bool) -> None:
    torch.manual_seed(0)
    loop, decoded = PostFilter(2, 2, conditional).double(), picture(1)
    mended = loop(decoded, QUALITY.double(), prediction_for(conditional))
    for before, after in zip(decoded, mended, strict=True):
        assert torch.allclose(before, after, atol=1e-12)
    sum((after - wanted).square().mean()
        for after, wanted in zip(mended, picture(3), strict=True)).backward()
    assert loop.tail.theta.grad is not None and loop.tail.theta.grad.abs().min() > 0


def test_it_tells_the_places_of_a_block_apart() -> None:
    # A flat picture: only where a sample lies in its 8x8 block can make a difference.
    loop = random_filter(False)
    flat = PlaneBatch(*(torch.full_like(p, 0.1) for p in picture(0)))
    luma = loop(flat, QUALITY.double()).y[0, 0, 16:-16, 16:-16]
    assert torch.allclose(luma[:8, :8], luma[8:16, 16:24], atol=1e-12)
    assert (luma[0, 0] - luma[3, 3]).abs() > 1e-3


@pytest.mark.parametrize("fields", [1, 4])
@pytest.mark.parametrize("qualities", [[43.21], [10.0, 90.0]], ids=["one quality", "two"])
def test_compiled_loops_and_tensor_operations_give_the_same(
    fields: int, qualities: list[float]
) -> None:
    loop, quality = random_filter(True, fields).float(), torch.tensor(qualities)
    pairs = [PlaneBatch(*(torch.cat(two).float() for two in zip(picture(n), picture(n + 1),
                                                               strict=True))) for n in (0, 2)]
    arguments = pairs[0], quality, pairs[1]
    with torch.no_grad():
        compiled = loop(*arguments)
    # With gradients, or in another type, layers are operations of torch.
    for found, wanted, before in zip(compiled, loop(*arguments), pairs[0], strict=True):
        assert (found - wanted).abs().max() < 1e-4 * (wanted - before).abs().max()
        assert found.is_contiguous()


@torch.no_grad()
def test_planes_in_another_layout_are_filtered_alike() -> None:
    loop = random_filter(True).float()
    pair = [PlaneBatch(*(p.float() for p in picture(n))) for n in (0, 1)]
    others = [PlaneBatch(*(p.mT.contiguous().mT for p in planes)) for planes in pair]
    wanted, found = loop(pair[0], QUALITY, pair[1]), loop(others[0], QUALITY, others[1])
    assert all(map(torch.equal, found, wanted))


def filtered(tmp_path: Path, strength: float) -> checkpoint.StoredModel:
    """The small model with filters whose last layers hold `strength`."""
    base = checkpoint.load(GOLDEN / "tiny-d4")
    model = base.network
    for half in (model, model.inter):
        half.post_filter.tail.theta.data.fill_(strength)
    checkpoint.save(tmp_path, replace(base, network=model))
    return checkpoint.load(tmp_path)


def test_its_weights_name_the_revision_and_leave_the_codes_readable(tmp_path: Path) -> None:
    one, other = filtered(tmp_path / "one", 0.1), filtered(tmp_path / "other", 0.2)
    base = checkpoint.load(GOLDEN / "tiny-d4")
    assert one.entropy_hash == other.entropy_hash == base.entropy_hash
    assert len({one.synthesis_hash, other.synthesis_hash, base.synthesis_hash}) == 3


def test_half_of_its_arguments_are_refused(tmp_path: Path) -> None:
    filtered(tmp_path, 0.1)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"filter_layers"', '"filter_lairs"'))
    with pytest.raises(WeightsError, match="filter_layers 0 to 8"):
        checkpoint.load(tmp_path)
