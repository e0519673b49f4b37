"""Reading clips with PyAV: one frame at a time, upright, 8-bit 4:2:0, in true time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av

from aehub.config import Limits
from aehub.errors import InputError
from aehub.media import audio, conversion, still_images, streams, timestamps
from aehub.media import streams as ebml
from aehub.media import streams as probe
from aehub.media.conversion import Converter, Orientation
from aehub.media.picture import ClipInfo, Frame
from aehub.media.source import Source, check_pixels
from aehub.threads import share

_STILLS = frozenset({"jpeg_pipe", "webp_pipe"})
_WITH_EXIF = _STILLS | {"apng"}
# Files whose parts are indexed: a packet cut short there is damage, elsewhere it is daily life.
_INDEXED = frozenset({"mov", "avi", "matroska"})
_DURATION = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)$")
_WORTH_SEEKING_SECONDS = 10


class IncompleteStream(Exception):
    """Fewer frames came than the file has."""


class VideoReader:
    """Reads one video stream.

    Attributes:
        info: the clip from its first frame on, without notes.
        notes: what was changed on the way in; grows while frames are read.
    """

    def __init__(
        self, source: Source, kind: str | None, limits: Limits, fps: Fraction | None, salvage: bool
    ) -> None:
        """Open the stream and decode its first frame.

        Raises:
            InputError: it cannot be read, or holds no frame.
            LimitError: its pictures are too large.
        """
        self._source, self._kind, self._limits = source, kind, limits
        self._fps, self._salvage = fps, salvage
        self._pictures: Iterator[av.VideoFrame] = iter(())
        self._index: int | None = None
        self._end, self._is_complete = Fraction(0), False
        self._left_out: list[str] = []
        self._open()
        try:
            first = next(self._pictures)
        except (av.FFmpegError, IncompleteStream) as err:
            raise probe.unreadable(source, "cannot be decoded: its data is damaged.") from err
        except StopIteration:
            raise probe.unreadable(source, "holds no frame that can be decoded.") from None
        self._first: av.VideoFrame | None = first
        is_photo = source.kind in ("avif", "heif") or kind in _STILLS
        self._convert = Converter(first, self._stream.codec_context.name, is_photo=is_photo)
        self.notes = self._convert.notes
        self.notes.extend(self._left_out)
        self._orientation = self._oriented(first)
        self._zero = first.pts or 0
        self.info = self._describe(first)

    def skip_to(self, seconds: Fraction) -> None:
        """Jump to a key frame before `seconds`, where that saves much decoding."""
        if seconds < _WORTH_SEEKING_SECONDS or self._kind not in _INDEXED or self._fps:
            return
        target = self._zero + int(seconds / self._time_base)
        try:
            self._container.seek(target, stream=self._stream)
            self._decoder.flush_buffers()
            pictures = self._decoded(counted=False)
            landed = next(pictures)
        except (av.FFmpegError, IncompleteStream, StopIteration):
            landed = None
        if landed is None or landed.pts is None or landed.pts > target:
            self._container.close()
            self._source.file.seek(0)
            self._open()
            self._first = None
            return
        self._first, self._pictures = landed, pictures

    def allow_downscale(self, width: int, height: int) -> None:
        """Give pictures at this size, upright, where it saves work that they are small early."""
        self._convert.allow_downscale(*self._orientation.size(width, height))

    def frames(self) -> Iterator[Frame]:
        """Decode; times are true, so after `skip_to` they do not start at 0.

        Raises:
            InputError: decoding broke off, unless it is to be salvaged.
        """
        clock = timestamps.MonotonicTimestamps(self.info.frame_ticks, self._zero)
        n_frames = 0
        try:
            for picture, following in timestamps.lookahead(self._from_first()):
                planes = self._orientation.turn(self._convert(picture))
                time = n_frames if self._fps else clock.tick(picture.pts)
                yield Frame(planes, time, self._duration(picture, following is None))
                n_frames += 1
        except (av.FFmpegError, IncompleteStream) as err:
            if not self._salvage:
                raise InputError(
                    f"{self._source.name} breaks off after {n_frames} frames: its data is damaged.",
                    "Keep what is intact with --salvage (salvage=True)."
                ) from err
            self.notes.append(f"Decoding broke off after {n_frames} frames; the rest is lost.")

    def audio(self, start: Fraction, stop: Fraction | None) -> audio.AudioTrack | None:
        """The sound from `start` to `stop` seconds, or none if the clip is silent or retimed."""
        if not self._container.streams.audio or not self._source.is_seekable:
            return None
        if self._fps:
            self.notes.append("Sound was left out, for the rate of the frames was changed.")
            return None
        zero = self._zero * self._time_base
        with probe.reopened(self._source, self._kind) as container:
            if not start:
                self.notes.extend(audio.leading_sound_note(container, zero))
            end = None if stop is None else zero + stop
            return audio.extract(container, zero + start, end, self.notes)

    def time_of_frame(self, index: int) -> Fraction | None:
        """When frame `index` (-1: the last) is shown in seconds, from the packets; `None` past
        the end."""
        times, _ = probe.packet_times(self._source, self._kind, self._stream.index)
        return times[index] - times[0] if times and index < len(times) else None

    def close(self) -> None:
        """Release the decoder."""
        self._container.close()

    def _open(self) -> None:
        self._container = probe.open_container(self._source, self._kind)
        if self._index is None:
            stream, self._left_out = streams.choose_video(self._source, self._kind, self._container)
            self._index = stream.index
        stream = self._container.streams[self._index]
        self._decoder = decoder = streams.decoder_of(stream)
        self._check_pixels(stream.codec_context.width, stream.codec_context.height)
        # A stream may grow in the middle; the decoder must refuse before it allocates. The margin
        # is for codecs that round sizes up to whole blocks.
        ceiling = 2 * self._limits.max_pixels + (1 << 16)
        options = {"max_pixels": str(ceiling)}
        if self._kind in _STILLS:
            # Otherwise half a photograph is decoded as a whole one with a grey rest.
            options["err_detect"] = "explode"
        decoder.options = options
        # Several frames of an APNG at once wait for each other without end where one is damaged.
        decoder.thread_type = "SLICE" if self._kind in _WITH_EXIF else "AUTO"
        share(decoder)
        self._stream = stream
        self._time_base = stream.time_base or Fraction(1, 1000)
        if self._source.kind in ("avif", "heif") and self._time_base == 1:
            # A photograph, for which libavformat makes up a second.
            self._fps = self._fps or timestamps.DEFAULT_FPS
        self._pictures = self._decoded(counted=True)

    def _decoded(self, *, counted: bool) -> Iterator[av.VideoFrame]:
        """Decode from where the container stands; `counted`: check at the end that all came."""
        n_packets, end, has_begun = 0, Fraction(0), False
        counts = self._kind == "avi"
        reorders = self._stream.codec_context.has_b_frames
        times = timestamps.PresentationTimes(reorders, counted=counts)
        try:
            for packet in self._container.demux(self._stream):
                self._check_packet(packet)
                if packet.pts is not None:
                    after = packet.pts + (packet.duration or 0)
                    n_packets, end = n_packets + 1, max(end, after * self._time_base)
                if not packet.size and packet.pts is not None:
                    # The picture before stays, say Theora and AVI; decoders refuse such packets.
                    self._end = max(self._end, after * self._time_base)
                    continue
                if packet.size and not packet.is_discard:
                    times.packet(packet.dts if counts else packet.pts)
                for frame in self._decoder.decode(packet):
                    self._check_pixels(frame.width, frame.height)
                    frame.pts = times.frame(frame.pts)
                    has_begun = True
                    yield frame
                    if self._kind in _STILLS:
                        # What follows is its preview, its gain map, another view or a film.
                        return
            if counted and has_begun:
                self._check_complete(n_packets, end)
            self._is_complete = True
        except (av.FFmpegError, IncompleteStream):
            if self._salvage:
                yield from self._left_over()
            raise

    def _check_packet(self, packet: av.Packet) -> None:
        """Refuse what was cut short, or is encrypted."""
        if packet.is_corrupt and self._kind in _INDEXED:
            raise IncompleteStream
        if streams.is_encrypted_packet(packet):
            raise probe.locked(self._source)

    def _check_complete(self, n_packets: int, end: Fraction) -> None:
        """Hold what was read to the index of the file (mov, avi) or its length (Matroska)."""
        if self._kind in ("mov", "avi") and n_packets < len(self._stream.index_entries):
            raise IncompleteStream
        tag = _DURATION.match(self._stream.metadata.get("DURATION", ""))
        if self._kind == "matroska" and tag:
            hours, minutes, seconds = (Fraction(part) for part in tag.groups())
            stated = 3600 * hours + 60 * minutes + seconds
            if end + 3 / self.info.fps < stated:
                # Older writers do not say of the last frame itself how long it stays.
                with self._source.from_start() as file:
                    if not ebml.is_whole(file):
                        raise IncompleteStream
                length = Fraction(self._container.duration or 0, av.time_base)
                self._end = min(stated, length)

    def _duration(self, picture: av.VideoFrame, is_last: bool) -> int | None:
        """Ticks that a picture says it stays, the last one as long as the file says it lasts."""
        if self._fps:
            return 1
        stated = int(picture.duration)
        if is_last and self._is_complete and picture.pts is not None:
            end = max(probe.stated_end(self._stream, self._kind), int(self._end / self._time_base))
            stated = max(stated, end - picture.pts)
        return stated or None

    def _left_over(self) -> Iterator[av.VideoFrame]:
        """The intact frames that the decoder still holds after an error."""
        try:
            yield from self._decoder.decode(None)
        except av.FFmpegError:
            return

    def _from_first(self) -> Iterator[av.VideoFrame]:
        if self._first is not None:
            yield self._first
            self._first = None
        yield from self._pictures

    def _describe(self, first: av.VideoFrame) -> ClipInfo:
        width, height = self._orientation.size(first.width, first.height)
        fps, n_frames = self._rate_and_count()
        aspect = self._stream.sample_aspect_ratio or Fraction(1)
        if first.interlaced_frame:
            self.notes.append("The clip is interlaced; its frames are kept as they are.")
        return ClipInfo(
            width=width,
            height=height,
            fps=fps,
            time_base=1 / fps if self._fps else self._time_base,
            colour=self._convert.colour,
            pixel_aspect=1 / aspect if self._orientation.transpose else aspect,
            n_frames=n_frames,
            source_bytes=self._source.n_bytes,
            plays=0 if n_frames == 1 else self._plays(),
        )

    def _plays(self) -> int:
        """How often an animation is played."""
        if self._kind in still_images.ANIMATIONS and self._source.is_seekable:
            with self._source.from_start() as file:
                return still_images.play_count(file, self._kind)
        return still_images.parse_play_count(self._container.metadata.get(still_images.TAG))

    def _rate_and_count(self) -> tuple[Fraction, int | None]:
        """The nominal rate, and the number of frames to expect."""
        if self._kind in _STILLS:
            return self._fps or timestamps.DEFAULT_FPS, 1
        if self._fps:
            return self._fps, self._stream.frames or None
        return probe.rate_and_count(self._source, self._kind, self._container, self._stream)

    def _oriented(self, first: av.VideoFrame) -> Orientation:
        """How to turn the pictures, from the display matrix or the tag of a photograph."""
        if self._kind in _WITH_EXIF:
            # libavcodec takes no EXIF that begins with its own name, and PyAV 18 gives none at all.
            with self._source.from_start():
                told = still_images.metadata(self._source.whole)
                return conversion.from_exif(told.get("Orientation", 1))
        try:
            matrix: Any = first.side_data.get("DISPLAYMATRIX")
        except ValueError:
            # PyAV 18 refuses the whole table when it holds a type it does not know.
            return conversion.from_rotation(first.rotation)
        return conversion.from_matrix(bytes(matrix)) if matrix else Orientation()

    def _check_pixels(self, width: int, height: int) -> None:
        check_pixels(self._source.name, width, height, self._limits)
