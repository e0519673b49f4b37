"""The API of the page through gradio_client, in a process of its own and in this one."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client, handle_file

import aehub
from material import moving_picture, write_clip
from pageserver import PageServer

SESSION = '''
import json, sys, time
from gradio_client import Client, handle_file
client = Client(sys.argv[1], verbose=False, download_files=sys.argv[3])
job = client.submit(handle_file(sys.argv[2]), quality=40, neighbours=False, api_name="/compress")
seen = set()
while not job.done():
    state = job.status()
    if state.progress_data:
        seen.add(state.progress_data[-1].desc.split(":")[0])
    time.sleep(0.01)
packed, facts, decoded, original, *rest = job.result()
clip, said, *rest = client.predict(handle_file(packed), "gif", api_name="/decompress")
models = client.predict(api_name="/models")
print(json.dumps([packed, facts, decoded, original, clip, said, models, sorted(seen)]))
'''


@pytest.fixture
def client(page: PageServer, tmp_path: Path) -> Client:
    return Client(page.url, verbose=False, download_files=str(tmp_path))


def test_a_program_compresses_decompresses_and_lists_models(
    page: PageServer, tmp_path: Path
) -> None:
    import json

    # Long enough to be seen at work on a fast machine: progress is sent a few times a second.
    clip = write_clip(tmp_path / "small.mp4", moving_picture(64, 320, 192), fps=24, audio=True)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", SESSION, page.url, str(clip),
                           str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    packed, facts, decoded, original, gif, said, models, seen = json.loads(done.stdout)
    assert aehub.verify(packed).ok
    assert Path(packed).name == "small.aev"
    assert facts["bytes"] == Path(packed).stat().st_size
    assert facts["frames"] == 64 and facts["quality"] == 40
    assert facts["source_bytes"] == clip.stat().st_size
    assert facts["ratio"] == pytest.approx(clip.stat().st_size / facts["bytes"], abs=0.001)
    assert Path(decoded).suffix == ".mp4" and Path(original).suffix == ".mkv"
    assert Path(gif).read_bytes()[:6] == b"GIF89a"
    assert said["frames"] == 64
    assert [model["name"] for model in models] == [m.name for m in aehub.list_models()]
    assert page.get(models[0]["files"][0])[0] == 200
    assert "Compressing" in seen or "Decoding and measuring" in seen


def test_every_argument_but_the_first_has_a_default(client: Client) -> None:
    described = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(described) == {"/compress", "/decompress", "/edit", "/animate", "/search",
                              "/classify", "/compare", "/reconstruct", "/models"}
    for name in sorted(set(described) - {"/models"}):
        required = [p["parameter_name"] for p in described[name]["parameters"]
                    if not p["parameter_has_default"]]
        assert len(required) <= 1, (name, required)


def test_baselines_come_at_the_same_bytes(client: Client, tmp_path: Path) -> None:
    textured = write_clip(tmp_path / "t.mkv", moving_picture(24, 128, 96, seed=3), fps=24)
    _, facts, *_ = client.predict(handle_file(textured), quality=30, api_name="/compress")
    names = {baseline["codec"]: baseline["bytes"] for baseline in facts["neighbours"]}
    assert set(names) == {"x264-medium", "svtav1-6"}
    wanted = facts["bytes"] - facts["audio_bytes"]
    assert 0.9 * wanted < names["x264-medium"] <= 1.03 * wanted
    assert 0.5 * wanted < names["svtav1-6"] <= 1.03 * wanted


def test_at_most_so_many_kilobytes_is_kept(client: Client, clip: Path) -> None:
    packed, *_ = client.predict(handle_file(clip), aim="size", kilobytes=20, neighbours=False,
                                api_name="/compress")
    assert Path(packed).stat().st_size <= 20_000


def test_codecs_are_compared(client: Client, clip: Path) -> None:
    facts, *_ = client.predict(handle_file(clip), codecs=["d4-codec", "x264-medium"], frames=4,
                               api_name="/compare")
    assert [codec["name"] for codec in facts["codecs"]] == ["d4-codec", "x264-medium"]
    assert facts["anchor"] == "x264-medium"
    assert facts["clips"][0]["n_frames"] == 4 and len(facts["points"]) == 12


def refusal(client: Client, *args: Any, **options: Any) -> str:
    with pytest.raises(Exception) as caught:  # noqa: B017, PT011
        client.predict(*args, **options)
    return str(caught.value)


def test_a_long_clip_is_refused_before_the_queue_and_a_part_of_it_is_taken(
    client: Client, page: PageServer, tmp_path: Path
) -> None:
    long = write_clip(tmp_path / "long.mp4", moving_picture(60, 64, 48), fps=10)
    said = refusal(client, handle_file(long), neighbours=False, api_name="/compress")
    assert "long.mp4 is longer than 4 s. Trim it." in said and "AEHUB_" not in said
    _, facts, *_ = client.predict(handle_file(long), start=5, length=1, neighbours=False,
                                  api_name="/compress")
    assert facts["frames"] == 10 and facts["ratio"] is None


def test_an_effort_reaches_the_encoder_or_is_refused(
    client: Client, page: PageServer, clip: Path
) -> None:
    files = [client.predict(handle_file(clip), neighbours=False, effort=effort,
                            api_name="/compress")[0] for effort in (0, 9)]
    fast, slow = (Path(file).read_bytes() for file in files)
    assert fast != slow
    with pytest.raises(httpx.HTTPStatusError) as caught:
        client.predict(handle_file(clip), neighbours=False, effort=10, api_name="/compress")
    assert caught.value.response.json() == {
        "detail": "Effort '10' is not possible; give 0 to 9."}
    assert "Traceback" not in page.log.read_text()


def test_a_large_picture_is_refused(client: Client, tmp_path: Path) -> None:
    large = write_clip(tmp_path / "large.mp4", moving_picture(2, 800, 600))
    assert "300000" in refusal(client, handle_file(large), api_name="/compress")


def test_damage_becomes_a_sentence_and_no_traceback(
    client: Client, page: PageServer, clip: Path, tmp_path: Path
) -> None:
    before = len(page.log.read_text())
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no clip at all" * 40)
    assert "broken.mp4" in refusal(client, handle_file(broken), api_name="/compress")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clip.read_bytes()[:-400])
    said = refusal(client, handle_file(cut), neighbours=False, api_name="/compress")
    assert "cut.mp4" in said and "--" not in said and "=" not in said, said
    said = refusal(client, handle_file(clip), codecs=["d4-codec", "vp8"], api_name="/compare")
    assert "Codecs 'vp8' is not offered; choose among d4-codec, sandwich-av1, x264-medium" in said
    wrong = tmp_path / "wrong.aev"
    wrong.write_bytes(clip.read_bytes())
    assert "wrong.aev" in refusal(client, handle_file(wrong), api_name="/decompress")
    assert "Traceback" not in page.log.read_text()[before:]


def test_cancelling_stops_the_work_and_the_next_job_runs(
    client: Client, page: PageServer, clip: Path, tmp_path: Path
) -> None:
    busy = write_clip(tmp_path / "busy.mp4", moving_picture(96, 448, 320), fps=24)
    job = client.submit(handle_file(busy), api_name="/compress")
    wait_until(lambda: bool(job.outputs()))
    job.cancel()
    time.sleep(2)
    assert idle_share(page) < 0.2
    _, facts, *_ = client.predict(handle_file(clip), neighbours=False, api_name="/compress")
    assert facts["frames"] == 16


def idle_share(page: PageServer, seconds: float = 1.0) -> float:
    """Share of one processor that the page uses."""
    before = page.cpu_seconds()
    time.sleep(seconds)
    return (page.cpu_seconds() - before) / seconds


def wait_until(true: Any, seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_eight_visitors_at_once_are_all_served_in_bounded_memory(
    page: PageServer, clip: Path, tmp_path: Path
) -> None:
    frames: list[int] = []
    places: set[str] = set()

    def visit() -> None:
        own = Client(page.url, verbose=False, download_files=str(tmp_path))
        job = own.submit(handle_file(clip), neighbours=False, api_name="/compress")
        while not job.done():
            places.update(re.findall(r"\d+ jobs? before yours", str(job.outputs()[-1:])))
            time.sleep(0.05)
        frames.append(job.result()[1]["frames"])

    visitors = [threading.Thread(target=visit) for _ in range(8)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join(120)
    assert frames == [16] * 8
    assert places, "nobody was told a place in the queue"
    assert page.peak_bytes() < 4 * 1024**3
