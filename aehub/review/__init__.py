"""A compression laid open: the clip as the model saw it, what came back, and its neighbours.

    look(path)        what a clip says of itself, with a first picture
    iter_study(...)   prepare -> compress -> decode and measure -> rivals at the same bytes
    still(...)        one frame, or its error, without loss

Everything long is an iterator; closing it stops the work. Names are found on first use, for some
of them load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aehub.review.curves import iter_comparison
    from aehub.review.glance import Look, look
    from aehub.review.moving import iter_moving, moving_frames
    from aehub.review.neighbours import iter_neighbours
    from aehub.review.records import Neighbour, Replay, Study
    from aehub.review.replay import iter_replay
    from aehub.review.stills import still
    from aehub.review.study import STAGES, Stage, iter_study
    from aehub.review.turned import TURN_GAIN, Turned, look_at_edit
    from aehub.review.working import fit, iter_prepare

__all__ = [
    "STAGES",
    "TURN_GAIN",
    "Look",
    "Neighbour",
    "Replay",
    "Stage",
    "Study",
    "Turned",
    "fit",
    "iter_comparison",
    "iter_moving",
    "iter_neighbours",
    "iter_prepare",
    "iter_replay",
    "iter_study",
    "look",
    "look_at_edit",
    "moving_frames",
    "still",
]

_HOMES = {
    "STAGES": "study",
    "Look": "glance",
    "Neighbour": "records",
    "Replay": "records",
    "Stage": "study",
    "Study": "records",
    "TURN_GAIN": "turned",
    "Turned": "turned",
    "fit": "working",
    "iter_comparison": "curves",
    "iter_moving": "moving",
    "iter_neighbours": "neighbours",
    "iter_prepare": "working",
    "iter_replay": "replay",
    "iter_study": "study",
    "look": "glance",
    "look_at_edit": "turned",
    "moving_frames": "moving",
    "still": "stills",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
