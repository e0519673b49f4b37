"""The finished example that the page opens on: recorded once, served as it is, nothing computed.

`python docs/measure/opening.py` records it anew.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from aehub.review.records import Study
from aehub.ui import results
from aehub.ui.words import bytes_text, seconds_text

NAME = "cat"
SHOWN = "An example made before, from a photograph by Stefan van der Walt (CC0)."
PLACE = "ae/opening"
"""Address of its files, relative to the page."""
RECORD, POSTER = "study.json", "poster.jpg"
FOLDER = Path(__file__).parent / "assets" / "opening"


@lru_cache
def study() -> Study:
    """The recorded study, its files in `FOLDER`; of the original, only the name is kept."""
    return Study.from_record(json.loads((FOLDER / RECORD).read_text(encoding="utf-8")), FOLDER)


def packed() -> Path:
    """Its compressed file."""
    return Path(str(study().compressed.path))


def file(name: str) -> Path | None:
    """The file of that name, None if it is none of those that are served."""
    served = {packed().name, study().stacked.name, POSTER}
    return FOLDER / name if name in served else None


def overview() -> str:
    """The player, which moves its divider by itself, and the numbers; HTML."""
    made, name = study(), packed().name
    above = (results.player(made, PLACE, more=f' poster="{PLACE}/{POSTER}" sweep')
             + f'<p class="ae-made">{SHOWN} <a href="#clip">Drop your own clip</a>, or take '
             f'<a href="{PLACE}/{name}" download>{name}, {bytes_text(made.compressed.bytes)}</a>.'
             "</p>")
    length = ("Length", seconds_text(made.replay.seconds), "played in a loop")
    return results.shown(made, above, length, kind="lossless,")


def figures() -> str:
    """The other codecs at the same size and the curves over time; HTML."""
    return results.figures(study())
