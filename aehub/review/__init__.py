"""A compression laid open: the clip as the model saw it, what came back, and its neighbours.

    look(path)        what a clip says of itself, with a first picture
    iter_study(...)   prepare -> compress -> decode and measure -> rivals at the same bytes
    still(...)        one frame, or its error, without loss

Everything long is an iterator of `Stage`; closing it stops the work.
"""

from __future__ import annotations

from aehub.review.look import Look, look
from aehub.review.neighbours import Neighbour, iter_neighbours
from aehub.review.replay import Replay, iter_replay
from aehub.review.stills import still
from aehub.review.study import Stage, Study, iter_study
from aehub.review.working import fit, iter_prepare

__all__ = [
    "Look",
    "Neighbour",
    "Replay",
    "Stage",
    "Study",
    "fit",
    "iter_neighbours",
    "iter_prepare",
    "iter_replay",
    "iter_study",
    "look",
    "still",
]
