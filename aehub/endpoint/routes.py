"""The read protocol of a hub: who is there, what it holds, and its files, whole or in part.

Every answer is looked up by exact name among the files listed beforehand: no part of an address
ever becomes part of a path.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from aehub.endpoint.models import OWNER, ServedFile, ServedModel, pointer_size, served_models

Handler = Callable[[Request], Awaitable[Response]]
_LISTED = 1000


def routes() -> list[Route]:
    """Routes of the protocol; put them before those of the application they are added to."""
    model = "/api/models/{owner}/{name}"
    return [
        Route("/api/models", _models),
        Route(model, _info),
        Route(f"{model}/revision/{{revision:path}}", _info),
        Route(f"{model}/refs", _refs),
        Route(f"{model}/tree/{{revision}}", _tree),
        Route(f"{model}/tree/{{revision}}/{{path:path}}", _no_folder),
        Route("/{owner}/{name}/resolve/{revision}/{file:path}", _resolve),
        # Whatever else is asked of a model shall not end up at the application behind.
        Route("/api/models/{rest:path}", _no_repo),
        Route(f"/{OWNER}/{{rest:path}}", _no_repo),
    ]


class _Missing(Exception):
    """What was asked for is not here; `code` tells the client what."""

    def __init__(self, code: str, words: str, commit: str | None = None) -> None:
        self.code, self.words, self.commit = code, words, commit

    def response(self) -> Response:
        headers = {"X-Error-Code": self.code, "X-Error-Message": self.words}
        if self.commit is not None:
            headers["X-Repo-Commit"] = self.commit
        return JSONResponse({"error": self.words}, 404, headers)


def _answered(handler: Handler) -> Handler:
    """The handler, telling what is missing in the way that the client understands."""

    @functools.wraps(handler)
    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except _Missing as missing:
            return missing.response()

    return answer


async def _held(request: Request) -> ServedModel:
    """The model a request is about, at a revision that is here."""
    # Hashing a file that changed takes a moment.
    held = await anyio.to_thread.run_sync(served_models)
    asked = request.path_params
    model = held.get(f"{asked['owner']}/{asked['name']}")
    if model is None:
        raise _Missing("RepoNotFound", "this AEHub holds no such model")
    if asked.get("revision", "main") not in model.revisions:
        raise _Missing("RevisionNotFound", "the model has no such revision here")
    return model


async def _models(request: Request) -> Response:
    held = await anyio.to_thread.run_sync(served_models)
    author, search = request.query_params.get("author"), request.query_params.get("search", "")
    found = [_facts(model, blobs=False) for model in held.values()
             if author in (None, OWNER) and search.lower() in model.repo.lower()]
    return JSONResponse(found[:_LISTED])


@_answered
async def _info(request: Request) -> Response:
    model = await _held(request)
    blobs = request.query_params.get("blobs", "").lower() in ("true", "1")
    return JSONResponse(_facts(model, blobs=blobs))


@_answered
async def _refs(request: Request) -> Response:
    model = await _held(request)
    tags = [{"name": model.tag, "ref": f"refs/tags/{model.tag}", "targetCommit": model.commit}]
    return JSONResponse({
        "branches": [{"name": "main", "ref": "refs/heads/main", "targetCommit": model.commit}],
        "tags": tags if model.tag else [], "converts": []})


@_answered
async def _tree(request: Request) -> Response:
    model = await _held(request)
    return JSONResponse([
        {"type": "file", "oid": file.git_sha1, "size": file.size, "path": file.name, **_lfs(file)}
        for file in model.files.values()])


@_answered
async def _no_folder(request: Request) -> Response:
    model = await _held(request)
    words = "a model's files lie side by side, there are no folders"
    raise _Missing("EntryNotFound", words, model.commit)


@_answered
async def _resolve(request: Request) -> Response:
    model = await _held(request)
    file = model.files.get(request.path_params["file"])
    if file is None:
        raise _Missing("EntryNotFound", "the model has no such file", model.commit)
    headers = {"ETag": f'"{file.etag}"', "X-Repo-Commit": model.commit,
               "X-Linked-Size": str(file.size), "X-Linked-ETag": f'"{file.etag}"'}
    return FileResponse(file.path, headers=headers, media_type=_media_type(file),
                        filename=file.name)


@_answered
async def _no_repo(request: Request) -> Response:
    raise _Missing("RepoNotFound", "this AEHub holds no such model")


def _facts(model: ServedModel, *, blobs: bool) -> dict[str, Any]:
    modified = datetime.fromtimestamp(model.modified, UTC)
    tags = [OWNER, "safetensors", *filter(None, [model.task])]
    files = [{"rfilename": file.name, **(_blob(file) if blobs else {})}
             for file in model.files.values()]
    return {"_id": model.commit[:24], "id": model.repo, "modelId": model.repo, "author": OWNER,
            "sha": model.commit, "private": False, "gated": False, "disabled": False,
            "library_name": OWNER, "tags": tags, "downloads": 0, "likes": 0,
            "lastModified": modified.strftime("%Y-%m-%dT%H:%M:%S.000Z"), "siblings": files}


def _blob(file: ServedFile) -> dict[str, Any]:
    facts: dict[str, Any] = {"size": file.size, "blobId": file.git_sha1}
    if file.is_large:
        facts["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": pointer_size(file)}
    return facts


def _lfs(file: ServedFile) -> dict[str, Any]:
    if not file.is_large:
        return {}
    return {"lfs": {"oid": file.sha256, "size": file.size, "pointerSize": pointer_size(file)}}


def _media_type(file: ServedFile) -> str:
    suffixes = {".json": "application/json", ".md": "text/markdown", ".png": "image/png"}
    return suffixes.get(file.path.suffix, "application/octet-stream")
