"""Codes of any quantised latent in a range coder's stream: quantise, write, read.

    table index of each code, chosen by integers that both sides have
    encoder:  codes = quantise(values, index);  LatentWriter.write(codes, index)
    decoder:  codes = LatentReader.read(index)

Arrays have any shape; a latent is coded in as many calls as its context has passes. Other symbols
may share the stream (`coder`).

Between magnitudes k - 1 and k rate-distortion optimised quantisation (RDOQ) changes where

    (v - (k - 1))^2 + lambda bits(k - 1) = (v - k)^2 + lambda bits(k)
    v = k - 1/2 + lambda / 2 (bits(k) - bits(k - 1))        [v in steps, lambda in steps^2 per bit]

Source: H. Everett 1963 (Lagrange multipliers); as in the "trellis" of x264, without the trellis.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aehub.coding.range_coder import N_TABLES, Decoder, Encoder, ScaleTables, max_magnitude

MAX_OFFSET = 0.45
"""Largest threshold offset in steps: a code is lowered by at most 1."""


def rdoq_offsets(tables: ScaleTables, lambda_: float) -> tuple[np.ndarray, np.ndarray]:
    """Threshold offsets by table, float64 [64] each: below magnitude 1, and above, where one
    suffices.

    Args:
        tables: for the bits of each magnitude.
        lambda_: steps^2 per bit; 0 rounds to the nearest.
    """
    first, later = np.zeros(N_TABLES), np.zeros(N_TABLES)
    for index in range(1, N_TABLES):
        bits = tables.magnitude_bits(index)
        first[index] = lambda_ / 2 * (bits[1] - bits[0])
        last = min(max_magnitude(index), 8)
        later[index] = lambda_ / 2 * float(np.diff(bits[1:last + 1]).mean())
    return first.clip(0, MAX_OFFSET), later.clip(0, MAX_OFFSET)


def quantise(values: np.ndarray, index: np.ndarray, offsets: tuple[np.ndarray, np.ndarray]
             ) -> np.ndarray:
    """RDOQ of values in steps -> int32 codes of the same shape; 0 where the table index is 0.

    Args:
        values: latents less their prediction, in steps.
        index: integer table indices, 0 to 63.
        offsets: from `rdoq_offsets`.
    """
    magnitude = np.abs(values)
    offset = np.where(magnitude < 1.5, offsets[0][index], offsets[1][index])
    codes = np.floor(magnitude + 0.5 - offset).clip(min=0) * np.sign(values) * (index > 0)
    return codes.astype(np.int32)


class LatentWriter:
    """Writer of codes.

    Args:
        tables: frequency tables.
        coder: constriction's `RangeEncoder` of another writer, to append to its stream.
    """

    def __init__(self, tables: ScaleTables, coder: Any = None) -> None:
        self.tables = tables
        self._encoder = Encoder(tables, coder)

    @property
    def coder(self) -> Any:
        """constriction's `RangeEncoder`, for symbols of other tables in the same stream."""
        return self._encoder.coder

    @property
    def words(self) -> int:
        """Length of the stream if it ended here, in words of 32 bits."""
        return int(self.coder.num_words())

    def fork(self) -> LatentWriter:
        """Return an independent copy."""
        return LatentWriter(self.tables, self.coder.clone())

    def write(self, codes: np.ndarray, index: np.ndarray) -> None:
        """Write integer codes; those whose table index is 0 must be 0 and take no bits."""
        self._encoder.write(np.ascontiguousarray(codes, np.int32).ravel(),
                            np.ascontiguousarray(index, np.uint8).ravel())

    def finish(self) -> bytes:
        """Return the stream."""
        return self._encoder.finish()


class LatentReader:
    """Reader of the codes of `LatentWriter`; needs the same indices in the same calls.

    Args:
        tables: frequency tables.
        stream: the bytes, or the `coder` of another reader, to continue in its stream.
        loops: as for `Decoder`.

    Raises:
        ValueError: the bytes are no stream.
    """

    def __init__(self, tables: ScaleTables, stream: Any, *, loops: bool = False) -> None:
        self._decoder = Decoder(tables, stream, loops=loops)

    @property
    def coder(self) -> Any:
        """The range decoder, for symbols of other tables in the same stream."""
        return self._decoder.coder

    def read(self, index: np.ndarray) -> np.ndarray:
        """Table indices -> int32 codes of the same shape, as `Decoder.read`.

        Raises:
            AssertionError: the stream is damaged.
        """
        return self._decoder.read(index.astype(np.uint8, copy=False))
