"""Public functions that edit compressed files, also used by the command line and the page.

As in `aehub.api.compress`, each has a form that yields progress; closing it cancels and leaves no
file.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from aehub.arguments import check_list
from aehub.bitstream import Reader, open_reader
from aehub.codecs.base import CodecLoader
from aehub.editing.job import Outcome, edit_codes, edit_pixels, join
from aehub.editing.operations import Operation, check_operations, element, scale_of
from aehub.errors import InputError
from aehub.files import FileLike, check_output, check_source, open_output, refuse_overwriting
from aehub.hub import ModelLike, load_for_file
from aehub.media.source import seekable_file
from aehub.results import Edited, Progress, ProgressCallback, run_job

if TYPE_CHECKING:
    from aehub.weights.device import Device

__all__ = ["concat", "edit", "iter_concat", "iter_edit"]


def edit(source: FileLike, output: FileLike, operations: Iterable[Operation] = (), *,
         model: ModelLike | None = None, group_exact: bool = False, via_pixels: bool = False,
         force: bool = False, device: Device = "auto", progress: ProgressCallback | None = None
         ) -> Edited:
    """Turn, trim, reverse or scale a `.aev` file; only scales decode pictures.

    Turns are signed permutations of the codes of models whose layers have the symmetry, such as
    `d4-codec`; trims and reversals move whole groups and work for every model. Nothing is lost: the
    inverse turn restores the same codes, bit for bit. A scale decodes at that size and compresses
    again, at the same quality; the result tells the loss.

    Args:
        source: path or binary stream.
        output: path or stream.
        operations: `Rotate`, `Flip`, `Transpose`, `Trim`, `Reverse` and `Scale`, applied in this
            order.
        model: the model, its folder or hub id, if it is not found by the name in the file.
        group_exact: drop all hidden frames on which no shown frame depends; otherwise the frames
            of a group before the start of a trim stay in the file, hidden.
        via_pixels: decode, turn and compress again instead of turning codes.
        force: overwrite the output.
        device: where networks run, as `aehub.load`.
        progress: called as `progress(done, total)` in frames.

    Returns:
        Sizes before and after, and properties of the output.

    Raises:
        InputError: an operation is not possible, or the model's latents do not turn.
        ExistsError: the output exists and `force` is not set.
        DamagedError: groups are lost; the intact ones were edited and written first.

    Example:
        >>> aehub.edit("clip.aev", "turned.aev", [aehub.Rotate(90), aehub.Flip("horizontal")])
    """
    job = iter_edit(source, output, operations, model=model, group_exact=group_exact,
                    via_pixels=via_pixels, force=force, device=device)
    return run_job(job, progress)


def iter_edit(source: FileLike, output: FileLike, operations: Iterable[Operation] = (), *,
              model: ModelLike | None = None, group_exact: bool = False,
              via_pixels: bool = False, force: bool = False, device: Device = "auto"
              ) -> Generator[Progress, None, Edited]:
    """Run `edit`, yielding a `Progress` after each group; closing it cancels.

    Arguments, result and errors are those of `edit`.
    """
    operations = check_operations(operations)
    began, target = time.monotonic(), _target(output, force)
    with ExitStack() as stack:
        reader = _open_seekable(source, stack)
        work = edit_codes
        if scale_of(operations) != 1 or (via_pixels and element(operations)):
            work = partial(edit_pixels, turn=via_pixels)
        with open_output(target, force=force) as stream:
            outcome = yield from work(reader, stream, operations, _loader(model, device),
                                      exact=group_exact)
        before = reader.summary()["bytes"]
    return _result(target, outcome, before, time.monotonic() - began)


def concat(sources: Iterable[FileLike], output: FileLike, *, model: ModelLike | None = None,
           force: bool = False, device: Device = "auto", progress: ProgressCallback | None = None
           ) -> Edited:
    """Join `.aev` files of one model and one frame size without decoding a picture.

    Qualities, windows, rates and times may differ. The halves of a group that a trim cut apart are
    merged.

    Args:
        sources: paths or binary streams, in order.
        output: path or stream.
        model: the model, its folder or hub id, if it is not found by the name in the files.
        force: overwrite the output.
        device: where networks run, as `aehub.load`.
        progress: called as `progress(done, total)` in frames.

    Returns:
        Sizes before and after, and properties of the output.

    Raises:
        InputError: there are no files, or they differ in a property of the file header.
        ExistsError: the output exists and `force` is not set.
        DamagedError: groups are lost; the intact ones were joined and written first.

    Example:
        >>> aehub.concat(["begin.aev", "end.aev"], "whole.aev")
    """
    job = iter_concat(sources, output, model=model, force=force, device=device)
    return run_job(job, progress)


def iter_concat(sources: Iterable[FileLike], output: FileLike, *, model: ModelLike | None = None,
                force: bool = False, device: Device = "auto"
                ) -> Generator[Progress, None, Edited]:
    """Run `concat`, yielding a `Progress` after each group; closing it cancels.

    Arguments, result and errors are those of `concat`.
    """
    sources = check_list("sources", sources)
    if not sources:
        raise InputError("there is no file to join; give at least one.")
    began, target = time.monotonic(), _target(output, force)
    with ExitStack() as stack:
        readers = [_open_seekable(source, stack) for source in sources]
        with open_output(target, force=force) as stream:
            outcome = yield from join(readers, stream, _loader(model, device))
        before = sum(reader.summary()["bytes"] for reader in readers)
    return _result(target, outcome, before, time.monotonic() - began)


def _open_seekable(source: FileLike, stack: ExitStack) -> Reader:
    """Open a seekable reader; the bytes of a stream are copied to a temporary file first."""
    source = check_source(source)
    if not isinstance(source, Path):
        source = stack.enter_context(seekable_file(source))
    return stack.enter_context(open_reader(source))


def _loader(model: ModelLike | None, device: Device) -> CodecLoader:
    return lambda header: load_for_file(header, model, device=device)


def _target(output: FileLike, force: bool) -> Path | BinaryIO:
    target = check_output(output)
    if isinstance(target, Path):
        refuse_overwriting(target, force)
    return target


def _result(target: Path | BinaryIO, outcome: Outcome, before: int, elapsed: float) -> Edited:
    """Return the result, once the file is complete.

    Raises:
        DamagedError: something was lost; the intact part was written.
    """
    if outcome.damage is not None:
        raise outcome.damage
    header = outcome.header
    return Edited(
        path=str(target) if isinstance(target, Path) else None, model=header.model,
        bytes=outcome.bytes, bytes_before=before, audio_bytes=outcome.audio_bytes,
        frames=outcome.frames, width=header.width, height=header.height,
        fps=f"{header.fps.numerator}/{header.fps.denominator}",
        seconds=round(float(outcome.seconds), 6),
        psnr=None if outcome.psnr is None else round(outcome.psnr, 3),
        elapsed=round(elapsed, 3), notes=outcome.notes)
