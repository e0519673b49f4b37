"""Compiled loops over latents and integers of the entropy model on the CPU, as `plane_kernels`.

Arrays are [B, h, w, C], those of `select_coded` [B, C, h, w]. All but `masked_gains` give the
integers of tensor operations. A `place` [n, k, l] holds the numbers of positions in a batch, row by
row, and -1 for zeros beyond the border.
"""

from __future__ import annotations

import numpy as np

from aehub.compiled import compiled

# Loops index by unsigned integers, for the reason that `motion.kernels` gives.
_UINT = np.uintp


@compiled
def quantise(values: np.ndarray, tables: np.ndarray, first: np.ndarray, later: np.ndarray,
             codes: np.ndarray) -> None:
    """RDOQ as `quantisation.Quantiser` has it.

    Args:
        values: in steps, [B, h, w, C].
        tables: indices; 0 where the code is 0.
        first: threshold offset by table below 1.5 steps, [64].
        later: above.
        codes: filled.
    """
    kind = values.dtype.type
    for b in range(values.shape[0]):
        for i in range(values.shape[1]):
            for j in range(values.shape[2]):
                for c in range(_UINT(values.shape[3])):
                    table, value = int(tables[b, i, j, c]), values[b, i, j, c]
                    code = kind(0)
                    if table > 0:
                        magnitude = abs(value)
                        offset = first[table] if magnitude < kind(1.5) else later[table]
                        code = max(kind(0), np.floor(magnitude + kind(0.5) - kind(offset)))
                    codes[b, i, j, c] = -code if value < 0 else code


