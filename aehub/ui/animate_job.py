"""The job of the panel Animate: render a latent walk to a file, with progress."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from aehub import hub
from aehub.config import DEFAULT_GENERATOR
from aehub.errors import InputError
from aehub.generators.base import LatentModel
from aehub.results import Animated
from aehub.ui import job_progress
from aehub.ui.errors import errors_shown
from aehub.ui.formatting import bytes_text, media_element, notes, rate_text, seconds_text, tiles
from aehub.ui.keyframes import MAX_KEYFRAMES, Key, animation_models, entry_of, file_keys
from aehub.ui.limits import Context

# Choice -> (suffix, whether the file is a sprite sheet).
FORMATS = {"mp4": (".mp4", False), "webm": (".webm", False), "gif": (".gif", False),
           "webp": (".webp", False), "apng": (".png", False), "sheet": (".png", True)}
PATHS = ("auto", "lerp", "slerp", "spline")
ENDINGS = ("loop", "ping-pong", "once")
SIZES = ("64", "128", "256", "512")
MAX_FPS = 60


def runner(context: Context, *, preview: bool = False) -> Any:
    """Return the handler that renders an animation; a preview is small, fast and always mp4."""

    @errors_shown
    def run(model: str = DEFAULT_GENERATOR, seeds: str = "1, 2, 3, 4",
            files: list[str] | None = None, seconds: float = 4, fps: float = 30,
            path: str = "auto", easing: str = "linear", ending: str = "loop",
            truncation: float = 1, size: str = "256", format: str = "mp4",
            direction: str = "down", steps: float = 8, beside: bool = False, parts: str = "",
            keys: list[Key] | None = None, request: gr.Request | None = None,
            progress: gr.Progress = gr.Progress()) -> Iterator[Any]:  # noqa: B008
        """Animate: walk from picture to picture through the latents of a model.

        Args:
            model: name of a model that animates.
            seeds: whole numbers, one for each generated picture; used without files.
            files: pictures as keyframes, in order; a clip gives its first and last frame.
            seconds: of the whole animation.
            fps: frames per second.
            path: "lerp", "slerp", "spline", or "auto" for the default of the model.
            easing: timing of each segment, such as "linear" or "ease-in-out".
            ending: "loop" back to the first picture, "ping-pong" or "once".
            truncation: of seeds; below 1 is closer to the mean picture.
            size: pixels of a side, approximated by whole factors.
            format: "mp4", "webm", "gif", "webp", "apng" or "sheet" (a sprite sheet).
            direction: in which characters walk: "up", "left", "down", "right" or "all".
            steps: of a walk cycle of characters.
            beside: show a plain cross-fade of the same pictures to the right.
            parts: seconds from each picture to the next, such as "1, 0.5"; instead of `seconds`.

        Returns:
            The animation, facts about it, its recipe, the JSON of a sprite sheet, and pieces of
            the page.
        """
        if preview:
            fps, size, format = min(fps, 15), "128", "mp4"
        durations = parts_of(parts)
        if sum(durations) > context.limits.seconds:
            raise InputError(f"the parts take {sum(durations):g} s in all; give at most "
                             f"{context.limits.seconds:g} s.")
        suffix, sheet = FORMATS[format]
        with context.folders.new() as folder, context.jobs.turn(
                request, "animate", lambda card: [
                    *[gr.skip()] * 4, card, gr.update(visible=False), gr.skip()],
                progress=progress) as turn:
            yield from turn.wait()
            drawn, keyframes = _keyframes(context, folder, model, seeds, files, keys)
            # Models of a hub are named org/name.
            output = folder / f"{model.rpartition('/')[2]}{suffix}"
            outcome = yield from turn.run("animate", {
                "output": str(output), "model": model, "seeds": drawn, "keyframes": keyframes,
                "seconds": durations or float(seconds), "fps": fps, "easing": easing,
                "path": None if path == "auto" else path, "loop": ending == "loop",
                "ping_pong": ending == "ping-pong", "truncation": float(truncation),
                "scale": None if sheet else _scale(model, size), "beside": beside, "sheet": sheet,
                "direction": direction, "steps": int(steps)},
                job_progress.frame_card("Drawing", progress), folder)
            yield _outputs(outcome.data, context.folders.url(output), format)

    return run


def _outputs(made: Animated, url: str, format: str) -> list[Any]:
    """Return the outputs of a finished animation."""
    # Gradio takes any dict with a "path" for a file of its own.
    facts = {**made.named(), "recipe": Path(made.recipe).name,
             "sheet": made.sheet and Path(made.sheet).name}
    return [made.path, facts, made.recipe, made.sheet, _animation_html(url, format, made),
            gr.update(visible=True), gr.update(visible=bool(made.sheet))]


def _keyframes(context: Context, folder: Path, model: str, seeds: str,
               files: Sequence[str] | None, keys: list[Key] | None
               ) -> tuple[list[int] | None, list[Any] | None]:
    """Return seeds, or keyframes of the timeline or else of files."""
    if entry_of(model) is None:
        raise InputError(f"the model {str(model)[:80]} is not on this machine; choose one of "
                         f"{', '.join(animation_models())}.")
    if not keys and not files:
        return seeds_of(seeds), None
    keys = keys or file_keys(files or [], folder, context.limits)
    return None, [key.as_keyframe for key in keys]


def seeds_of(text: str | None) -> list[int]:
    """Parse seeds from a list such as "1, 2, 3".

    Raises:
        InputError: an entry is no whole number, or there are too many.
    """
    parts = str(text or "").replace(",", " ").split()
    wrong = [part for part in parts if not (part.isascii() and part.isdecimal())]
    if wrong or not parts:
        raise InputError(f"the seeds are {str(text or '')[:60]!r}; give whole numbers with commas "
                         "between, such as 1, 2, 3.")
    if len(parts) > MAX_KEYFRAMES:
        raise InputError(f"{len(parts)} seeds are given and this page takes {MAX_KEYFRAMES}; use "
                         "aehub animate on your own machine.")
    return [int(part[:20]) for part in parts]


def parts_of(text: str | None) -> list[float]:
    """Parse seconds from a list such as "1, 0.5", which may be empty.

    Raises:
        InputError: an entry is no number above 0, or there are too many.
    """
    parts = str(text or "").replace(",", " ").split()
    try:
        durations = [float(part) for part in parts]
    except ValueError:
        durations = [0.0]
    if len(durations) > MAX_KEYFRAMES or not all(0 < part < float("inf") for part in durations):
        raise InputError(f"the seconds of each part are {str(text)[:60]!r}; give numbers above 0 "
                         f"with commas between, such as 1, 0.5, at most {MAX_KEYFRAMES}.")
    return durations


def _scale(model: str, size: str) -> int | None:
    """Return the whole factor from a model's side to nearly `size` pixels; None if it has none."""
    loaded = hub.load(model)
    side = loaded.side if isinstance(loaded, LatentModel) else None
    return None if side is None else max(1, round(int(size) / side))


def _animation_html(url: str, format: str, made: Animated) -> str:
    shown = media_element(url, f"The animation by {made.model}", "autoplay loop muted controls",
                          kind=" ae-walk")
    numbers = tiles([
        ("Picture", f"{made.width}×{made.height}", "a sheet of frames" if made.sheet else format),
        ("Frames", str(made.frames), f"{rate_text(made.fps)} per second"),
        ("Length", seconds_text(made.seconds), "played in a loop"),
        ("File", bytes_text(made.bytes), f"made in {seconds_text(made.elapsed)}"),
    ])
    return f'<div class="ae-results">{shown}{numbers}{notes(made.notes)}</div>'
