"""Memory of autoencoders: known before they run, and kept under a limit by tiles without seams.

The peak is observed, not computed by a formula per class: the network runs on the meta device at
the very size, and the bytes of all tensors alive are counted. Above the limit (`AEHUB_MEMORY_MB`)
pictures are divided into tiles:

- A network of convolutions alone sees so many latent positions around each of its own. That margin
  is observed by a column of NaN, which spreads as far as the network looks; tiles with the margin
  around them equal the whole.
- In all others (statistics or attention over the picture) NaN reaches everything, and no margin is
  enough. Their tiles overlap and fade into each other. The few group normalisations of taef2 get
  the statistics of the whole picture, one more with every pass over the tiles; those of deep
  networks stay within their tile, and so does attention.
"""

from __future__ import annotations

import os
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from threading import Lock, get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from aehub.config import positive_integer
from aehub.errors import LimitError

VARIABLE = "AEHUB_MEMORY_MB"
_QUOTA = "/sys/fs/cgroup/memory.max"
"""Memory of a container on Linux in bytes, or "max"."""
_DEFAULT_SHARE = 0.5
"""Share of the memory of the machine, or of the device, that is the limit by default."""
_UNKNOWN_MEMORY = 8 << 30
"""Bytes assumed where a machine does not tell its memory."""
_WORKSPACE = 1.7
"""Memory of a process over the bytes of tensors alive, as convolutions reorder their operands: from
1.0 to 1.4 in docs/measure/tiles.py, and more below 500 MB, where what is fixed weighs."""
_OVERLAP, _FADE = 12, 4
"""Of networks that see everything: latent positions around a tile, and those of them over which it
fades into its neighbour on either side of their edge."""
_MOST_SHARED = 4
"""Normalisations whose statistics tiles share, at a pass each: taef2 has three. Stopping before the
last pass is worse than statistics of each tile alone."""
_SMALLEST_TILE = 8
"""Latent positions on a side, without the margin; below it nearly all work is the margin's."""
_STRIPS = (32, 128)
"""Latent positions along the strips that margins are observed on; what needs more sees all."""


def memory_limit(device: torch.device) -> int:
    """Return the bytes that a model may occupy: `AEHUB_MEMORY_MB`, or half of the memory there is.

    Raises:
        InputError: `AEHUB_MEMORY_MB` is not a whole number above zero.
    """
    megabytes = positive_integer(os.environ, VARIABLE)
    if megabytes is not None:
        return megabytes << 20
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1] * _DEFAULT_SHARE)
    size_bytes = _UNKNOWN_MEMORY
    with suppress(AttributeError, OSError, ValueError):
        size_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError), open(_QUOTA, encoding="ascii") as file:
        size_bytes = min(size_bytes, int(file.read()))
    return int(size_bytes * _DEFAULT_SHARE)


@dataclass(frozen=True)
class Grid:
    """Latent positions of a picture.

    Attributes:
        rows: latent positions from top to bottom.
        columns: latent positions from left to right.
        given: samples on a side of a position in the network's input.
        made: samples on a side of a position in its output.
    """

    rows: int
    columns: int
    given: int
    made: int


