"""Rate of `sandwich-av1` against SVT-AV1 of the same preset, CRF and grouping.

    python docs/measure/sandwich.py CLIPS [--preset 6] [--model FOLDER] [--ways] [--x264]
    python docs/measure/sandwich.py --speed [--preset 6] [--model FOLDER]
    python docs/measure/sandwich.py --runs RUN [RUN ...] --plot FILE

For each clip of the folder one row: Bjøntegaard rate in PSNR, (6 Y + U + V) / 8, and in MS-SSIM
against SVT-AV1, of the whole file, and of its payloads alone; the range of PSNR that both share.
The elementary stream of SVT-AV1 is stripped of what files do not store, as in `aehub compare`.

--ways adds the parts of the codec one after the other: plain AV1 in our container, the restorer
with weights of one correction, of all, of all for two and four classes, and the best of them, all
at every other quality. --x264 adds the rate against x264 medium. --speed measures a generated clip
of 640x360 instead: frames per second of encoder and decoder, and of SVT-AV1 and dav1d alone, the
best of three runs. --runs draws how the gain of runs of `aehub train sandwich-av1` on held-out
crops, by the first correction at a weight of 1, moved with their steps; the names of their folders
are the labels.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
from matplotlib.figure import Figure
from speed import best_seconds, count_frames, moving_clip

import aehub
from aehub.bitstream import Reader
from aehub.codecs.decompress import decode_frames
from aehub.codecs.sandwich import av1, group_encoder, mixing
from aehub.codecs.sandwich.obu import temporal_units
from aehub.codecs.sandwich.settings import crf_of, preset_of
from aehub.measure.video_codecs import svtav1, x264
from aehub.media.clip import open_clip
from aehub.media.file_type import list_folder
from aehub.media.metrics import Distortion, bd_rate
from aehub.media.picture import ClipInfo, Picture

QUALITIES = (5, 20, 35, 50, 65, 80, 95)
EVERY_OTHER = slice(None, None, 2)
"""Of the qualities, for --ways: four points are enough for a curve."""
X264_CRFS = (18, 23, 28, 33, 38, 43)


class Point(NamedTuple):
    """One encode: bytes of the file and of its payloads, PSNR in dB, MS-SSIM or 0."""

    bytes: int
    payload: int
    psnr: float
    ms_ssim: float


def point(frames: Sequence[Picture], decoded: Iterable[Picture], n_bytes: int, payload: int
          ) -> Point:
    """Measure decoded frames."""
    distortion = Distortion()
    for one, two in zip(frames, decoded, strict=True):
        distortion.add(one, two)
    return Point(n_bytes, payload, distortion.psnr, distortion.ms_ssim or 0.0)


def ours(model: object, path: Path, frames: Sequence[Picture], quality: float, effort: int
         ) -> Point:
    """Compress a clip, and decode the file."""
    file = io.BytesIO()
    aehub.compress(path, file, model=model, quality=quality, effort=effort, audio=False,
                   measure=False)
    data = file.getvalue()
    payload = aehub.info(io.BytesIO(data))["payload_bytes"]
    decoded = decode_frames(Reader(io.BytesIO(data)), model)
    return point(frames, (frame.picture for frame in decoded), len(data), payload)


def weights_of(n_classes: int, one: bool = False) -> object:
    """Instead of the choice of weights: those of `n_classes`, of one correction or of all; or none
    (0)."""
    def choose(statistics: mixing.Statistics, n_bytes: int) -> tuple[np.ndarray | None, float]:
        if not n_classes:
            return None, 0.0
        return statistics.solve(n_classes, 1 if one else statistics.candidates), 0.0

    return choose


WAYS: dict[str, object] = {
    "AV1 in .aev": weights_of(0), "1 correction": weights_of(1, one=True), "all": weights_of(1),
    "all, 2 classes": weights_of(2), "all, 4 classes": weights_of(4)}


def rates(anchor: Sequence[Point], test: Sequence[Point]) -> list[str]:
    """Columns of a row."""
    def rate(anchor_field: str, field: str, quality: str) -> str:
        curves = [[(getattr(p, rate), getattr(p, quality)) for p in points]
                  for points, rate in ((anchor, anchor_field), (test, field))]
        found = bd_rate(*curves).percent
        return "-" if found is None else f"{found:+.2f} %"

    shared = [min(p[-1].psnr for p in (anchor, test)), max(p[0].psnr for p in (anchor, test))]
    has_ms_ssim = all(p.ms_ssim for p in anchor)
    return [rate("bytes", "bytes", "psnr"), rate("bytes", "payload", "psnr"),
            rate("bytes", "bytes", "ms_ssim") if has_ms_ssim else "-",
            f"{abs(shared[1] - shared[0]):.1f} dB"]


def standard(codec: object, frames: Sequence[Picture], info: ClipInfo, crf: float) -> Point:
    """One encode of a standard codec."""
    encoded = codec.encode(frames, info, crf)
    return point(frames, encoded.decoded, encoded.n_bytes, encoded.n_bytes)


def row(clip: Path, model: object, preset: int, ways: bool, with_x264: bool
        ) -> dict[str, list[str]]:
    """Columns of each comparison of a clip."""
    effort = next(e for e in range(10) if preset_of(e) == preset)
    with open_clip(clip) as opened:
        info, frames = opened.info, [frame.picture for frame in opened]
    anchor = [standard(svtav1(preset), frames, info, crf_of(q)) for q in QUALITIES]
    found = {}
    for name, choose in (WAYS.items() if ways else ()):
        with ExitStack() as stack:
            stack.enter_context(patch.object(group_encoder, "_best_weights", choose))
            stack.enter_context(patch.object(group_encoder, "LEAST_HALVED_CRF", 100.0))
            found[name] = rates(anchor[EVERY_OTHER], [
                ours(model, clip, frames, q, effort) for q in QUALITIES[EVERY_OTHER]])
    test = [ours(model, clip, frames, q, effort) for q in QUALITIES]
    if ways:
        found["the best"] = rates(anchor[EVERY_OTHER], test[EVERY_OTHER])
    found["sandwich-av1"] = rates(anchor, test)
    if with_x264:
        other = [standard(x264("medium"), frames, info, crf) for crf in X264_CRFS]
        found["against x264 medium"] = rates(other, test)
        found["SVT-AV1 against x264 medium"] = rates(other, anchor)
    return found


SPEED_SIZE, SPEED_FRAMES, SPEED_QUALITY = (640, 360), 100, 50


def speed(model: object, preset: int) -> None:
    """Print frames per second of a generated clip."""
    effort = next(e for e in range(10) if preset_of(e) == preset)
    with tempfile.TemporaryDirectory() as name:
        clip, file = Path(name, "clip.mkv"), Path(name, "clip.aev")
        moving_clip(clip, *SPEED_SIZE, SPEED_FRAMES)

        def compress() -> None:
            aehub.compress(clip, file, model=model, quality=SPEED_QUALITY, effort=effort,
                           measure=False, force=True)

        def plain() -> bytes:
            with open_clip(clip) as opened:
                encoder = av1.Av1Encoder(SPEED_SIZE, opened.info.fps, crf_of(SPEED_QUALITY), preset)
                return b"".join([*(encoder.add(f.picture) for f in opened), encoder.finish()])

        units = list(temporal_units(plain()))
        for label, job in (("encode", compress), ("encode, SVT-AV1", plain),
                           ("decode", lambda: count_frames(file, model)),
                           ("decode, dav1d", lambda: list(av1.decode(units, SPEED_SIZE)))):
            print(f"| {label} | {SPEED_FRAMES / best_seconds(3, job):.1f} frames/s |", flush=True)


def draw_runs(runs: Sequence[Path], file: Path) -> None:
    """Draw the held-out gain of training runs over their steps."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for run in runs:
        reports = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        points = [(report["step"] / 1000, report["held_out_gain"]) for report in reports]
        axes.plot(*zip(*points, strict=True), label=run.name)
        print(f"| {run.name} | {reports[-1]['step']:,} steps | "
              f"{max(gain for _, gain in points):.3f} dB |")
    axes.set_xlabel("thousand steps")
    axes.set_ylabel("held-out gain, dB")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(file, dpi=110)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path, nargs="?")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--preset", type=int, default=6)
    parser.add_argument("--model", default="sandwich-av1")
    parser.add_argument("--ways", action="store_true")
    parser.add_argument("--x264", action="store_true")
    parser.add_argument("--runs", type=Path, nargs="+")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    if options.runs and options.plot:
        draw_runs(options.runs, options.plot)
        return
    if options.clips is None and not options.speed:
        parser.error("name a folder of clips, --speed, or --runs and --plot")
    model = aehub.load(options.model)
    if options.speed:
        speed(model, options.preset)
        return
    print("| clip | way | file, PSNR | payload, PSNR | file, MS-SSIM | range |")
    print("|---" * 6 + "|")
    table: dict[str, list[list[str]]] = {}
    for clip in list_folder(options.clips).clips:
        for way, columns in row(clip, model, options.preset, options.ways, options.x264).items():
            table.setdefault(way, []).append(columns)
            print(f"| {clip.stem} | {way} | " + " | ".join(columns) + " |", flush=True)
    for way, rows in table.items():
        means = []
        for column in list(zip(*rows, strict=True))[:3]:
            values = [float(text.split()[0]) for text in column if text != "-"]
            means.append(f"{np.mean(values):+.2f} %" if values else "-")
        print(f"| **mean** | {way} | " + " | ".join(means) + " | |")


if __name__ == "__main__":
    main()
