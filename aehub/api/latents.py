"""Latents out of compressed files and into them, as safetensors, for people who train on them.

    segment.00000, segment.00001, ...    float32 [T', C, h, w], about unit variance

The metadata of the file has width, height and frame rate, and the number of frames of each segment.
All coded frames are taken, those that a trim hides too.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from aehub.api.compress import open as open_archive
from aehub.bitstream import Writer
from aehub.codecs.base import LatentCodec, check_quality
from aehub.codecs.compress import file_header
from aehub.errors import InputError
from aehub.files import (
    FileLike,
    FilePath,
    check_output,
    check_path,
    open_output,
    refuse_overwriting,
)
from aehub.hub import ModelLike, resolve_codec
from aehub.media.picture import ClipInfo
from aehub.weights.device import Device

_FORMAT = "aehub-latents"


def save_latents(source: FileLike, output: FilePath, *, model: ModelLike | None = None,
                 force: bool = False, device: Device = "auto") -> int:
    """Take the latents out of a `.aev` file; no picture is decoded.

    Args:
        source: path or seekable stream.
        output: a .safetensors file.
        model: the model, its folder or hub id, if it is not found by the name in the file.
        force: overwrite the output.
        device: as `aehub.load`.

    Returns:
        Number of frames.

    Raises:
        InputError: the file's model codes no latents of a network.
        ExistsError: the output exists and `force` is not set.
    """
    target = check_path(output, "output")
    refuse_overwriting(target, force)
    with open_archive(source, model=model, device=device) as archive:
        groups, info = list(archive.latents()), archive.info
    values = [part for group in groups for part in group.values]
    n_frames = [count for group in groups for count in group.n_frames]
    metadata = {"format": _FORMAT, "width": str(info.width), "height": str(info.height),
                "fps": str(info.fps), "frames": ",".join(map(str, n_frames))}
    tensors = {f"segment.{at:05}": np.ascontiguousarray(part) for at, part in enumerate(values)}
    with open_output(target, force=force) as file:
        file.write(save(tensors, metadata))
    return sum(n_frames)


def compress_latents(source: FilePath, output: FileLike, *, model: ModelLike, quality: float = 50,
                     force: bool = False, device: Device = "auto") -> int:
    """Quantise latents and write them as a `.aev` file.

    Args:
        source: a file of `save_latents`, or of one's own in the same layout.
        output: path or stream.
        model: that the latents are of.
        quality: 0..100.
        force: overwrite the output.
        device: as `aehub.load`.

    Returns:
        Bytes of the file.

    Raises:
        InputError: the file holds no latents, or those of another model.
        ExistsError: the output exists and `force` is not set.
    """
    codec, quality = resolve_codec(model, device=device), check_quality(quality)
    if not isinstance(codec, LatentCodec):
        raise InputError(f"{codec.name} codes no latents that networks are trained on; give an "
                         "autoencoder of diffusers or of the TAESD family.")
    values, n_frames, info = _read(check_path(source))
    target = check_output(output)
    header = file_header(codec, info, quality, None)
    with open_output(target, force=force) as stream, Writer(stream, header) as writer:
        for group_header, payload in codec.write_latents(header, values, n_frames):
            writer.group(group_header, payload)
    return writer.size


def _read(path: Path) -> tuple[tuple[np.ndarray, ...], tuple[int, ...], ClipInfo]:
    try:
        # Torch also reads bfloat16, which NumPy has not.
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            values = tuple(file.get_tensor(name).float().numpy() for name in sorted(file.keys()))
        n_frames = tuple(map(int, metadata["frames"].split(",")))
        fps = Fraction(metadata["fps"])
        info = ClipInfo(int(metadata["width"]), int(metadata["height"]), fps, 1 / fps,
                        n_frames=sum(n_frames))
        if fps <= 0:
            raise ValueError(fps)
    except (SafetensorError, OSError, KeyError, ValueError, ZeroDivisionError) as err:
        raise InputError(f"{path} is no file of latents: it needs tensors segment.00000 and so on, "
                         "and width, height, fps and frames in its metadata.") from err
    if metadata.get("format") != _FORMAT or len(values) != len(n_frames) or not values:
        raise InputError(f"{path} has {len(values)} segments and numbers of frames for "
                         f"{len(n_frames)}; give as many.")
    return values, n_frames, info
