"""The recorded example that the page opens on: correct, small, and not computed by the page."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import aehub
from aehub.media.clip import open_clip
from aehub.report.playback import iter_playback
from aehub.report.prepare import iter_prepare
from aehub.results import run_job
from aehub.ui import examples
from aehub.ui.result_folders import private_folder
from material import psnr
from pageserver import ROOT, PageServer


def test_the_opening_was_made_with_the_bundled_weights_and_is_whole() -> None:
    assert aehub.verify(examples.opening_aev()).ok
    said, made = aehub.info(examples.opening_aev()), examples.opening_report().compressed
    for fact in ("model", "bytes", "frames", "width", "height", "fps", "seconds", "quality"):
        assert said[fact] == getattr(made, fact), fact
    config = json.loads((ROOT / "weights" / made.model / "config.json").read_text())
    for which in ("entropy_hash", "synthesis_hash"):
        assert said[which] == config[which], "run: python docs/measure/opening.py"
    assert len(examples.opening_report().baselines) == 2


def test_the_numbers_of_the_opening_are_those_of_a_fresh_measurement(tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    said, stacked = examples.opening_report().playback, tmp_path / "stacked.mp4"
    original = run_job(iter_prepare(examples.clip(examples.OPENING_NAME), tmp_path / "copy.mkv"),
                       None)
    found = run_job(iter_playback(original, examples.opening_aev(), stacked,
                                  tmp_path / "decoded.mp4", said.frame_bytes), None)
    assert found.psnr == pytest.approx(said.psnr, abs=0.01)
    assert found.ms_ssim == pytest.approx(said.ms_ssim, abs=1e-4)
    assert found.frame_psnrs == pytest.approx(said.frame_psnrs, abs=0.02)
    for fact in ("width", "height", "half", "times", "seconds", "has_sound"):
        assert getattr(found, fact) == getattr(said, fact), fact
    assert sum(said.frame_bytes) == aehub.info(examples.opening_aev())["payload_bytes"]
    with open_clip(examples.opening_report().stacked) as kept, open_clip(stacked) as fresh:
        for shown, wanted in zip(kept, fresh, strict=True):
            assert psnr(shown.picture[0], wanted.picture[0]) > 45


def test_the_opening_is_small() -> None:
    kept = list(examples.OPENING_FOLDER.iterdir())
    served = {path.name for path in kept if examples.opening_file(path.name)}
    assert served == {path.name for path in kept} - {examples.OPENING_REPORT}
    assert sum(path.stat().st_size for path in kept) < 600_000


def test_the_opening_is_shown_without_torch_and_without_drawing_the_example() -> None:
    code = ("import sys; from aehub.ui import examples; "
            "assert 'aehub-wipe' in examples.opening_overview(); "
            "assert 'AV1' in examples.opening_figures(); "
            "print('loaded:', *{'torch', 'skimage', 'gradio'} & sys.modules.keys())")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          check=True)
    assert done.stdout.strip() == "loaded:"


def test_the_first_example_is_the_one_on_show_and_the_hard_one_is_named() -> None:
    assert next(iter(examples.EXAMPLES)) == examples.OPENING_NAME
    assert examples.HARD_EXAMPLE_NOTE.startswith(examples.EXAMPLES["marbles"].label)
    assert "hard for this model" in examples.HARD_EXAMPLE_NOTE


def test_an_example_that_another_version_drew_is_drawn_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    old = private_folder("aehub-examples") / "marbles.mkv"
    old.write_bytes(b"old")
    drawn = examples.clip("marbles")
    with open_clip(drawn) as clip:
        assert (clip.info.width, clip.info.height) == (256, 256)
        first = next(iter(clip)).picture[0]
    assert examples.clip("marbles") == drawn and first.std() > 10
    monkeypatch.setattr(examples, "VERSION", "other")
    assert examples.clip("marbles") != drawn


def test_the_files_of_the_opening_are_served_whole_and_in_parts(page: PageServer) -> None:
    video = examples.opening_report().stacked.name
    for name in (examples.opening_aev().name, video, examples.OPENING_POSTER):
        stored = (examples.OPENING_FOLDER / name).read_bytes()
        assert page.get(f"/ae/opening/{name}") == (200, stored)
    asked = urllib.request.Request(f"{page.url}/ae/opening/{video}",
                                   headers={"Range": "bytes=10-19"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        assert answer.status == 206 and len(answer.read()) == 10
    for name in (examples.OPENING_REPORT, "..%2f..%2fpage.css", "nonsense.aev"):
        assert page.get(f"/ae/opening/{name}")[0] == 404
    with Image.open(examples.OPENING_FOLDER / examples.OPENING_POSTER) as poster:
        playback = examples.opening_report().playback
        assert poster.size == (playback.width, playback.height)


def test_the_error_of_a_frame_of_the_opening_is_drawn_when_it_is_asked_for(
    page: PageServer
) -> None:
    pytest.importorskip("skimage")
    status, body = page.get("/ae/opening/difference/1.png")
    assert status == 200
    with Image.open(io.BytesIO(body)) as drawn:
        error = np.asarray(drawn) / 8
    playback = examples.opening_report().playback
    assert error.shape == (playback.height, playback.width, 3) and 0.5 < error.mean() < 5
    assert page.get(f"/ae/opening/difference/{len(playback.times)}.png")[0] == 404
    assert page.get("/ae/opening/nonsense/1.png")[0] == 404
