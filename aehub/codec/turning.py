"""What an edit does inside a group: its symbols are read, moved and written again.

    payload --read--> codes and table indices --turn, or drop frames--> payload

Only the entropy coder and the integer network run. The indices need no second run of the network:
it commutes with turns in exact arithmetic, and its answer for one frame knows no other frame, so
they move with the codes. The same holds for motion. Everything that an edit must know of what a
payload holds is in this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from aehub.codec.chain import Chain
from aehub.codec.predicted import FrameCodes, GroupReader, GroupWriter, references_of
from aehub.codec.runtime import Runtime
from aehub.codec.shots import PREDICTED_PIXELS
from aehub.codec.symbols import whole
from aehub.container import FileHead, GroupHead, anchors_of, coding_order
from aehub.container.limits import MAX_PIXELS
from aehub.entropy import CODER_PREDICTED, Decoder, Encoder
from aehub.errors import DamagedError, FormatError
from aehub.models.d4 import Representation
from aehub.models.d4_codec import HYPER, Codes, Stage
from aehub.models.surroundings import computes

# Frames that go through the networks together.
_BATCH = 8


class Symbols(NamedTuple):
    """The symbols of a group as integers: what is coded, and the table each is coded with.

    `hyper` [n, 24, h/4, w/4] and `latent` [n, 96, h, w] are int32 codes; `hyper_index` and
    `latent_index`, of the same shapes, are uint8. The first axis is frames.
    """

    hyper: np.ndarray
    hyper_index: np.ndarray
    latent: np.ndarray
    latent_index: np.ndarray


def turns(runtime: Runtime) -> bool:
    """Whether turning the codes of this model turns the picture."""
    return isinstance(getattr(runtime.network, "representation", None), Representation)


def rewrite_group(runtime: Runtime, payload: bytes, head: GroupHead, file_head: FileHead, g: int,
                  frames: Sequence[int]) -> tuple[bytes, list[int] | None]:
    """The payload of a group with some of its frames, turned by element `g` of `aehub.models.d4`.

    Args:
        runtime: of the model that the file was written with.
        payload: as the file holds it.
        head: of the group, before the edit.
        file_head: of the file, before the edit.
        g: 0 to 7; 0 leaves codes as they are.
        frames: numbers of the frames to keep, without gaps; those they are predicted from are
            among them.

    Returns:
        The payload, and how many words it has after each frame in coding order; None where all
        frames stand alone.

    Raises:
        DamagedError: the bytes are not a stream of this model.
        FormatError: the group is larger than any encoder makes.
    """
    if file_head.coder == CODER_PREDICTED:
        return _predicted(runtime, payload, head, file_head, frames, g)
    found = read_symbols(runtime, payload, head, file_head)
    latents = runtime.network.representation
    kinds = (HYPER, HYPER.magnitudes(), latents, latents.magnitudes())
    turned = Symbols(*(kind.act(part[list(frames)], g)
                       for kind, part in zip(kinds, found, strict=True)))
    return write_symbols(runtime, turned), None


def turn_group(runtime: Runtime, payload: bytes, head: GroupHead, file_head: FileHead, g: int
               ) -> tuple[bytes, tuple[int, ...] | None]:
    """The payload of a whole group turned, as `rewrite_group`, and its head's run ends."""
    moved, words = rewrite_group(runtime, payload, head, file_head, g, range(head.n_frames))
    return moved, run_ends(head, words)


def keep_frames(runtime: Runtime, payload: bytes, head: GroupHead, file_head: FileHead,
                frames: Sequence[int]) -> bytes:
    """The payload with only some of its frames, their codes untouched, as `rewrite_group`."""
    return rewrite_group(runtime, payload, head, file_head, 0, frames)[0]


def run_ends(head: GroupHead, words: Sequence[int] | None) -> tuple[int, ...] | None:
    """What `GroupHead.run_ends` becomes; None where the head has none.

    Args:
        head: of the group as it is written.
        words: of the payload after each frame, as `rewrite_group` gives them.
    """
    if words is None or head.run_ends is None:
        return None
    return tuple(words[anchor] for anchor in anchors_of(head)[:-1])


