"""What the integer network knows of earlier frames: integers that turn with the picture."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import Tensor

from aehub.codecs.d4.integer_conv import ACTIVATION_MAX, log_levels
from aehub.codecs.d4.motion.field import turn_vectors
from aehub.codecs.d4.reference_buffer import reference_levels, temporal_context, warp_levels
from aehub.codecs.d4.symmetry import A1
from aehub.codecs.d4.transforms import block_dct
from aehub.media.orientation import ELEMENTS, turn

STATE = block_dct().latents.magnitudes() + A1
CONTEXT = STATE + A1 * 2
H, W = 8, 12


def material(seed: int, n_references: int) -> tuple[list[Tensor], Tensor, Tensor]:
    """States, vectors and modes that have nothing in common."""
    generator = torch.Generator().manual_seed(seed)
    states = [torch.randint(0, 32, (1, STATE.channels, H, W), generator=generator).float()
              for _ in range(n_references)]
    vectors = torch.randint(-140, 141, (1, n_references, 2, H, W), generator=generator)
    # Halves of a block, whose rounding could prefer a side.
    vectors[..., ::2] = vectors[..., ::2] // 16 * 16
    modes = torch.randint(1, 4 if n_references == 2 else 2, (1, H // 2, W // 2),
                          generator=generator)
    return states, vectors, modes


@pytest.mark.parametrize("g", ELEMENTS.values(), ids=ELEMENTS.keys())
@pytest.mark.parametrize("n_references", [1, 2])
def test_the_context_of_a_turned_frame_is_the_turned_context(n_references: int, g: int) -> None:
    states, vectors, modes = material(1, n_references)
    plain = temporal_context(states, vectors, modes)
    there = temporal_context([STATE.act(s, g) for s in states],
                             torch.from_numpy(turn_vectors(vectors.numpy(), g)), turn(modes, g))
    assert torch.equal(there, CONTEXT.act(plain, g))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n_references", [1, 2])
def test_contexts_are_integers_that_the_network_takes(
    n_references: int, dtype: torch.dtype
) -> None:
    states, vectors, modes = material(2, n_references)
    found = temporal_context([s.to(dtype) for s in states], vectors, modes)
    assert found.shape == (1, CONTEXT.channels, H, W) and found.dtype == dtype
    assert torch.equal(found, found.round())
    assert found.min() == 0 and found.max() == ACTIVATION_MAX
    assert torch.equal(found, temporal_context(states, vectors, modes).to(dtype))
    assert torch.equal(found[:, -1, ::2, ::2] == 31, modes == 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n_references", [1, 2])
def test_compiled_loops_give_the_same_integers(n_references: int, dtype: torch.dtype) -> None:
    importlib.import_module("numba")  # Without it, operations of torch do the same.
    states, vectors, modes = (
        [torch.cat([s.to(dtype) for s in two]) for two in zip(*both, strict=True)]
        if isinstance(both[0], list) else torch.cat(both)
        for both in zip(material(5, n_references), material(6, n_references), strict=True))
    codes = (400 * torch.randn(2, STATE.channels - 1, H, W, dtype=dtype)).round()
    wanted = temporal_context(states, vectors, modes)
    with torch.no_grad():
        found = temporal_context(states, vectors, modes)
        alone, later = reference_levels(codes, None), reference_levels(codes, found)
    assert found.is_contiguous(memory_format=torch.channels_last) and torch.equal(found, wanted)
    assert torch.equal(alone.to(dtype), reference_levels(codes, None))
    assert torch.equal(later.to(dtype), reference_levels(codes, wanted))


def test_vectors_that_are_not_in_the_file_are_not_in_the_context() -> None:
    states, vectors, modes = material(3, 2)
    wide = modes.repeat_interleave(2, 1).repeat_interleave(2, 2)
    other = vectors.clone()
    other[:, 0][(wide == 2)[:, None].expand(-1, 2, -1, -1)] = 77
    other[:, 1][(wide == 1)[:, None].expand(-1, 2, -1, -1)] = -99
    assert not torch.equal(vectors, other)
    assert torch.equal(temporal_context(states, vectors, modes), temporal_context(states, other,
                                                                                  modes))


def test_what_is_known_moves_with_the_blocks_and_the_border_repeats() -> None:
    (state,), vectors, modes = material(4, 1)
    # One block down, two to the left, in quarter samples.
    vectors[:, :, 0], vectors[:, :, 1] = 32, -64
    found = warp_levels([state], vectors, modes)
    rows = (torch.arange(H) + 1).clamp(max=H - 1)
    columns = (torch.arange(W) - 2).clamp(min=0)
    assert torch.equal(found, state[:, :, rows][..., columns])


def test_of_two_references_the_larger_number_counts_where_both_are_used() -> None:
    states, vectors, _ = material(5, 2)
    first, second = (warp_levels([s], vectors[:, i:i + 1], torch.ones(1, H // 2, W // 2).long())
                     for i, s in enumerate(states))
    for mode, wanted in ((1, first), (2, second), (3, torch.maximum(first, second))):
        modes = torch.full((1, H // 2, W // 2), mode)
        assert torch.equal(warp_levels(states, vectors, modes), wanted)


def test_a_frame_leaves_its_codes_and_some_of_what_was_known() -> None:
    generator = torch.Generator().manual_seed(6)
    codes = torch.randint(-3, 4, (1, 96, H, W), generator=generator).float()
    alone = reference_levels(codes, None)
    assert torch.equal(alone[:, :-1], log_levels(codes)) and (alone[:, -1] == ACTIVATION_MAX).all()
    states, vectors, modes = material(7, 1)
    context = temporal_context(states, vectors, modes)
    later = reference_levels(codes, context)
    assert (later[:, -1] == 0).all()
    assert torch.equal(later[:, :-1], torch.maximum(log_levels(codes), (context[:, :96] * 3 // 4)))
    assert torch.equal(later, later.round()) and later.max() <= ACTIVATION_MAX
