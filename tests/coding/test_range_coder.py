"""The range coder: exact integer tables, lossless codes, damaged streams refused."""

from __future__ import annotations

from collections.abc import Iterator

import constriction
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aehub.coding.range_coder import (
    N_TABLES,
    TOTAL,
    CompiledDecoder,
    Decoder,
    Encoder,
    ScaleTables,
    max_magnitude,
)

TABLES = ScaleTables.fit()
LAST = N_TABLES - 1


def fitted(seed: int) -> ScaleTables:
    """Tables of wildly unequal counts: many frequencies are 1, some nearly all of 2^24."""
    rng = np.random.default_rng(seed)
    counts = {i: np.floor(10 ** rng.uniform(-3, 12, max_magnitude(i) + 2))
              for i in range(1, N_TABLES)}
    return ScaleTables.fit(counts, prior_weight=1e-3)


def tables_of(frequencies: np.ndarray) -> Iterator[np.ndarray]:
    """Stored numbers, table by table: magnitudes 0 to reach, then the escape."""
    ends = np.cumsum([max_magnitude(i) + 2 for i in range(1, N_TABLES)])
    assert ends[-1] == len(frequencies)
    yield from np.split(frequencies.astype(np.int64), ends[:-1])


def spelt_out(table: np.ndarray) -> np.ndarray:
    """Frequencies of the symbols -reach..reach and the escape."""
    magnitudes, escape = table[:-1], table[-1:]
    return np.concatenate([magnitudes[:0:-1], magnitudes, escape])


def symbol_at(model: object, quantile: int) -> int:
    """The symbol that owns one of the 2^24 quantiles: the low bits of an ANS coder's state."""
    state = np.array([quantile, 1], np.uint32)
    return int(constriction.stream.stack.AnsCoder(state).decode(model))


def misplaced(model: object, frequencies: np.ndarray) -> int:
    """How many ends of symbols are not where integer frequencies put them."""
    ends = np.cumsum(frequencies)
    begins = ends - frequencies
    return sum(
        (symbol_at(model, int(begin)) != symbol) + (symbol_at(model, int(end) - 1) != symbol)
        for symbol, (begin, end) in enumerate(zip(begins, ends, strict=True))
    )


def there_and_back(codes: np.ndarray, indices: np.ndarray, tables: ScaleTables) -> np.ndarray:
    encoder = Encoder(tables)
    encoder.write(codes, indices)
    return Decoder(tables, encoder.finish()).read(indices)


# Tables.


@pytest.mark.parametrize("tables", [TABLES, fitted(0), fitted(1)], ids=["start", "0", "1"])
def test_every_table_sums_to_two_to_the_24_with_entries_from_one(tables: ScaleTables) -> None:
    for table in tables_of(tables.frequencies):
        assert table.min() >= 1
        assert spelt_out(table).sum() == TOTAL


@pytest.mark.parametrize("tables", [TABLES, fitted(0), fitted(1)], ids=["start", "0", "1"])
def test_the_coder_uses_exactly_the_integer_frequencies(tables: ScaleTables) -> None:
    for model, table in zip(tables.models, tables_of(tables.frequencies), strict=True):
        assert misplaced(model, spelt_out(table)) == 0


def test_the_probe_sees_a_frequency_that_is_off_by_one() -> None:
    frequencies = spelt_out(next(tables_of(TABLES.frequencies)))
    frequencies[0] += 1
    frequencies[1] -= 1
    assert misplaced(TABLES.models[0], frequencies) == 2


def test_a_magnitude_costs_what_its_frequency_says() -> None:
    indices = np.full(40_000, 30, np.uint8)
    codes = np.random.default_rng(0).laplace(0, 3, 40_000).round().astype(np.int32)
    encoder = Encoder(TABLES)
    encoder.write(codes, indices)
    assert len(encoder.finish()) * 8 == pytest.approx(TABLES.bits(codes, indices), abs=64)


@pytest.mark.parametrize("change", [(0, -1), (5, 1), (7, -(10**8))])
def test_tables_that_do_not_add_up_are_refused(change: tuple[int, int]) -> None:
    frequencies = TABLES.frequencies.copy()
    frequencies[change[0]] += change[1]
    with pytest.raises(ValueError, match="sum to 2"):
        ScaleTables(frequencies)


