"""The seam: all that AEHub knows of a codec.

    Codec           pictures to payloads of groups and back
    GroupEncoder    one group, mini-GOP after mini-GOP
    GroupEditor     rotations, flips and cuts of a coded group, without decoding pictures

A codec is a folder of `aehub.codecs`, or a package of somebody else's, with one record
(`aehub.weights.architectures.Architecture`) that names its class. Compression, decoding, random
access, edits, rate control, reports, measurements, the hub and the page use these protocols and
nothing else of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from aehub.arguments import check_number, check_whole
from aehub.config import DEFAULT_EFFORT, MAX_EFFORT
from aehub.errors import InputError

if TYPE_CHECKING:  # Edits that move whole groups load neither numpy nor torch.
    import numpy as np
    import torch

    from aehub.bitstream import FileHeader, Group, GroupHeader
    from aehub.media.picture import Frame, Picture, PictureFormat


@dataclass(frozen=True)
class MiniGop:
    """A key picture and the B-frames before it.

    Attributes:
        frames: in the order of times.
        ends_group: the group ends with them.
        following: the frame after the last one.
        high_motion: a smaller distance of key pictures may be better.
    """

    frames: list[Frame]
    ends_group: bool
    following: Frame | None
    high_motion: bool = False


@dataclass(frozen=True)
class CodedFrame:
    """One frame as it was coded.

    Attributes:
        number: of the coded frame, which `GroupHeader.display_order` places in time: a group that
            was reversed shows the highest number first.
        bytes: by which the payload grew.
        picture: as a decoder shows it; None if it was not asked for.
    """

    number: int
    bytes: int
    picture: Picture | None = None


class FrameCodes(NamedTuple):
    """Quantised latents of one frame.

    Attributes:
        number: of the coded frame, which `GroupHeader.display_order` places in time: a group that
            was reversed shows the highest number first.
        is_intra: True if no other frame is needed to decode it.
        latents: int32 [C, h, w] each, from the finest to the coarsest.
    """

    number: int
    is_intra: bool
    latents: tuple[np.ndarray, ...]


class Preview(NamedTuple):
    """A frame decoded small, in an orientation of the codec's choice.

    Attributes:
        number: of the coded frame, which `GroupHeader.display_order` places in time: a group that
            was reversed shows the highest number first.
        turn: element of `aehub.media.orientation` that turned the frame of the file.
        picture: small and turned.
    """

    number: int
    turn: int
    picture: Picture


class GroupEncoder(Protocol):
    """Encoder of one group of frames."""

    def add(self, mini_gop: MiniGop) -> Iterator[CodedFrame | None]:
        """Encode frames; yields each in coding order when it is done.

        The first mini-GOP of a group is a single frame. Frames of a mini-GOP may be given by the
        next call, unless it ends the group. None is progress without a frame, such as a trial:
        closing the iterator there cancels.
        """
        ...

    def finish(self) -> tuple[GroupHeader, bytes]:
        """Return the header and the payload.

        The header has the number of frames, the quality, and types and references of frames that
        are not intra: decoding, trims and random access go by them. Times are filled in later.
        """
        ...


class GroupEditor(Protocol):
    """Editor of coded groups."""

    def rewrite(self, header: FileHeader, group: Group, *, frames: Collection[int] | None = None,
                turn: int = 0) -> tuple[GroupHeader, bytes]:
        """Cut and turn a group in one pass; no picture is decoded and nothing is lost.

        Args:
            header: of the file; its time base is that of the group's times.
            group: with the window, shown frames and times that it shall have.
            frames: numbers of the frames to keep, without gaps; those they refer to are among
                them. All by default.
            turn: element of `aehub.media.orientation` that turns the pictures.

        Raises:
            DamagedError: the payload is no stream of this codec.
            InputError: the group cannot be turned as it is.
        """
        ...


class Codec(Protocol):
    """A loaded codec; safe to use from several threads."""

    @property
    def name(self) -> str:
        """Name of the model in file headers, at most 40 bytes."""
    @property
    def config(self) -> dict[str, Any]:
        """Contents of the config.json of the model."""
    @property
    def device(self) -> torch.device:
        """Device of its networks; the CPU if it has none."""
    @property
    def payload_formats(self) -> tuple[int, ...]:
        """`coder` bytes of file headers, 0 to 127: of its files, then of older ones that it reads;
        any change to the bits of payloads makes a new number."""
    @property
    def entropy_hash(self) -> bytes:
        """8 bytes that identify all integers on which the codes depend."""
    @property
    def synthesis_hash(self) -> bytes:
        """8 bytes that identify the decoder's arithmetic."""
    @property
    def pictures(self) -> PictureFormat | None:
        """Format of the pictures that it takes and gives back; None if it takes any."""
    @property
    def grid(self) -> int:
        """Coded planes are multiples of this many samples; padding is the codec's business."""

    @property
    def scales(self) -> tuple[Fraction, ...]:
        """Of `aehub.media.scaling.SCALES`, those besides 1 that `decode_group` decodes to; to the
        others, pictures are scaled after decoding."""

    @property
    def editor(self) -> GroupEditor | None:
        """Editor of its groups; None if they have to be decoded and encoded again."""

    def group_encoder(self, header: FileHeader, *, measure: bool = False,
                      effort: int = DEFAULT_EFFORT) -> GroupEncoder:
        """Begin a group.

        Args:
            header: of the file: size, quality in hundredths, and format of the pictures.
            measure: also give back the pictures as decoded.
            effort: 0, the fastest, to 9, the smallest file at the same quality. Decoding takes the
                same time. A codec that has no choice ignores it.

        Raises:
            InputError: the codec cannot encode pictures of this size.
        """
        ...

    def decode_group(self, header: FileHeader, group: Group,
                     frames: Collection[int] | None = None, scale: Fraction = Fraction(1)
                     ) -> Iterator[tuple[int, Picture]]:
        """Decode frames, and those that they depend on; yields (number, shown window).

        Args:
            header: of the file; its size is that of the shown window.
            group: of the file. Its own header has the quality, which is another than the file's
                where files were joined, and the corner of the window, which only an editor moves.
            frames: numbers of coded frames; all by default. Each is yielded once, in coding order.
            scale: 1 or one of `scales`. At 1/n the window has the areas of n x n samples of the
                coded plane that it touches, as `aehub.media.scaling.downscale` counts them.

        Raises:
            DamagedError: the payload is no stream of this codec.
            FormatError: it asks for more memory than a group of any encoder.
        """
        ...

    def codes(self, header: FileHeader, group: Group) -> Iterator[FrameCodes]:
        """Read the integers of all frames in coding order; no float network runs.

        Raises:
            DamagedError: the payload is no stream of this codec.
        """
        ...


