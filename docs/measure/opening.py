"""Record the finished example that the page opens on.

    python docs/measure/opening.py

The example is drawn, compressed, decoded, measured and set beside x264 and AV1 at the same bytes,
as the page does it for a visitor; what the page shows of it goes to `aehub/ui/assets/opening/`.
Its video has B-frames, unlike those of visitors: it takes 312 kB with them and 788 kB without.
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from pathlib import Path
from unittest.mock import patch

from PIL import Image

from aehub.media.sinks import ENCODERS
from aehub.report.compression import iter_report
from aehub.report.playback import frame_image
from aehub.report.records import CompressionReport
from aehub.results import run_job
from aehub.ui import examples

QUALITY = 50
POSTER_FRAME = 0


def record(folder: Path, work: Path) -> CompressionReport:
    """Fill `folder` with the files of the opening; others go to `work`."""
    original = examples.clip(examples.OPENING_NAME)
    with patch.dict(ENCODERS["mp4"].options, bf="3"):
        report = run_job(iter_report(original, work, quality=QUALITY, longest=None), None)
    packed = Path(str(report.compressed.path))
    folder.mkdir(exist_ok=True)
    for path in (packed, report.stacked):
        shutil.copy(path, folder)
    poster = Image.open(io.BytesIO(frame_image(original, packed, POSTER_FRAME, "reconstruction")))
    poster.save(folder / examples.OPENING_POSTER, "JPEG", quality=80)
    text = json.dumps(report.record()) + "\n"
    (folder / examples.OPENING_REPORT).write_text(text, encoding="utf-8")
    return report


def main() -> None:
    """Record, and print what the page will say."""
    with tempfile.TemporaryDirectory() as work:
        report = record(examples.OPENING_FOLDER, Path(work))
    print(json.dumps(report.to_json(), indent=1))
    for path in sorted(examples.OPENING_FOLDER.iterdir()):
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
