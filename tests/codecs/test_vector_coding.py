"""Coding of motion: lossless, equivariant, cheap without motion, safe with garbage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aehub.codecs.d4.motion.coding import (
    MotionCoder,
    TemporalPredictor,
    predict_deltas,
)
from aehub.codecs.d4.motion.field import MAX_VECTOR, Motion, scale_vectors, turn_vectors
from aehub.coding.range_coder import Decoder, Encoder, ScaleTables
from aehub.coding.scan_order import scan_passes
from aehub.errors import DamagedError
from aehub.media.orientation import ELEMENTS, ORDER, inverse
from motion_fields import nothing, same, scene, speckled

TABLES = ScaleTables.fit()
SEEDS = st.integers(0, 2**32 - 1)
CELLS = st.tuples(st.integers(1, 5), st.integers(1, 5))
REFERENCES = st.integers(1, 2)


def written(motions: Sequence[Motion],
            predictors: Sequence[list[TemporalPredictor]]) -> tuple[bytes, list[Motion]]:
    encoder, coder = Encoder(TABLES), MotionCoder()
    decoded = [coder.write(encoder.coder, [m], [predictor])[0]
               for m, predictor in zip(motions, predictors)]
    return encoder.finish(), decoded


def read(stream: bytes, motions: Sequence[Motion],
         predictors: Sequence[list[TemporalPredictor]]) -> list[Motion]:
    decoder, coder = Decoder(TABLES, stream), MotionCoder()
    return [
        coder.read(decoder.coder, m.vectors.shape[2:], [predictor])[0]
        for m, predictor in zip(motions, predictors)
    ]


def agree_where_used(decoded: Motion, motion: Motion) -> None:
    used = motion.uses.repeat(2, 1).repeat(2, 2)[:, None]
    assert ((decoded.vectors == motion.vectors) | ~used).all()
    assert np.array_equal(decoded.modes, motion.modes)
    assert np.array_equal(decoded.coded_flags, motion.coded_flags)


def there_and_back(motions: Sequence[Motion],
                   predictors: Sequence[list[TemporalPredictor]]) -> None:
    stream, decoded = written(motions, predictors)
    for back, ours, motion in zip(read(stream, motions, predictors), decoded, motions, strict=True):
        same(back, ours)
        agree_where_used(ours, motion)


@given(SEEDS, CELLS, REFERENCES, st.sampled_from([1, 9, 300, MAX_VECTOR]))
@settings(max_examples=40, deadline=None)
def test_noise_comes_back(seed: int, cells: tuple[int, int], n: int, reach: int) -> None:
    motion = speckled(seed, cells, n, reach)
    there_and_back([motion], [nothing(motion)])


@given(SEEDS, CELLS, st.lists(REFERENCES, min_size=1, max_size=5))
@settings(max_examples=25, deadline=None)
def test_the_frames_of_a_group_come_back(seed: int, cells: tuple[int, int], n: list[int]) -> None:
    motions = [scene(seed + i, cells, references) for i, references in enumerate(n)]
    predictors: list[list[TemporalPredictor]] = []
    for before, motion in zip([motions[0], *motions], motions):
        first = scale_vectors(before.parents[0], 1, 2)
        predictors.append([first, lambda field: scale_vectors(field, -2, 3)][: motion.n_references])
    there_and_back(motions, predictors)


def test_vectors_at_the_limit_come_back_from_the_opposite_predictor() -> None:
    motion = Motion.zero((8, 8), 2)
    motion.vectors[:, 0] = MAX_VECTOR
    motion.vectors[:, 1, ::3, ::2] = -MAX_VECTOR
    far = np.full((2, 4, 4), -MAX_VECTOR, np.int16)
    there_and_back([motion], [[far, 3 * far]])


def test_what_the_decoder_sees_is_written_the_same_again() -> None:
    motion = scene(3, (4, 5), 2)
    stream, (decoded,) = written([motion], [nothing(motion)])
    again, (decoded_again,) = written([decoded], [nothing(motion)])
    assert again == stream
    same(decoded_again, decoded)


@pytest.mark.parametrize("cells", [(3, 5), (1, 1), (4, 4), (2, 7)])
@pytest.mark.parametrize("make", [speckled, scene])
def test_turned_motion_takes_the_same_bits_and_comes_back_turned(
    make: type[Motion], cells: tuple[int, int]
) -> None:
    motions = [make(seed, cells, references) for seed, references in enumerate((1, 2, 2))]
    before = scene(9, cells, 1).parents[0]
    turned_bits = []
    for g in range(ORDER):
        predictor = turn_vectors(before, g)
        turned = [motion.turn(g) for motion in motions]
        predictors = [[predictor, lambda field: scale_vectors(field, -1,
                                                              2)][: m.n_references] for m in turned]
        stream, decoded = written(turned, predictors)
        coder, encoder, bits = MotionCoder(), Encoder(TABLES), []
        for motion, predictor in zip(turned, predictors):
            bits.append(coder.bits(motion, predictor))
            coder.write(encoder.coder, [motion], [predictor])
        turned_bits.append(bits)
        assert abs(8 * len(stream) - sum(bits)) < 64
        if g == 0:
            straight = decoded
        for one, other in zip(straight, read(stream, turned, predictors), strict=True):
            same(one.turn(g), other)
    assert all(bits == turned_bits[0] for bits in turned_bits)


def test_motion_that_was_read_is_written_as_it_lay() -> None:
    motions = [scene(seed, (4, 5), 2) for seed in range(4)]
    # A temporal predictor that the encoder would not choose.
    predictors: list[list[TemporalPredictor]] = [[*speckled(9, (4, 5), 2, 2).parents]] * 4
    costly = [Motion(m.vectors, m.modes, m.coded_flags, (1, 1)) for m in motions]
    stream, decoded = written(costly, predictors)
    assert len(stream) > len(written(motions, predictors)[0])
    back = read(stream, motions, predictors)
    assert [motion.forms for motion in back] == [(1, 1)] * 4
    for g in ELEMENTS.values():
        turned = [motion.turn(g) for motion in back]
        around = [[turn_vectors(predictor, g) for predictor in frame] for frame in predictors]
        again = read(written(turned, around)[0], turned, around)
        undone = [motion.turn(inverse(g)) for motion in again]
        assert written(undone, predictors)[0] == stream


def test_a_form_that_does_not_hold_the_vectors_is_not_taken() -> None:
    motion = scene(1, (3, 3), 2)
    still = Motion(motion.vectors, motion.modes, motion.coded_flags, (0, 2))
    there_and_back([still], [nothing(still)])
    assert written([still], [nothing(still)])[0] == written([motion], [nothing(motion)])[0]


def test_bits_change_nothing() -> None:
    motion, coder = scene(4, (3, 3), 2), MotionCoder()
    first = coder.bits(motion, nothing(motion))
    assert coder.bits(motion, nothing(motion)) == first
    fresh = MotionCoder()
    for name, counts in coder.tables.items():
        assert np.array_equal(counts.counts, fresh.tables[name].counts)


@pytest.mark.parametrize("n_references", [1, 2])
def test_a_frame_where_nothing_moves_is_almost_free(n_references: int) -> None:
    motion = Motion.zero((32, 32), n_references)
    coder, encoder = MotionCoder(), Encoder(TABLES)
    assert coder.bits(motion, nothing(motion)) < 12
    for _ in range(30):
        coder.write(encoder.coder, [motion], [nothing(motion)])
    assert coder.bits(motion, nothing(motion)) < 1


def test_a_correct_predictor_saves_the_vectors() -> None:
    motion, coder = scene(5, (6, 6), 2), MotionCoder()
    plain = Motion(motion.parents.repeat(2, 2).repeat(2, 3), motion.modes, motion.coded_flags)
    alone = coder.bits(plain, nothing(plain))
    given_first = coder.bits(plain, [plain.parents[0], np.zeros_like(plain.parents[1])])
    mirrored = coder.bits(plain, [plain.parents[0], lambda field: scale_vectors(field, -1, 1)])
    assert mirrored < 0.8 * given_first < 0.7 * alone


def test_a_wrong_predictor_costs_no_more_than_none() -> None:
    motion, coder = scene(6, (6, 6), 1), MotionCoder()
    noise = speckled(7, (6, 6), 1, 500).parents
    none = coder.bits(motion, nothing(motion))
    assert coder.bits(motion, list(noise)) < none + 100


def test_vectors_of_references_not_in_use_cost_nothing() -> None:
    motion = scene(8, (4, 4), 2)
    motion.modes[:] = 1
    noisy = Motion(motion.vectors.copy(), motion.modes, motion.coded_flags)
    noisy.vectors[1] = speckled(9, (4, 4), 1, 400).vectors[0]
    coder = MotionCoder()
    assert coder.bits(noisy, nothing(noisy)) == coder.bits(motion, nothing(motion))


def test_smooth_motion_is_cheaper_than_noise_and_learning_helps() -> None:
    coder, encoder = MotionCoder(), Encoder(TABLES)
    motions = [scene(seed, (8, 8), 1) for seed in range(6)]
    costs = []
    for motion in motions:
        costs.append(coder.bits(motion, nothing(motion)))
        coder.write(encoder.coder, [motion], [nothing(motion)])
    noise = speckled(0, (8, 8), 1)
    assert max(costs) < 0.5 * MotionCoder().bits(noise, nothing(noise))
    fresh = [MotionCoder().bits(motion, nothing(motion)) for motion in motions[1:]]
    assert sum(costs[1:]) < sum(fresh)


@given(st.binary(max_size=300), CELLS, REFERENCES)
@settings(max_examples=150, deadline=None)
def test_garbage_reads_as_motion_or_is_refused(
    stream: bytes, cells: tuple[int, int], n: int
) -> None:
    whole_words = stream[: len(stream) // 4 * 4]
    like = Motion.zero((4 * cells[0], 4 * cells[1]), n)
    try:
        motions = read(whole_words, [like] * 3, [nothing(like)] * 3)
    except DamagedError as error:
        assert "damage" in str(error)
        return
    for motion in motions:
        assert np.abs(motion.vectors).max() <= MAX_VECTOR


@given(SEEDS, st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_a_flipped_bit_reads_as_motion_or_is_refused(seed: int, at: int) -> None:
    motions = [speckled(seed, (2, 3), n, MAX_VECTOR) for n in (1, 2)]
    predictors = [nothing(motion) for motion in motions]
    stream = bytearray(written(motions, predictors)[0])
    stream[at // 8 % len(stream)] ^= 1 << at % 8
    try:
        back = read(bytes(stream), motions, predictors)
    except DamagedError:
        return
    assert all(np.abs(motion.vectors).max() <= MAX_VECTOR for motion in back)


def test_motion_that_cannot_be_written_is_refused() -> None:
    motion = Motion.zero((4, 4), 1)
    motion.vectors[0, 0, 0, 0] = MAX_VECTOR + 1
    with pytest.raises(ValueError, match="2049"):
        MotionCoder().bits(motion, nothing(motion))
    motion = Motion.zero((4, 4), 1)
    motion.modes[0, 0] = 2
    with pytest.raises(ValueError, match="modes"):
        MotionCoder().bits(motion, nothing(motion))


def test_merge_candidates_save_bits_where_objects_move_apart() -> None:
    # Large patches, each of its own motion: the median between two of them is neither.
    rng = np.random.default_rng(4)
    patches = rng.integers(-200, 201, (1, 2, 4, 4)).repeat(8, 2).repeat(8, 3)
    motion = Motion(patches.astype(np.int16), np.ones((16, 16), np.uint8), np.ones((8, 8), bool))
    # With the median and the temporal predictors alone it takes 1,601 bits.
    assert MotionCoder().bits(motion, nothing(motion)) < 0.6 * 1601


@given(SEEDS, st.tuples(st.integers(2, 9), st.integers(2, 9)), st.sampled_from(range(8)))
@settings(max_examples=30, deadline=None)
def test_merge_candidates_are_equivariant(seed: int, size: tuple[int, int], g: int) -> None:
    # Few values, so that several are equally far from the predictor.
    field = np.random.default_rng(seed).integers(-2, 3, (2, *size)).astype(np.int32)
    there = turn_vectors(field, g)
    candidates, turned = (np.zeros((2, *grid.shape), np.int32) for grid in (field, there))
    for grid, found in ((field, candidates), (there, turned)):
        for scan_pass in scan_passes(*grid.shape[1:]):
            flat = grid.reshape(2, -1)
            cells, predicted, *_, residuals = predict_deltas(
                flat, scan_pass, np.ones(flat.shape[1], bool), np.zeros_like(flat))
            for rank, residual in enumerate(residuals[2:]):
                found[rank].reshape(2, -1)[:, cells] = predicted + residual
    for before, after in zip(candidates, turned, strict=True):
        assert np.array_equal(turn_vectors(before, g), after)