@dataclass(frozen=True)
class Plan:
    """Tiles of one call, and its memory.

    Attributes:
        grid: of the picture.
        tile: side of a tile in latent positions, without what surrounds it; None for the whole.
        margin: positions around a tile that make it equal to the whole; None if none would.
        size_bytes: peak memory, weights included.
    """

    grid: Grid
    tile: int | None
    margin: int | None
    size_bytes: int

    @property
    def is_divided(self) -> bool:
        """True if there is more than one tile."""
        return self.tile is not None and self.tile < max(self.grid.rows, self.grid.columns)

    def run(self, function: Callable[[Tensor], Tensor], values: Tensor, network: nn.Module
            ) -> Tensor:
        """Run a network tile by tile.

        Args:
            function: runs it on [T, C, H, W].
            values: the input, [T, C, rows * given, columns * given].
            network: that `function` runs, whose statistics tiles share.

        Returns:
            Output [T', C', rows * made, columns * made].
        """
        if self.tile is None or not self.is_divided:
            return function(values)
        if self.margin is not None:
            return self._joined(function, values)
        statistics = SharedStatistics(network)
        with statistics.shared():
            result = self._joined(function, values, statistics)
        if statistics.count <= _MOST_SHARED:
            for _ in range(statistics.count):
                with statistics.shared():
                    result = self._joined(function, values, statistics)
        return result

    def _joined(self, function: Callable[[Tensor], Tensor], values: Tensor,
                statistics: SharedStatistics | None = None) -> Tensor:
        """The outputs of all tiles, each weighted within its surroundings."""
        assert self.tile is not None
        total = weights = values.new_zeros(())
        made, given = self.grid.made, self.grid.given
        for top, bottom, row_weights, rows in self._spans(self.grid.rows, self.tile):
            for left, right, column_weights, columns in self._spans(self.grid.columns, self.tile):
                if statistics is not None:
                    statistics.calls.clear()
                    statistics.window = rows, columns
                part = function(values[..., top * given:bottom * given, left * given:right * given])
                weight = (row_weights[:, None] * column_weights).to(part)
                if total.ndim == 0:
                    shape = (*part.shape[:2], self.grid.rows * made, self.grid.columns * made)
                    total, weights = part.new_zeros(shape), weight.new_zeros(shape[2:])
                where = (..., slice(top * made, bottom * made), slice(left * made, right * made))
                total[where] += part * weight
                weights[where] += weight
        return total.div_(weights)

    def _spans(self, length: int, tile: int
               ) -> Iterator[tuple[int, int, Tensor, tuple[float, float]]]:
        """Each tile along one axis: begin and end with its surroundings, weights of the samples
        between, and the shares between which the tile itself lies."""
        count = -(-length // tile)
        edges = [round(n * length / count) for n in range(count + 1)]
        around, made = _OVERLAP if self.margin is None else self.margin, self.grid.made
        for first, last in zip(edges, edges[1:]):
            begin, end = max(first - around, 0), min(last + around, length)
            centres = (torch.arange(begin * made, end * made, dtype=torch.float64) + 0.5) / made
            # From 0 to 1 across an inner edge, at once or slowly; neighbours add up to 1.
            ramp = 2 * _FADE if self.margin is None else 1e-9
            weights = torch.ones_like(centres)
            if first:
                weights *= ((centres - first) / ramp + 0.5).clamp_(0, 1)
            if last < length:
                weights *= ((last - centres) / ramp + 0.5).clamp_(0, 1)
            shares = (first - begin) / (end - begin), (last - begin) / (end - begin)
            yield begin, end, weights, shares


class Memory:
    """Peak memory of a network by the size of its input, and tiles that keep it under the limit."""

    def __init__(self, skeleton: nn.Module, call: Callable[[nn.Module, str, Tensor], Tensor],
                 device: torch.device) -> None:
        """Prepare estimates.

        Args:
            skeleton: the network on the meta device.
            call: runs `encode` or `decode` of a network on [T, C, H, W].
            device: of the network that is to run.
        """
        self._skeleton, self._call, self._device = skeleton, call, device
        # A skeleton keeps state where its network does.
        self._lock = Lock()
        self._peaks: dict[tuple[str, tuple[int, ...]], tuple[int, int]] = {}
        self.weight_bytes = sum(tensor.nbytes for tensor in skeleton.state_dict().values())

    def fits(self, direction: str, shape: tuple[int, ...]) -> bool:
        """Return True if a call on [T, C, H, W] keeps under the limit for certain.

        It is observed with sides rounded up to powers of two, so for few sizes only.
        """
        larger = (*shape[:2], *(1 << (side - 1).bit_length() for side in shape[2:]))
        return self._call_bytes(direction, larger)[0] <= memory_limit(self._device)

    def plan(self, direction: str, shape: tuple[int, ...], grid: Grid,
             margin: Callable[[], int | None], *, tile: int | None, divisible: bool) -> Plan:
        """Return tiles that keep one call under the limit, the whole picture if that does.

        Args:
            direction: "encode" or "decode".
            shape: of its input, [T, C, H, W].
            grid: of the picture.
            margin: observes the positions around a tile that its result depends on.
            tile: side of tiles to use whatever the limit; None to choose.
            divisible: False if the network must see the whole picture.

        Raises:
            LimitError: the smallest tiles exceed the limit too.
        """
        limit = memory_limit(self._device)
        largest = max(grid.rows, grid.columns)
        needed = self._tile_bytes(direction, shape, grid, largest, 0)
        if (tile is None or not divisible) and needed <= limit:
            return Plan(grid, None, None, needed)
        if not divisible:
            raise LimitError(f"this model needs {needed >> 20} MB of memory for pictures of this "
                             f"size, and the limit is {limit >> 20} MB; give smaller pictures.",
                             f"{VARIABLE} sets the limit.")
        reach = margin()
        around = _OVERLAP if reach is None else reach
        if tile is not None:
            return Plan(grid, tile, reach, self._tile_bytes(direction, shape, grid, tile, around))
        side = largest
        while side > _SMALLEST_TILE:
            side = max(-(-side // 2), _SMALLEST_TILE)
            needed = self._tile_bytes(direction, shape, grid, side, around)
            if needed <= limit:
                return Plan(grid, side, reach, needed)
        raise LimitError(f"this model needs {needed >> 20} MB of memory for pictures of this size, "
                         f"even in small tiles, and the limit is {limit >> 20} MB; give smaller "
                         "pictures.", f"{VARIABLE} sets the limit.")

    def _tile_bytes(self, direction: str, shape: tuple[int, ...], grid: Grid, tile: int,
                    around: int) -> int:
        """Peak of a call in such tiles: weights, one tile's run, input and output of the whole."""
        rows, columns = (min(tile + 2 * around, side) for side in (grid.rows, grid.columns))
        part = (*shape[:2], rows * grid.given, columns * grid.given)
        peak, output = self._call_bytes(direction, part)
        if part == shape:
            return peak
        return peak + (grid.rows * grid.columns * (output + torch.Size(part).numel() * 4)
                       // (rows * columns))

    def _call_bytes(self, direction: str, shape: tuple[int, ...]) -> tuple[int, int]:
        """Peak of a call on [T, C, H, W], weights included, and bytes of its output."""
        with self._lock:
            if (direction, shape) not in self._peaks:
                peak, output = peak_bytes(
                    lambda values: self._call(self._skeleton, direction, values), shape)
                self._peaks[direction, shape] = self.weight_bytes + int(peak * _WORKSPACE), output
            return self._peaks[direction, shape]


def peak_bytes(function: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the largest sum of bytes of tensors alive during a call on the meta device, and of
    its result.

    Args:
        function: to call on a tensor.
        shape: of the tensor, float32.
    """
    with torch.inference_mode(), _FusedAttention(), _LiveBytes() as live:
        result = function(torch.empty(shape, device="meta"))
        return live.peak, result.numel() * 4


class _LiveBytes(TorchDispatchMode):
    """Count the bytes of tensors that were made within and are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size_bytes = storage._cdata, storage.nbytes()
        if key in self._known:
            return

        def forget(_: object) -> None:
            self.live -= size_bytes
            del self._known[key]

        self._known[key] = weakref.ref(storage, forget)
        self.live += size_bytes
        self.peak = max(self.peak, self.live)


class _FusedAttention(TorchFunctionMode):
    """Attention as devices compute it, without the matrix of all pairs in memory."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is nn.functional.scaled_dot_product_attention:
            query, _, value = args[:3] if len(args) >= 3 else (
                *args, *(kwargs[name] for name in ("query", "key", "value")[len(args):]))
            return query.new_empty((*query.shape[:-1], value.shape[-1]))
        return func(*args, **(kwargs or {}))


def observe_margin(function: Callable[[Tensor], Tensor], column: Tensor, given: int, made: int
                   ) -> int | None:
    """Return the latent positions on each side of one that the network's result depends on.

    Args:
        function: runs the network on [T, C, H, W].
        column: an input one position wide, [T, C, H, given].
        given: samples on a side of a position in the input.
        made: samples on a side of a position in the output.

    Returns:
        The number of positions; None if the network sees the whole picture.
    """
    for length in _STRIPS:
        middle = length // 2
        strip = column.repeat(1, 1, 1, length)
        strip[..., middle * given:(middle + 1) * given] = torch.nan
        reached = function(strip).isnan().flatten(0, 2).any(0).nonzero().flatten() // made
        # A network that looks up codes swallows NaN.
        if len(reached) == 0:
            return None
        first, last = int(reached[0]), int(reached[-1])
        if first > 0 and last < length - 1:
            return max(middle - first, last - middle)
    return None


class SharedStatistics:
    """Mean and variance of group normalisations over all tiles of a picture.

    Those of one pass are applied in the next: the first pass has the first normalisation right, the
    second the second, so after as many passes as there are normalisations all are the whole's.

    Attributes:
        calls: of each module within the current tile; cleared at the beginning of every tile.
        window: part of the tile that counts, as shares of its rows and of its columns; the parts
            of all tiles make the picture.
    """

    def __init__(self, network: nn.Module) -> None:
        self.calls: Counter[int] = Counter()
        self.window = ((0.0, 1.0), (0.0, 1.0))
        self._modules = [module for module in network.modules() if isinstance(module, nn.GroupNorm)]
        self._sums: dict[tuple[int, int], Tensor] = {}
        self._gathered: dict[tuple[int, int], Tensor] = {}

    @property
    def count(self) -> int:
        """Normalisations of one tile."""
        return len(self._sums)

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Gather statistics in the block, and normalise by those of the block before.

        They concern the calling thread; others may run the network at the same time.
        """
        thread, self._gathered = get_ident(), {}

        def hook(module: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> Tensor | None:
            if get_ident() != thread:
                return None
            assert isinstance(module, nn.GroupNorm)
            self.calls[id(module)] += 1
            key = id(module), self.calls[id(module)]
            sums = self._window_sums(module, inputs[0])
            self._gathered[key] = self._gathered[key] + sums if key in self._gathered else sums
            return _normalised(module, inputs[0], self._sums[key]) if key in self._sums else None

        with ExitStack() as stack:
            for module in self._modules:
                stack.callback(module.register_forward_hook(hook).remove)
            yield
        self._sums = self._gathered

    def _window_sums(self, module: nn.GroupNorm, values: Tensor) -> Tensor:
        """Sum, sum of squares and number of values of each group, [3, N, groups]."""
        if values.ndim > 3:
            for dim, (begin, end) in zip((-2, -1), self.window):
                size = values.shape[dim]
                values = values.narrow(dim, first := round(begin * size), round(end * size) - first)
        grouped = values.double().reshape(len(values), module.num_groups, -1)
        return torch.stack([grouped.sum(-1), grouped.square().sum(-1),
                            torch.full_like(grouped[..., 0], grouped.shape[-1])])


def _normalised(module: nn.GroupNorm, values: Tensor, sums: Tensor) -> Tensor:
    """Group normalisation by given sums."""
    mean, square = sums[:2] / sums[2]
    scale = (square - mean.square()).clamp_(min=0).add_(module.eps).rsqrt_()
    exact = torch.promote_types(values.dtype, torch.float32)
    grouped = values.to(exact).reshape(len(values), module.num_groups, -1)
    result = grouped.sub(mean[..., None].to(exact)).mul_(scale[..., None].to(exact))
    result = result.reshape(values.shape)
    if module.affine:
        shape = (1, -1, *(1,) * (values.ndim - 2))
        result = result * module.weight.reshape(shape) + module.bias.reshape(shape)
    return result.to(values.dtype)
