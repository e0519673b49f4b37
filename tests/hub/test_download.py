"""Models fetched over loopback by the installed huggingface_hub, in processes of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hub.conftest import TINY, Client
from hub.standin import StandIn

# What `aehub.load` does before it imports anything heavy.
FIND = """
import json, sys
from aehub.hub import find
files = {p.name: p.read_bytes() for p in find(sys.argv[1]).iterdir()}
print(json.dumps([json.loads(files["config.json"])["sha256"],
                  {name: data.hex() for name, data in files.items()}]))
"""
LOAD = """
import json, sys, aehub
model = aehub.load(sys.argv[1], device="cpu")
print(json.dumps([model.name, model.stored.config["sha256"]]))
"""


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def with_card(folder: Path) -> dict[str, bytes]:
    """Extra files that a repository may hold, wanted ones and others."""
    return {"README.md": b"---\nlibrary_name: aehub\n---\n\n# tiny\n\nA tiny one.\n",
            "curves.png": b"\x89PNG\r\n", "pytorch_model.bin": b"\x80\x02}q\x00.",
            "run.py": b"print('no')", ".gitattributes": b"*.safetensors filter=lfs\n"}


def test_a_hub_id_loads_byte_identical_and_a_second_time_without_a_request(
    hub: StandIn, python: Callable[..., Any]
) -> None:
    hub.put("lab/tiny-d4", TINY, **with_card(TINY))
    sha256, files = python(FIND, "lab/tiny-d4", HF_ENDPOINT=hub.url)
    for file, data in files_of(TINY).items():
        assert bytes.fromhex(files[file]) == data
    assert set(files) == {"config.json", "model.safetensors", "README.md", "curves.png"}
    assert not [asked for asked in hub.asked if ".bin" in asked or ".py" in asked]
    hub.asked.clear()
    assert python(LOAD, "lab/tiny-d4", HF_ENDPOINT=hub.url) == ["tiny-d4", sha256]
    assert hub.asked == []
    assert python(FIND, "lab/tiny-d4", HF_HUB_OFFLINE="1")[0] == sha256


def test_a_revision_pins_what_is_loaded(
    hub: StandIn, python: Callable[..., Any], other: Path
) -> None:
    first = hub.put("lab/tiny-d4", TINY, "v1")
    second = hub.put("lab/tiny-d4", other)
    digests = [json.loads((folder / "config.json").read_text())["sha256"]
               for folder in (TINY, other)]
    assert digests[0] != digests[1]
    wanted = {"lab/tiny-d4@v1": 0, "lab/tiny-d4": 1, f"lab/tiny-d4@{first}": 0,
              f"lab/tiny-d4@{second}": 1}
    for name, number in wanted.items():
        assert python(FIND, name, HF_ENDPOINT=hub.url)[0] == digests[number]


def test_download_prints_the_folder_and_fetches_what_is_newest(
    hub: StandIn, aehub_command: Client, other: Path
) -> None:
    hub.put("lab/tiny-d4", TINY)
    first = aehub_command("download", "lab/tiny-d4", "--endpoint", hub.url)
    assert files_of(Path(first.out.strip())) == files_of(TINY)
    hub.put("lab/tiny-d4", other)
    second = aehub_command("download", "lab/tiny-d4", "--endpoint", hub.url)
    assert files_of(Path(second.out.strip())) == files_of(other)
    assert first.stderr == second.stderr == ""


def test_download_to_a_folder_makes_a_model_folder_and_overwrites_nothing(
    hub: StandIn, aehub_command: Client, tmp_path: Path
) -> None:
    hub.put("lab/tiny-d4", TINY, **with_card(TINY))
    done = aehub_command("download", "lab/tiny-d4", "--to", "here/it", HF_ENDPOINT=hub.url)
    assert done.out.strip() == "here/it"
    assert set(files_of(tmp_path / "here/it")) == {
        "config.json", "model.safetensors", "README.md", "curves.png"}
    assert not [path for path in (tmp_path / "here/it").iterdir() if path.is_symlink()]
    (tmp_path / "here/it/README.md").write_text("mine")
    again = aehub_command("download", "lab/tiny-d4", "--to", "here/it", HF_ENDPOINT=hub.url)
    assert "already holds" in again.sentence and "--force" in again.sentence
    assert (tmp_path / "here/it/README.md").read_text() == "mine"
    forced = aehub_command("download", "lab/tiny-d4", "--to", "here/it", "--force",
                           HF_ENDPOINT=hub.url)
    assert forced.code == 0 and (tmp_path / "here/it/README.md").read_text() != "mine"


def test_a_bundled_model_needs_no_network_to_be_downloaded(
    aehub_command: Client, tmp_path: Path
) -> None:
    done = aehub_command("download", "d4-codec", "--to", "copy", HF_HUB_OFFLINE="1")
    assert done.code == 0, done.stderr
    here = aehub_command("download", "d4-codec", HF_HUB_OFFLINE="1")
    assert files_of(tmp_path / "copy").items() <= files_of(Path(here.out.strip())).items()


def test_models_tells_where_each_model_is(hub: StandIn, aehub_command: Client) -> None:
    hub.put("lab/tiny-d4", TINY)
    known = {"HF_ENDPOINT": hub.url, "AEHUB_MODELS": "lab/tiny-d4"}

    def states() -> dict[str, str]:
        listed = json.loads(aehub_command("models", "--json", **known).out)["models"]
        assert all(set(model) == {"name", "task", "parameters", "bytes", "state", "folder",
                                  "summary"} for model in listed)
        return {model["name"]: model["state"] for model in listed}

    before = states()
    assert before["lab/tiny-d4"] == "remote" and before["d4-codec"] == "bundled"
    assert hub.asked == [], "listing asks nobody"
    assert aehub_command("download", "lab/tiny-d4", **known).code == 0
    assert states()["lab/tiny-d4"] == "cached"
    assert "cached" in aehub_command("models", **known).out
    # Known at a revision, it is listed by the name it is known by, and once.
    commit = hub.repos["lab/tiny-d4"].refs["main"]
    known["AEHUB_MODELS"] = f"lab/tiny-d4@{commit}"
    elsewhere = {name: state for name, state in states().items() if state != "bundled"}
    assert elsewhere == {f"lab/tiny-d4@{commit}": "cached"}


def test_a_wrong_list_of_known_models_is_one_sentence(aehub_command: Client) -> None:
    assert "AEHUB_MODELS names '../x'" in aehub_command("models", AEHUB_MODELS="../x").sentence


def test_progress_counts_the_bytes_of_all_files(hub: StandIn, python: Callable[..., Any]) -> None:
    hub.put("lab/tiny-d4", TINY, **with_card(TINY))
    seen = python("""
