"""The page as a server: routes, limits, files, memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aehub.ui.examples import EXAMPLES
from pageserver import ROOT, PageServer, page_server


def test_the_page_is_ready_soon(page: PageServer) -> None:
    # On an idle machine the two are alike; where others compute too, only the second is ours.
    assert min(page.seconds_to_ready, page.cpu_to_ready) < 20


def test_healthz_answers(page: PageServer) -> None:
    status, body = page.get("/healthz")
    assert status == 200
    assert json.loads(body)["status"] == "ok"


def test_nothing_is_printed_but_the_address(page: PageServer) -> None:
    # The page answers a moment before its address is printed.
    deadline = time.monotonic() + 20
    while not page.log.read_text() and time.monotonic() < deadline:
        time.sleep(0.1)
    first = page.log.read_text().splitlines()[0]
    assert first.startswith("AEHub is open at http://127.0.0.1:")


def test_history_monitoring_and_open_queue_are_off(page: PageServer) -> None:
    config = json.loads(page.get("/config")[1])
    assert config["analytics_enabled"] is False
    assert not config.get("run_history")
    assert page.get("/monitoring")[0] in (403, 404)
    assert page.get("/monitoring/summary")[0] in (403, 404)
    assert page.get("/docs")[0] == 404


@pytest.mark.parametrize("path", [
    "/ae/jobs/../../etc/passwd",
    "/ae/jobs/..%2f..%2fetc/passwd",
    "/ae/jobs/0123456789abcdef0123456789abcdef/facts.json",
    "/ae/jobs/0123456789abcdef0123456789abcdef/difference/0.png",
    "/aehub/d4-codec/resolve/main/..%2f..%2fpyproject.toml",
    "/aehub/..%2f../resolve/main/config.json",
    "/ae/examples/nonsense.jpg",
    "/gradio_api/file=/etc/passwd",
    f"/gradio_api/file={ROOT / 'app.py'}",
])
def test_no_file_is_served_that_was_not_made_for_the_visitor(page: PageServer, path: str) -> None:
    status, body = page.get(path)
    assert status in (403, 404)
    assert b"root:" not in body


def test_model_files_are_served_whole(page: PageServer) -> None:
    stored = (ROOT / "weights/d4-codec/config.json").read_bytes()
    assert page.get("/aehub/d4-codec/resolve/main/config.json") == (200, stored)


def test_examples_have_thumbnails(page: PageServer) -> None:
    pytest.importorskip("skimage")
    for name in EXAMPLES:
        status, body = page.get(f"/ae/examples/{name}.jpg")
        assert status == 200
        assert body[:2] == b"\xff\xd8"


def test_a_wrong_limit_is_one_sentence(tmp_path: Path) -> None:
    with (pytest.raises(AssertionError, match="AEHUB_MAX_UPLOAD_MB is 'much'"),
          page_server(tmp_path, AEHUB_MAX_UPLOAD_MB="much")):
        pass


def test_aehub_serve_is_the_same_page() -> None:
    done = subprocess.run([sys.executable, "-m", "aehub", "serve", "--help"], cwd=ROOT,
                          capture_output=True, text=True, check=True)
    assert "--port" in done.stdout


def test_app_is_short_and_has_no_logic() -> None:
    lines = (ROOT / "app.py").read_text().splitlines()
    assert len(lines) < 60
    assert not [line for line in lines if line.startswith(("def ", "class ", "for ", "while "))]