def test_tables_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="hold"):
        ScaleTables(TABLES.frequencies[:-1])


def test_fitting_lowers_the_cost_of_what_was_counted() -> None:
    rng = np.random.default_rng(3)
    index, codes = 40, rng.laplace(0, 2, 50_000).round().astype(np.int32)
    escape = max_magnitude(index) + 1
    counts = np.bincount(np.abs(codes).clip(max=escape), minlength=escape + 1)
    indices = np.full(len(codes), index, np.uint8)
    assert ScaleTables.fit({index: counts}).bits(codes, indices) < TABLES.bits(codes, indices)


# Codes.


@given(st.integers(0, 2**32 - 1), st.integers(0, 400), st.floats(0.1, 5e4))
@settings(max_examples=60, deadline=None)
def test_codes_come_back_whatever_their_tables(seed: int, n: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    indices = rng.integers(0, N_TABLES, n).astype(np.uint8)
    codes = (rng.laplace(0, scale, n).round() * (indices > 0)).astype(np.int32)
    assert np.array_equal(there_and_back(codes, indices, TABLES), codes)


@pytest.mark.parametrize("index", range(1, N_TABLES))
def test_escapes_begin_beyond_the_reach_of_a_table(index: int) -> None:
    reach = max_magnitude(index)
    edge = [reach + d for d in (-1, 0, 1, 2, 3, 4)] + [2**20, reach + 2**24 - 1]
    codes = np.array(edge + [-m for m in edge], np.int32)
    indices = np.full(len(codes), index, np.uint8)
    assert np.array_equal(there_and_back(codes, indices, TABLES), codes)


def test_a_code_beyond_the_escape_is_refused_not_cut() -> None:
    with pytest.raises(ValueError, match="exceeds its table"):
        there_and_back(np.array([2**24 + 300], np.int32), np.array([9], np.uint8), TABLES)


def test_several_calls_share_one_stream() -> None:
    rng = np.random.default_rng(5)
    parts = [(rng.integers(-9, 10, n).astype(np.int32), rng.integers(1, 64, n).astype(np.uint8))
             for n in (3, 0, 500, 1)]
    encoder = Encoder(TABLES)
    for codes, indices in parts:
        encoder.write(codes, indices)
    decoder = Decoder(TABLES, encoder.finish())
    for codes, indices in parts:
        assert np.array_equal(decoder.read(indices), codes)


@pytest.mark.parametrize("loops", [True, False])
def test_a_batch_is_read_alike_however_it_lies_in_memory(loops: bool) -> None:
    rng = np.random.default_rng(6)
    indices = rng.integers(0, N_TABLES, (2, 3, 4, 5)).astype(np.uint8)
    codes = rng.integers(-9, 10, indices.shape) * (indices > 0)
    encoder = Encoder(TABLES)
    encoder.write(codes.ravel(), indices.ravel())
    rows = np.ascontiguousarray(indices.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for given_ in (indices, rows):
        words = np.frombuffer(encoder.finish(), "<u4").astype(np.uint32)
        coder = (CompiledDecoder if loops else constriction.stream.queue.RangeDecoder)(words)
        assert np.array_equal(Decoder(TABLES, coder).read(given_), codes)


def test_nothing_takes_no_bytes() -> None:
    assert Encoder(TABLES).finish() == b""
    assert len(Decoder(TABLES, b"").read(np.empty(0, np.uint8))) == 0


def test_codes_of_index_0_are_zero_and_take_no_bytes() -> None:
    indices = np.zeros(1000, np.uint8)
    encoder = Encoder(TABLES)
    encoder.write(np.zeros(1000, np.int32), indices)
    assert encoder.finish() == b""
    assert not Decoder(TABLES, b"").read(indices).any()


@given(st.binary(max_size=200), st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_garbage_decodes_to_something_or_is_refused(stream: bytes, seed: int) -> None:
    indices = np.random.default_rng(seed).integers(0, N_TABLES, 300).astype(np.uint8)
    try:
        codes = Decoder(TABLES, stream).read(indices)
    except (ValueError, AssertionError):
        # What `Codec` turns into a DamagedError.
        return
    assert np.abs(codes.astype(np.int64)).max(initial=0) < 2**25
    assert not codes[indices == 0].any()
