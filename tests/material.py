"""Clips that tests make for themselves: moving pictures with texture, written with PyAV."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image


def moving_picture(n: int, width: int, height: int, seed: int = 0) -> list[np.ndarray]:
    """Make `n` pictures uint8 [height, width, 3]: drifting noise, a moving disc and a bar."""
    rng = np.random.default_rng(seed)
    margin = 2 * n + 2
    texture = sum(
        _smooth_noise(rng, height + margin, width + margin, cell) * cell**0.5
        for cell in (4, 9, 20, 45)
    )
    texture = 128 + 45 * (texture - texture.mean()) / texture.std()
    y, x = np.mgrid[:height, :width]
    frames = []
    for t in range(n):
        picture = texture[t : t + height, 2 * t : 2 * t + width].copy()
        turn = 2 * np.pi * t / max(n, 12)
        disc = np.hypot(
            x - width * (0.5 + 0.3 * np.cos(turn)), y - height * (0.5 + 0.3 * np.sin(turn))
        )
        picture[disc < min(width, height) / 6] = (220, 60, 40)
        bar = (x + 3 * t) % width < width / 8
        picture[bar & (y > height * 0.75)] = (30, 90, 200)
        frames.append(np.clip(np.rint(picture), 0, 255).astype(np.uint8))
    return frames


def write_clip(
    path: str | Path,
    frames: Sequence[np.ndarray],
    *,
    codec: str | None = None,
    pix_fmt: str = "yuv420p",
    fps: Fraction | int = 25,
    rotation: int | None = None,
    display_matrix: Sequence[int] | None = None,
    audio: bool | str = False,
    vfr_pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 1000),
    colour: tuple[int, int, int, int] | None = None,
    pixel_aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write RGB pictures with PyAV and return the path.

    Args:
        path: the suffix chooses the container.
        frames: uint8 [H, W, 3] each; sizes must suit the codec.
        codec: encoder; by default one that suits the suffix.
        pix_fmt: what the encoder is given; libswscale converts.
        fps: rate.
        rotation: counter-clockwise degrees in the display matrix (mp4, mov).
        display_matrix: the nine numbers themselves.
        audio: add two tones; a string names the encoder, `True` is AAC (Opus for webm).
        vfr_pts: time of each frame in `time_base` ticks.
        time_base: seconds per tick of `vfr_pts`.
        colour: (matrix, range, primaries, transfer) tags; range 1 is limited, 2 full.
        pixel_aspect: width of a pixel over its height.
        options: for the encoder.
        container_options: for the container.
    """
    path = Path(path)
    codec = codec or {".webm": "libvpx-vp9", ".mkv": "ffv1", ".avi": "mpeg4"}.get(
        path.suffix, "libx264"
    )
    if codec == "libx264":
        options = {"preset": "ultrafast", "crf": "18", **(options or {})}
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream: Any = container.add_stream(codec, rate=fps, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        _tag(stream, colour, pixel_aspect, rotation, display_matrix)
        if vfr_pts is not None:
            stream.time_base = stream.codec_context.time_base = time_base
        sound = _add_sound(container, path, audio)
        for index, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24").reformat(format=pix_fmt)
            if vfr_pts is not None:
                frame.pts, frame.time_base = vfr_pts[index], time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            _write_tones(container, sound, len(frames) / Fraction(fps))
    return path


def tones(seconds: float | Fraction, rate: int = 48_000) -> np.ndarray:
    """Two tones, float32 [2, samples]."""
    t = np.arange(round(seconds * rate)) / rate
    return np.stack([np.sin(2765 * t), np.sin(4147 * t)]).astype(np.float32) / 3


def shown_for(path: Path) -> list[float]:
    """Read milliseconds of each picture of an animation, by Pillow."""
    found = []
    with Image.open(path) as image:
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            image.load()
            found.append(float(image.info["duration"]))
    return found


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    """Peak signal-to-noise ratio of uint8 arrays in dB; infinity for equal ones."""
    error = np.mean((first.astype(np.float64) - second) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def _smooth_noise(rng: np.random.Generator, height: int, width: int, cell: int) -> np.ndarray:
    """Noise of one octave, bilinear between lattice points `cell` apart: [height, width, 3]."""
    lattice = rng.standard_normal((height // cell + 2, width // cell + 2, 3))
    y, x = np.arange(height) / cell, np.arange(width) / cell
    top, left = y.astype(int), x.astype(int)
    fy, fx = (y - top)[:, None, None], (x - left)[None, :, None]
    rows = lattice[top] * (1 - fy) + lattice[top + 1] * fy
    return rows[:, left] * (1 - fx) + rows[:, left + 1] * fx


def _tag(
    stream: Any,
    colour: tuple[int, int, int, int] | None,
    pixel_aspect: Fraction | None,
    rotation: int | None,
    display_matrix: Sequence[int] | None,
) -> None:
    context = stream.codec_context
    if colour is not None:
        context.colorspace, context.color_range, context.color_primaries, context.color_trc = colour
    if pixel_aspect is not None:
        context.sample_aspect_ratio = pixel_aspect
    if rotation is not None:
        stream.set_display_rotation(rotation)
    if display_matrix is not None:
        stream.set_display_matrix(list(display_matrix))


def _add_sound(container: Any, path: Path, audio: bool | str) -> Any:
    if not audio:
        return None
    codec = audio if isinstance(audio, str) else "libopus" if path.suffix == ".webm" else "aac"
    return container.add_stream(codec, rate=48_000, layout="stereo")


def _write_tones(container: Any, sound: Any, seconds: Fraction) -> None:
    resampler = av.AudioResampler(format=sound.format, layout="stereo", rate=48_000)
    for frame in _pieces(tones(seconds)):
        for piece in resampler.resample(frame):
            container.mux(sound.encode(piece))
    container.mux(sound.encode(None))


def _pieces(sound: np.ndarray, samples: int = 960) -> Iterable[av.AudioFrame]:
    for start in range(0, sound.shape[1], samples):
        piece = np.ascontiguousarray(sound[:, start : start + samples])
        frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, start, Fraction(1, 48_000)
        yield frame