@compiled
def block_gains(y: np.ndarray, lambda_: float, dead_zone: float, nonzero_bits: float,
                magnitude_bits: float, log2: np.ndarray, gains: np.ndarray) -> None:
    """Squared error that the codes of cells save, less lambda times an estimate of their bits.

    Args:
        y: latents in steps, [h, w, C].
        lambda_: squared steps per bit.
        dead_zone: of quantisation.
        nonzero_bits: of a code that is not 0.
        magnitude_bits: of each doubling.
        log2: of the magnitudes; the last one stands for larger ones.
        gains: zeros [h/4, w/4], filled.
    """
    last = len(log2) - 1
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            total = 0.0
            for c in range(_UINT(y.shape[2])):
                magnitude = abs(y[i, j, c])
                code = int(magnitude + 0.5 - dead_zone)
                if code > 0:
                    total += (code * (2 * magnitude - code)
                              - lambda_ * (nonzero_bits + magnitude_bits * log2[min(code, last)]))
            gains[i // 4, j // 4] += total


@compiled
def masked_gains(samples: np.ndarray, gains: np.ndarray, exponent: float, noise: float,
                 neutral: float, limit: float, out: np.ndarray) -> None:
    """Gains divided by the factor of texture masking, as `quantisation.texture_masking` has it.

    Args:
        samples: the prediction, [B, h, w, 96].
        gains: [B or 1, C].
        exponent: of the variance over `neutral`.
        noise: variance that masks nothing.
        neutral: variance of a factor of 1.
        limit: of the factor's logarithm.
        out: [B, h, w, C], filled.
    """
    batch, height, width, channels = out.shape
    kind, luma, shape = samples.dtype.type, 64, (height, width)
    means, squares = np.empty(shape, samples.dtype), np.empty(shape, samples.dtype)
    shares = np.empty(shape, samples.dtype)
    for b in range(batch):
        own = gains[b % len(gains)]
        for i in range(height):
            for j in range(width):
                block, total, square = samples[b, i, j], kind(0), kind(0)
                for k in range(_UINT(luma)):
                    total += block[k]
                    square += block[k] * block[k]
                means[i, j], squares[i, j] = total * kind(255 / 64), square * kind(255 * 255 / 64)
        masking_shares(means, squares, exponent, noise, neutral, limit, shares)
        for i in range(height):
            for j in range(width):
                factor, line = shares[i, j], out[b, i, j]
                for c in range(_UINT(channels)):
                    line[c] = own[c] * factor


@compiled
def masking_shares(means: np.ndarray, squares: np.ndarray, exponent: float, noise: float,
                   neutral: float, limit: float, shares: np.ndarray) -> None:
    """One over the factors of texture masking, from the mean and the mean square of each block.

    Args:
        means: in grey levels, [h, w].
        squares: [h, w].
        exponent: as for `masked_gains`.
        noise: as for `masked_gains`.
        neutral: as for `masked_gains`.
        limit: as for `masked_gains`.
        shares: [h, w], filled.
    """
    height, width = means.shape
    for i in range(height):
        top, bottom = max(0, i - 1), min(height, i + 2)
        for j in range(width):
            left, right = max(0, j - 1), min(width, j + 2)
            weight = 1 / ((bottom - top) * (right - left))
            mean = means[top:bottom, left:right].sum() * weight
            square = squares[top:bottom, left:right].sum() * weight
            variance = max(square - mean * mean, 0.0)
            log = exponent * np.log((variance + noise) / neutral)
            shares[i, j] = np.exp(-min(max(log, -limit), limit))


@compiled
def reference_levels(codes: np.ndarray, context: np.ndarray, table: np.ndarray, mark: float,
                     out: np.ndarray) -> None:
    """Levels of codes, not below three quarters of the context's, and a last channel of `mark`.

    Args:
        codes: [B, h, w, C].
        context: of at least as many channels, or of batch 0 for none.
        table: level of each magnitude, [256].
        mark: of intra frames.
        out: [B, h, w, C + 1], filled.
    """
    batch, height, width, channels = codes.shape
    inherited, factor = len(context) > 0, codes.dtype.type(0.75)
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                line, levels = codes[b, i, j], out[b, i, j]
                for c in range(channels):
                    levels[c] = table[min(abs(int(line[c])), 255)]
                if inherited:
                    before = context[b, i, j]
                    for c in range(_UINT(channels)):
                        levels[c] = max(levels[c], np.floor(before[c] * factor))
                levels[channels] = mark


@compiled
def temporal_context(first: np.ndarray, second: np.ndarray, vectors: np.ndarray,
                     modes: np.ndarray, block: int, table: np.ndarray, most: float,
                     out: np.ndarray) -> None:
    """States warped along vectors, the spread of the first vectors, and a mark of both references.

    Args:
        first: state of the first reference, [B, h, w, C].
        second: of the second; any if there is one only.
        vectors: [B, R, 2, h, w].
        modes: 1 the first reference, 2 the second, 3 both, [B, h/2, w/2].
        block: side of a block in units of vectors.
        table: level of each magnitude, [256].
        most: the mark.
        out: [B, h, w, C + 2], filled.
    """
    batch, height, width, channels = first.shape
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                mode, line = modes[b, i // 2, j // 2], out[b, i, j]
                line[:channels] = 0
                if mode & 1:
                    row, column = _moved(vectors[b, 0], i, j, block)
                    _raise(line, first[b, row, column])
                if mode & 2:
                    row, column = _moved(vectors[b, 1], i, j, block)
                    _raise(line, second[b, row, column])
                spread = max(_spread(vectors[b, 0, 0], modes[b], i, j),
                             _spread(vectors[b, 0, 1], modes[b], i, j))
                line[channels] = table[min(spread, 255)]
                line[channels + 1] = most if mode == 3 else 0


@compiled
def _moved(vectors: np.ndarray, i: int, j: int, block: int) -> tuple[int, int]:
    """The position that a vector [2, h, w] points to: whole blocks, halves away from zero."""
    down, right = vectors[0, i, j], vectors[1, i, j]
    rows, columns = (abs(down) + block // 2) // block, (abs(right) + block // 2) // block
    return (min(max(i + (rows if down > 0 else -rows), 0), vectors.shape[1] - 1),
            min(max(j + (columns if right > 0 else -columns), 0), vectors.shape[2] - 1))


@compiled
def _raise(line: np.ndarray, state: np.ndarray) -> None:
    """Set numbers to those of a state where these are larger."""
    for c in range(_UINT(len(state))):
        line[c] = max(line[c], state[c])


@compiled
def _spread(component: np.ndarray, modes: np.ndarray, i: int, j: int) -> int:
    """Largest less smallest component around a block; 0 where the first reference is not used."""
    least, most = 1 << 30, -(1 << 30)
    for a in range(max(0, i - 1), min(len(component), i + 2)):
        for b in range(max(0, j - 1), min(component.shape[1], j + 2)):
            value = component[a, b] if modes[a // 2, b // 2] & 1 else 0
            least, most = min(least, value), max(most, value)
    return most - least


@compiled
def shift_down(sums: np.ndarray, factor: float, most: float, out: np.ndarray) -> None:
    """Multiply by a power of two, round down and clip to 0 .. `most`; [n] each."""
    low, high, share = sums.dtype.type(0), sums.dtype.type(most), sums.dtype.type(factor)
    for k in range(_UINT(len(sums))):
        out[k] = min(max(np.floor(sums[k] * share), low), high)


@compiled
def scale_inputs(features: np.ndarray, mask: np.ndarray, mark: float, codes: np.ndarray,
                 table: np.ndarray, place: np.ndarray, out: np.ndarray) -> None:
    """Inputs of the layers of a pass: features, the mask, levels of earlier codes.

    Args:
        features: [n, k, l, F].
        mask: [h w].
        mark: level of positions in the mask.
        codes: [B h w, C].
        table: level of each magnitude, [256].
        place: [n, k, l].
        out: [n, k, l, F + 1 + C], filled.
    """
    known, channels = features.shape[3], codes.shape[1]
    for n in range(out.shape[0]):
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                line, own, at = out[n, i, j], features[n, i, j], place[n, i, j]
                for c in range(_UINT(known)):
                    line[c] = own[c]
                line[known:] = 0
                if at >= 0:
                    line[known] = mask[at % len(mask)] * mark
                    for c in range(channels):
                        line[known + 1 + c] = table[min(abs(int(codes[at, c])), 255)]


@compiled
def select_coded(codes: np.ndarray, tables: np.ndarray, begin: int, end: int, mask: np.ndarray,
                 values: np.ndarray, indices: np.ndarray) -> int:
    """Fill in the codes of a pass that take bits, and their tables; returns their number.

    Args:
        codes: [B, C, h, w].
        tables: their indices, 0 where nothing is written.
        begin: channel.
        end: channel.
        mask: of the positions, [h, w].
        values: [n], filled in the order of `codes`.
        indices: [n].
    """
    count = 0
    for b in range(codes.shape[0]):
        for c in range(begin, end):
            for i in range(codes.shape[2]):
                for j in range(_UINT(codes.shape[3])):
                    # Written always and kept only if it takes bits: no branch to mispredict.
                    values[count], indices[count] = codes[b, c, i, j], tables[b, c, i, j]
                    count += int(tables[b, c, i, j] * mask[i, j] > 0)
    return count
