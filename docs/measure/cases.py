"""Round trips of files that other programs wrote, one row for each.

    python docs/measure/cases.py FOLDER [--to mp4] [--walk "still*,sh_*"]

Every file and folder in FOLDER is compressed and decompressed again, as `aehub compress` and
`aehub decompress` do it: size, frames, seconds, bytes of sound, the mean colour of the first frame,
and the notes; or the sentence that refuses it. Names that match --walk are pictures of a character:
`aehub animate --model sprite-motion` makes them walk, and the row says how many different frames
came and how much of the first is covered.
"""

from __future__ import annotations

import argparse
import tempfile
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

import aehub
from aehub.errors import AEHubError


def round_trip(path: Path, folder: Path, suffix: str) -> str:
    """A row of numbers for a clip or a picture."""
    packed, back = folder / "case.aev", folder / f"back.{suffix}"
    result = aehub.compress(path, packed, quality=70)
    facts = aehub.info(packed)
    shown = aehub.decompress_to(packed, back)
    assert isinstance(shown, aehub.Decompressed)
    red, green, blue = np.mean(next(iter(aehub.decompress(packed))), (0, 1)).round()
    notes = "; ".join((*result.notes, *shown.notes)) or "-"
    return (f"{facts['width']}x{facts['height']} | {facts['frames']} | {facts['seconds']:.2f} | "
            f"{facts['audio_bytes']} | {red:.0f} {green:.0f} {blue:.0f} | {notes}")


def walk_cycle(path: Path, folder: Path) -> str:
    """A row of numbers for a character that walks."""
    output = folder / "walk.webp"
    result = aehub.animate(output, model="sprite-motion", keyframes=[path])
    with Image.open(output) as image:
        frames = [np.asarray(frame.convert("RGBA")) for frame in ImageSequence.Iterator(image)]
    different = len({frame.tobytes() for frame in frames})
    covered = 100 * (frames[0][..., 3] > 0).mean()
    notes = "; ".join(result.notes) or "-"
    return (f"{frames[0].shape[1]}x{frames[0].shape[0]} | {len(frames)} | walk | 0 | "
            f"{different} different, {covered:.1f} % covered | {notes}")


def main() -> None:
    """Print one row for each file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--to", default="mp4", help="format to decompress to")
    parser.add_argument("--walk", default="", help="patterns of pictures that are to walk")
    arguments = parser.parse_args()
    print("| file | size | frames | seconds | sound | first frame | notes |")
    print("|---|---|---|---|---|---|---|")
    for path in sorted(arguments.folder.iterdir()):
        if path.suffix == ".md" or path.name.startswith("."):
            continue
        walks = any(fnmatch(path.name, pattern) for pattern in arguments.walk.split(","))
        with tempfile.TemporaryDirectory() as folder:
            try:
                row = (walk_cycle(path, Path(folder)) if walks
                       else round_trip(path, Path(folder), arguments.to))
            except AEHubError as error:
                row = f"- | - | - | - | - | {error}"
        print(f"| {path.name} | {row} |", flush=True)


if __name__ == "__main__":
    main()
