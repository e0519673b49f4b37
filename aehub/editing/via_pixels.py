"""Edits that codes do not allow: decode, turn or scale the pictures, encode again."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

import av

from aehub.bitstream import Reader
from aehub.codecs.base import Codec
from aehub.codecs.compress import EncodingStats, compress_clip
from aehub.codecs.decompress import clip_info, decode_frames
from aehub.config import Limits
from aehub.editing.rewrite import turn_file_header
from aehub.files import spool
from aehub.media.audio import AudioTrack
from aehub.media.clip import Clip
from aehub.media.orientation import turn_picture
from aehub.media.picture import ClipInfo, Frame
from aehub.media.timestamps import TimeSpan


def recompress(reader: Reader, stream: BinaryIO, codec: Codec, g: int, scale: Fraction
               ) -> Iterator[EncodingStats]:
    """Write the pictures of a file to another, at the same quality and with its audio.

    The distortion of the yielded statistics is that of the second compression, against the changed
    pictures of the first.

    Args:
        reader: the file, seekable.
        stream: of the new file.
        codec: the model of both.
        g: element of `aehub.media.orientation` that turns the pictures.
        scale: of the pictures.

    Raises:
        DamagedError: the file is damaged.
    """
    changed = _ChangedReader(reader, codec, g, scale)
    with Clip(changed, TimeSpan(), Limits(), reader.name) as clip:
        yield from compress_clip(clip, stream, codec, reader.header.quality / 100)


class _ChangedReader:
    """Clip reader of a compressed file that decodes each picture at a scale and turns it."""

    def __init__(self, reader: Reader, codec: Codec, g: int, scale: Fraction) -> None:
        header = turn_file_header(reader.header, g)
        self.info: ClipInfo = clip_info(header, reader.frame_count, reader.plays, scale)
        self.notes: list[str] = []
        self._reader, self._codec, self._g, self._scale = reader, codec, g, scale

    def skip_to(self, seconds: Fraction) -> None:
        """Skip nothing: trims are applied to groups before."""

    def allow_downscale(self, width: int, height: int) -> None:
        """Do nothing: pictures keep their size."""

    def frames(self) -> Iterator[Frame]:
        for frame in decode_frames(self._reader, self._codec, self._scale):
            yield frame._replace(picture=turn_picture(frame.picture, self._g))

    def audio(self, start: Fraction, stop: Fraction | None) -> AudioTrack | None:
        file = spool()
        for piece in self._reader.audio_pieces():
            file.write(piece)
        if not file.tell():
            file.close()
            return None
        file.seek(0)
        with av.open(file, "r") as container:
            name = container.streams.audio[0].codec_context.codec.canonical_name
        return AudioTrack(name, file)

    def time_of_frame(self, index: int) -> Fraction | None:
        return None

    def close(self) -> None:
        """Leave the file open: the caller owns it."""
