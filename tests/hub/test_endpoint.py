"""A running `aehub serve` is a hub: for the installed client, for raw requests, for attackers."""

from __future__ import annotations

import hashlib
import http.client
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from hub.conftest import ROOT, Client, client_settings, process
from hub.test_download import FIND, LOAD

WEIGHTS = ROOT / "weights"
MODEL = WEIGHTS / "d4-codec"
FILES = ("config.json", "model.safetensors", "README.md")
NAME = "aehub/d4-codec"

CLIENT = """
import json, sys
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
api = HfApi()
info = api.model_info("aehub/d4-codec", files_metadata=True)
tree = {f.path: (f.size, f.blob_id, f.lfs.sha256 if f.lfs else None)
        for f in api.list_repo_tree("aehub/d4-codec", recursive=True)}
refs = api.list_repo_refs("aehub/d4-codec")
tag = refs.tags[0].name
print(json.dumps({
    "sha": info.sha, "siblings": {s.rfilename: s.size for s in info.siblings}, "tree": tree,
    "models": [m.id for m in api.list_models(author="aehub")], "tag": tag,
    "main": [b.target_commit for b in refs.branches],
    "snapshot": snapshot_download("aehub/d4-codec"),
    "one": hf_hub_download("aehub/d4-codec", "config.json", revision=tag),
    "there": [api.file_exists("aehub/d4-codec", name) for name in ("config.json", "a.bin")],
    "repos": [api.repo_exists(name) for name in ("aehub/d4-codec", "aehub/none", "x/y")],
}))
"""


