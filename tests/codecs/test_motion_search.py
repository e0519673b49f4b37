"""The search finds motion that is there, and settling gives up only what is not worth its bits."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from aehub.codecs.block_matching import coarse, coarse_cost
from aehub.codecs.d4.motion.coding import MotionCoder
from aehub.codecs.d4.motion.compensate import OBMC_MARGIN, predict_planes
from aehub.codecs.d4.motion.field import Motion, check_motion
from aehub.codecs.d4.motion.rdo import Lagrangian, refine_vectors
from aehub.codecs.d4.motion.search import LumaPlane, SearchResult, search
from aehub.codecs.d4.planes import PlaneBatch
from aehub.coding.range_coder import Encoder, ScaleTables
from aehub.media.colour import from_rgb
from aehub.media.picture import Colour
from material import moving_picture
from motion_fields import nothing

H, W, EDGE = 96, 160, 32


@pytest.fixture(scope="module")
def luma() -> Tensor:
    """A large picture of real texture, grey levels."""
    (picture,) = moving_picture(1, W + 2 * EDGE, H + 2 * EDGE, seed=8)
    return torch.from_numpy(from_rgb(picture, Colour(6))[0]).float()


def part(luma: Tensor, down: int = 0, right: int = 0) -> Tensor:
    return luma[EDGE + down:EDGE + down + H, EDGE + right:EDGE + right + W].contiguous()


def shifted(reference: Tensor, vector: tuple[int, int]) -> Tensor:
    """A picture moved whole by (down, right) in quarter samples."""
    rows, columns = (n // 8 for n in reference.shape)
    field = torch.tensor(vector).view(1, 1, 2, 1, 1).expand(1, 1, 2, rows, columns)
    modes = torch.ones(1, rows // 2, columns // 2, dtype=torch.uint8)
    return predict_planes([reference[None]], field, modes)[0]


def moved(reference: Tensor, field: Tensor) -> Tensor:
    """Blocks of 16x16 moved by vectors [2, H/16, W/16], without overlap."""
    picture = torch.empty(H, W)
    for vector in field.flatten(1).T.unique(dim=0):
        there = (field == vector[:, None, None]).all(0)
        there = there.repeat_interleave(16, 0).repeat_interleave(16, 1)
        picture[there] = shifted(reference, tuple(vector.tolist()))[there]
    return picture


def plane(luma: Tensor) -> LumaPlane:
    return LumaPlane(luma.numpy())


def found_in(current: Tensor, reference: Tensor, lambda_: float = 4.0,
             search_range: int = 24) -> SearchResult:
    hint = np.zeros((2, H // 16, W // 16), np.int64)
    return search(plane(current), plane(reference), lambda_=lambda_,
                  search_range=search_range, hints=[hint])


def inside(field: np.ndarray) -> np.ndarray:
    """Vectors of blocks that the reference shows whole: [n, 2]."""
    return field[:, 2:-2, 2:-2].reshape(2, -1).T


@pytest.mark.parametrize(("down", "right"), [(0, 0), (1, 0), (3, -5), (-12, 7)])
def test_a_whole_translation_is_found_exactly(luma: Tensor, down: int, right: int) -> None:
    found = found_in(part(luma, down, right), part(luma))
    assert (inside(found.vectors) == [4 * down, 4 * right]).all()
    assert found.sad[2:-2, 2:-2].max() == 0


def test_nearly_every_block_of_a_fast_pan_is_found(luma: Tensor) -> None:
    found = found_in(part(luma, 19, 20), part(luma))
    assert (inside(found.vectors) == [76, 80]).all(1).mean() > 0.9


@pytest.mark.parametrize(("down", "right"), [(1, 0), (-2, 3), (5, -7), (21, -34)])
def test_a_translation_by_quarters_is_found(luma: Tensor, down: int, right: int) -> None:
    current = shifted(part(luma), (down, right))
    found = found_in(current, part(luma))
    right_ones = (inside(found.vectors) == [down, right]).all(1)
    assert right_ones.mean() > 0.9
    # The vectors predict what they were found to predict.
    off = (moved(part(luma), torch.from_numpy(found.vectors)) - current).abs()
    blocks = off.view(H // 16, 16, W // 16, 16).sum((1, 3))
    assert np.allclose(blocks, found.sad, rtol=1e-3, atol=0.5)


def test_motion_explains_a_pan_and_not_another_picture(luma: Tensor) -> None:
    (other,) = moving_picture(1, W, H, seed=99)
    stranger = coarse(from_rgb(other, Colour(6))[0])
    moved, flat = coarse_cost(*(coarse(part(luma, *move).numpy()) for move in ((4, 8), (0, 0))), 32)
    assert moved < 0.3 * flat
    moved, flat = coarse_cost(stranger, coarse(part(luma).numpy()), 32)
    assert moved > 0.75 * flat


def page_of_text() -> Tensor:
    """Lines of dark letters on white, 16 samples apart, three times as high as the window."""
    page = Image.new("L", (W, 3 * H), 255)
    draw, random = ImageDraw.Draw(page), np.random.default_rng(5)
    for y in range(2, 3 * H, 16):
        line = "".join(random.choice(list("abcdefghijklmnop   "), 30))
        draw.text((4, y), line, fill=20, font=ImageFont.load_default(10))
    return torch.from_numpy(np.asarray(page).copy()).float()


@pytest.mark.parametrize("down", [16, 37, 53])
def test_a_page_that_scrolls_under_a_bar_is_found(down: int) -> None:
    page = page_of_text()
    before, after = page[:H].clone(), page[down:down + H].clone()
    before[:16] = after[:16] = 90
    found = found_in(after, before, search_range=14)
    shown = after.view(H // 16, 16, W // 16, 16).numpy().std((1, 3)) > 20
    # Blocks that the window showed before, and not under the bar.
    shown[(H - down) // 16:] = shown[0] = False
    right_ones = (found.vectors[:, shown] == [[4 * down], [0]]).all(0)
    assert right_ones.mean() > 0.9


def test_any_number_of_threads_finds_the_same_motion(
    luma: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv("AEHUB_THREADS", threads)
        monkeypatch.setattr("os.cpu_count", lambda: 3)
        found.append(found_in(part(luma, 3, -5), part(luma)))
    for name in ("vectors", "cost", "sad"):
        assert np.array_equal(getattr(found[0], name), getattr(found[1], name)), name


# Settling.


def busy_motion(seed: int, n_references: int) -> Motion:
    """Noise around a motion, no block split."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(-3, 4, (n_references, 2, H // 16, W // 16)) + 8
    modes = rng.integers(1, 4 if n_references == 2 else 2, (H // 16, W // 16)).astype(np.uint8)
    return Motion(coarse.repeat(2, 2).repeat(2, 3).astype(np.int16), modes,
                  np.ones((H // 32, W // 32), bool))


def error(current: Tensor, references: list[Tensor], motion: Motion) -> Tensor:
    """Error of each block of 16x16 and its margins, by the share that the block has there: squared
    up to a difference of 6, linear with its slope beyond."""
    current, *references = (F.pad(p[None], (16,) * 4, mode="replicate")[0]
                            for p in (current, *references))
    rise = (torch.arange(2 * OBMC_MARGIN) + 0.5) / (2 * OBMC_MARGIN)
    share = torch.cat([rise, torch.ones(16 - 2 * OBMC_MARGIN), rise.flip(0)])
    picture = cache(lambda r, vector: shifted(references[r], vector))
    total = torch.empty(motion.modes.shape)
    for i, j in np.ndindex(motion.modes.shape):
        window = [slice(16 * at + 16 - OBMC_MARGIN, 16 * at + 32 + OBMC_MARGIN) for at in (i, j)]
        used = [picture(r, tuple(motion.parents[r, :, i, j].tolist()))[window[0], window[1]]
                for r in range(len(references)) if motion.modes[i, j] & 1 << r]
        off = (sum(used) / len(used) - current[window[0], window[1]]).abs()
        grown = torch.where(off < 6, off**2, 12 * off - 36)
        total[i, j] = (grown * share[:, None] * share).sum()
    return total


@pytest.mark.parametrize("n_references", [1, 2])
@pytest.mark.parametrize("per_bit", [0.0, 20.0, 200.0])
def test_settling_never_costs_more(luma: Tensor, n_references: int, per_bit: float) -> None:
    current = part(luma, 2, 2)
    references = [part(luma), part(luma, 4, 4)][:n_references]
    motion = busy_motion(3, n_references)
    predictors = [np.zeros((2, H // 16, W // 16), np.int16)] * n_references
    refined = refine_vectors(plane(current), [plane(r) for r in references], motion,
                             predictors,
                             Lagrangian(per_bit, 6.0))
    before, after = (error(current, references, m) for m in (motion, refined))
    if per_bit == 0:
        assert (after <= before + 1).all()
    costs = [float(d.sum()) + per_bit * MotionCoder().bits(m, predictors)
             for d, m in ((before, motion), (after, refined))]
    assert costs[1] <= costs[0] + 10
    assert per_bit == 0 or costs[1] < costs[0]
    assert np.array_equal(refined.modes, motion.modes)


def refined_between(luma: Tensor, motion: Motion, per_bit: float) -> Motion:
    """Refined motion of a picture between two others, without temporal predictors."""
    references = [plane(part(luma)), plane(part(luma, 4, 4))]
    return refine_vectors(plane(part(luma, 2, 2)), references, motion, nothing(motion),
                          Lagrangian(per_bit, 6.0))


def test_settling_leaves_split_blocks_alone(luma: Tensor) -> None:
    rng = np.random.default_rng(5)
    motion = busy_motion(4, 2)
    vectors = motion.vectors.copy()
    vectors[:, :, 4:6, 6:10] += rng.integers(1, 4, (2, 2, 2, 4)).astype(np.int16)
    vectors[:, :, 4, 6] += 3
    motion = Motion(vectors, motion.modes, motion.coded_flags)
    refined = refined_between(luma, motion, 500.0)
    kept = motion.split.repeat(2, 1).repeat(2, 2)[:, None]
    assert motion.split.any()
    assert ((refined.vectors == motion.vectors) | ~kept).all()
    assert not np.array_equal(refined.vectors, motion.vectors)


def test_what_blocks_do_not_use_is_settled_as_the_reader_will_see_it(luma: Tensor) -> None:
    motion = busy_motion(4, 2)
    refined = refined_between(luma, motion, 20.0)
    decoded = MotionCoder().write(Encoder(ScaleTables.fit()).coder, [refined],
                                  [nothing(refined)])[0]
    assert (~motion.uses).any()
    assert np.array_equal(refined.vectors, decoded.vectors)
    # Nor does anything depend on what stood there before: it is not written.
    idle = (~motion.uses).repeat(2, 1).repeat(2, 2)[:, None]
    wild = Motion(np.where(idle, 999, motion.vectors).astype(np.int16), motion.modes,
                  motion.coded_flags)
    assert np.array_equal(refined_between(luma, wild, 20.0).vectors, refined.vectors)


def test_a_lone_wrong_vector_in_flat_ground_is_given_up() -> None:
    flat = torch.full((H, W), 80.0)
    motion = Motion.zero((H // 8, W // 8), 1)
    vectors = motion.vectors.copy()
    vectors[:, :, 4:6, 6:8] = 31
    predictors = [np.zeros((2, H // 16, W // 16), np.int16)]
    lone = Motion(vectors, motion.modes, motion.coded_flags)
    refined = refine_vectors(plane(flat), [plane(flat)], lone, predictors, Lagrangian(1.0, 6.0))
    assert not refined.vectors.any()


def test_what_neighbours_do_leads_no_vector_out_of_range() -> None:
    # Vectors differ from their predictor by the picture's height; in the last columns it is large.
    flat, edged = torch.full((H, W), 200.0), torch.full((H, W), 80.0)
    edged[-1] = 200  # Whatever goes far enough down sees this.
    motion = Motion.zero((H // 8, W // 8), 1)
    predictor = np.zeros((2, H // 16, W // 16), np.int16)
    predictor[0, :, -2:] = 1900
    vectors = predictor.repeat(2, 1).repeat(2, 2)
    vectors[0, :, :-4] = 4 * H
    own = Motion(vectors[None], motion.modes, motion.coded_flags)
    refined = refine_vectors(plane(flat), [plane(edged)], own, [predictor],
                             Lagrangian(1.0, 6.0))
    check_motion(refined)
    assert (refined.vectors[..., :-4] == 4 * H).any()


def test_vectors_of_flat_blocks_are_weighed_by_what_they_do_to_their_neighbours(luma: Tensor
                                                                                  ) -> None:
    # A band of texture that moved down by two samples, between flat blocks that seem to stand.
    reference, current = torch.full((H, W), 120.0), torch.full((H, W), 120.0)
    reference[:, 48:64], current[:, 48:64] = part(luma, 2)[:, :16], part(luma)[:, :16]
    vectors = np.zeros((1, 2, H // 8, W // 8), np.int16)
    vectors[0, 0, :, 6:8] = -8
    motion = Motion(vectors, np.ones((H // 16, W // 16), np.uint8),
                    np.ones((H // 32, W // 32), bool))
    batch = PlaneBatch(*3 * (reference[None, None],))
    refined = refine_vectors(plane(current), [plane(reference)], motion, nothing(motion),
                             Lagrangian(1.0, 6.0))
    before, after = (
        predict_planes([batch.y[:, 0]], torch.from_numpy(m.vectors)[None].long(),
                       torch.from_numpy(m.modes)[None])[0] for m in (motion, refined))
    assert (after - current).square().mean() < 0.2 * (before - current).square().mean()
