"""Routes beside the page itself: health, results, single frames, examples, model files."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from aehub import endpoint
from aehub.config import __version__
from aehub.errors import AEHubError
from aehub.report import playback
from aehub.ui import examples
from aehub.ui.result_folders import ResultFolders

# A frame image decodes a group of frames: more at once would slow the queue's job down.
_FRAME_IMAGES = anyio.CapacityLimiter(1)


def routes(folders: ResultFolders) -> list[Route]:
    """Return all routes, which take precedence over those of Gradio."""
    return [
        # Gradio's own routes would fetch the address, or leave files of visitors undeleted.
        *(Route(f"/gradio_api/file{sign}{scheme}:{{rest:path}}", _refuse_fetch)
          for sign in "=/" for scheme in ("http", "https")),
        Route("/gradio_api/process_recording", _not_served, methods=["POST"]),
        Route("/gradio_api/deep_link", _not_served),
        Route("/healthz", _health),
        Route("/ae/jobs/{token}/{name}", partial(_result, folders)),
        Route("/ae/jobs/{token}/{kind}/{number:int}.png", partial(_frame, folders)),
        Route("/ae/opening/{name}", _opening),
        Route("/ae/opening/{kind}/{number:int}.png", _opening_frame),
        Route("/ae/examples/{name}.jpg", _example),
        *endpoint.routes(),
    ]


async def _health(request: Request) -> Response:
    return JSONResponse({"status": "ok", "version": __version__})


async def _result(folders: ResultFolders, request: Request) -> Response:
    return _file(folders.file(request.path_params["token"], request.path_params["name"]))


async def _frame(folders: ResultFolders, request: Request) -> Response:
    token = request.path_params["token"]
    facts = folders.load_facts(token) or {}
    original, compressed = (folders.file(token, facts.get(key, ""))
                            for key in ("prepared", "packed"))
    if original is None or compressed is None:
        return _file(None)
    return await _frame_image(request, lambda: original, compressed)


async def _opening(request: Request) -> Response:
    return _file(examples.opening_file(request.path_params["name"]))


async def _opening_frame(request: Request) -> Response:
    return await _frame_image(request, lambda: examples.clip(examples.OPENING_NAME),
                              examples.opening_aev())


async def _example(request: Request) -> Response:
    name = request.path_params["name"]
    return await _picture(lambda: examples.thumbnail(name), "image/jpeg")


async def _refuse_fetch(request: Request) -> Response:
    return PlainTextResponse("This server fetches nothing from other addresses.", 403)


async def _not_served(request: Request) -> Response:
    return _file(None)


async def _frame_image(
    request: Request, original: Callable[[], Path], compressed: Path
) -> Response:
    number, kind = request.path_params["number"], request.path_params["kind"]
    picture = await _picture(lambda: playback.frame_image(original(), compressed, number, kind),
                             "image/png", _FRAME_IMAGES)
    if picture.status_code == 200:
        picture.headers["Cache-Control"] = "private, max-age=3600"
    return picture


async def _picture(make: Callable[[], bytes], kind: str,
                   limiter: anyio.CapacityLimiter | None = None) -> Response:
    try:
        return Response(await anyio.to_thread.run_sync(make, limiter=limiter), media_type=kind)
    except AEHubError as error:
        return PlainTextResponse(error.message, 404)


def _file(path: Path | None) -> Response:
    if path is None:
        return PlainTextResponse("There is no such file, or not any more.", 404)
    return FileResponse(path)
