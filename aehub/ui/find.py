"""Find: search the library for a clip, a part or a picture, and label clips by example."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from aehub.errors import AEHubError, InputError
from aehub.media.file_type import content_of
from aehub.report.matched_part import Pair, thumbnail, write_turned_part
from aehub.results import Found, Match, Progress
from aehub.ui import classify, examples, job_progress, uploads
from aehub.ui.errors import errors_shown
from aehub.ui.formatting import empty_state, figure, hint, notes, progress_card, stopped_state
from aehub.ui.keyframes import JS_PICK
from aehub.ui.limits import Context
from aehub.ui.page_jobs import Turn

TITLE = "Find"
MAX_MATCHES = 20
"""Matches of a search at most."""
STATUS_SECONDS = 1.5
"""Time between two looks at a library that is being indexed."""
_EXAMPLE_TURNS = {"cat": "rotate-90", "coffee": "flip-horizontal", "tissue": "rotate-270",
                  "marbles": "transpose"}
"""Elements of `aehub.media.orientation` that turn the examples before they are searched for."""
_EMPTY = empty_state("Nothing searched yet", "Drop a clip, a part of one or a picture: it is found "
                     "even if it was turned, mirrored, cropped or compressed again.")


class Search(NamedTuple):
    """A search of a visitor; it stays on the server, whose paths nobody is shown.

    Attributes:
        query: path of the upload.
        matches: the best first.
        thumbnails: URLs.
        remarks: sentences about the search.
    """

    query: str
    matches: tuple[Match, ...]
    thumbnails: tuple[str, ...]
    remarks: tuple[str, ...]


def build(context: Context) -> None:
    """Build the panel inside the open block."""
    with gr.Tabs():
        with gr.Tab("Find a clip", id="search", elem_id="tab-search"):
            _build_search(context)
        with gr.Tab("Label by example", id="label", elem_id="tab-label"):
            classify.build(context)


def _build_search(context: Context) -> None:
    searched = gr.State(None)
    with gr.Row(equal_height=False, elem_classes="ae-bench"):
        with gr.Column(scale=4, min_width=300, elem_classes="ae-controls"):
            query, buttons = uploads.clip_input(context, "find-query", "find-example")
            limit = gr.Slider(1, MAX_MATCHES, 6, step=1, label="Matches, at most", buttons=[],
                              elem_id="find-limit")
            with gr.Row(elem_classes="ae-go"):
                go = gr.Button("Find", variant="primary", elem_id="find", scale=3)
                stop = gr.Button("Stop", elem_id="find-stop", scale=1, min_width=80)
            status = gr.HTML(_status_html(context), elem_id="find-status",
                             elem_classes="ae-forecast")
        with gr.Column(scale=8, min_width=320):
            display = gr.HTML(_EMPTY, elem_id="found")
            listed = gr.HTML(visible=False, elem_id="matches", js_on_load=JS_PICK)
            facts = gr.JSON(visible=False, label="facts")
    outputs = [facts, display, listed, searched]
    options, run = job_progress.model_event(display), _runner(context)
    events: list[dict[str, Any]] = [go.click(
        run, [query, limit], outputs, api_name="search", trigger_mode="once", **options)]
    for button, name in zip(buttons, examples.EXAMPLES, strict=True):
        ready = button.click(_example_handler(context, name), None, [query, display, go],
                             concurrency_limit=8, **job_progress.PRIVATE)
        events.append(ready.success(run, [query, limit], outputs, api_visibility="private",
                                    **options))
    # Whoever clicks another match does not wait for the first.
    events.append(listed.click(_chooser(context), searched, [display, listed],
                               api_visibility="private", trigger_mode="multiple", **options))
    job_progress.connect_stop(stop, events, display, stopped_state("find again"), listed)
    _connect_status(context, status)


def _example_handler(context: Context, name: str) -> Any:
    """Return a handler that puts a changed part of an example into the upload."""
    @errors_shown
    def use() -> Iterator[tuple[Any, Any, Any]]:
        # Disabled meanwhile: the button would take the previous clip, or none.
        yield (gr.skip(), progress_card("Making the example", "A part of it, turned."),
               gr.update(interactive=False))
        with context.folders.new() as folder:
            try:
                path = write_turned_part(examples.clip(name), folder / f"turned-{name}.mp4",
                                         _EXAMPLE_TURNS[name])
            except AEHubError:
                yield gr.skip(), gr.skip(), gr.update(interactive=True)
                raise
            yield (str(path), progress_card("Waiting in the queue", "Jobs run one after another."),
                   gr.update(interactive=True))

    return use


def _connect_status(context: Context, status: gr.HTML) -> None:
    """Show how far the library is, when the tab is opened and until it is indexed."""
    timer = gr.Timer(STATUS_SECONDS, active=False)

    def look() -> tuple[str, Any]:
        return _status_html(context), gr.Timer(
            active=context.library.folder is not None and not context.library.is_ready)

    for event in (context.shared["tab"].select, timer.tick):
        event(look, None, [status, timer], **job_progress.IMMEDIATE)


def _status_html(context: Context) -> str:
    return f"<span>{escape(context.library.status)}</span>"


def _runner(context: Context) -> Any:
    library = context.library

    @errors_shown
    def run(query: str | None, limit: float = 6, request: gr.Request | None = None,
            progress: gr.Progress = gr.Progress()) -> Iterator[Any]:  # noqa: B008
        """Find a clip, a part of one or a picture in the library of this server.

        Args:
            query: a clip, a picture or an .aev file.
            limit: matches to return, at most 20.

        Returns:
            The matches: name of the file, start and end in seconds, orientation as the options of
            aehub edit that turn the file into the query, score; and two pieces of the page.
        """
        if query is None:
            raise InputError("there is no clip yet; drop one.")
        uploads.check_upload(query, context.limits, "searches", "aehub search")
        hidden = gr.update(visible=False)

        def card(now: Progress) -> str:
            progress(None, desc="Searching")
            return progress_card(f"Searching: picture {now.done}", "")

        for now in library.wait():
            yield (gr.skip(), progress_card(
                "Indexing the library", f"{now.done} of {now.total} files" if now.total else ""),
                hidden, gr.skip())
        with context.folders.new() as folder, context.jobs.turn(
                request, "search", lambda html: (gr.skip(), html, hidden, gr.skip()),
                progress=progress) as turn:
            yield from turn.wait()
            try:
                outcome = yield from turn.run("search", {
                    "query": query, "index": str(library.index), "limit": int(limit)}, card)
            except AEHubError as error:
                raise type(error)(library.hidden(error.message)) from error
            found: Found = outcome.data
            thumbnails = tuple(_thumbnails(context, found.matches, folder))
            search = Search(query, found.matches, thumbnails, _remarks(context, found))
            shown = yield from _pair_html(context, search, 0, turn)
            yield _facts(found, search.remarks), shown, _list_html(search, 0), search

    return run


def _facts(found: Found, remarks: tuple[str, ...]) -> dict[str, Any]:
    matches = [{"name": Path(match.path).name, "start": match.start, "end": match.end,
                "orientation": match.orientation, "score": match.score} for match in found.matches]
    return {"matches": matches, "elapsed": found.elapsed, "notes": list(remarks)}


def _remarks(context: Context, found: Found) -> tuple[str, ...]:
    """Sentences for visitors: none names a folder of this server."""
    unfinished = () if context.library.is_ready else (
        "The library is still being indexed: other matches may be found later.",)
    return (*(context.library.hidden(note) for note in found.notes), *unfinished)


def _thumbnails(context: Context, matches: tuple[Match, ...], folder: Path) -> Iterator[str]:
    """URLs of the first frame of each match; empty for a file that cannot be read any more."""
    for number, match in enumerate(matches):
        file = folder / f"match-{number}.jpg"
        try:
            thumbnail(match, file)
        except (AEHubError, OSError):
            yield ""
        else:
            yield context.folders.url(file)


def _chooser(context: Context) -> Any:
    @errors_shown
    def choose(search: Search | None, event: gr.EventData, request: gr.Request) -> Iterator[Any]:
        number = int(event.number)
        if search is None or not 0 <= number < len(search.matches):
            raise InputError("that match is not on this server any more; find again.")
        if not Path(search.query).is_file():
            raise InputError(f"{Path(search.query).name} is not on this server any more; drop it "
                             "again.")
        yield gr.skip(), _list_html(search, number)
        with context.jobs.turn(request, "pair", lambda html: (html, gr.skip())) as turn:
            yield from turn.wait()
            shown = yield from _pair_html(context, search, number, turn)
        yield shown, gr.skip()

    return choose


def _pair_html(context: Context, search: Search, number: int, turn: Turn
               ) -> Generator[Any, None, str]:
    """Write the videos of a match; yields outputs, and returns the piece of the page."""
    if not search.matches:
        return (empty_state("No match", "Nothing in the library looks like this clip, in any "
                            "orientation.") + notes(search.remarks))
    match = search.matches[number]

    def card(now: Progress) -> str:
        return progress_card("Cutting out both parts", share=now.done / now.total)

    with context.folders.new() as folder:
        try:
            outcome = yield from turn.run("pair", {
                "query": search.query, "match": match, "folder": str(folder)}, card, folder)
        except AEHubError as error:
            sentence = context.library.hidden(error.message)
            return hint(f"The match cannot be shown: {sentence}", "alert")
        pair: Pair = outcome.data
        captions = _captions(search.query, match, moving=pair.moving)
        kind = "video" if pair.moving else "picture"
        figures = "".join(
            figure(caption, "ae-film", **{kind: context.folders.url(folder / file)})
            for file, caption in zip((pair.query, pair.found), captions, strict=True))
    return (f'<div class="ae-results"><div class="ae-trio"><aehub-pair>{figures}</aehub-pair></div>'
            f'<p class="ae-verdict">{_verdict(match)}</p>{notes(search.remarks)}</div>')


def _captions(query: str, match: Match, *, moving: bool) -> tuple[str, str]:
    """Captions of both sides: the part shown, and that it is turned."""
    def part(name: str, path: str, start: float, end: float) -> str:
        if content_of(Path(path)) == "picture":
            return name
        return f"{name}, {_span(start, end if moving else start)}"

    yours = "Your picture" if content_of(Path(query)) == "picture" else "Your clip"
    turned = ", turned to match" if match.orientation else ""
    found = part(Path(match.path).name, match.path, match.start, match.end)
    return part(yours, query, match.query_start, match.query_end), f"{found}{turned}"


def _verdict(match: Match) -> str:
    """Sentences on a match, as HTML."""
    name = escape(Path(match.path).name)
    turned = (f"Your clip shows {name} {match.orientation_text}; here the part of it is turned "
              "in the same way, so that both look alike." if match.orientation else
              f"Your clip has the orientation of {name}.")
    backward = " It is played backward." if match.speed < 0 else ""
    return f"<b>{100 * match.score:.0f} % sure.</b> {turned}{backward}"


def _list_html(search: Search, chosen: int) -> Any:
    """Update of the list: matches as buttons, the chosen one marked; hidden if there are none."""
    items = "".join(_item_html(number, match, url, number == chosen) for number, (match, url)
                    in enumerate(zip(search.matches, search.thumbnails, strict=True)))
    return gr.update(value=f'<ol class="ae-matches">{items}</ol>', visible=bool(items))


def _item_html(number: int, match: Match, url: str, is_chosen: bool) -> str:
    name = escape(Path(match.path).name)
    picture = f'<img src="{escape(url)}" alt="">' if url else "<i></i>"
    turned = match.orientation_text or "same orientation"
    pressed = str(is_chosen).lower()
    return (f'<li><button type="button" data-number="{number}" aria-pressed="{pressed}">'
            f"{picture}<span><b>{name}</b><small>{_span(match.start, match.end)}</small>"
            f"<small>{turned}</small></span><strong>{100 * match.score:.0f} %</strong></button>"
            "</li>")


def _span(start: float, end: float) -> str:
    """Part of a clip: "1.2–3.4 s", "1:05.0–1:07.2 min"; a picture has no length."""
    first, last = (f"{seconds:.1f}" if end < 60 else
                   f"{int(seconds) // 60}:{seconds % 60:04.1f}" for seconds in (start, end))
    unit = "s" if end < 60 else "min"
    return f"at {first} {unit}" if first == last else f"{first}–{last} {unit}"
