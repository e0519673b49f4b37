"""Inputs at addresses: found, named, fetched by workers; and what is wrong with one, in a sentence.

`memory://` is a file system of one process; `hf://` and `http://` are servers of this one on
loopback, of which the last needs aiohttp: `pip install 'aehub[uri]'`.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fsspec
import pytest
from click.testing import CliRunner

from aehub.cli import main
from aehub.inputs import Kinds
from aehub.jobs.manifest import Manifest, OutputFolder
from aehub.jobs.plan import MEDIA, FileTask, Job, plan_files
from aehub.jobs.run import RunResult, iter_files
from aehub.jobs.task import Event, Finished, Task
from aehub.jobs.uris import fetched, find_remote, is_uri, without_scheme
from aehub.jobs.work import failure, perform
from aehub.results import run_job
from jobs.conftest import ENVIRONMENT, contents, leftovers, run
from material import moving_picture, write_clip

needs_http = pytest.mark.skipif(find_spec("aiohttp") is None,
                                reason="needs aiohttp: pip install 'aehub[uri]'")
JOB = Job("compress", {"effort": 0, "measure": False}, ".aev", MEDIA)


class Here:
    """An executor of one slot in this process, which sees the same `memory://`."""

    slots = 1

    def submit(self, task: Task) -> None:
        self.task = task

    def wait(self) -> list[Event]:
        try:
            return [Finished(self.task.number, run_job(perform(self.task), None))]
        except Exception as error:  # noqa: BLE001 - as workers do
            return [failure(self.task, error)]

    def close(self) -> None:
        pass


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", moving_picture(3, 64, 64))


def plan(*operands: str, folder: Path | None = None, each: bool = False,
         manifest: Manifest | None = None) -> list[FileTask]:
    return plan_files(JOB, operands, folder, each=each, manifest=manifest)


def compress(operand: str, out: Path) -> RunResult:
    with OutputFolder(out, force=True) as folder:
        files = plan(operand, folder=out, manifest=folder.manifest)
        return run_job(iter_files(JOB, files, Here(), folder), None)


def named(files: list[FileTask]) -> dict[str, str]:
    return {file.source: file.output for file in files}


def test_folders_and_patterns_at_an_address_are_mirrored(memory: Any) -> None:
    for name in ("a/one.mp4", "a/two.mkv", "b/one.mp4", "b/notes.txt", "b/._one.mp4"):
        memory.pipe(f"/films/{name}", b"1")
    assert named(plan("memory://films")) == {
        "memory:///films/a/one.mp4": "a/one.aev", "memory:///films/a/two.mkv": "a/two.aev",
        "memory:///films/b/one.mp4": "b/one.aev"}
    assert named(plan("memory://films/*/one.mp4")) == {
        "memory:///films/a/one.mp4": "a/one.aev", "memory:///films/b/one.mp4": "b/one.aev"}
    assert list(named(plan("memory://films/a", "memory://films/**/*.mkv")).values()) == [
        "one.aev", "two.aev"], "each once"


def test_no_name_at_an_address_leads_out_of_the_folder_of_results(memory: Any) -> None:
    memory.pipe("/films/../../evil.mp4", b"1")
    memory.pipe("/films/a/../../b/c.mp4", b"1")
    memory.pipe("/x/a%2F..%2F..%2Fd.mp4", b"1")
    found = plan("memory://films", "memory://x/a%2F..%2F..%2Fd.mp4")
    assert {file.output for file in found} == {"evil.aev", "a/b/c.aev", "a/d.aev"}


def test_a_file_that_is_named_is_taken_whatever_its_name(memory: Any) -> None:
    memory.pipe("/films/reel", b"1")
    (one,) = plan("memory://films/reel")
    assert (one.output, one.size, one.error) == ("reel.aev", 1, "")


def test_the_suffix_chooses_among_files_of_a_folder(memory: Any) -> None:
    for name in ("a.aev", "a.mp4"):
        memory.pipe(f"/films/{name}", b"1")
    for kinds, name in ((Kinds(compressed=False), "a.mp4"), (Kinds(media=False), "a.aev")):
        assert [str(one.name) for one in find_remote("memory://films", kinds)] == [name]


def test_pictures_at_an_address_are_one_clip_nowhere_and_many_with_each(memory: Any) -> None:
    for name in ("1.png", "2.png"):
        memory.pipe(f"/scan/{name}", b"1")
    (refused,) = plan("memory://scan")
    assert "one clip only in a folder of this machine" in refused.error
    assert list(named(plan("memory://scan", each=True)).values()) == ["1.aev", "2.aev"]


def test_a_clip_at_an_address_gives_the_bytes_of_the_clip_in_a_file(
    memory: Any, clip: Path, tmp_path: Path
) -> None:
    memory.put(str(clip), "/films/clip.mp4")
    result = compress("memory://films", tmp_path / "out")
    assert [file.state for file in result.files] == ["done"], result.files
    compress(str(clip), tmp_path / "here")
    assert contents(tmp_path / "out") == contents(tmp_path / "here")
    assert not leftovers(tmp_path / "out")


def test_what_is_done_is_skipped_until_the_file_at_the_address_changes(
    memory: Any, clip: Path, tmp_path: Path
) -> None:
    memory.put(str(clip), "/films/clip.mp4")
    states = [compress("memory://films", tmp_path / "out").files[0].state for _ in range(2)]
    memory.put(str(clip), "/films/clip.mp4")
    states.append(compress("memory://films", tmp_path / "out").files[0].state)
    assert states == ["done", "skipped", "done"]


def test_a_fetched_file_is_deleted_whatever_happens(memory: Any, tmp_path: Path) -> None:
    memory.pipe("/films/a b.mp4", b"content")
    with pytest.raises(ZeroDivisionError), fetched("memory://films/a b.mp4",
                                                   str(tmp_path / "out")) as path:
        assert Path(path).read_bytes() == b"content" and Path(path).name == "a b.mp4"
        assert Path(path).is_relative_to(tmp_path)
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_gone_when_it_is_fetched_fails_alone(memory: Any, tmp_path: Path) -> None:
    memory.pipe("/films/clip.mp4", b"1")
    files = plan("memory://films", folder=tmp_path)
    memory.rm("/films/clip.mp4")
    with OutputFolder(tmp_path) as folder:
        result = run_job(iter_files(JOB, files, Here(), folder), None)
    assert result.files[0].error == (
        "memory:///films/clip.mp4 is not found; check the address.")


@pytest.mark.parametrize(("address", "sentence"), [
    ("memory://nothing/clip.mp4", "memory://nothing/clip.mp4 is not found; check the address."),
    ("nonsense://x/y.mp4", "nonsense://x/y.mp4 cannot be read: Protocol not known: nonsense."),
    ("ftp://127.0.0.1:9/x.mp4", "ftp://127.0.0.1:9/x.mp4 cannot be read: [Errno 111] Connection"),
    ("http://me:secret@host/x.mp4", "http:// is followed by a name and a password"),
    ("hf://datasets/a/b/c.mp4", "hf://datasets/a/b/c.mp4 cannot be read: Cannot reach"),
])
def test_an_address_that_cannot_be_read_is_one_sentence(address: str, sentence: str) -> None:
    (one,) = plan(address)
    assert one.error.startswith(sentence) and "\n" not in one.error and one.error.endswith(".")
    assert "secret" not in one.error


@pytest.mark.skipif(find_spec("s3fs") is not None, reason="s3fs is installed")
def test_a_library_that_is_missing_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["compress", "s3://bucket/clip.mp4", "-o", str(tmp_path)])
    assert done.exit_code == 1
    assert done.stderr == ("aehub: s3://bucket/clip.mp4: s3:// needs a library that is not "
                           "installed: Install s3fs to access S3.\n")


def test_fsspec_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    (one,) = plan("s3://bucket/clip.mp4")
    assert one.error == ("s3://bucket/clip.mp4 needs fsspec, which is not installed; run: "
                         "pip install 'aehub[uri]'")


def test_results_are_written_to_no_address(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["compress", str(tmp_path), "-o", "s3://bucket/out"])
    assert done.exit_code == 1 and done.stderr.startswith(
        "aehub: s3://bucket/out is an address, and results are written into a folder")
    assert done.stderr.count("\n") == 1


def test_addresses_of_files_are_paths(clip: Path) -> None:
    assert is_uri("s3://a/b") and not is_uri("file:///a/b") and not is_uri("C:\\a\\b")
    assert without_scheme("file:///a/b%20c") == "/a/b c" and without_scheme("a/b") == "a/b"
    (one,) = plan(f"file://{clip}")
    assert (one.path, one.output, one.error) == (str(clip), "clip.aev", "")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(handler: Any) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def served(clip: Path) -> Iterator[str]:
    with serving(partial(_Quiet, directory=str(clip.parent))) as url:
        yield url


class _Hub(_Quiet):
    """As much of a hub as its file system asks for: one dataset with one clip."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/datasets/org/films/tree/main"):
            self._answer([self._entry()])
        elif path.startswith("/api/datasets/org/films"):
            self._answer({"id": "org/films", "sha": "0" * 40, "siblings": []})
        elif path == f"/datasets/org/films/resolve/{'0' * 40}/clip.mp4" or path == (
                "/datasets/org/films/resolve/main/clip.mp4"):
            self.path = "/clip.mp4"
            super().do_GET()
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer([self._entry()] if b"clip.mp4" in asked else [])

    def _entry(self) -> dict[str, Any]:
        size = (Path(self.directory) / "clip.mp4").stat().st_size
        return {"type": "file", "path": "clip.mp4", "size": size, "oid": "1" * 40}

    def _answer(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.mark.parametrize("address", ["hf://datasets/org/films", "hf://datasets/org/films/*.mp4",
                                     "hf://datasets/org/films/clip.mp4"])
def test_workers_fetch_what_a_hub_has(
    address: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = partial(_Hub, directory=str(clip.parent))
    with serving(handler) as url:
        for name, value in {"HF_ENDPOINT": url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1",
                            "HF_HOME": str(tmp_path / "home")}.items():
            monkeypatch.setitem(ENVIRONMENT, name, value)
        done = run("compress", address, "-o", "out", "--effort", "0", "--no-measure", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    compress(str(clip), tmp_path / "here")
    assert contents(tmp_path / "out") == contents(tmp_path / "here")


@needs_http
def test_workers_fetch_what_a_server_has(served: str, clip: Path, tmp_path: Path) -> None:
    arguments = ("--effort", "0", "--no-measure", "--workers", "2")
    done = run("compress", f"{served}/clip.mp4?key=1", "-o", "out", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    compress(str(clip), tmp_path / "here")
    assert contents(tmp_path / "out") == contents(tmp_path / "here")
    again = run("compress", f"{served}/clip.mp4?key=1", "-o", "out", *arguments, cwd=tmp_path)
    assert again.stdout.startswith("done    0\nskipped 1")


@needs_http
def test_a_file_that_a_server_does_not_have_is_one_sentence(served: str, tmp_path: Path) -> None:
    done = run("compress", f"{served}/no.mp4", "-o", "out", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"aehub: {served}/no.mp4 is not found; check the address.\n"
