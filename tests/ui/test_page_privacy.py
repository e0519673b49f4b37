"""Privacy: deletion of visitors' files, and requests that must not reach other hosts or files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file
from PIL import Image

import aehub
from material import moving_picture, write_clip
from pageserver import ROOT, PageServer, page_server

# Read by Python when the server starts: every name it resolves and every address it connects to.
WATCHER = """
import os, sys
def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "socket.sendto"):
        with open(os.environ["ASKED"], "a") as file:
            print(event, *arguments[event == "socket.connect":], file=file)
sys.addaudithook(watch)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("strict")
    (folder / "sitecustomize.py").write_text(WATCHER)
    return folder


@pytest.fixture(scope="module")
def strict(place: Path) -> Iterator[PageServer]:
    """A server that keeps files for a minute, and logs the hosts that it contacts."""
    commit = "0123456789" * 4
    cached = place / "home/hub/models--lab--tiny-d4"
    shutil.copytree(ROOT / "tests/golden/tiny-d4", cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text(commit)
    with page_server(place, AEHUB_KEEP_MINUTES="1", AEHUB_MAX_SECONDS="4",
                     AEHUB_MAX_PIXELS="300000", HF_HOME=str(place / "home"),
                     ASKED=str(place / "asked"),
                     PYTHONPATH=f"{place}{os.pathsep}{ROOT}") as running:
        yield running


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A clip, its `.aev` file, two pictures and a character."""
    folder = tmp_path_factory.mktemp("small")
    pictures = moving_picture(4, 64, 48)
    clip = write_clip(folder / "holiday.mp4", pictures, fps=8)
    aehub.compress(clip, folder / "holiday.aev", measure=False)
    for number in (0, 1):
        Image.fromarray(pictures[number]).save(folder / f"{number}.png")
    return {path.name: path for path in folder.iterdir()}


def visitors_files(place: Path) -> list[Path]:
    """Files of the server's temporary folders, without its own examples and its trial."""
    # os.walk takes it calmly when a folder goes meanwhile.
    return [Path(folder, name) for folder, _, names in os.walk(place / "tmp") for name in names
            if "aehub-examples" not in folder and "trial" not in name
            and not name.endswith(".lock")]


def becomes_true(holds: Any, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def post(server: PageServer, path: str, body: Any) -> tuple[int, str]:
    asked = urllib.request.Request(server.url + path, json.dumps(body).encode(),
                                   {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def said_of(server: PageServer, name: str, data: list[Any]) -> str:
    """Return the final answer of the server to a call with these raw inputs."""
    status, text = post(server, f"/gradio_api/call/{name}", {"data": data})
    if status != 200:
        return text
    with urllib.request.urlopen(
            f"{server.url}/gradio_api/call/{name}/{json.loads(text)['event_id']}",
            timeout=60) as answer:
        said: str = answer.read().decode()
    return said


def file_of(**facts: Any) -> dict[str, Any]:
    return {**facts, "meta": {"_type": "gradio.FileData"}}


@pytest.mark.slow
def test_no_visitor_makes_the_server_ask_another(strict: PageServer, place: Path) -> None:
    with socket.socket() as trap:
        trap.bind(("127.0.0.1", 0))
        trap.listen()
        trap.setblocking(False)
        port = trap.getsockname()[1]
        addresses = [f"http://127.0.0.1:{port}/a.mp4", f"https://localhost:{port}/a.mp4",
                     "http://aehub.invalid/a.mp4", "HTTP://aehub.invalid/a.mp4",
                     "ftp://aehub.invalid/a.mp4", "file:///etc/passwd", "//aehub.invalid/a.mp4",
                     "/etc/passwd", "../../../../etc/passwd", "a\0b", "x" * 5000]
        panels = {"compress": 1, "decompress": 1, "edit": 1, "compare": 1}
        for address in addresses:
            for name in panels:
                said = said_of(strict, name, [file_of(path=address, url=address)])
                assert "is no upload of this server" in said, (name, address, said)
            said = said_of(strict, "animate", ["d4-codec", "1", [file_of(path=address)]])
            assert "is no upload of this server" in said, (address, said)
        http = addresses[2]
        # As text, as a list for a single file, without the mark of a file, and where none belongs.
        for data in ([http], [[file_of(path=http)]], [{"path": http}], [{"url": http}],
                     [None, file_of(path=http)], [None, 0, 0, [[file_of(path=http)]]]):
            assert "is no upload of this server" in said_of(strict, "compress", data), data
        assert "Traceback" not in strict.log.read_text()
        for fn in range(len(json.loads(strict.get("/config")[1])["dependencies"])):
            post(strict, "/gradio_api/queue/join",
                 {"fn_index": fn, "session_hash": "x", "data": [file_of(path=http)] * 20})
        for path in (f"file={http}", f"file={addresses[1]}", f"file/{http}", f"proxy={http}",
                     "file=%68ttp://aehub.invalid/", "file=https:%2F%2Faehub.invalid%2F"):
            assert strict.get(f"/gradio_api/{path}")[0] in (400, 403, 404), path
        time.sleep(0.5)
        with pytest.raises(BlockingIOError):
            trap.accept()
    asked = (place / "asked").read_text()
    assert "getaddrinfo" in asked, "the watcher saw the server start"
    for foreign in ("aehub.invalid", str(port), "huggingface", "gradio"):
        assert foreign not in asked, asked


def test_a_model_from_a_hub_animates_on_the_page(
    strict: PageServer, small: dict[str, Path], tmp_path: Path
) -> None:
    client = Client(strict.url, verbose=False, download_files=str(tmp_path))
    pair = [handle_file(small["0.png"]), handle_file(small["1.png"])]
    made, facts, recipe, *_ = client.predict("lab/tiny-d4", files=pair, seconds=0.5, fps=8,
                                             format="gif", api_name="/animate")
    assert Path(made).name == facts["name"] == "tiny-d4.gif" and facts["model"] == "tiny-d4"
    # What visitors download holds all that it needs: they never had the server's folders.
    assert ".." not in Path(recipe).read_text() and "holiday" not in Path(recipe).read_text()
    again = tmp_path / "again.gif"
    aehub.animate(again, recipe=recipe, model=ROOT / "tests/golden/tiny-d4")
    assert again.read_bytes() == Path(made).read_bytes()


def test_the_limits_of_the_page_hold_for_what_is_animated(
    strict: PageServer, tmp_path: Path
) -> None:
    client = Client(strict.url, verbose=False, download_files=str(tmp_path))
    pictures = moving_picture(4, 64, 48)
    long = write_clip(tmp_path / "long.mp4", pictures, vfr_pts=[0, 30, 60, 90],
                      time_base=Fraction(1))
    short = write_clip(tmp_path / "short.mts", pictures, fps=8,
                       container_options={"mpegts_m2ts_mode": "1"})
    Image.new("RGB", (800, 600)).save(tmp_path / "large.png")
    for name, words in (("long.mp4", "long.mp4 is longer than 4 s"),
                        ("large.png", "large.png is 800x600, 480000 pixels; at most 300000")):
        with pytest.raises(Exception, match=words):
            client.predict("d4-codec", files=[handle_file(tmp_path / name)], api_name="/animate")
    with pytest.raises(Exception, match="33 files are given"):
        client.predict("d4-codec", files=[handle_file(tmp_path / "large.png")] * 33,
                       api_name="/animate")
    _, facts, *_ = client.predict("d4-codec", files=[handle_file(short)], seconds=0.5, fps=8,
                                  api_name="/animate")
    assert facts["frames"] == 4 and (facts["width"], facts["height"]) == (64, 48)
    assert long.exists()


def used_once(server: PageServer, small: dict[str, Path], downloads: Path) -> None:
    """Every panel, as a program uses it."""
    client = Client(server.url, verbose=False, download_files=str(downloads))
    clip, packed = handle_file(small["holiday.mp4"]), handle_file(small["holiday.aev"])
    given = client.predict(clip, neighbours=False, api_name="/compress")
    html = next(part for part in given if "ae/jobs/" in str(part))
    token = html[html.index("ae/jobs/"):].split("/")[2]
    assert server.get(f"/ae/jobs/{token}/difference/0.png")[0] == 200
    client.predict(packed, "gif", api_name="/decompress")
    client.predict(packed, "rotate 90", api_name="/edit")
    pair = [handle_file(small["0.png"]), handle_file(small["1.png"])]
    client.predict("d4-codec", files=pair, seconds=0.5, fps=8, format="gif", api_name="/animate")
    client.predict(clip, codecs=["x264-medium"], frames=1, api_name="/compare")
    client.predict(api_name="/models")


def test_nothing_of_a_visitor_outlives_the_promised_minutes_or_the_server(
    strict: PageServer, place: Path, small: dict[str, Path], tmp_path: Path
) -> None:
    used_once(strict, small, tmp_path)
    kept = visitors_files(place)
    assert {".mp4", ".aev", ".mkv", ".gif", ".png"} <= {path.suffix for path in kept}
    time.sleep(6)
    assert visitors_files(place) == kept, "files are there as long as was promised"
    for path in (place / "tmp").rglob("*"):
        os.utime(path, (0, time.time() - 61))
    assert becomes_true(lambda: not visitors_files(place), 20), visitors_files(place)
    # Of what is gone, a sentence says so.
    root = next(path for path in (place / "tmp").rglob("aehub-visitors-*") if path.is_dir())
    said = said_of(strict, "compress", [file_of(path=str(root / "ab" / "holiday.mp4"))])
    assert "holiday.mp4 is not on this server any more" in said and "1 minutes" in said

    used_once(strict, small, tmp_path)
    os.kill(strict.pid, signal.SIGTERM)
    assert becomes_true(lambda: not visitors_files(place), 10), visitors_files(place)


def test_ctrl_c_ends_a_job_and_leaves_nothing(small: dict[str, Path], tmp_path: Path) -> None:
    with page_server(tmp_path) as page:
        job = Client(page.url, verbose=False).submit(
            handle_file(small["holiday.mp4"]), neighbours=False, api_name="/compress")
        assert becomes_true(lambda: bool(job.outputs()), 60) and visitors_files(tmp_path)
        os.kill(page.pid, signal.SIGINT)
        assert becomes_true(lambda: not visitors_files(tmp_path), 10), visitors_files(tmp_path)
    told = page.log.read_text()
    assert "Traceback" not in told and "terminate" not in told, told


KILLED = """
import os, sys
from pathlib import Path
from aehub.ui.result_folders import ResultFolders
with ResultFolders(60, Path(sys.argv[1])).new() as folder:
    (folder / "holiday.aev").write_bytes(b"codes")
    os._exit(9)
"""


def test_what_a_killed_server_left_goes_when_the_next_starts_and_what_another_has_stays(
    tmp_path: Path
) -> None:
    from aehub.ui.result_folders import ResultFolders

    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, cwd=ROOT)
    assert len(list(tmp_path.rglob("holiday.aev"))) == 1
    first = ResultFolders(60, tmp_path)
    assert not list(tmp_path.rglob("holiday.aev"))
    with first.new() as folder:
        (folder / "clip.aev").write_bytes(b"codes")
        other = ResultFolders(1e-9, tmp_path)
        os.utime(folder, (0, 0))
        other.delete_old()
        first.delete_old()
        assert (folder / "clip.aev").exists(), "another server, and a job that runs, leave it"
        other.close()
    os.utime(folder / "clip.aev", (0, 0))
    first.delete_old()
    assert (folder / "clip.aev").exists(), "its age begins when the job ends"
    first.close()
    assert not list(tmp_path.iterdir())
