"""A hub on loopback that takes and gives models, and fails in the ways hubs fail."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

Files = dict[str, bytes]


@dataclass
class Repo:
    """A repository: its commits, and what points to them."""

    commits: dict[str, Files] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def add(self, files: Files, *names: str) -> str:
        """Commit files; `names` point to the commit from now on, "main" always."""
        listed = sorted((name, hashlib.sha256(data).hexdigest()) for name, data in files.items())
        commit = hashlib.sha1(repr((len(self.commits), listed)).encode()).hexdigest()
        self.commits[commit] = dict(files)
        self.refs |= dict.fromkeys(["main", *names], commit)
        return commit


class StandIn:
    """The hub's state; tests put models into `repos` and faults into the rest.

    Attributes:
        repos: by "org/name".
        gated: repositories that refuse everyone.
        corrupt: names of files whose first byte is sent wrong.
        cut: bytes after which a file breaks off -> how many more times that happens.
        status: answer everything with this status.
        asked: every request, as "METHOD /path".
        tokens: every Authorization header.
    """

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.gated: set[str] = set()
        self.corrupt: set[str] = set()
        self.cut: dict[int, int] = {}
        self.hide_hashes = False
        self.status: int | None = None
        self.asked: list[str] = []
        self.ranges: list[str] = []
        self.tokens: set[str] = set()
        self.large: Files = {}
        self.url = ""

    def put(self, repo: str, folder: Path, *names: str, **changes: bytes | None) -> str:
        """Commit the files of a folder; `changes` replace some, None leaves them out."""
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        for name, data in changes.items():
            files.pop(name, None)
            if data is not None:
                files[name] = data
        return self.repos.setdefault(repo, Repo()).add(files, *names)

    def held(self, repo: str, revision: str = "main") -> Files:
        """The files of a revision."""
        return self.repos[repo].commits[self.repos[repo].refs[revision]]


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """A running stand-in on a free port."""
    hub = StandIn()
    handler = type("Bound", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: StandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def _begin(self) -> tuple[str, bytes]:
        path = urlsplit(self.path).path
        self.hub.asked.append(f"{self.command} {path}")
        if token := self.headers.get("Authorization"):
            self.hub.tokens.add(token)
        return unquote(path), self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, body: Any, status: int = 200, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _refuse(self, code: str, status: int = 404) -> None:
        self._answer({"error": code}, status, X_Error_Code=code)

    def do_GET(self) -> None:
        path, _ = self._begin()
        if self.hub.status is not None:
            return self._answer({"error": "no"}, self.hub.status)
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            return self._info(match[1], match[2] or "main")
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._file(*match.groups())
        return self._refuse("RepoNotFound")

    do_HEAD = do_GET

    def _commit(self, name: str, revision: str) -> str | None:
        repo = self.hub.repos.get(name)
        if repo is None:
            self._refuse("RepoNotFound")
        elif name in self.hub.gated:
            self._refuse("GatedRepo", 403)
        elif (commit := repo.refs.get(revision, revision)) not in repo.commits:
            self._refuse("RevisionNotFound")
        else:
            return commit
        return None

    def _info(self, name: str, revision: str) -> None:
        commit = self._commit(name, revision)
        if commit is not None:
            files = self.hub.repos[name].commits[commit]
            self._answer({"id": name, "sha": commit, "private": False, "tags": ["aehub"],
                          "siblings": [self._sibling(*item) for item in files.items()]})

    def _sibling(self, name: str, data: bytes) -> dict[str, Any]:
        facts: dict[str, Any] = {"rfilename": name, "size": len(data)}
        if self.hub.hide_hashes:
            return facts
        facts["blobId"] = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        if name.endswith(".safetensors"):
            facts["lfs"] = {"sha256": _sha256(data), "size": len(data), "pointerSize": 130}
        return facts

    def _file(self, name: str, revision: str, file: str) -> None:
        commit = self._commit(name, revision)
        if commit is None:
            return
        data = self.hub.repos[name].commits[commit].get(file)
        if data is None:
            return self._answer({}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        headers = {"ETag": f'"{_sha256(data)}"', "X-Repo-Commit": commit}
        if file in self.hub.corrupt:
            data = bytes([data[0] ^ 1]) + data[1:]
        if self.command == "HEAD":
            return self._answer(data, **headers)
        begin, status = 0, 200
        if asked := self.headers.get("Range"):
            self.hub.ranges.append(asked)
            begin, status = int(re.findall(r"\d+", asked)[0]), 206
            headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        self._body(data[begin:], status, headers, file)

    def _body(self, data: bytes, status: int, headers: dict[str, str], file: str) -> None:
        after = next((cut for cut, times in self.hub.cut.items() if times), None)
        if after is None or not file.endswith(".safetensors"):
            return self._answer(data, status, **headers)
        self.hub.cut[after] -= 1
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[:after])
        self.close_connection = True
        return None

    def do_POST(self) -> None:
        path, body = self._begin()
        if self.hub.status is not None:
            return self._answer({"error": "no"}, self.hub.status)
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            status = 409 if name in self.hub.repos else 200
            self.hub.repos.setdefault(name, Repo())
            return self._answer({"url": f"{self.hub.url}/{name}"}, status)
        if path == "/api/validate-yaml":
            return self._answer({"errors": [], "warnings": []})
        if path.endswith("/info/lfs/objects/batch"):
            objects = [{"oid": o["oid"], "size": o["size"], "actions": {
                "upload": {"href": f"{self.hub.url}/lfs/{o['oid']}", "header": {}}}}
                       for o in json.loads(body)["objects"]]
            return self._answer({"transfer": "basic", "objects": objects})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(\w+)/(.+)", path):
            return self._write(*match.groups(), body)  # type: ignore[call-arg]
        return self._refuse("RepoNotFound")

    def _write(self, name: str, verb: str, revision: str, body: bytes) -> None:
        repo = self.hub.repos.get(name)
        if repo is None:
            return self._refuse("RepoNotFound")
        if verb == "preupload":
            files = [{"path": f["path"], "shouldIgnore": False, "uploadMode":
                      "lfs" if f["path"].endswith(".safetensors") else "regular"}
                     for f in json.loads(body)["files"]]
            return self._answer({"files": files})
        if verb == "tag":
            tag = json.loads(body)["tag"]
            if tag in repo.refs:
                return self._answer({"error": "exists"}, 409)
            repo.refs[tag] = repo.refs.get(revision, revision)
            return self._answer({})
        assert verb == "commit", verb
        before = repo.commits.get(repo.refs.get(revision, ""), {})
        commit = repo.add({**before, **self._files(body)})
        return self._answer({"success": True, "commitOid": commit, "pullRequestUrl": None,
                             "commitUrl": f"{self.hub.url}/{name}/commit/{commit}"})

    def _files(self, body: bytes) -> Files:
        files = {}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
        return files

    def do_PUT(self) -> None:
        path, body = self._begin()
        assert path == f"/lfs/{_sha256(body)}"
        self.hub.large[_sha256(body)] = body
        self._answer({})


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
