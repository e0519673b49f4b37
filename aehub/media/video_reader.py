"""Clip reader with PyAV: one frame at a time, upright, 8-bit 4:2:0, with true timestamps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av

from aehub.config import Limits
from aehub.errors import InputError
from aehub.media import audio, conversion, still_images, streams, timestamps
from aehub.media.conversion import Converter, Orientation
from aehub.media.picture import ClipInfo, Frame
from aehub.media.source import Source, check_pixels
from aehub.threads import limit_codec_threads

_STILL_KINDS = frozenset({"jpeg_pipe", "webp_pipe"})
_EXIF_KINDS = _STILL_KINDS | {"apng"}
# Formats with an index: a truncated packet is damage there, elsewhere it is common.
_INDEXED_KINDS = frozenset({"mov", "avi", "matroska"})
# Matroska's statistics tag DURATION: hours, minutes, seconds.
_DURATION_TAG = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)$")
# Seconds of decoding that a seek must save.
_MIN_SEEK_SECONDS = 10


class IncompleteStream(Exception):
    """Fewer frames were decoded than the file has."""


class VideoReader:
    """Reader of one video stream.

    Attributes:
        info: the clip from its first frame on, without notes.
        notes: sentences about changes made; grows while frames are read.
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
        self._forced_fps, self._salvage = fps, salvage
        self._pictures: Iterator[av.VideoFrame] = iter(())
        self._stream_index: int | None = None
        self._last_end, self._has_ended = Fraction(0), False
        self._stream_notes: list[str] = []
        self._open()
        try:
            first = next(self._pictures)
        except (av.FFmpegError, IncompleteStream) as err:
            reason = "cannot be decoded: its data is damaged."
            raise streams.unreadable_error(source, reason) from err
        except StopIteration:
            raise streams.unreadable_error(source, "holds no frame that can be decoded.") from None
        self._first: av.VideoFrame | None = first
        is_photo = source.kind in ("avif", "heif") or kind in _STILL_KINDS
        self._convert = Converter(first, self._stream.codec_context.name, is_photo=is_photo)
        self.notes = self._convert.notes
        self.notes.extend(self._stream_notes)
        self._orientation = self._orientation_of(first)
        self._first_pts = first.pts or 0
        self.info = self._clip_info(first)

    def skip_to(self, seconds: Fraction) -> None:
        """Seek to a key frame before `seconds` if that saves much decoding."""
        if seconds < _MIN_SEEK_SECONDS or self._kind not in _INDEXED_KINDS or self._forced_fps:
            return
        target = self._first_pts + int(seconds / self._time_base)
        try:
            self._container.seek(target, stream=self._stream)
            self._decoder.flush_buffers()
            pictures = self._decode(counted=False)
            frame = next(pictures)
        except (av.FFmpegError, IncompleteStream, StopIteration):
            frame = None
        if frame is None or frame.pts is None or frame.pts > target:
            self._container.close()
            self._source.file.seek(0)
            self._open()
            self._first = None
            return
        self._first, self._pictures = frame, pictures

    def allow_downscale(self, width: int, height: int) -> None:
        """Allow pictures at this upright size where early downscaling saves work."""
        self._convert.allow_downscale(*self._orientation.size(width, height))

    def frames(self) -> Iterator[Frame]:
        """Yield the frames; times are true, so after `skip_to` they do not start at 0.

        Raises:
            InputError: decoding broke off, and `salvage` is False.
        """
        clock = timestamps.MonotonicTimestamps(self.info.frame_ticks, self._first_pts)
        n_frames = 0
        try:
            for picture, following in timestamps.lookahead(self._all_pictures()):
                planes = self._orientation.apply(self._convert(picture))
                time = n_frames if self._forced_fps else clock.next_time(picture.pts)
                yield Frame(planes, time, self._frame_duration(picture, following is None))
                n_frames += 1
        except (av.FFmpegError, IncompleteStream) as err:
            if not self._salvage:
                raise InputError(
                    f"{self._source.name} breaks off after {n_frames} frames: its data is damaged.",
                    "Keep what is intact with --salvage (salvage=True)."
                ) from err
            self.notes.append(f"Decoding broke off after {n_frames} frames; the rest is lost.")

    def audio(self, start: Fraction, stop: Fraction | None) -> audio.AudioTrack | None:
        """The sound from `start` to `stop` seconds, None if the clip is silent or retimed."""
        if not self._container.streams.audio or not self._source.is_seekable:
            return None
        if self._forced_fps:
            self.notes.append("Sound was left out, for the rate of the frames was changed.")
            return None
        zero = self._first_pts * self._time_base
        with streams.reopened(self._source, self._kind) as container:
            if not start:
                self.notes.extend(audio.leading_sound_note(container, zero))
            end = None if stop is None else zero + stop
            return audio.extract(container, zero + start, end, self.notes)

    def time_of_frame(self, index: int) -> Fraction | None:
        """Presentation time of frame `index` (-1: the last) in seconds from the packets, None past
        the end."""
        times, _ = streams.packet_times(self._source, self._kind, self._stream.index)
        return times[index] - times[0] if times and index < len(times) else None

    def close(self) -> None:
        """Release the decoder."""
        self._container.close()

    def _open(self) -> None:
        self._container = streams.open_container(self._source, self._kind)
        if self._stream_index is None:
            chosen = streams.choose_video(self._source, self._kind, self._container)
            self._stream_index, self._stream_notes = chosen[0].index, chosen[1]
        stream = self._container.streams[self._stream_index]
        self._decoder = decoder = streams.decoder_of(stream)
        self._check_pixels(stream.codec_context.width, stream.codec_context.height)
        # Pictures may grow midway; the decoder must refuse before it allocates. The margin is for
        # codecs that round sizes up to whole blocks.
        ceiling = 2 * self._limits.max_pixels + (1 << 16)
        options = {"max_pixels": str(ceiling)}
        if self._kind in _STILL_KINDS:
            # Otherwise half a photograph is decoded without an error, the rest grey.
            options["err_detect"] = "explode"
        decoder.options = options
        # Frame threads of an APNG deadlock where a frame is damaged.
        decoder.thread_type = "SLICE" if self._kind in _EXIF_KINDS else "AUTO"
        limit_codec_threads(decoder)
        self._stream = stream
        self._time_base = stream.time_base or Fraction(1, 1000)
        if self._source.kind in ("avif", "heif") and self._time_base == 1:
            # A photograph, to which libavformat gives a duration of one second.
            self._forced_fps = self._forced_fps or timestamps.DEFAULT_FPS
        self._pictures = self._decode(counted=True)

    def _decode(self, *, counted: bool) -> Iterator[av.VideoFrame]:
        """Decode from the current position; `counted`: check at the end that none is missing."""
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
                    # In Theora and AVI: repeat the picture before; decoders refuse such packets.
                    self._last_end = max(self._last_end, after * self._time_base)
                    continue
                if packet.size and not packet.is_discard:
                    times.add_packet(packet.dts if counts else packet.pts)
                for frame in self._decoder.decode(packet):
                    self._check_pixels(frame.width, frame.height)
                    frame.pts = times.next_frame(frame.pts)
                    has_begun = True
                    yield frame
                    if self._kind in _STILL_KINDS:
                        # The rest is its preview, gain map, another view or a film.
                        return
            if counted and has_begun:
                self._check_complete(n_packets, end)
            self._has_ended = True
        except (av.FFmpegError, IncompleteStream):
            if self._salvage:
                yield from self._flushed()
            raise

    def _check_packet(self, packet: av.Packet) -> None:
        """Refuse truncated and encrypted packets."""
        if packet.is_corrupt and self._kind in _INDEXED_KINDS:
            raise IncompleteStream
        if streams.is_encrypted_packet(packet):
            raise streams.encryption_error(self._source)

    def _check_complete(self, n_packets: int, end: Fraction) -> None:
        """Compare the packets read with the index (mov, avi) or the duration (Matroska)."""
        if self._kind in ("mov", "avi") and n_packets < len(self._stream.index_entries):
            raise IncompleteStream
        tag = _DURATION_TAG.match(self._stream.metadata.get("DURATION", ""))
        if self._kind == "matroska" and tag:
            hours, minutes, seconds = (Fraction(part) for part in tag.groups())
            stated = 3600 * hours + 60 * minutes + seconds
            if end + 3 / self.info.fps < stated:
                # Older writers give the last frame no duration.
                with self._source.rewound() as file:
                    if not streams.is_complete_matroska(file):
                        raise IncompleteStream
                length = Fraction(self._container.duration or 0, av.time_base)
                self._last_end = min(stated, length)

    def _frame_duration(self, picture: av.VideoFrame, is_last: bool) -> int | None:
        """Declared duration of a picture in ticks; the last one lasts to the end of the file."""
        if self._forced_fps:
            return 1
        stated = int(picture.duration)
        if is_last and self._has_ended and picture.pts is not None:
            indexed = streams.indexed_end(self._stream, self._kind)
            end = max(indexed, int(self._last_end / self._time_base))
            stated = max(stated, end - picture.pts)
        return stated or None

    def _flushed(self) -> Iterator[av.VideoFrame]:
        """Intact frames that the decoder still holds after an error."""
        try:
            yield from self._decoder.decode(None)
        except av.FFmpegError:
            return

    def _all_pictures(self) -> Iterator[av.VideoFrame]:
        if self._first is not None:
            yield self._first
            self._first = None
        yield from self._pictures

    def _clip_info(self, first: av.VideoFrame) -> ClipInfo:
        width, height = self._orientation.size(first.width, first.height)
        fps, n_frames = self._rate_and_count()
        aspect = self._stream.sample_aspect_ratio or Fraction(1)
        if first.interlaced_frame:
            self.notes.append("The clip is interlaced; its frames are kept as they are.")
        return ClipInfo(
            width=width,
            height=height,
            fps=fps,
            time_base=1 / fps if self._forced_fps else self._time_base,
            colour=self._convert.colour,
            pixel_aspect=1 / aspect if self._orientation.transpose else aspect,
            n_frames=n_frames,
            source_bytes=self._source.n_bytes,
            plays=0 if n_frames == 1 else self._play_count(),
        )

    def _play_count(self) -> int:
        """Number of times an animation is played, 0 for ever."""
        if self._kind in still_images.ANIMATED_KINDS and self._source.is_seekable:
            with self._source.rewound() as file:
                return still_images.play_count(file, self._kind)
        return still_images.parse_play_count(self._container.metadata.get(still_images.PLAYS_TAG))

    def _rate_and_count(self) -> tuple[Fraction, int | None]:
        """The nominal rate, and the expected number of frames."""
        if self._kind in _STILL_KINDS:
            return self._forced_fps or timestamps.DEFAULT_FPS, 1
        if self._forced_fps:
            return self._forced_fps, self._stream.frames or None
        return streams.rate_and_count(self._source, self._kind, self._container, self._stream)

    def _orientation_of(self, first: av.VideoFrame) -> Orientation:
        """Orientation from the display matrix, or from the EXIF tag of a photograph."""
        if self._kind in _EXIF_KINDS:
            # libavcodec ignores EXIF that begins with its own name, and PyAV 18 passes none on.
            with self._source.rewound():
                tags = still_images.metadata(self._source.original)
                return conversion.from_exif(tags.get("Orientation", 1))
        try:
            matrix: Any = first.side_data.get("DISPLAYMATRIX")
        except ValueError:
            # PyAV 18 refuses all side data if one type is unknown.
            return conversion.from_rotation(first.rotation)
        return conversion.from_display_matrix(bytes(matrix)) if matrix else Orientation()

    def _check_pixels(self, width: int, height: int) -> None:
        check_pixels(self._source.name, width, height, self._limits)
