"""The read protocol of a hub: list of models, files of a model, and their contents by range.

Files are looked up by exact name among those listed before: no part of an address becomes part of a
path.
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
MAX_LISTED = 1000


def routes() -> list[Route]:
    """Routes of the protocol; put them before those of the application they are added to."""
    model = "/api/models/{owner}/{name}"
    return [
        Route("/api/models", _list_models),
        Route(model, _info),
        Route(f"{model}/revision/{{revision:path}}", _info),
        Route(f"{model}/refs", _refs),
        Route(f"{model}/tree/{{revision}}", _tree),
        Route(f"{model}/tree/{{revision}}/{{path:path}}", _no_folder),
        Route("/{owner}/{name}/resolve/{revision}/{file:path}", _resolve),
        # Other requests about models must not reach the application behind.
        Route("/api/models/{rest:path}", _no_repo),
        Route(f"/{OWNER}/{{rest:path}}", _no_repo),
    ]


class _NotFound(Exception):
    """The requested repository, revision or file does not exist; `code` is for the client."""

    def __init__(self, code: str, message: str, commit: str | None = None) -> None:
        self.code, self.message, self.commit = code, message, commit

    def response(self) -> Response:
        headers = {"X-Error-Code": self.code, "X-Error-Message": self.message}
        if self.commit is not None:
            headers["X-Repo-Commit"] = self.commit
        return JSONResponse({"error": self.message}, 404, headers)


def _translate_not_found(handler: Handler) -> Handler:
    """Wrap a handler to answer `_NotFound` with the error headers of huggingface_hub."""

    @functools.wraps(handler)
    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except _NotFound as error:
            return error.response()

    return answer


async def _requested_model(request: Request) -> ServedModel:
    """The model that a request names, at a revision that is served."""
    # In a thread, because files that changed are hashed anew.
    models = await anyio.to_thread.run_sync(served_models)
    path = request.path_params
    model = models.get(f"{path['owner']}/{path['name']}")
    if model is None:
        raise _NotFound("RepoNotFound", "this AEHub holds no such model")
    if path.get("revision", "main") not in model.revisions:
        raise _NotFound("RevisionNotFound", "the model has no such revision here")
    return model


async def _list_models(request: Request) -> Response:
    models = await anyio.to_thread.run_sync(served_models)
    author, search = request.query_params.get("author"), request.query_params.get("search", "")
    found = [_model_info(model, blobs=False) for model in models.values()
             if author in (None, OWNER) and search.lower() in model.repo.lower()]
    return JSONResponse(found[:MAX_LISTED])


@_translate_not_found
async def _info(request: Request) -> Response:
    model = await _requested_model(request)
    blobs = request.query_params.get("blobs", "").lower() in ("true", "1")
    return JSONResponse(_model_info(model, blobs=blobs))


@_translate_not_found
async def _refs(request: Request) -> Response:
    model = await _requested_model(request)
    tags = [{"name": model.tag, "ref": f"refs/tags/{model.tag}", "targetCommit": model.commit}]
    return JSONResponse({
        "branches": [{"name": "main", "ref": "refs/heads/main", "targetCommit": model.commit}],
        "tags": tags if model.tag else [], "converts": []})


@_translate_not_found
async def _tree(request: Request) -> Response:
    model = await _requested_model(request)
    return JSONResponse([
        {"type": "file", "oid": file.git_sha1, "size": file.size, "path": file.name, **_lfs(file)}
        for file in model.files.values()])


@_translate_not_found
async def _no_folder(request: Request) -> Response:
    model = await _requested_model(request)
    raise _NotFound("EntryNotFound", "a model has no folders", model.commit)


@_translate_not_found
async def _resolve(request: Request) -> Response:
    model = await _requested_model(request)
    file = model.files.get(request.path_params["file"])
    if file is None:
        raise _NotFound("EntryNotFound", "the model has no such file", model.commit)
    headers = {"ETag": f'"{file.etag}"', "X-Repo-Commit": model.commit,
               "X-Linked-Size": str(file.size), "X-Linked-ETag": f'"{file.etag}"'}
    return FileResponse(file.path, headers=headers, media_type=_media_type(file),
                        filename=file.name)


@_translate_not_found
async def _no_repo(request: Request) -> Response:
    raise _NotFound("RepoNotFound", "this AEHub holds no such model")


def _model_info(model: ServedModel, *, blobs: bool) -> dict[str, Any]:
    modified = datetime.fromtimestamp(model.modified, UTC)
    tags = [OWNER, "safetensors", *filter(None, [model.task])]
    files = [{"rfilename": file.name, **(_blob(file) if blobs else {})}
             for file in model.files.values()]
    return {"_id": model.commit[:24], "id": model.repo, "modelId": model.repo, "author": OWNER,
            "sha": model.commit, "private": False, "gated": False, "disabled": False,
            "library_name": OWNER, "tags": tags, "downloads": 0, "likes": 0,
            "lastModified": modified.strftime("%Y-%m-%dT%H:%M:%S.000Z"), "siblings": files}


def _blob(file: ServedFile) -> dict[str, Any]:
    blob: dict[str, Any] = {"size": file.size, "blobId": file.git_sha1}
    if file.is_large:
        blob["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": pointer_size(file)}
    return blob


def _lfs(file: ServedFile) -> dict[str, Any]:
    if not file.is_large:
        return {}
    return {"lfs": {"oid": file.sha256, "size": file.size, "pointerSize": pointer_size(file)}}


def _media_type(file: ServedFile) -> str:
    suffixes = {".json": "application/json", ".md": "text/markdown", ".png": "image/png"}
    return suffixes.get(file.path.suffix, "application/octet-stream")
