"""Commands for the page: the work behind its panels, as tasks for a worker.

Each yields (done, total, record of its progress), and its outcome holds a record as data: numbers,
and paths in the folder of the visitor's result.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from aehub.jobs.task import Outcome
from aehub.results import Progress, relayed

_Job = Generator[Any, None, Outcome]


def _recorded(job: Generator[Any, None, Any]) -> _Job:
    """Run a job whose progress has `done` and `total`; its result is the data."""
    return Outcome(data=(yield from relayed(job, lambda now: (now.done, now.total, now))))


def _warm_up(model: str) -> _Job:
    """Load what a job needs, and the model."""
    from aehub.hub import load
    from aehub.report import compression

    yield Progress(0, 0)
    load(model)
    return Outcome(data=compression.STAGES)


def _report(source: str, folder: str, **options: Any) -> _Job:
    from aehub.report.compression import iter_report

    # Its progress is that of a stage: the share of all is unknown here.
    job = iter_report(source, Path(folder), **options)
    return Outcome(data=(yield from relayed(job, lambda now: (0, 0, now))))


def _comparison(source: str, folder: str, **options: Any) -> _Job:
    from aehub.report.compression import iter_comparison

    return (yield from _recorded(iter_comparison(source, Path(folder), **options)))


def _arena(source: str, folder: str, **options: Any) -> _Job:
    from aehub.report.arena import iter_arena

    return (yield from _recorded(iter_arena(source, Path(folder), **options)))


def _edit_check(source: str, output: str, operations: str, folder: str) -> _Job:
    """Compare a file with its edit; write PNGs of both, and return the numbers."""
    from aehub.editing.operations import parse
    from aehub.report.equivariance import check_equivariance
    from aehub.report.playback import png_bytes

    yield Progress(0, 0)
    check = check_equivariance(Path(source), Path(output), parse(operations))
    for name in ("before", "after", "difference", "interpolated"):
        if (picture := getattr(check, name)) is not None:
            Path(folder, f"{name}.png").write_bytes(png_bytes(picture))
    return Outcome({"levels": int(check.max_error), "share": float(check.differing_share),
                    "interpolated": check.interpolated is not None})


def _preview(source: str, output: str) -> _Job:
    """Write the video of a file that the page plays."""
    from aehub.report.playback import iter_preview_video

    job = iter_preview_video(Path(source), Path(output))
    return Outcome(data=(yield from relayed(job, lambda _: Progress(0, 0))))


def _animate(output: str, **options: Any) -> _Job:
    from aehub.api.animate import iter_animate

    return (yield from _recorded(iter_animate(Path(output), **options)))


def _search(query: str, index: str, **options: Any) -> _Job:
    from aehub.api.search import iter_search

    return (yield from _recorded(iter_search(query, index, **options)))


def _pair(query: str, match: Any, folder: str) -> _Job:
    from aehub.report.matched_part import iter_pair

    return (yield from _recorded(iter_pair(Path(query), match, Path(folder))))


def _classify(query: str, examples: dict[str, list[str]]) -> _Job:
    from aehub.api.classify import iter_classify

    return (yield from _recorded(iter_classify(query, examples)))


PAGE_COMMANDS: dict[str, Callable[..., _Job]] = {
    "warm-up": _warm_up, "report": _report, "comparison": _comparison, "arena": _arena,
    "edit-check": _edit_check, "preview": _preview, "animate": _animate, "search": _search,
    "pair": _pair, "classify": _classify,
}
"""Name of a command -> its work."""