def request(address: str, path: str, method: str = "GET", **headers: str
            ) -> tuple[int, dict[str, str], bytes]:
    """A raw request: `path` is sent as it is."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        return ask(connection, path, method, **headers)
    finally:
        connection.close()


def ask(connection: http.client.HTTPConnection, path: str, method: str = "GET", **headers: str
        ) -> tuple[int, dict[str, str], bytes]:
    connection.putrequest(method, path, skip_accept_encoding=True)
    for name, value in {"Accept-Encoding": "identity", **headers}.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    return answer.status, headers, answer.read()


def stored(folder: Path = MODEL) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_unmodified_client_reads_models_from_a_running_aehub(
    served: str, python: Callable[..., Any]
) -> None:
    seen = python(CLIENT, HF_ENDPOINT=served)
    sizes = {name: len(data) for name, data in stored().items()}
    registry = {f"aehub/{path.parent.name}" for path in WEIGHTS.glob("*/config.json")}
    assert set(seen["models"]) == registry and seen["main"] == [seen["sha"]]
    assert seen["siblings"] == sizes == {name: facts[0] for name, facts in seen["tree"].items()}
    weights = hashlib.sha256((MODEL / "model.safetensors").read_bytes()).hexdigest()
    assert seen["tree"]["model.safetensors"][2] == weights
    config = json.loads((MODEL / "config.json").read_text())
    assert seen["tag"] == f"{config['entropy_hash']}-{config['synthesis_hash']}"
    assert Path(seen["snapshot"]).name == seen["sha"]
    assert stored(Path(seen["snapshot"])) == stored()
    assert Path(seen["one"]).read_bytes() == stored()["config.json"]
    assert seen["there"] == [True, False] and seen["repos"] == [True, False, False]


def test_a_running_aehub_gives_its_models_to_another(
    served: str, aehub_command: Client, tmp_path: Path, home: Path
) -> None:
    done = aehub_command("download", "d4-codec", "--endpoint", served)
    folder = Path(done.out.strip())
    assert done.code == 0 and folder.is_relative_to(home), done.stderr
    assert stored(folder) == stored()
    named = aehub_command("download", NAME, "--endpoint", served, "--to", "copy")
    assert named.code == 0 and stored(tmp_path / "copy") == stored()
    listed = aehub_command("models", "--endpoint", served, "--json")
    states = {model["name"]: model["state"] for model in json.loads(listed.out)["models"]}
    assert states["d4-codec"] == "bundled" and states[NAME] in ("cached", "remote")


def test_a_second_load_asks_nobody(served: str, python: Callable[..., Any]) -> None:
    first = python(FIND, "aehub/d4-codec@main", HF_ENDPOINT=served)
    # Nobody listens at the address of the second one.
    again = python(LOAD, "aehub/d4-codec@main", HF_ENDPOINT="http://127.0.0.1:9")
    assert again == ["d4-codec", first[0]]


@pytest.mark.parametrize("file", FILES)
def test_files_come_with_hash_length_and_range(served: str, file: str) -> None:
    data = (MODEL / file).read_bytes()
    path = f"/{NAME}/resolve/main/{file}"
    status, head, body = request(served, path, "HEAD")
    assert (status, body, int(head["content-length"])) == (200, b"", len(data))
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    is_weights = file == "model.safetensors"
    assert head["etag"] == f'"{hashlib.sha256(data).hexdigest() if is_weights else blob}"'
    assert len(head["x-repo-commit"]) == 40
    status, headers, body = request(served, path)
    assert (status, headers["etag"], body) == (200, head["etag"], data)
    begin = len(data) // 3
    for text, wanted in ((f"bytes={begin}-", data[begin:]), ("bytes=0-0", data[:1]),
                         (f"bytes={begin}-{begin + 9}", data[begin:begin + 10]),
                         ("bytes=-5", data[-5:])):
        status, headers, body = request(served, path, Range=text)
        assert (status, body) == (206, wanted), text
        assert headers["content-range"].endswith(f"/{len(data)}")
    assert request(served, path, Range=f"bytes={len(data)}-")[0] == 416
    assert request(served, path, Range="bytes=0-0", If_Range='"other"')[0] == 200


@pytest.mark.parametrize("path, code", [
    ("/api/models/aehub/none", "RepoNotFound"),
    ("/api/models/other/d4-codec", "RepoNotFound"),
    (f"/api/models/{NAME}/revision/none", "RevisionNotFound"),
    (f"/api/models/{NAME}/revision/refs%2Fpr%2F1", "RevisionNotFound"),
    (f"/api/models/{NAME}/tree/none", "RevisionNotFound"),
    (f"/api/models/{NAME}/tree/main/folder", "EntryNotFound"),
    (f"/{NAME}/resolve/none/config.json", "RevisionNotFound"),
    (f"/{NAME}/resolve/main/pytorch_model.bin", "EntryNotFound"),
    ("/aehub/none/resolve/main/config.json", "RepoNotFound"),
])
def test_a_missing_thing_is_answered_by_the_error_codes_of_the_protocol(
    served: str, path: str, code: str
) -> None:
    status, headers, body = request(served, path)
    assert (status, headers["x-error-code"]) == (404, code)
    assert json.loads(body)["error"]


def test_nothing_can_be_written(served: str) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        for path in (f"/api/models/{NAME}", f"/api/models/{NAME}/commit/main",
                     f"/{NAME}/resolve/main/config.json", "/api/repos/create"):
            assert request(served, path, method, Content_Length="0")[0] in (404, 405)


SEGMENTS = (
    "..", "%2e%2e", "%252e%252e", "..%2f..", "..%5c..", ".", "", "%00", "~", "/", "//", "\\", "*",
    "aehub", "d4-codec", "D4-CODEC", "api", "models", "resolve", "tree", "revision", "refs", "main",
    "config.json", "model.safetensors", "README.md", "curves.png", ".git", ".git/config", "etc",
    "etc/passwd", "proc/self/environ", "pyproject.toml", "app.py", "aehub/errors.py", "weights",
    "config.json%00.png", "config.json/", "config.json/..", "%c0%ae%c0%ae", "\u00e9".encode().hex(),
    "%ff%fe", "a" * 3000, "file:", "http:", "@", ";", "?x=../", "main%2f..%2f..", "%2fetc%2fpasswd",
)


GOOD = (f"{NAME}/resolve/main/config.json", f"{NAME}/resolve/main/model.safetensors",
        f"api/models/{NAME}/revision/main", f"api/models/{NAME}/tree/main", f"api/models/{NAME}",
        f"{NAME}/resolve/main/curves.png", f"{NAME}/resolve/main/README.md", "api/models")


def hostile_path(rng: random.Random) -> str:
    """A good address with parts changed into all that has ever led out of a folder."""
    parts = rng.choice(GOOD).split("/")
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3, 8])):
        place = rng.randrange(len(parts) + 1)
        parts[place:place + rng.randint(0, 1)] = [rng.choice(SEGMENTS)]
    return "/" + "/".join(parts).replace("\\", "%5c").replace(" ", "%20")


def test_a_thousand_hostile_paths_reach_nothing_but_model_files(served: str) -> None:
    held = set(stored().values())
    parts = urlsplit(served)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    page = ask(connection, "/")[2][:2000]
    seen: dict[int, int] = {}
    rng = random.Random(2)
    for _ in range(1000):
        path, method = hostile_path(rng), rng.choice(["GET", "GET", "HEAD"])
        ranges = {"Range": f"bytes={rng.randint(-9, 99)}-{rng.randint(-9, 99)}"} if (
            rng.random() < 0.3) else {}
        status, headers, body = ask(connection, path, method, **ranges)
        seen[status] = seen.get(status, 0) + 1
        assert status in (200, 206, 307, 400, 404, 405, 416), (status, path)
        if status == 200 and method == "GET":
            is_json = headers["content-type"] == "application/json"
            assert body in held or is_json or body[:2000] == page, path
            assert b"root:x" not in body and b"[project]" not in body, path
        if status == 206:
            assert len(body) <= 100 and any(body in data for data in held), path
    connection.close()
    assert seen[404] > 400 and seen[200] > 50, seen
    assert request(served, "/healthz")[0] == 200


def test_links_and_strangers_in_a_model_folder_are_not_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("starlette")
    from aehub.endpoint import served_models
    from aehub.hub import registry

    folder = tmp_path / "weights" / "probe"
    folder.mkdir(parents=True)
    secret = tmp_path / "secret"
    secret.write_text("{}")
    for name in ("model.safetensors", "README.md", "notes.txt", ".env", "run.py", "picture.png"):
        (folder / name).write_bytes(b"x")
    (folder / "config.json").write_text('{"name": "probe", "task": "t", "parameters": 1}')
    (folder / "link.png").symlink_to(secret)
    (folder / "sub.png").mkdir()
    (tmp_path / "weights" / "linked").symlink_to(tmp_path)
    monkeypatch.setattr(registry, "bundled_root", lambda: tmp_path / "weights")
    held = served_models()
    assert set(held) == {"aehub/probe"}
    assert set(held["aehub/probe"].files) == {
        "config.json", "model.safetensors", "README.md", "picture.png"}
    before = held["aehub/probe"].commit
    (folder / "README.md").write_bytes(b"other")
    assert served_models()["aehub/probe"].commit != before


def test_four_processes_and_eight_clients_fetch_at_once_into_one_whole_cache(
    served: str, tmp_path: Path
) -> None:
    import subprocess
    import sys

    code = """
import sys, threading, aehub
folders = []
def fetch():
    folders.append(aehub.download("aehub/d4-codec", endpoint=sys.argv[1]))
clients = [threading.Thread(target=fetch) for _ in range(2)]
[client.start() for client in clients]
[client.join() for client in clients]
assert len(folders) == 2
print(folders[0])
"""
    home = tmp_path / "home"
    workers = [subprocess.Popen(
        [sys.executable, "-c", code, served], env=client_settings(home), cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
    results = [worker.communicate(timeout=100) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4, results
    (folder,) = {out.strip() for out, _ in results}
    assert stored(Path(folder)) == stored()
    assert not [path for path in home.rglob("*.incomplete")]
    done = process([sys.executable, "-m", "aehub", "download", f"{NAME}@{Path(folder).name}"],
                   tmp_path, client_settings(home))
    assert done.code == 0 and done.out.strip() == folder
