"""Adaptive tables: exact integers, the same on both sides, independent of the order in a batch."""

from __future__ import annotations

from typing import Any

import constriction
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aehub.coding.adaptive_tables import (
    INCREMENT,
    MAX_TOTAL,
    MIN_COUNT,
    AdaptiveTables,
    read_uniform,
    write_uniform,
)
from aehub.coding.range_coder import TOTAL, CompiledDecoder, Decoder, Encoder, ScaleTables

TABLES = ScaleTables.fit()
SEEDS = st.integers(0, 2**32 - 1)


def skewed(rng: np.random.Generator, contexts: int, symbols: int, n: int) -> tuple:
    """Symbols of which a few are frequent, each context with its own habits."""
    habits = rng.dirichlet(np.full(symbols, 0.3), contexts)
    where = rng.integers(0, contexts, n).astype(np.uint8)
    drawn = [rng.choice(symbols, p=habits[context]) for context in where]
    return np.array(drawn, np.int32), where


def flat(contexts: int, symbols: int) -> AdaptiveTables:
    return AdaptiveTables(np.full((contexts, symbols), INCREMENT))


@given(SEEDS, st.integers(1, 6), st.integers(2, 32), st.lists(st.integers(0, 300), max_size=8))
@settings(max_examples=50, deadline=None)
def test_symbols_come_back_and_both_sides_learn_the_same(
    seed: int, contexts: int, symbols: int, batches: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    parts = [skewed(rng, contexts, symbols, n) for n in batches]
    encoder, written = Encoder(TABLES), flat(contexts, symbols)
    for codes, where in parts:
        written.write(encoder.coder, codes, where)
    decoder, read = Decoder(TABLES, encoder.finish()), flat(contexts, symbols)
    for codes, where in parts:
        assert np.array_equal(read.read(decoder.coder, where), codes)
    assert np.array_equal(read.counts, written.counts)


@given(SEEDS, st.integers(2, 32), st.integers(1, 100_000))
@settings(max_examples=50, deadline=None)
def test_tables_are_exact_integers_after_any_batch(seed: int, symbols: int, n: int) -> None:
    counts = flat(2, symbols)
    codes = np.random.default_rng(seed).integers(0, symbols, 50).astype(np.int32)
    codes = np.concatenate([codes, np.full(n, codes[0])])
    counts.update(codes, np.ones(len(codes), np.uint8))
    tables = counts.frequencies()
    assert tables.dtype == np.int64
    assert tables.min() >= 1
    assert (tables.sum(axis=1) == TOTAL).all()
    assert counts.counts.min() >= MIN_COUNT
    assert counts.counts.sum(axis=1).max() <= MAX_TOTAL


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_the_order_inside_a_batch_changes_neither_bits_nor_tables(seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes, where = skewed(rng, 4, 9, 200)
    order = rng.permutation(200)
    one, other = flat(4, 9), flat(4, 9)
    assert one.bits(codes, where) == other.bits(codes[order], where[order])
    one.update(codes, where)
    other.update(codes[order], where[order])
    assert np.array_equal(one.counts, other.counts)


def test_bits_are_what_the_stream_grows_by() -> None:
    codes, where = skewed(np.random.default_rng(5), 3, 7, 20_000)
    counts, encoder = flat(3, 7), Encoder(TABLES)
    expected = counts.bits(codes, where)
    counts.write(encoder.coder, codes, where)
    assert abs(8 * len(encoder.finish()) - expected) < 64


def test_a_context_that_never_surprises_gets_almost_free() -> None:
    counts = flat(1, 2)
    codes, where = np.zeros(256, np.int32), np.zeros(256, np.uint8)
    first = counts.bits(codes, where)
    for _ in range(8):
        counts.update(codes, where)
    assert first == 256
    assert counts.bits(codes, where) < 0.2


def test_bits_change_nothing_and_copies_go_their_own_way() -> None:
    counts = flat(2, 3)
    codes, where = np.array([2, 2, 0], np.int32), np.array([0, 1, 1], np.uint8)
    counts.bits(codes, where)
    copy = counts.copy()
    copy.update(codes, where)
    assert (counts.counts == INCREMENT).all()
    one, two = INCREMENT, 2 * INCREMENT
    assert copy.counts.tolist() == [[one, one, two], [two, one, two]]


def test_uniform_values_come_back() -> None:
    values = np.arange(100, dtype=np.int32) % 16
    encoder = Encoder(TABLES)
    write_uniform(encoder.coder, values, 16)
    assert abs(8 * len(encoder.finish()) - 400) <= 32
    assert np.array_equal(read_uniform(Decoder(TABLES, encoder.finish()).coder, 100, 16), values)


@pytest.mark.parametrize(
    "initial", [np.full((2, 33), 32), np.full((2, 1), 32), np.full((1, 4), 7),
                np.full((1, 2), MAX_TOTAL)]
)
def test_initial_counts_outside_the_limits_are_refused(initial: np.ndarray) -> None:
    with pytest.raises(ValueError, match="counts"):
        AdaptiveTables(initial)


Step = tuple[str, np.ndarray]


def drawn_steps(rng: np.random.Generator) -> list[Step]:
    """Parts of a stream in an order of chance: kind, and indices, contexts or sizes of a part."""
    kinds = {"codes": lambda n: rng.integers(0, 64, n).astype(np.uint8),
             "symbols": lambda n: rng.integers(0, 5, n).astype(np.uint8),
             "uniform": lambda n: rng.choice([2, 3, 48, 256, 1 << 13], n).astype(np.int32)}
    return [(kind, kinds[kind](rng.integers(0, 90)))
            for kind in rng.choice([*kinds], rng.integers(1, 9))]


def mixed_stream(rng: np.random.Generator, steps: list[Step]) -> bytes:
    encoder, tables = Encoder(TABLES), flat(5, 9)
    for kind, given_ in steps:
        n = len(given_)
        if kind == "codes":  # Some of them escaped, by up to 24 bits.
            codes = rng.laplace(0, 10 ** rng.uniform(0, 7, n)).clip(-1.6e7, 1.6e7).astype(np.int32)
            encoder.write(codes * (given_ > 0) // rng.choice([1, 1000]), given_)
        elif kind == "symbols":
            tables.write(encoder.coder, rng.integers(0, 9, n) // 3, given_)
        else:
            write_uniform(encoder.coder, rng.integers(0, given_), given_)
    return encoder.finish()


def outcome(stream: bytes, steps: list[Step], *, loops: bool) -> list:
    """What each part is read as, up to the first error, and its kind."""
    words = np.frombuffer(stream, "<u4").astype(np.uint32)
    coder: Any = (CompiledDecoder if loops else constriction.stream.queue.RangeDecoder)(words)
    decoder, tables, found = Decoder(TABLES, coder), flat(5, 9), []
    for kind, given_ in steps:
        try:
            found.append((decoder.read(given_) if kind == "codes" else
                          tables.read(coder, given_) if kind == "symbols" else
                          read_uniform(coder, len(given_), given_)).tolist())
        except (ValueError, AssertionError) as error:
            return [*found, type(error)]
        found.append(tables.counts.tolist())
    return found


def test_compiled_loops_read_any_stream_as_constriction_does() -> None:
    errors = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        steps = drawn_steps(rng)
        stream = mixed_stream(rng, steps)
        damaged = bytearray(stream[:4 * int(rng.integers(0, len(stream) // 4 + 1))])
        for at in rng.integers(0, len(damaged), 2) if damaged else ():
            damaged[at] ^= 1 << int(rng.integers(8))
        for data in (stream, bytes(damaged), rng.bytes(4 * int(rng.integers(0, 40)))):
            wanted = outcome(data, steps, loops=False)
            assert outcome(data, steps, loops=True) == wanted
            errors += wanted[-1] is AssertionError
    assert errors > 3
