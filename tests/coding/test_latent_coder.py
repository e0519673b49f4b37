"""Codes of any quantised latent, with tables chosen by integers that both sides have."""

from __future__ import annotations

import numpy as np
import pytest

from aehub.coding.adaptive_tables import read_uniform, write_uniform
from aehub.coding.latent_coder import LatentReader, LatentWriter, quantise, rdoq_offsets
from aehub.coding.range_coder import N_TABLES, SCALE_MAX, SCALE_MIN, ScaleTables

TABLES = ScaleTables.fit()
SHAPE = (6, 24, 40)


def latent(seed: int = 0) -> np.ndarray:
    """Latents whose scale changes over the picture, as those of a VAE do: float64 [C, h, w]."""
    rng = np.random.default_rng(seed)
    scale = 8 * np.exp(2 * np.sin(np.linspace(0, 9, SHAPE[2]))) / np.arange(1, 7)[:, None, None]
    return rng.laplace(0, np.broadcast_to(scale, SHAPE))


def index_of(magnitude: np.ndarray) -> np.ndarray:
    """Table of an expected magnitude, in integers: twice its log2, and a little."""
    step = N_TABLES * np.log(2) / np.log(SCALE_MAX / SCALE_MIN)
    return np.clip(np.round(step * np.log2((1 + magnitude) / SCALE_MIN)), 1, 63).astype(np.uint8)


def passes() -> list[np.ndarray]:
    board = np.indices(SHAPE[1:]).sum(0) % 2 == 0
    return [np.broadcast_to(board, SHAPE), np.broadcast_to(~board, SHAPE)]


def context(codes: np.ndarray, number: int) -> np.ndarray:
    """Tables of a pass: of the channel alone, then of the four neighbours coded before."""
    if number == 0:
        return np.full(SHAPE, 35, np.uint8)
    padded = np.pad(np.abs(codes), ((0, 0), (1, 1), (1, 1)))
    around = (padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2]
              + padded[:, 1:-1, 2:])
    return index_of(around // 4)


def written(values: np.ndarray, *, neighbours: bool, lambda_: float = 0.0
            ) -> tuple[bytes, np.ndarray]:
    writer, codes = LatentWriter(TABLES), np.zeros(SHAPE, np.int32)
    for number, mask in enumerate(passes()):
        index = context(codes, number if neighbours else 0) * mask
        codes = codes + quantise(values, index, rdoq_offsets(TABLES, lambda_))
        writer.write(codes * mask, index)
    return writer.finish(), codes


def read(stream: bytes) -> np.ndarray:
    reader, codes = LatentReader(TABLES, stream), np.zeros(SHAPE, np.int32)
    for number, mask in enumerate(passes()):
        codes = codes + reader.read(context(codes, number) * mask)
    return codes


@pytest.mark.parametrize("lambda_", [0.0, 0.1])
def test_codes_come_back_where_tables_follow_codes_read_before(lambda_: float) -> None:
    stream, codes = written(latent(), neighbours=True, lambda_=lambda_)
    assert np.abs(codes).max() > 50 and np.array_equal(read(stream), codes)


def test_tables_of_the_neighbours_save_bits() -> None:
    assert len(written(latent(), neighbours=True)[0]) < 0.97 * len(
        written(latent(), neighbours=False)[0])


def test_without_a_multiplier_codes_are_rounded_and_with_one_some_are_lowered() -> None:
    values, index = latent(), np.full(SHAPE, 35, np.uint8)
    nearest = quantise(values, index, rdoq_offsets(TABLES, 0.0))
    assert np.array_equal(nearest, np.sign(values) * np.floor(np.abs(values) + 0.5))
    lowered = np.abs(nearest) - np.abs(quantise(values, index, rdoq_offsets(TABLES, 0.1)))
    assert set(np.unique(lowered)) == {0, 1} and lowered.mean() < 0.3


def test_table_0_holds_only_zeros_and_takes_no_bits() -> None:
    codes = quantise(latent(), np.zeros(SHAPE, np.uint8), rdoq_offsets(TABLES, 0.0))
    writer = LatentWriter(TABLES)
    empty = writer.words
    writer.write(codes, np.zeros(SHAPE, np.uint8))
    assert not codes.any() and writer.words == empty


def test_other_symbols_share_the_stream() -> None:
    index = np.full((3, 4), 20, np.uint8)
    codes = np.arange(-6, 6, dtype=np.int32).reshape(3, 4)
    writer = LatentWriter(TABLES)
    write_uniform(writer.coder, np.array([5], np.int32), 64)
    LatentWriter(ScaleTables.fit(), writer.coder).write(codes, index)
    writer.write(codes.T, index.T)
    reader = LatentReader(TABLES, writer.finish())
    assert read_uniform(reader.coder, 1, 64)[0] == 5
    assert np.array_equal(reader.read(index), codes) and np.array_equal(reader.read(index.T),
                                                                        codes.T)


def test_a_fork_is_independent() -> None:
    index = np.full(50, 30, np.uint8)
    codes = np.arange(-25, 25, dtype=np.int32)
    alone = LatentWriter(TABLES)
    alone.write(codes, index)
    writer = LatentWriter(TABLES)
    writer.write(codes, index)
    other = writer.fork()
    other.write(codes, index)
    assert writer.finish() == alone.finish() and len(other.finish()) > len(alone.finish())
