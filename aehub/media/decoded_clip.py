"""Clips decoded once: planes in a temporary file, which any number of readers map into memory."""

from __future__ import annotations

import mmap
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import IO, overload

import av
import numpy as np

from aehub.errors import InputError, LimitError
from aehub.files import spool
from aehub.media.audio import AudioTrack, extract
from aehub.media.image_readers import ImageReader
from aehub.media.picture import ClipInfo, Frame, Picture

RESERVED_BYTES = 256 << 20
"""Room of the temporary folder that is left to others."""


class DecodedClip(Sequence[Picture]):
    """All that a reader gives of a clip, decoded once; a source of `open_clip`.

    As a sequence it holds its pictures; their planes cannot be written to. The file takes as many
    bytes as the samples, and is deleted by `close`, or with the last reference.

    Args:
        name: of the clip, for messages.
        info: size and format of the pictures.

    Attributes:
        info: the clip, with its notes; complete after `finish`.
        times: time and duration of each frame, as in `Frame`.
        picture_bytes: of the samples of one picture.
        sound: None for a silent clip.
    """

    def __init__(self, name: str, info: ClipInfo) -> None:
        self.name, self.info = name, info
        self.times: list[tuple[int, int | None]] = []
        self.sound: AudioTrack | None = None
        self._shapes = info.pictures.shapes((info.width, info.height))
        self.picture_bytes = (info.pictures.n_samples((info.width, info.height))
                              * info.pictures.dtype.itemsize)
        self._file = tempfile.TemporaryFile(prefix="aehub-", buffering=0)
        self._map: mmap.mmap | None = None
        self._close_file = weakref.finalize(self, self._file.close)

    @property
    def nbytes(self) -> int:
        """Bytes of the samples of all pictures."""
        return self.picture_bytes * len(self.times)

    def add(self, frame: Frame) -> None:
        """Append a frame.

        Raises:
            LimitError: the temporary folder has no room for it.
        """
        planes, dtype = frame.picture, self.info.pictures.dtype
        assert tuple(plane.shape for plane in planes) == self._shapes
        left = shutil.disk_usage(tempfile.gettempdir()).free
        try:
            if left < RESERVED_BYTES + self.picture_bytes:
                raise OSError
            for plane in planes:
                _write_all(self._file, np.ascontiguousarray(plane, dtype).data.cast("B"))
        except OSError as error:
            raise LimitError(
                f"The decoded frames of {self.name} take {self.nbytes / 1e6:.0f} MB after "
                f"{len(self)} frames, and {left / 1e6:.0f} MB are left for more. Trim it or make "
                "it smaller.", "TMPDIR names a folder with more room.") from error
        self.times.append((frame.time, frame.duration))

    def finish(self, info: ClipInfo, sound: AudioTrack | None = None) -> None:
        """Take what is known after the last frame.

        Args:
            info: of the same pictures.
            sound: copied.

        Raises:
            InputError: there is no frame.
        """
        if not self.times:
            raise InputError(f"{self.name} has no frames; give a clip with at least one.")
        self.info = info
        self._map = mmap.mmap(self._file.fileno(), self.nbytes, access=mmap.ACCESS_READ)
        if sound is not None:
            file = spool()
            weakref.finalize(self, file.close)
            with sound.open() as track:
                shutil.copyfileobj(track, file)
            self.sound = AudioTrack(sound.codec, file)

    def close(self) -> None:
        """Delete the file; pictures taken before stay readable."""
        self._map = None
        self._close_file()
        if self.sound is not None:
            self.sound.close()

    def __len__(self) -> int:
        return len(self.times)

    @overload
    def __getitem__(self, key: int) -> Picture: ...
    @overload
    def __getitem__(self, key: slice) -> list[Picture]: ...
    def __getitem__(self, key: int | slice) -> Picture | list[Picture]:
        """Return one picture, or those of a slice."""
        if isinstance(key, slice):
            return [self._picture(number) for number in range(*key.indices(len(self)))]
        return self._picture(range(len(self))[key])

    def _picture(self, number: int) -> Picture:
        assert self._map is not None, "the clip is not finished, or closed"
        size, form = (self.info.width, self.info.height), self.info.pictures
        samples = np.frombuffer(self._map, form.dtype, form.n_samples(size),
                                number * self.picture_bytes)
        return Picture.from_samples(samples, size, form)


def _write_all(file: IO[bytes], data: memoryview) -> None:
    """Write without a buffer: what it could not write would fail again at the close."""
    while data:
        data = data[file.write(data):]


class DecodedReader(ImageReader):
    """Reader of a `DecodedClip`; there may be several.

    Args:
        clip: finished; stays open.
        fps: rate that replaces the times, without sound.
    """

    def __init__(self, clip: DecodedClip, fps: Fraction | None) -> None:
        super().__init__()
        self._clip, self._fps = clip, fps
        self.info, self.notes = replace(clip.info, notes=()), list(clip.info.notes)
        if fps is not None:
            self.info = replace(self.info, fps=fps, time_base=1 / fps)

    def frames(self) -> Iterator[Frame]:
        """Yield the frames."""
        for number, (picture, times) in enumerate(zip(self._clip, self._clip.times, strict=True)):
            yield Frame(picture, *(times if self._fps is None else (number, 1)))

    def audio(self, start: Fraction, stop: Fraction | None) -> AudioTrack | None:
        """The sound from `start` to `stop` seconds, None if the clip is silent or retimed."""
        sound = self._clip.sound
        if sound is None:
            return None
        if self._fps is not None:
            self.notes.append("Sound was left out, for the rate of the frames was changed.")
            return None
        if not start and stop is None:
            return AudioTrack(sound.codec, sound.open())
        with sound.open() as file, av.open(file) as container:
            return extract(container, start, stop, self.notes)

    def time_of_frame(self, index: int) -> Fraction | None:
        """Presentation time of frame `index` in seconds, None past the end."""
        times = self._clip.times
        return times[index][0] * self.info.time_base if index < len(times) else None
