"""A loaded fingerprint model: small pictures of a clip to vectors and signatures.

    model = aehub.load("fingerprint")
    found = model.fingerprints(small_pictures("clip.mp4", load))

The eight orientations of a picture enter the network in the order of their bytes, so a turned
picture gives the same batch, and the same numbers, bit by bit.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from aehub.bitstream import Reader, is_aev_file, open_reader
from aehub.bitstream.fingerprint_chunk import HASH_SIZE, StoredFingerprints
from aehub.codecs.base import CodecLoader
from aehub.config import DEFAULT_FINGERPRINT
from aehub.errors import DamagedError, FormatError, InputError, ModelError, WeightsError
from aehub.files import PendingOutput
from aehub.inputs import stamp_of
from aehub.media.clip import ClipLike
from aehub.media.colour import from_rgb, rgb_colour
from aehub.media.orientation import COMPOSITION, ORDER, turn_picture
from aehub.media.picture import Picture
from aehub.retrieval.network import SIDE, FingerprintNetwork
from aehub.retrieval.sampling import SmallPicture, small_picture, small_pictures
from aehub.weights import stored_network
from aehub.weights.device import Device, with_inference

SIGNATURE_LENGTH = 127
"""Of a signature in one orientation, but for rounding."""


class Fingerprints(NamedTuple):
    """Fingerprints of a clip.

    Attributes:
        times: float64 [n], seconds from the first frame, increasing.
        vectors: float16 [n, D] of length 1, the same for all turns of the clip.
        signatures: int8 [n, 8, K], each of about `SIGNATURE_LENGTH`: of the picture turned by each
            element of `aehub.media.orientation`.
    """

    times: np.ndarray
    vectors: np.ndarray
    signatures: np.ndarray


class FingerprintModel(stored_network.LoadedNetwork):
    """Loaded model; safe to use from several threads. It always computes in float32."""

    network: FingerprintNetwork

    def __init__(self, stored: stored_network.StoredNetwork, device: Device = "cpu",
                 dtype: torch.dtype = torch.float32) -> None:
        if not isinstance(stored.network, FingerprintNetwork):
            raise WeightsError(f"{stored.name} makes no fingerprints; name another model.")
        super().__init__(stored, device)

    @property
    def sha256(self) -> str:
        """Hash of the weights: fingerprints of other weights cannot be compared."""
        return str(self.config["sha256"])

    @property
    def shape(self) -> tuple[int, int]:
        """(D, K): numbers of a vector, and of a signature in one orientation."""
        return self.network.config["vector"], self.network.config["signature"]

    def fingerprints(self, pictures: Iterable[SmallPicture]) -> Fingerprints:
        """Fingerprints of small pictures, which are taken one at a time."""
        vector, signature = self.shape
        times, vectors, signatures = [0.0][:0], [np.empty((0, vector), np.float16)], [
            np.empty((0, ORDER, signature), np.int8)]
        for small in pictures:
            found = self._fingerprint(small.picture, small.turn)
            times.append(small.time)
            vectors.append(found[0][None])
            signatures.append(found[1][None])
        return Fingerprints(np.array(times), np.concatenate(vectors), np.concatenate(signatures))

    def encode(self, frames: Iterable[np.ndarray]) -> np.ndarray:
        """Vectors of RGB pictures, uint8 [H, W, 3] each -> float16 [T, D] of length 1."""
        return self.fingerprints(
            SmallPicture(float(number), small_picture(from_rgb(frame, rgb_colour(len(frame)))))
            for number, frame in enumerate(map(np.asarray, frames))).vectors

    @with_inference
    def _fingerprint(self, picture: Picture, turn: int) -> tuple[np.ndarray, np.ndarray]:
        """Vector [D] and signatures [8, K] of a picture that `turn` turned before."""
        turned = [turn_picture(picture, g) for g in range(ORDER)]
        order = sorted(range(ORDER), key=lambda g: _key(turned[g]))
        batch = torch.from_numpy(np.stack([_network_input(turned[g]) for g in order]))
        # One picture at a time: the rounding of a batch depends on its size.
        vectors, rows = self.network(batch[None].to(self.device) / 255 - 0.5)
        signatures = np.empty((ORDER, rows.shape[2]), np.int8)
        places = COMPOSITION[order, turn]
        signatures[places] = (rows[0] * SIGNATURE_LENGTH).round().to(torch.int8).cpu().numpy()
        return vectors[0].half().cpu().numpy(), signatures


def _key(picture: Picture) -> tuple[tuple[int, int], list[bytes]]:
    return picture.size, [np.ascontiguousarray(plane).tobytes() for plane in picture]


def _network_input(picture: Picture) -> np.ndarray:
    """uint8 [3, S, S]: the planes, resized to a square."""
    return np.stack([np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize(
        (SIDE, SIDE), Image.Resampling.BILINEAR)) for plane in picture])


def read_fingerprints(source: ClipLike, model: FingerprintModel, load: CodecLoader, *,
                      dense: bool = False
                      ) -> Generator[int, None, tuple[Fingerprints, DamagedError | None]]:
    """Fingerprints of what of a clip can be read, and its damage; yields how many there are so far.

    Args:
        source: clip, picture or compressed file.
        model: makes the fingerprints.
        load: finds the model of a compressed file.
        dense: at the distance of queries instead of that of an index.

    Raises:
        InputError: it cannot be read, holds no picture, or too small ones.
        DamagedError: nothing of it is intact.
    """
    parts, damage = [model.fingerprints(())], None
    try:
        for picture in small_pictures(source, load, dense=dense):
            parts.append(model.fingerprints([picture]))
            yield len(parts) - 1
    except DamagedError as error:
        if len(parts) == 1:
            raise
        damage = error
    return Fingerprints(*map(np.concatenate, zip(*parts, strict=True))), damage


def fingerprint_model(loaded: Any) -> FingerprintModel:
    """Return a loaded model if it makes fingerprints.

    Raises:
        ModelError: it is of another kind.
    """
    if isinstance(loaded, FingerprintModel):
        return loaded
    raise ModelError(f"{loaded.name} makes no fingerprints, which clips are compared by; use "
                     f"{DEFAULT_FINGERPRINT}.")


def read_carried(path: Path, model: FingerprintModel) -> Fingerprints | None:
    """Fingerprints that a compressed file carries, read without decoding it.

    Returns:
        None if it is no compressed file, carries none of the model, or is damaged anywhere.

    Raises:
        FormatError: it is newer, or not even its header can be read.
    """
    if not is_aev_file(path):
        return None
    with open_reader(path) as reader:
        found = _carried(reader, model)
        if found is None:
            return None
        try:
            _check_groups(reader)
        except FormatError:
            return None
        base, (vector, signature), n = reader.header.time_base, model.shape, len(found.times)
    return Fingerprints(
        np.array([float(time * base) for time in found.times]),
        np.frombuffer(found.vectors, "<f2").astype(np.float16).reshape(n, vector),
        np.frombuffer(found.signatures, np.int8).reshape(n, ORDER, signature))


def keep_in_file(path: Path, model: FingerprintModel, found: Fingerprints,
                 stamp: tuple[int, int]) -> bool:
    """Keep fingerprints in the compressed file itself; all else of it stays as it is.

    Args:
        path: of the file, which is written anew beside itself and renamed.
        model: made the fingerprints.
        found: its fingerprints, vectors in the units of an index.
        stamp: of the file that they were made of.

    Returns:
        Whether it was written: not if it carries fingerprints of the model already.

    Raises:
        InputError: it cannot be written, or changed since.
        FormatError: it is damaged, or its fingerprints do not fit.
    """
    with open_reader(path) as reader:
        if _carried(reader, model) is not None:
            return False
        _check_groups(reader)
    try:
        if not os.access(path, os.W_OK):
            raise InputError(f"{path} cannot be written: it is read-only.")
        with PendingOutput(path) as pending:
            with open_reader(path) as reader, pending.open() as stream:
                reader.copy_with(_to_store(reader, model, found), stream)
                stream.flush()
                os.fsync(stream.fileno())
            shutil.copymode(path, pending.path)
            if stamp_of(path) != stamp:
                raise InputError(f"{path} changed since it was read; index it again.")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error
    return True


def _carried(reader: Reader, model: FingerprintModel) -> StoredFingerprints | None:
    found = reader.fingerprints()
    same = found and (found.model, found.shape) == (_short_hash(model), model.shape)
    return found if same else None


def _short_hash(model: FingerprintModel) -> bytes:
    return bytes.fromhex(model.sha256)[:HASH_SIZE]


def _check_groups(reader: Reader) -> None:
    """Raise `DamagedError` if anything of a file is damaged."""
    for _ in reader.groups():
        pass


def _to_store(reader: Reader, model: FingerprintModel, found: Fingerprints) -> StoredFingerprints:
    base = reader.header.time_base
    ticks = tuple(round(Fraction(time) / base) for time in found.times.tolist())
    if [float(tick * base) for tick in ticks] != found.times.tolist():
        raise FormatError(f"the times of {reader.name} are no times of its frames.")
    return StoredFingerprints(
        _short_hash(model), reader.stamp, model.shape, ticks,
        found.vectors.astype("<f2").tobytes(), found.signatures.astype(np.int8).tobytes())


def signature_scores(query: np.ndarray, clip: np.ndarray, turn: int) -> np.ndarray:
    """Similarities of pictures, if `turn` turns those of the clip into those of the query.

    Args:
        query: signatures, int8 [n, 8, K].
        clip: signatures, int8 [m, 8, K].
        turn: element of `aehub.media.orientation`.

    Returns:
        float32 [n, m] in [-1, 1]; sums of integers, so that they have no order.
    """
    shown = np.empty(query.shape, np.float32)
    # query[g] shows what clip[compose(g, turn)] shows.
    shown[:, COMPOSITION[:, turn]] = query
    products = shown.reshape(len(query), -1) @ clip.reshape(len(clip), -1).astype(np.float32).T
    products /= np.float32(ORDER * SIGNATURE_LENGTH**2)
    return products
