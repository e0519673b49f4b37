"""What a `.aev` file says about itself, and whether it is whole. Needs no torch."""

from __future__ import annotations

import os
from typing import Any, BinaryIO

from aehub.container.audit import Report, verify
from aehub.container.reader import open_reader

__all__ = ["Report", "info", "per", "verify"]


def info(source: str | os.PathLike[str] | BinaryIO) -> dict[str, Any]:
    """What a `.aev` file says about itself, without decoding it (and without torch).

    Returns:
        The keys of `Compressed` as far as a file knows them, then its structure.
    """
    with open_reader(source) as reader:
        if not reader.seekable:
            for _ in reader.groups():
                pass
        head, counts = reader.head, reader.summary()
    pictures = counts["bytes"] - counts["audio_bytes"]
    pixels = head.width * head.height * counts["frames"]
    return {
        "model": head.model, "bytes": counts["bytes"], "audio_bytes": counts["audio_bytes"],
        "frames": counts["frames"], "width": head.width, "height": head.height,
        "fps": f"{head.fps.numerator}/{head.fps.denominator}",
        "seconds": round(float(counts["seconds"]), 6),
        "kbps": round(per(8 * pictures, 1000 * counts["seconds"]), 3),
        "bits_per_pixel": round(per(8 * pictures, pixels), 6),
        "quality": head.quality / 100, "groups": counts["groups"],
        "group_frames": head.group_frames, "payload_bytes": counts["payload_bytes"],
        "overhead_bytes": counts["overhead_bytes"], "coder": head.coder,
        "entropy_hash": head.entropy_hash.hex(), "synthesis_hash": head.synthesis_hash.hex(),
        "pixel_aspect": str(head.pixel_aspect), "matrix": head.colour.matrix,
        "full_range": head.colour.full_range, "complete": counts["complete"],
    }


def per(amount: float, whole: float) -> float:
    """amount / whole, and 0 where there is nothing to divide by."""
    return float(amount) / float(whole) if whole else 0.0
