"""Models of the zoo in the benchmark, run through the public functions."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import av

from aehub.config import DEFAULT_EFFORT
from aehub.measure.points import Encoded, joined_qualities
from aehub.media.conversion import to_yuv420
from aehub.media.elementary_streams import to_video_frame
from aehub.media.picture import ClipInfo, Picture
from aehub.threads import limit_codec_threads

if TYPE_CHECKING:
    from aehub.codecs.base import Codec


@dataclass(frozen=True)
class ModelCodec:
    """A model of the zoo; `name` is anything that `aehub.load` takes."""

    name: str
    qualities: Sequence[float] = (10, 25, 40, 55, 70, 85)
    effort: int = DEFAULT_EFFORT

    @property
    def settings(self) -> str:
        """Effort and qualities in one line."""
        return f"aehub effort={self.effort} quality={joined_qualities(self.qualities)}"

    def check(self) -> None:
        """Load the model, so that errors come before the measurement.

        Raises:
            ModelError: it is unknown, damaged, or no codec.
        """
        assert self._model

    @cached_property
    def _model(self) -> Codec:
        """The loaded model; loading does not count as encoding time."""
        from aehub.hub import resolve_codec

        return resolve_codec(self.name)

    def encode(self, frames: Sequence[Picture], info: ClipInfo, quality: float) -> Encoded:
        """Compress a lossless copy of the frames; all bytes of the `.aev` count.

        The copy has exactly the planes of these frames, and no audio.
        """
        from aehub.api import compress

        model, file = self._model, io.BytesIO()
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "clip.mp4")
            write_lossless(source, frames, info)
            start = time.perf_counter()
            compress.compress(source, file, model=model, quality=quality, effort=self.effort,
                              measure=False)
            seconds = time.perf_counter() - start
        return Encoded(len(file.getvalue()), seconds, self._decode(file.getvalue(), info))

    def _decode(self, data: bytes, info: ClipInfo) -> Iterator[Picture]:
        from aehub.bitstream import Reader
        from aehub.codecs.decompress import decode_frames

        for frame in decode_frames(Reader(io.BytesIO(data)), self._model):
            yield to_yuv420(frame.picture, info.colour)


def write_lossless(path: Path, frames: Sequence[Picture], info: ClipInfo) -> None:
    """Write FFV1 with exact timestamps and the source's colour tags."""
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=info.fps)
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuv420p"
        stream.time_base = 1 / info.fps
        context = stream.codec_context
        limit_codec_threads(context)
        context.colorspace = info.colour.matrix
        context.color_primaries = info.colour.primaries
        context.color_trc = info.colour.transfer
        context.color_range = 2 if info.colour.full_range else 1
        for index, planes in enumerate(frames):
            container.mux(stream.encode(to_video_frame(planes, index)))
        container.mux(stream.encode(None))
