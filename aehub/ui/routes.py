"""What the server answers beside the page itself: health, results, single frames, models."""

from __future__ import annotations

from pathlib import Path

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from aehub import endpoint, hub
from aehub.errors import AEHubError
from aehub.review import stills
from aehub.ui import examples, opening
from aehub.ui.jobs import Jobs
from aehub.version import __version__

MODEL_FILES = ("config.json", "model.safetensors", "README.md")
# One still decodes a group of frames: more at once would starve the queue's job.
_STILLS = anyio.CapacityLimiter(1)


def routes(jobs: Jobs) -> list[Route]:
    """All routes; they stand before those of the page."""

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok", "version": __version__})

    async def result(request: Request) -> Response:
        path = jobs.file(request.path_params["token"], request.path_params["name"])
        return _gone() if path is None else FileResponse(path)

    async def frame(request: Request) -> Response:
        token, number = request.path_params["token"], request.path_params["number"]
        facts = jobs.facts(token)
        if facts is None:
            return _gone()
        original, compressed = (jobs.file(token, facts[key]) for key in ("prepared", "packed"))
        if original is None or compressed is None:
            return _gone()
        return await still(original, compressed, number, request.path_params["kind"])

    async def still(original: Path, compressed: Path, number: int, kind: str) -> Response:
        try:
            picture = await anyio.to_thread.run_sync(
                stills.still, original, compressed, number, kind, limiter=_STILLS)
        except AEHubError as error:
            return PlainTextResponse(error.message, 404)
        kept = {"Cache-Control": "private, max-age=3600"}
        return Response(picture, media_type="image/png", headers=kept)

    async def opened(request: Request) -> Response:
        path = opening.file(request.path_params["name"])
        return _gone() if path is None else FileResponse(path)

    async def opened_frame(request: Request) -> Response:
        try:
            original = await anyio.to_thread.run_sync(examples.clip, opening.NAME)
        except AEHubError as error:
            return PlainTextResponse(error.message, 404)
        return await still(original, opening.packed(), request.path_params["number"],
                           request.path_params["kind"])

    async def example(request: Request) -> Response:
        try:
            picture = await anyio.to_thread.run_sync(
                examples.thumbnail, request.path_params["name"])
        except AEHubError as error:
            return PlainTextResponse(error.message, 404)
        return Response(picture, media_type="image/jpeg")

    async def model(request: Request) -> Response:
        name, file = request.path_params["name"], request.path_params["file"]
        entries = {entry.name: Path(entry.folder)
                   for entry in hub.list_models(states=["bundled"])}
        if name not in entries or file not in MODEL_FILES or not (entries[name] / file).is_file():
            return _gone()
        return FileResponse(entries[name] / file, filename=file)

    async def elsewhere(request: Request) -> Response:
        return PlainTextResponse("This server fetches nothing from other addresses.", 403)

    async def unused(request: Request) -> Response:
        return _gone()

    return [
        # Gradio's own would fetch the address, or leave files of visitors where nobody looks.
        *(Route(f"/gradio_api/file{sign}{scheme}:{{rest:path}}", elsewhere)
          for sign in "=/" for scheme in ("http", "https")),
        Route("/gradio_api/process_recording", unused, methods=["POST"]),
        Route("/gradio_api/deep_link", unused),
        Route("/healthz", healthz),
        Route("/ae/jobs/{token}/{name}", result),
        Route("/ae/jobs/{token}/{kind}/{number:int}.png", frame),
        Route("/ae/opening/{name}", opened),
        Route("/ae/opening/{kind}/{number:int}.png", opened_frame),
        Route("/ae/examples/{name}.jpg", example),
        Route("/ae/models/{name}/{file}", model),
        *endpoint.routes(),
    ]


def _gone() -> Response:
    return PlainTextResponse("This file is not here, or not any more.", 404)
