"""Clips through the command line and back, checked, at three qualities.

    python docs/measure/roundtrip.py CLIPS

For each clip of the folder: size, number of frames, times (to a millisecond), colour tags and
bytes must survive, and bytes and PSNR must rise with quality; the exit code is 1 if not.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from aehub.media.clip import open_clip
from aehub.media.file_type import list_folder

QUALITIES = (10, 50, 90)


def aehub(*arguments: object) -> str:
    """Run the command and return what it prints."""
    command = [sys.executable, "-m", "aehub", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def facts(path: Path) -> tuple[tuple[Any, ...], list[float]]:
    """(what must be equal, times of the frames in seconds)."""
    with open_clip(path) as clip:
        times = [float(frame.time * clip.info.time_base) for frame in clip]
        return (clip.info.width, clip.info.height, len(times), clip.info.colour), times


def round_trip(clip: Path, quality: float, folder: Path) -> tuple[dict[str, Any], bool]:
    """(result of `compress --json`, whether everything came back)."""
    aev, back = folder / "clip.aev", folder / "back.mkv"
    result = json.loads(aehub("compress", clip, aev, "--quality", quality, "--force", "--json"))
    info = json.loads(aehub("info", aev, "--json"))
    aehub("verify", aev)
    aehub("decompress", aev, back, "--force")
    (shape, times), (shape_back, times_back) = facts(clip), facts(back)
    late = max(abs(a - b) for a, b in zip(times, times_back, strict=True))
    return result, (shape == shape_back and late <= 0.001
                    and aev.stat().st_size == result["bytes"] == info["bytes"])


def main() -> None:
    """Print the table."""
    all_passed = True
    qualities = " | ".join(f"quality {q}" for q in QUALITIES)
    print(f"| clip | frames | {qualities} | round trip holds |")
    print("|---|---|" + "---|" * (len(QUALITIES) + 1))
    with tempfile.TemporaryDirectory() as folder:
        for clip in list_folder(Path(sys.argv[1])).clips:
            runs = [round_trip(clip, quality, Path(folder)) for quality in QUALITIES]
            rising = all(a["bytes"] < b["bytes"] and a["psnr"] < b["psnr"]
                         for (a, _), (b, _) in zip(runs, runs[1:], strict=False))
            passed = rising and all(ok for _, ok in runs)
            all_passed &= passed
            cells = " | ".join(f"{r['bytes'] / 1000:.1f} kB, {r['psnr']:.2f} dB" for r, _ in runs)
            n_frames = runs[0][0]["frames"]
            print(f"| {clip.stem} | {n_frames} | {cells} | {'yes' if passed else 'NO'} |",
                  flush=True)
    sys.exit(not all_passed)


if __name__ == "__main__":
    main()