@computes
def _predicted(runtime: Runtime, payload: bytes, head: GroupHead, file_head: FileHead,
               frames: Sequence[int], g: int) -> tuple[bytes, list[int]]:
    """A group of predicted frames with only some of them, turned; one frame chain in memory.

    Returns:
        The payload, and how many words it had after each frame.
    """
    size = file_head.coded_size(head.crop)
    _refuse_huge(head, size, PREDICTED_PIXELS)
    try:
        found = GroupReader(runtime, payload, head, size).frames()
    except ValueError as error:
        raise _damaged(runtime) from error
    references = references_of(head)
    order = [number for number in coding_order(head) if number in frames]
    writer, chain, words = GroupWriter(runtime), Chain(), list[int]()
    for frame in found:
        if frame.number not in frames:
            continue
        frame = _turned(runtime, frame, g)
        used = references[frame.number]
        rows, columns = frame.codes.latent.shape[-2:]
        bases = chain.bases(frame.number, used, (rows // 2, columns // 2))
        motion = writer.write(frame, bases)
        chain.remember(frame.number, frame.codes, used, motion)
        words.append(writer.words)
        chain.keep({r for later in order[len(words):] for r in references[later]})
        if len(words) == len(order):
            break
    return writer.finish(), words


def _turned(runtime: Runtime, frame: FrameCodes, g: int) -> FrameCodes:
    def moved(part: Tensor, channels: Representation, dtype: Any) -> Tensor:
        return torch.from_numpy(channels.act(whole(part, dtype), g)).to(runtime.device)

    latents = runtime.network.representation
    return frame._replace(
        motion=None if frame.motion is None else frame.motion.turn(g),
        codes=Codes(moved(frame.codes.hyper, HYPER, np.int32),
                    moved(frame.codes.latent, latents, np.int32)),
        tables=Codes(moved(frame.tables.hyper, HYPER.magnitudes(), np.uint8),
                     moved(frame.tables.latent, latents.magnitudes(), np.uint8)))


def _damaged(runtime: Runtime) -> DamagedError:
    return DamagedError("a group cannot be edited: its bytes are not a stream of "
                        f"{runtime.name}; verify the file.")


def _refuse_huge(head: GroupHead, size: tuple[int, int], most: int) -> None:
    if head.n_frames > 1 and head.n_frames * size[0] * size[1] > most:
        raise FormatError(f"a group of {head.n_frames} frames of {size[0]}x{size[1]} is more than "
                          f"the {most} samples coded together; no AEHub wrote this file.")


@computes
def read_symbols(runtime: Runtime, payload: bytes, head: GroupHead, file_head: FileHead) -> Symbols:
    """All symbols of a group.

    Raises:
        DamagedError: the bytes are not a stream of this model.
        FormatError: the group is larger than any encoder makes.
    """
    size = file_head.coded_size(head.crop)
    _refuse_huge(head, size, MAX_PIXELS)
    try:
        return _read(runtime, Decoder(runtime.tables, payload), head, size)
    except (ValueError, AssertionError) as error:
        raise _damaged(runtime) from error


def _read(runtime: Runtime, decoder: Decoder, head: GroupHead, size: tuple[int, int]) -> Symbols:
    scales, n = runtime.network.scales, head.n_frames
    columns, rows = size[0] // 8, size[1] // 8
    quality = torch.tensor([head.quality], device=runtime.device)
    index = _integers(scales.hyper_index(quality))
    hyper_index = np.ascontiguousarray(
        np.broadcast_to(index, (n, HYPER.channels, rows // 4, columns // 4)))
    hyper = decoder.read(hyper_index.ravel()).reshape(hyper_index.shape)
    latent = np.zeros((n, runtime.network.representation.channels, rows, columns), np.int32)
    latent_index = np.zeros(latent.shape, np.uint8)
    parts = _batches(runtime, n)
    features = [scales.features(_tensor(runtime, hyper[part]), quality) for part in parts]
    for stage in runtime.network.stages(rows, columns, runtime.device):
        channels, mask = slice(stage.begin, stage.end), _integers(stage.mask)
        found = np.empty((n, stage.end - stage.begin, rows, columns), np.uint8)
        for part, known in zip(parts, features, strict=True):
            before = _tensor(runtime, latent[part, :_known(stage)]) if stage.number else None
            found[part] = _integers(scales(stage.number, known, before, stage.mask, quality))
        found *= mask
        latent[:, channels] += decoder.read(found.ravel()).reshape(found.shape)
        latent_index[:, channels] += found
    return Symbols(hyper, hyper_index, latent, latent_index)


def write_symbols(runtime: Runtime, symbols: Symbols) -> bytes:
    """The payload that holds these symbols, in the order of `docs/format.md`."""
    encoder = Encoder(runtime.tables)
    encoder.write(symbols.hyper.ravel(), symbols.hyper_index.ravel())
    rows, columns = symbols.latent.shape[-2:]
    for stage in runtime.network.stages(rows, columns, torch.device("cpu")):
        channels = slice(stage.begin, stage.end)
        index = symbols.latent_index[:, channels] * _integers(stage.mask)
        encoder.write(symbols.latent[:, channels].ravel(), index.ravel())
    return encoder.finish()


def _known(stage: Stage) -> int:
    """How many channels a stage sees of those before it."""
    return stage.end if stage.number == 1 else stage.begin


def _batches(runtime: Runtime, n: int) -> list[slice]:
    """Frames that go through the network together."""
    return [slice(begin, min(n, begin + _BATCH)) for begin in range(0, n, _BATCH)]


def _tensor(runtime: Runtime, values: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(values).to(runtime.device, runtime.exact)
    return tensor.contiguous(memory_format=torch.channels_last)


def _integers(values: Tensor) -> np.ndarray:
    return values.cpu().numpy().astype(np.uint8)