class SegmentLatents(Protocol):
    """Latents of the frames of a group, in segments of frames that are coded together."""

    @property
    def values(self) -> Sequence[np.ndarray]:
        """Of each segment, float32 [T', C, h, w], about unit variance."""
    @property
    def n_frames(self) -> Sequence[int]:
        """Of each segment."""


@runtime_checkable
class LatentCodec(Codec, Protocol):
    """A codec whose codes are the quantised latents of a network."""

    @property
    def notes(self) -> Sequence[str]:
        """Sentences on how it computed, such as in tiles."""

    def estimate_bytes(self, size: tuple[int, int]) -> int:
        """Peak memory for pictures of `size` (width, height)."""
        ...

    def latents(self, header: FileHeader, group: Group) -> SegmentLatents:
        """Dequantised latents of a group."""
        ...

    def write_latents(self, header: FileHeader, values: Sequence[np.ndarray],
                      n_frames: Sequence[int]) -> Iterator[tuple[GroupHeader, bytes]]:
        """Quantise and code latents of segments as groups, at the quality of the header.

        Raises:
            InputError: they are not latents of this model.
        """
        ...


@runtime_checkable
class PreviewCodec(Codec, Protocol):
    """A codec whose small pictures do not depend on the orientation in which a file was turned."""

    def previews(self, header: FileHeader, group: Group, frames: Collection[int], n: int
                 ) -> Iterator[Preview]:
        """Decode frames at 1/n in an orientation that the codes choose: the eight turns of a group
        give the same samples, bit by bit.

        Args:
            header: of the file.
            group: of the file.
            frames: numbers of coded frames, those of the previews.
            n: 1, 2, 4 or 8.

        Yields:
            in coding order; less precise than decoding, where that is faster.

        Raises:
            DamagedError: the payload is no stream of this codec.
            FormatError: it asks for more memory than a group of any encoder.
        """
        ...


@runtime_checkable
class StandardCodec(Codec, Protocol):
    """A codec around a standard one, whose streams its payloads hold: players decode them."""

    @property
    def stream_format(self) -> str:
        """FFmpeg's name of the format of the bare streams, such as "obu" for AV1."""
    def standard_name(self, effort: int) -> str:
        """Name in `aehub.compare` of the standard codec with the settings of an effort."""
        ...

    def standard_packets(self, header: FileHeader, group: Group) -> Sequence[bytes]:
        """Take the stream out of a payload, untouched.

        Returns:
            for each coded frame, in the order of times, a packet that shows it and needs only those
            before it. Pictures have the size of the window, or more with borders repeated.

        Raises:
            InputError: a player would show other pictures than those of the file, as small ones.
            DamagedError: the payload is no stream of this codec.
        """
        ...


@runtime_checkable
class GrainCodec(Codec, Protocol):
    """A codec that can take film grain out of pictures and have decoders synthesise it."""

    def with_grain(self) -> Codec:
        """The same model, with an encoder that does so."""
        ...


CodecLoader = Callable[["FileHeader"], Codec]
"""Finds the model that a file header names."""


def with_grain(codec: Codec) -> Codec:
    """The same codec, whose files have film grain synthesised.

    Raises:
        InputError: it cannot.
    """
    if isinstance(codec, GrainCodec):
        return codec.with_grain()
    raise InputError(f"{codec.name} synthesises no film grain; compress without that, or with a "
                     "model that does.", "Leave out --grain (grain=True), or name another --model.")


def check_quality(quality: float) -> float:
    """Validate a quality and round it to hundredths.

    Raises:
        InputError: it is not a number from 0 to 100.
    """
    return round(check_number("quality", quality, 0, 100), 2)


def check_effort(effort: int) -> int:
    """Validate an effort.

    Raises:
        InputError: it is not a whole number from 0 to 9.
    """
    return check_whole("effort", effort, 0, MAX_EFFORT)