import json, aehub
seen = []
aehub.download("lab/tiny-d4", progress=lambda *now: seen.append(now))
print(json.dumps(seen))
""", HF_ENDPOINT=hub.url)
    total = sum(map(len, {**files_of(TINY), **with_card(TINY)}.values())) - sum(
        len(with_card(TINY)[name]) for name in ("pytorch_model.bin", "run.py", ".gitattributes"))
    assert seen[-1] == [total, total]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_progress_that_raises_ends_the_download(
    hub: StandIn, python: Callable[..., Any]
) -> None:
    hub.put("lab/tiny-d4", TINY)
    left = python("""
import json, aehub
def stop(done, total):
    raise KeyboardInterrupt
try:
    aehub.download("lab/tiny-d4", progress=stop)
except KeyboardInterrupt:
    print(json.dumps([model.state for model in aehub.list_models()]))
""", HF_ENDPOINT=hub.url)
    assert "cached" not in left


def test_models_travel_by_the_methods_of_the_model(
    hub: StandIn, python: Callable[..., Any], tmp_path: Path
) -> None:
    hub.put("lab/tiny-d4", TINY, "v1", **with_card(TINY))
    python("""
import json, sys, aehub
model = aehub.Model.from_pretrained("lab/tiny-d4", revision="v1", endpoint=sys.argv[1])
model.save_pretrained("saved")
again = aehub.Model.from_pretrained("saved")
print(json.dumps(again.name))
""", hub.url)
    saved = files_of(tmp_path / "saved")
    assert saved == {**files_of(TINY), **{name: with_card(TINY)[name]
                                          for name in ("README.md", "curves.png")}}


def test_a_proxy_is_left_to_the_client(hub: StandIn, aehub_command: Client) -> None:
    hub.put("lab/tiny-d4", TINY)
    done = aehub_command("download", "lab/tiny-d4", "--endpoint", "http://hub.invalid",
                         http_proxy=hub.url, HTTP_PROXY=hub.url, NO_PROXY="", no_proxy="")
    assert done.code == 0, done.stderr
    assert files_of(Path(done.out.strip())) == files_of(TINY)
