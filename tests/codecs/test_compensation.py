"""Motion compensation: plain shifts, equivariant, with gradients to references."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from aehub.codecs.d4.motion.compensate import (
    OBMC_MARGIN,
    interpolation_matrices,
    predict,
    predict_planes,
)
from aehub.codecs.d4.motion.field import turn_vectors
from aehub.codecs.d4.planes import PlaneBatch
from aehub.media.orientation import ELEMENTS, turn

every_element = pytest.mark.parametrize("g", ELEMENTS.values(), ids=ELEMENTS.keys())


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def planes(seed: int, height: int = 32, width: int = 64) -> PlaneBatch:
    shapes = ((1, 1, height, width), *2 * ((1, 1, height // 2, width // 2),))
    return PlaneBatch(*(torch.randn(s, generator=generator(seed + i), dtype=torch.float64)
                        for i, s in enumerate(shapes)))


def vectors(seed: int, n_references: int, reach: int = 90, h: int = 4, w: int = 8) -> Tensor:
    return torch.randint(-reach, reach + 1, (1, n_references, 2, h, w), generator=generator(seed))


def shifted(plane: Tensor, field: Tensor, side: int) -> np.ndarray:
    """Each block of side x side from where its whole vector points; outside, the border."""
    source, (down, right) = plane.numpy(), field.numpy()
    height, width = source.shape
    y, x = np.mgrid[:height, :width]
    rows = (y + down[y // side, x // side]).clip(0, height - 1)
    columns = (x + right[y // side, x // side]).clip(0, width - 1)
    return source[rows, columns]


ONE_REFERENCE = torch.ones(1, 2, 4, dtype=torch.uint8)


def middles(plane: Tensor) -> Tensor:
    """Samples that no adjacent block overlaps, bool [H, W]; two rows of blocks."""
    n = plane.shape[2] // 2
    rows, columns = (torch.arange(size) % n for size in plane.shape[2:])
    inside = [(at >= n // 4) & (at < n - n // 4) for at in (rows, columns)]
    return inside[0][:, None] & inside[1]


@pytest.mark.parametrize("reach", [0, 3, 20, 500])
def test_whole_vectors_are_plain_shifts_and_the_border_repeats(reach: int) -> None:
    # Of blocks of 16x16, whose middles no adjacent block overlaps.
    field = vectors(reach, 1, reach, 2, 4).repeat_interleave(2, 3).repeat_interleave(2, 4)
    picture = planes(1)
    found = predict([picture], 8 * field, ONE_REFERENCE)
    for plane, origin, side, step in ((found.y, picture.y, 8, 2), (found.u, picture.u, 4, 1)):
        wanted = shifted(origin[0, 0], step * field[0, 0], side)
        inner = middles(plane)
        assert np.allclose(plane[0, 0][inner], wanted[inner], atol=1e-12)


def test_no_motion_is_the_reference() -> None:
    found = predict([planes(2)], 0 * vectors(0, 1), ONE_REFERENCE)
    for plane, wanted in zip(found, planes(2), strict=True):
        assert torch.allclose(plane, wanted, atol=1e-12)


@pytest.mark.parametrize("chroma", [False, True])
def test_every_filter_keeps_a_constant_and_mirrors_its_opposite(chroma: bool) -> None:
    table = interpolation_matrices(chroma, 4)
    assert torch.equal(table.sum(2), torch.ones_like(table.sum(2)))
    n = len(table)
    for phase in range(1, n):
        assert torch.equal(table[phase], table[n - phase].flip(0, 1))


@pytest.mark.parametrize("phase", [1, 2, 3])
def test_parts_of_a_sample_move_a_smooth_wave_by_that_much(phase: int) -> None:
    x = torch.arange(64, dtype=torch.float64)
    wave = torch.sin(x / 4).expand(1, 32, 64)
    field = torch.zeros(1, 2, 4, 8, dtype=torch.int64)
    field[:, 1] = phase
    found = predict_planes([wave.contiguous()], field[:, None], ONE_REFERENCE)[0, 0, 8:-8]
    # HEVC's quarter filter moves a slope by 15/64.
    assert (found - torch.sin((x + phase / 4) / 4)[8:-8]).abs().max() < 0.005


@every_element
@pytest.mark.parametrize("n_references", [1, 2])
def test_turned_references_and_vectors_give_the_turned_prediction(
    n_references: int, g: int
) -> None:
    references = [planes(10 * r) for r in range(n_references)]
    field = vectors(5, n_references)
    modes = torch.randint(1, 4 if n_references == 2 else 2, (1, 2, 4), generator=generator(6))
    plain = predict(references, field, modes)
    there = predict([PlaneBatch(*(turn(p, g) for p in r)) for r in references],
                    torch.from_numpy(turn_vectors(field.numpy(), g)), turn(modes, g))
    for found, plane in zip(there, plain, strict=True):
        assert (found - turn(plane, g)).abs().max() < 1e-12


def test_modes_choose_the_first_the_second_or_the_mean() -> None:
    references, field = [planes(0), planes(7)], vectors(3, 2)
    alone = [predict([r], field[:, i:i + 1], torch.ones(1, 2, 4, dtype=torch.int64))
             for i, r in enumerate(references)]
    modes = torch.tensor([[[1, 2, 3, 1], [3, 3, 2, 2]]])
    found = predict(references, field, modes)
    for plane, first, second in zip(found, *alone, strict=True):
        side = plane.shape[-1] // 4
        mode = modes.repeat_interleave(side, 1).repeat_interleave(side, 2)[:, None]
        wanted = torch.where(mode == 1, first, torch.where(mode == 2, second, (first + second) / 2))
        inner = middles(plane)
        assert torch.allclose(plane[..., inner], wanted[..., inner], atol=1e-12)


def test_a_reference_that_no_block_uses_changes_nothing() -> None:
    field, modes = vectors(3, 2), torch.full((1, 2, 4), 2)
    first = predict([planes(0), planes(7)], field, modes)
    other = predict([planes(1), planes(7)], field + torch.tensor([9, 0]).view(1, 2, 1, 1, 1), modes)
    assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_blocks_that_move_alike_are_moved_as_one_picture() -> None:
    picture, field = planes(4), torch.tensor([24, -56]).view(1, 1, 2, 1, 1).expand(1, 1, 2, 4, 8)
    found = predict([picture], field, ONE_REFERENCE)
    for plane, origin, side, step in ((found.y, picture.y, 8, 4), (found.u, picture.u, 4, 8)):
        wanted = shifted(origin[0, 0], field[0, 0] // step, side)
        assert np.allclose(plane[0, 0], wanted, atol=1e-12)


def test_overlapping_blocks_leave_no_edge_where_motion_changes() -> None:
    ramp = torch.arange(64, dtype=torch.float64).expand(1, 1, 32, 64)
    picture = PlaneBatch(ramp, ramp[..., ::2, ::2], ramp[..., ::2, ::2])
    field = torch.zeros(1, 1, 2, 4, 8, dtype=torch.int64)
    field[..., 1, :, 4:] = 4 * 8
    steps = predict([picture], field, ONE_REFERENCE).y[0, 0, 16, 20:50].diff()
    # A slope of 1, and 8 samples more spread over both margins.
    assert float(steps.max()) == pytest.approx(1 + 8 / (2 * OBMC_MARGIN))


def test_references_not_used_by_a_block_do_not_reach_adjacent_blocks() -> None:
    field, modes = vectors(3, 2), torch.tensor([[[1, 2, 1, 2], [2, 1, 2, 1]]])
    unused = (modes == 1).repeat_interleave(2, 1).repeat_interleave(2, 2)
    other = field.clone()
    other[:, 1] += 11 * unused[:, None]
    found = [predict([planes(0), planes(7)], f, modes) for f in (field, other)]
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("chroma", [False, True])
def test_the_gradient_to_the_reference_passes_gradcheck(chroma: bool) -> None:
    side = 4 if chroma else 8
    plane = torch.randn(2, 2 * side, 2 * side, generator=generator(0), dtype=torch.float64)
    field = torch.randint(-40, 41, (2, 1, 2, 2, 2), generator=generator(1))
    modes = torch.ones(2, 1, 1, dtype=torch.uint8)

    def predicted(plane: Tensor) -> Tensor:
        return predict_planes([plane], field, modes, chroma=chroma)

    assert torch.autograd.gradcheck(predicted, (plane.requires_grad_(True),))


def test_pictures_of_a_batch_do_not_see_each_other() -> None:
    both = torch.cat([planes(0).y[:, 0], planes(9).y[:, 0]])
    field = torch.cat([vectors(1, 1), vectors(2, 1)])
    found = predict_planes([both], field, ONE_REFERENCE.expand(2, -1, -1))
    for i in range(2):
        alone = predict_planes([both[i:i + 1]], field[i:i + 1], ONE_REFERENCE)
        assert torch.allclose(found[i], alone[0], atol=1e-12)


def whole_vectors(seed: int) -> Tensor:
    """Of blocks of 16x16 that none of their parts leaves."""
    return vectors(seed, 2, h=2, w=4).repeat_interleave(2, 3).repeat_interleave(2, 4)


def test_blocks_are_the_same_whether_they_move_whole_or_in_parts() -> None:
    references, modes = [planes(5), planes(6)], torch.full((1, 2, 4), 3)
    whole = whole_vectors(1)
    split = whole.clone()
    split[:, :, :, 0, 0] += 4
    plain, other = predict(references, whole, modes), predict(references, split, modes)
    # The first part moved otherwise; it overlaps adjacent blocks by the margin.
    assert torch.allclose(plain.y[..., 12:, :], other.y[..., 12:, :], atol=1e-12)
    assert torch.allclose(plain.y[..., 12:], other.y[..., 12:], atol=1e-12)
    assert (plain.y[..., :12, :12] != other.y[..., :12, :12]).any()


def test_a_block_split_only_where_it_is_not_used_moves_whole_bit_for_bit() -> None:
    references, modes = [planes(7), planes(8)], torch.tensor([[[1, 2, 3, 1], [3, 3, 2, 2]]])
    whole = whole_vectors(2)
    other = whole.clone()
    other[0, 1, :, 0, 0] += 7
    other[0, 0, :, 1, 3] -= 7
    found = [predict(references, field, modes) for field in (whole, other)]
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("chroma", [False, True], ids=["luma", "chroma"])
def test_compiled_loops_predict_as_the_tensor_program_does(dtype: torch.dtype, chroma: bool
                                                           ) -> None:
    torch.manual_seed(4)
    references = [torch.rand(2, 48, 80, dtype=dtype) - 0.5 for _ in range(2)]
    side = 8 if chroma else 16
    rows, columns = 48 // side, 80 // side
    vectors = torch.randint(-400, 400, (2, 2, 2, rows, columns))
    vectors = vectors.repeat_interleave(2, -1).repeat_interleave(2, -2)
    vectors = vectors + torch.randint(0, 2, vectors.shape) * (torch.rand(vectors.shape) < 0.2)
    modes = torch.randint(1, 4, (2, rows, columns), dtype=torch.uint8)
    compiled = predict_planes(references, vectors, modes, chroma=chroma)
    # References that need a gradient go through tensors.
    needed = [reference.clone().requires_grad_() for reference in references]
    tensors = predict_planes(needed, vectors, modes, chroma=chroma)
    assert compiled.dtype == dtype and tensors.requires_grad and not compiled.requires_grad
    assert torch.allclose(compiled, tensors, atol=4 * torch.finfo(dtype).eps)
