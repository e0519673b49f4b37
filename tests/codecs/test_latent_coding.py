"""Latents as bits: exact, the same everywhere, and as docs/format.md says."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aehub.bitstream import open_reader
from aehub.codecs.quantised.latent_coding import (
    MAX_CODE,
    LatentFrameReader,
    LatentFrameWriter,
    step_numbers,
    steps_of,
)
from aehub.media.picture import RGB
from page_streams import Stream, passes

PAGE = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")


def latents(seed: int, n_frames: int, channels: int, height: int, width: int) -> list[np.ndarray]:
    """Latents that move a little, of channels of very different size."""
    rng = np.random.default_rng(seed)
    scale = 10 ** rng.uniform(-1.5, 2, (channels, 1, 1))
    still = rng.laplace(size=(channels, height, width)) * scale
    return [still + at * rng.laplace(size=still.shape) * scale / 8 for at in range(n_frames)]


def stream_of(frames: list[np.ndarray]) -> tuple[bytes, list[np.ndarray]]:
    writer = LatentFrameWriter(len(frames[0]))
    codes = [writer.write(frame) for frame in frames]
    return writer.finish(), codes


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 6), st.integers(1, 12),
       st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_codes_come_back_and_lie_within_a_step_of_the_latents(
    seed: int, n_frames: int, channels: int, height: int, width: int
) -> None:
    frames = latents(seed, n_frames, channels, height, width)
    stream, codes = stream_of(frames)
    reader = LatentFrameReader(channels, stream)
    for frame, written_codes in zip(frames, codes, strict=True):
        assert np.array_equal(reader.read(height, width), written_codes)
        assert np.abs(frame - written_codes).max() <= 0.75


def test_segments_of_several_sizes_share_a_stream() -> None:
    frames = [latents(1, 1, 4, *size)[0] for size in ((5, 7), (5, 7), (3, 9), (5, 7))]
    stream, codes = stream_of(frames)
    reader = LatentFrameReader(4, stream)
    assert all(np.array_equal(reader.read(*frame.shape[1:]), own)
               for frame, own in zip(frames, codes, strict=True))


def test_a_still_clip_costs_next_to_nothing_after_its_first_frame() -> None:
    still = latents(3, 1, 8, 20, 30)[0]
    first, whole = (len(stream_of([still] * count)[0]) for count in (1, 11))
    assert whole - first < 0.05 * 10 * first


def test_latents_and_codes_beyond_the_limit_are_refused() -> None:
    with pytest.raises(ValueError, match=str(MAX_CODE)):
        LatentFrameWriter(1).write(np.full((1, 2, 2), 2.0 * MAX_CODE))


def test_damaged_streams_raise_errors_of_streams_or_give_other_codes() -> None:
    frames = latents(5, 2, 6, 12, 12)
    stream, _ = stream_of(frames)
    readable = 0
    for at in range(0, len(stream), 37):
        damaged = bytearray(stream)
        damaged[at] ^= 0x55
        try:
            reader = LatentFrameReader(6, bytes(damaged))
            found = [reader.read(12, 12) for _ in frames]
        except (ValueError, AssertionError):
            continue
        readable += 1
        assert max(np.abs(codes).max() for codes in found) <= MAX_CODE
    assert readable


def test_codes_are_the_same_on_one_and_two_threads_and_in_float64() -> None:
    frames = [frame.astype(np.float32) for frame in latents(7, 2, 5, 15, 22)]
    streams, threads = set(), torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            streams |= {stream_of(frames)[0],
                        stream_of([frame.astype(np.float64) for frame in frames])[0]}
    finally:
        torch.set_num_threads(threads)
    assert len(streams) == 1


def test_steps_halve_every_sixteen_of_quality_and_follow_the_sensitivity() -> None:
    flat = np.ones(3)
    assert np.allclose(steps_of(step_numbers(34, flat)) * 2, steps_of(step_numbers(18, flat)))
    numbers = step_numbers(50, np.array([1.0, 4.0, 16.0]))
    assert np.array_equal(np.diff(numbers), [-16, -16])
    assert step_numbers(0, np.array([1e-9, 1.0]))[0] < 256


# The page, read with a range decoder of its own.


GOLDEN = Path(__file__).parents[1] / "golden" / "latents.aev"
DIGEST = "c2167f0ead32c8a6e5781a8e75c1e8feb120153bfa7e738d4691fefec930e00a"


def test_the_golden_file_holds_the_same_codes_for_ever(tmp_path: Path) -> None:
    """Five latent frames of four channels; reading them needs no model."""
    with open_reader(GOLDEN) as reader:
        assert reader.header.coder == 4 and reader.header.pictures == RGB
        (group,) = reader.groups()
    stream = LatentFrameReader(4, group.payload)
    segment, steps = stream.read_head()
    assert segment == 17
    digest = hashlib.sha256(steps.astype("<i4").tobytes())
    for _ in range(group.header.n_frames):
        digest.update(stream.read(4, 6).astype("<i4").tobytes())
    assert (group.header.n_frames, digest.hexdigest()) == (5, DIGEST)


def page_tables() -> dict[str, list[list[int]]]:
    """Initial counts as the page gives them."""
    (given_limits,) = re.findall(r"at most the expectation: ([\d, ]+)\.", PAGE)
    limits = [int(number) for number in given_limits.split(", ")]
    middles = [1, *((a + b) // 2 for a, b in zip(limits, limits[1:])), limits[-1]]
    return {
        "limits": [limits],
        "magnitude": [[max(8, 32768 * m**n // (64 + m) ** (n + 1)) for n in range(15)] + [8]
                      for m in middles],
        "weight": [[272 if i == j else 16 for i in range(9)] for j in range(9)],
        "excess": [[max(8, 256 // 2**n) for n in range(1, 22)]]}


class PageReader:
    """Latent frames as the page describes them."""

    def __init__(self, stream: bytes, channels: int) -> None:
        tables = page_tables()
        self.stream = Stream(np.frombuffer(stream, "<u4").tolist(), tables)
        self.limits = tables["limits"][0]
        self.channels, self.weights = channels, [[0] * channels, [0] * channels]
        self.sums, self.counts = [8] * channels, [8] * channels
        self.codes: np.ndarray | None = None
        self.magnitudes: np.ndarray | None = None

    def means(self) -> list[int]:
        return [64 * s // n for s, n in zip(self.sums, self.counts, strict=True)]

    def read(self, h: int, w: int) -> np.ndarray:
        every, old, seen = range(self.channels), self.codes, self.magnitudes
        if old is None or old.shape[1:] != (h, w):
            old, seen = np.zeros((self.channels, h, w), int), None
        self.weights = [self.stream.set("weight", last) for last in self.weights]
        before, beside = self.weights
        first_means = self.means()
        q, d, e = (np.zeros(old.shape, int) for _ in range(3))
        for cells in passes(list(range(h)), list(range(w))):
            contexts, base = self.contexts(cells, d, e, seen, first_means, beside)
            residuals = self.residuals(contexts)
            for at, ((c, (i, j)), residual) in enumerate(zip(
                    ((c, cell) for c in every for cell, _ in cells), residuals, strict=True)):
                d[c, i, j], e[c, i, j] = base[at] + residual, abs(residual)
                q[c, i, j] = (before[c] * old[c, i, j] + 4) // 8 + d[c, i, j]
            for c in every:
                self.sums[c] += sum(int(e[(c, *cell)]) for cell, _ in cells)
                self.counts[c] += len(cells)
                if self.counts[c] > 4096:
                    self.sums[c] //= 2
                    self.counts[c] //= 2
        self.codes, self.magnitudes = q, e
        return q

    def contexts(self, cells, d, e, seen, first_means, beside):  # type: ignore[no-untyped-def]
        m, every = self.means(), range(self.channels)
        contexts, base = [], []
        four = {cell: [*sorted(around), *[max(around)] * (4 - len(around))] if around else []
                for cell, around in cells}
        for c in every:
            for cell, _ in cells:
                x, y, s = 4 * m[c], 4, 0
                if four[cell]:
                    b = [sum(int(e[(k, *near)]) for near in four[cell]) for k in every]
                    x += 64 * b[c] + 16 * (m[c] * (1024 * sum(b) // max(1, 4 * sum(m))) // 16)
                    y += 20
                    s = (beside[c] * sum(int(d[(c, *near)]) for near in four[cell]) + 16) // 32
                if seen is not None:
                    here = [int(seen[(k, *cell)]) for k in every]
                    around = [self.around(seen[k], cell) for k in every]
                    share = 1024 * sum((4 * a + f) // 8 for a, f in zip(here, around, strict=True))
                    activity = share // max(1, sum(first_means))
                    x += 128 * here[c] + 32 * around[c] + 2 * (first_means[c] * activity // 16)
                    y += 6
                contexts.append(sum(limit <= x // y for limit in self.limits))
                base.append(s)
        return contexts, base

    @staticmethod
    def around(plane: np.ndarray, cell: tuple[int, int]) -> int:
        i, j = cell
        h, w = plane.shape
        return sum(int(plane[min(max(i + a, 0), h - 1), min(max(j + b, 0), w - 1)])
                   for a, b in ((-1, 0), (1, 0), (0, -1), (0, 1)))

    def residuals(self, contexts: list[int]) -> list[int]:
        found = self.stream.set("magnitude", contexts)
        signs = [self.stream.uniform(2) if value else 0 for value in found]
        large = [at for at, value in enumerate(found) if value == 15]
        bits = self.stream.set("excess", [0] * len(large))
        for at, longer in zip(large, bits, strict=True):
            low = self.stream.uniform(1 << longer) if longer else 0
            found[at] = 14 + (1 << longer) + low
        return [-value if sign else value for value, sign in zip(found, signs, strict=True)]


@pytest.mark.parametrize("seed", range(3))
def test_a_reader_written_from_the_page_reads_the_same_codes(seed: int) -> None:
    frames = latents(seed, 3, 3, 5 + seed, 6)
    numbers = np.array([3, 250, 128], np.int32)
    writer = LatentFrameWriter(3)
    writer.write_head(17, numbers)
    codes = [writer.write(frame) for frame in frames]
    reader = PageReader(writer.finish(), 3)
    assert reader.stream.uniform(4096) == 17
    assert [reader.stream.uniform(256) for _ in range(3)] == numbers.tolist()
    for frame in codes:
        assert np.array_equal(reader.read(*frame.shape[1:]), frame)
    assert max(np.abs(frame).max() for frame in codes) > 15, "the escape is read too"
