"""3x3 convolutions of float32 on the CPU by Winograd's minimal filtering F(4x4, 3x3).

Tiles of 6x6 inputs are transformed, multiplied by transformed weights and transformed back to 4x4
outputs: a quarter of the products of a direct convolution, and a row of tiles stays in the cache.
Results differ from those of a direct convolution by rounding.

Activations [B, C, H, W], sides multiples of 16, are held as [B, H + 2, 4, W/4 + 1, C] with a border
of zeros: column x is at [(x + 1) % 4, (x + 1) // 4]. So the same column of all tiles of a row is
consecutive numbers. `LANES` divides numbers of output channels, 4 those of input channels.

Numba does not vectorise loops over so many places; their bodies are written in the vectors of LLVM,
which it translates for any processor.

Source: Lavin and Gray 2016, "Fast algorithms for convolutional neural networks".
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import extending
from numba.core import types
from torch import Tensor

from aehub.codecs.d4.tied_conv import TiedConv2d
from aehub.compiled import compiled

intrinsic: Any = extending.intrinsic
LANES = 16
"""Numbers in a vector: those of one instruction with AVX-512, of two or four with others."""
_TILES = 4
"""Tiles that are multiplied together; a row has a multiple of it."""
_PART = 24
"""Tiles of a row whose transforms are in the cache together: 220 kB with 32 channels each way."""
_MOST_KEPT = 2**24
"""Bytes of each of two buffers that a thread keeps; larger ones are got anew."""
_WEIGHTS = ((1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6),
            (1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6), (0, 0, 1))
_INDEX, _NUMBERS = ir.IntType(64), ir.VectorType(ir.FloatType(), LANES)


def _transformed(weight: Tensor, inputs: int) -> Tensor:
    """Transform weights [O, I, 3, 3] -> [36, inputs, O'], more channels than there are being zero.
    """
    matrix = torch.tensor(_WEIGHTS, dtype=torch.float64, device="cpu")
    spread = torch.einsum("ik,ockl,jl->ijco", matrix, weight.double(), matrix).flatten(0, 1)
    outputs = -(-len(weight) // LANES) * LANES
    padded = torch.zeros(36, inputs, outputs, dtype=torch.float32, device="cpu")
    padded[:, :spread.shape[1], :len(weight)] = spread
    return padded


def convolved(x: np.ndarray, layer: TiedConv2d, bias: Tensor | None, number: int) -> np.ndarray:
    """Activations of a 3x3 layer; rectified if it has a bias, [B or 1, O, 1, 1].

    Args:
        x: activations of the layer before.
        layer: the layer.
        bias: of its channels.
        number: of the buffer, as of `empty`; other than that of `x`.
    """
    weights = layer.cached("winograd", lambda: _transformed(layer.weight(), x.shape[4]))
    batch, height, _, columns, _ = x.shape
    out = empty(batch, height - 2, 4 * (columns - 1), weights.shape[2], number)
    biases = np.zeros((1 if bias is None else len(bias), weights.shape[2]), np.float32)
    if bias is not None:
        biases[:, :bias.shape[1]] = bias.numpy()[:, :, 0, 0]
    _convolve(x, weights.numpy(), biases, -np.inf if bias is None else 0.0, out)
    return out


def empty(batch: int, height: int, width: int, channels: int, number: int) -> np.ndarray:
    """Activations whose border alone is set, in a buffer of this thread.

    The next that are made in the buffer of this number, 0 or 1, overwrite them.
    """
    shape = batch, height + 2, 4, width // 4 + 1, channels
    size = math.prod(shape)
    kept = _buffers.kept[number]
    if size > len(kept):
        kept = np.empty(size, np.float32)
        if kept.nbytes <= _MOST_KEPT:
            _buffers.kept[number] = kept
    x = kept[:size].reshape(shape)
    x[:, 0], x[:, -1], x[:, :, 0, 0], x[:, :, 1, -1] = 0, 0, 0, 0
    return x


class _Buffers(threading.local):
    """Memory that is kept from call to call: getting it anew takes a fifth of a layer's time."""

    def __init__(self) -> None:
        self.kept = [np.empty(0, np.float32), np.empty(0, np.float32)]


_buffers = _Buffers()


class _Vector:
    """A vector of `LANES` numbers in the function that is built."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def __add__(self, other: _Vector) -> _Vector:
        return _Vector(self.builder, self.builder.fadd(self.value, other.value, ("contract",)))

    def __sub__(self, other: _Vector) -> _Vector:
        return _Vector(self.builder, self.builder.fsub(self.value, other.value, ("contract",)))

    def __mul__(self, other: _Vector) -> _Vector:
        return _Vector(self.builder, self.builder.fmul(self.value, other.value, ("contract",)))

    def __rmul__(self, factor: float) -> _Vector:
        return self * _Vector(self.builder, ir.Constant(_NUMBERS, [factor] * LANES))

    def maximum(self, other: _Vector) -> _Vector:
        larger = self.builder.fcmp_ordered(">", self.value, other.value)
        return _Vector(self.builder, self.builder.select(larger, self.value, other.value))


def _spread_line(d: list[_Vector]) -> list[_Vector]:
    """Transform 6 inputs of a line."""
    a, b = d[4] - 4 * d[2], d[3] - 4 * d[1]
    c, e = d[4] - d[2], 2 * (d[3] - d[1])
    return [4 * d[0] - 5 * d[2] + d[4], a + b, a - b, c + e, c - e, 4 * d[1] - 5 * d[3] + d[5]]


def _gather_line(m: list[_Vector]) -> list[_Vector]:
    """Transform 6 products of a line to 4 outputs."""
    a, b, c, d = m[1] + m[2], m[1] - m[2], m[3] + m[4], m[3] - m[4]
    return [m[0] + a + c, b + 2 * d, a + 4 * c, b + 8 * d + m[5]]


class _Memory:
    """Loads and stores of vectors in an array of numba, flat and contiguous."""

    def __init__(self, context: Any, builder: Any, kind: Any, array: Any) -> None:
        self.builder, self.data = builder, context.make_array(kind)(context, builder, array).data

    def at(self, first: Any, *terms: tuple[int, Any]) -> Any:
        """Pointer to the number `first` plus the sum of factors times values."""
        for factor, value in terms:
            first = self.builder.add(first, self.builder.mul(ir.Constant(_INDEX, factor), value))
        return self.builder.gep(self.data, [first])

    def load(self, pointer: Any) -> _Vector:
        pointer = self.builder.bitcast(pointer, _NUMBERS.as_pointer())
        return _Vector(self.builder, self.builder.load(pointer, align=4))

    def load_one(self, pointer: Any) -> _Vector:
        """One number in all lanes."""
        none = ir.Constant(_NUMBERS, ir.Undefined)
        one = self.builder.insert_element(none, self.builder.load(pointer),
                                          ir.Constant(ir.IntType(32), 0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return _Vector(self.builder, self.builder.shuffle_vector(one, none, lanes))

    def store(self, vector: _Vector, pointer: Any) -> None:
        pointer = self.builder.bitcast(pointer, _NUMBERS.as_pointer())
        self.builder.store(vector.value, pointer, align=4)


@intrinsic
def _spread(typing: Any, source: Any, at: Any, target: Any, n: Any, row: Any, phase: Any,
            channels: Any, plane: Any) -> Any:
    """Transform inputs.

    Args:
        typing: of numba.
        source: activations.
        at: number of the first input.
        target: transformed, [36, tiles, channels].
        n: number in the first of its planes.
        row: numbers in a row of `source`.
        phase: numbers in a quarter of it.
        channels: numbers at a position.
        plane: numbers in a plane of `target`.
    """

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        read = _Memory(context, builder, signature.args[0], arguments[0])
        write = _Memory(context, builder, signature.args[2], arguments[2])
        at, _, n, row, phase, channels, plane = arguments[1:]
        columns = [
            _spread_line([read.load(read.at(at, (i, row), (j % 4, phase), (j // 4, channels)))
                          for i in range(6)]) for j in range(6)]
        for i in range(6):
            for j, vector in enumerate(_spread_line([column[i] for column in columns])):
                write.store(vector, write.at(n, (6 * i + j, plane)))
        return context.get_dummy_value()

    return types.void(source, at, target, n, row, phase, channels, plane), build


@intrinsic
def _gather(typing: Any, source: Any, n: Any, target: Any, at: Any, row: Any, phase: Any,
            channels: Any, plane: Any, bias: Any, begin: Any, least: Any) -> Any:
    """Transform products to outputs, add the bias, and limit them from below.

    Args:
        typing: of numba.
        source: products, [36, tiles, channels].
        n: number in the first of its planes.
        target: activations.
        at: number of the position before the first output.
        row: numbers in a row of `target`.
        phase: numbers in a quarter of it.
        channels: numbers at a position.
        plane: numbers in a plane of `source`.
        bias: of all channels.
        begin: number of the first bias.
        least: the limit, an array of `LANES` equal numbers.
    """

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        read = _Memory(context, builder, signature.args[0], arguments[0])
        write = _Memory(context, builder, signature.args[2], arguments[2])
        added = _Memory(context, builder, signature.args[8], arguments[8])
        limit = _Memory(context, builder, signature.args[10], arguments[10])
        n, _, at, row, phase, channels, plane = arguments[1:8]
        first = added.load(added.at(arguments[9]))
        lowest = limit.load(limit.at(ir.Constant(_INDEX, 0)))
        columns = [_gather_line([read.load(read.at(n, (6 * i + j, plane))) for i in range(6)])
                   for j in range(6)]
        for i in range(4):
            for j, vector in enumerate(_gather_line([column[i] for column in columns]), 1):
                write.store((vector + first).maximum(lowest), write.at(
                    at, (i, row), (j % 4, phase), (j // 4, channels)))
        return context.get_dummy_value()

    return types.void(source, n, target, at, row, phase, channels, plane, bias, begin, least), build


def _multiplication(vectors: int) -> Any:
    """The intrinsic that multiplies `_TILES` tiles by a matrix, for `vectors` of its columns."""

    @intrinsic
    def multiply(typing: Any, left: Any, row: Any, weights: Any, column: Any, out: Any, at: Any,
                 inputs: Any, outputs: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            a = _Memory(context, builder, signature.args[0], arguments[0])
            b = _Memory(context, builder, signature.args[2], arguments[2])
            c = _Memory(context, builder, signature.args[4], arguments[4])
            (row, _, column, _, at, inputs, outputs) = arguments[1:]
            before, loop = builder.block, builder.append_basic_block()
            done = builder.append_basic_block()
            builder.branch(loop)
            builder.position_at_end(loop)
            k = builder.phi(_INDEX)
            sums = [[builder.phi(_NUMBERS) for _ in range(vectors)] for _ in range(_TILES)]
            first = builder.add(column, builder.mul(k, outputs))
            factors = [b.load(b.at(first, (v, ir.Constant(_INDEX, LANES))))
                       for v in range(vectors)]
            lefts = [a.load_one(a.at(builder.add(row, k), (t, inputs))) for t in range(_TILES)]
            totals = [[left * f + _Vector(builder, s) for f, s in zip(factors, line, strict=True)]
                      for left, line in zip(lefts, sums, strict=True)]
            following = builder.add(k, ir.Constant(_INDEX, 1))
            k.add_incoming(ir.Constant(_INDEX, 0), before)
            k.add_incoming(following, loop)
            for t in range(_TILES):
                for v in range(vectors):
                    sums[t][v].add_incoming(ir.Constant(_NUMBERS, [0.0] * LANES), before)
                    sums[t][v].add_incoming(totals[t][v].value, loop)
            builder.cbranch(builder.icmp_unsigned("<", following, inputs), loop, done)
            builder.position_at_end(done)
            for t in range(_TILES):
                for v in range(vectors):
                    c.store(totals[t][v], c.at(at, (t, outputs), (v, ir.Constant(_INDEX, LANES))))
            return context.get_dummy_value()

        return types.void(left, row, weights, column, out, at, inputs, outputs), build

    return multiply


_multiply_one, _multiply_two = _multiplication(1), _multiplication(2)


@compiled
def _products(spread: np.ndarray, weights: np.ndarray, tiles: int, inputs: int, outputs: int,
              products: np.ndarray) -> None:
    """Multiply the transformed inputs of a row of tiles by the transformed weights."""
    for p in range(36):
        matrix = p * inputs * outputs
        for tile in range(p * tiles, (p + 1) * tiles, _TILES):
            row, at, o = tile * inputs, tile * outputs, 0
            while o + 2 * LANES <= outputs:
                _multiply_two(spread, row, weights, matrix + o, products, at + o, inputs, outputs)
                o += 2 * LANES
            if o < outputs:
                _multiply_one(spread, row, weights, matrix + o, products, at + o, inputs, outputs)


@compiled
def _convolve(x: np.ndarray, weights: np.ndarray, biases: np.ndarray, least: float, out: np.ndarray
             ) -> None:
    """Convolve with zeros around, add the bias, and limit from below.

    Args:
        x: activations, [B, H + 2, 4, W/4 + 1, C].
        weights: of `_transformed`.
        biases: [B or 1, O].
        least: limit; 0 for a rectifier, minus infinity for none.
        out: activations of `empty`, filled.
    """
    batch, height, _, columns, inputs = x.shape
    outputs = out.shape[4]
    spread = np.empty(36 * _PART * inputs, np.float32)
    products = np.empty(36 * _PART * outputs, np.float32)
    limit, flat = np.full(LANES, np.float32(least)), weights.reshape(-1)
    source, target, bias = x.reshape(-1), out.reshape(-1), biases.reshape(-1)
    row_in, row_out = 4 * columns * inputs, 4 * columns * outputs
    for b in range(batch):
        own = b % len(biases) * outputs
        for i in range(0, height - 2, 4):
            for begin in range(0, columns - 1, _PART):
                tiles = min(_PART, columns - 1 - begin)
                at, size = (b * height + i) * row_in + begin * inputs, tiles * inputs
                for n in range(0, size, LANES):
                    _spread(source, at + n, spread, n, row_in, columns * inputs, inputs, size)
                _products(spread, flat, tiles, inputs, outputs, products)
                at, size = (b * height + i + 1) * row_out + begin * outputs, tiles * outputs
                for n in range(0, size, LANES):
                    _gather(products, n, target, at + n, row_out, columns * outputs, outputs, size,
                            bias, own + n % outputs, limit)
