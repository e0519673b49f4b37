"""A loaded `sandwich-av1`: AV1 as quantiser and entropy coder, a restorer behind it.

    model = aehub.load("sandwich-av1")
    aehub.compress("clip.mp4", "clip.aev", model=model)

Source: Guleryuz et al. 2021, "Sandwiched image compression: wrapping neural networks around a
standard codec".
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aehub.bitstream import FileHeader, Group
from aehub.codecs.base import FrameCodes
from aehub.codecs.sandwich import PAYLOAD_FORMATS, obu
from aehub.codecs.sandwich.group_decoder import shown_frames
from aehub.codecs.sandwich.group_encoder import GroupEncoder
from aehub.codecs.sandwich.network import SandwichNetwork
from aehub.codecs.sandwich.settings import preset_of
from aehub.codecs.sandwich.side_information import SideInformation, unpack
from aehub.config import DEFAULT_EFFORT
from aehub.errors import FormatError, InputError
from aehub.media.picture import YUV420, Picture
from aehub.weights import stored_network
from aehub.weights.device import Device, has_fast_bfloat16

ARCHITECTURE = "sandwich-av1"
ENTROPY_HASH = hashlib.sha256(b"AV1 bitstream, profile 0").digest()[:8]
"""Nothing of the model decides how a symbol is read: the stream is one of AV1."""


def save(folder: Path, name: str, network: SandwichNetwork) -> None:
    """Write config.json and model.safetensors of a network."""
    tensors = stored_network.to_tensors(network, {})
    stored_network.write(
        folder, tensors, name=name, architecture=ARCHITECTURE, arguments=network.config,
        parameters=stored_network.count_parameters(network), entropy_hash=ENTROPY_HASH.hex(),
        synthesis_hash=_synthesis_hash(tensors).hex())


def _synthesis_hash(tensors: Mapping[str, Tensor]) -> bytes:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.digest()[:8]


class SandwichCodec(stored_network.LoadedNetwork):
    """Loaded model; safe to use from several threads."""

    network: SandwichNetwork
    payload_formats = PAYLOAD_FORMATS
    pictures = YUV420
    grid = 2
    scales: tuple[Fraction, ...] = ()
    editor = None
    stream_format = "obu"
    _grain = False

    def __init__(self, stored: stored_network.StoredNetwork, device: Device = "cpu",
                 dtype: torch.dtype = torch.float32) -> None:
        super().__init__(stored, device, dtype)
        self.entropy_hash = bytes.fromhex(self.config["entropy_hash"])
        self.synthesis_hash = bytes.fromhex(self.config["synthesis_hash"])
        self._fast = copy.deepcopy(self.network)
        self._fast.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.dtype == torch.float32 and has_fast_bfloat16(self.device):
            self._fast = self._fast.bfloat16()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the model folder: config.json and model.safetensors, as they were loaded."""
        save(Path(folder), self.name, self.network)

    def group_encoder(self, header: FileHeader, *, measure: bool = False,
                      effort: int = DEFAULT_EFFORT) -> GroupEncoder:
        """Begin a group; its frames are all yielded when it ends.

        Raises:
            InputError: SVT-AV1 cannot encode pictures of this size, or is missing.
        """
        return GroupEncoder(self._fast, header, measure=measure, effort=effort, grain=self._grain)

    def decode_group(self, header: FileHeader, group: Group,
                     frames: Collection[int] | None = None, scale: Fraction = Fraction(1)
                     ) -> Iterator[tuple[int, Picture]]:
        """Decode frames: AV1 up to the last of them and its references, the restorer on those.

        Raises:
            DamagedError: the payload is no stream of this codec.
            FormatError: it shows another window than that of the file.
        """
        if group.header.crop != (0, 0):
            raise FormatError(f"a group shows a window at {group.header.crop}; {self.name} codes "
                              "none. No AEHub wrote this file.")
        side, units = self._read(group)
        wanted = range(len(units)) if frames is None else frames
        yield from shown_frames(self._fast, (header.width, header.height), side, units, wanted)

    def codes(self, header: FileHeader, group: Group) -> Iterator[FrameCodes]:
        """The bytes of AV1 of each frame: its quantised coefficients stay entropy-coded."""
        _, units = self._read(group)
        for number, unit in enumerate(units):
            data = np.frombuffer(unit.data, np.uint8).astype(np.int32)
            yield FrameCodes(number, True, (data[None, None],))

    def with_grain(self) -> SandwichCodec:
        """The same model, whose encoder describes film grain instead of coding it."""
        other = copy.copy(self)
        other._grain = True
        return other

    def standard_name(self, effort: int) -> str:
        """SVT-AV1 with the preset of an effort."""
        return f"svtav1-{preset_of(effort)}"

    def standard_packets(self, header: FileHeader, group: Group) -> Sequence[bytes]:
        """Temporal units of AV1, one for each frame; a player synthesises the film grain.

        Raises:
            DamagedError: the payload is no stream of this codec.
            InputError: the pictures were coded at half their size.
        """
        side, units = self._read(group)
        if side.halved:
            raise InputError("a group is coded at half its size, which a player would show small; "
                             "decode the file.", "Leave out --no-restore (restore=False).")
        return [obu.TEMPORAL_DELIMITER + unit.data for unit in units]

    def _read(self, group: Group) -> tuple[SideInformation, list[obu.TemporalUnit]]:
        side, stream = unpack(bytes(group.payload), self.network.restorer.candidates)
        units = list(obu.temporal_units(stream))
        if len(units) != group.header.n_frames:
            raise obu.damaged(f"its AV1 stream shows {len(units)} frames of "
                              f"{group.header.n_frames}")
        return side, units
