"""Codecs of other people's packages: a record as an entry point, found, listed and loaded by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import aehub
from aehub.codecs.base import Codec
from aehub.errors import InputError
from aehub.media.clip import open_clip
from aehub.weights.architectures import Architecture, CardFacts, architecture_of
from hub.conftest import TINY, Client
from material import moving_picture, write_clip
from packages import ZLIB, install, install_zlib
from pageserver import ROOT
from zlib_codec.codec import ZlibCodec

RECORD = """
from pathlib import Path

from aehub.weights.architectures import COMPRESSION, Architecture

RECORD = Architecture({fields}, folders=(Path(__file__).with_name("weights"),) * {ships})
"""
LOAD = """
import json, pickle, sys, aehub
from aehub.hub import resolve_codec
from aehub.weights.architectures import architecture_of
from zlib_codec.codec import ZlibCodec
model = aehub.load("zlib-planes")
model.save_pretrained(sys.argv[1])
again = pickle.loads(pickle.dumps(model))
print(json.dumps({
    "kinds": [isinstance(m, aehub.Model) and isinstance(m, ZlibCodec) for m in (model, again)],
    "compresses": resolve_codec(ZLIB) is model and resolve_codec(ZlibCodec(model.config)).name,
    "records": [architecture_of(m).name for m in (model, ZlibCodec({"name": "mine"}))],
    "again": aehub.load(sys.argv[1]).name}))
""".replace("ZLIB", repr(ZLIB))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "site"


@pytest.fixture
def toy(site: Path) -> dict[str, str]:
    """The environment of processes in which the package `zlib_codec` is installed."""
    install_zlib(site)
    return {"PYTHONPATH": f"{ROOT}:{site}"}


def test_a_codec_of_another_package_is_listed_and_loaded_by_its_record(
    toy: dict[str, str], aehub_command: Client, python: Callable[..., Any], tmp_path: Path
) -> None:
    listed = aehub_command("models", "--json", **toy)
    assert (listed.code, listed.stderr) == (0, "")
    entry = next(m for m in json.loads(listed.out)["models"] if m["name"] == ZLIB)
    assert (entry["task"], entry["state"]) == ("video-compression", "bundled")
    assert python(LOAD, tmp_path / "copy", **toy) == {
        "kinds": [True, True], "compresses": ZLIB, "records": [ZLIB, ZLIB], "again": ZLIB}
    assert (tmp_path / "copy" / "README.md").is_file()
    unknown = aehub_command("compare", TINY, "--codecs", "h266", **toy)
    assert f"known are d4-codec, sandwich-av1, {ZLIB}, x264" in unknown.sentence


@pytest.mark.slow
def test_a_class_is_known_by_every_name_that_it_is_exported_under(
    toy: dict[str, str], site: Path, aehub_command: Client, python: Callable[..., Any],
    tmp_path: Path
) -> None:
    package = site / "zlib_codec"
    (package / "__init__.py").write_text(
        "from zlib_codec.codec import ZlibCodec\nfrom zlib_codec.net import Net\n")
    (package / "net.py").write_text(
        "import torch\nclass Net(torch.nn.Linear):\n    config = {}\n"
        "    def __init__(self): super().__init__(2, 2)\n")
    record = (package / "record.py").read_text()
    (package / "record.py").write_text(record.replace(
        "zlib_codec.codec:ZlibCodec\"", "zlib_codec:ZlibCodec\", network=\"zlib_codec:Net\""))
    assert python(LOAD, tmp_path / "copy", **toy) == {
        "kinds": [True, True], "compresses": ZLIB, "records": [ZLIB, ZLIB], "again": ZLIB}
    write_clip(tmp_path / "clip.mkv", moving_picture(2, 32, 32))
    done = aehub_command("compress", "clip.mkv", "clip.aev", "--model", ZLIB, **toy)
    assert done.code == 0, done.stderr
    saved = python("import json, sys; from pathlib import Path; from zlib_codec import Net; "
                   "from aehub.weights.stored_network import save; "
                   "print(json.dumps(save(Path(sys.argv[1]), 'small', Net())['architecture']))",
                   tmp_path / "small", **toy)
    assert saved == ZLIB


def test_a_recipe_that_cannot_be_run_is_one_sentence(
    site: Path, aehub_command: Client, python: Callable[..., Any]
) -> None:
    recipes = ("nothing_of_that_name:RECIPE", "mine.record:RECIPE", "mine.record:Path", "mine")
    install(site, "mine", RECORD.format(
        fields=f'"mine", COMPRESSION, "mine.codec:Mine", recipes={recipes}', ships=0))
    path = {"PYTHONPATH": f"{ROOT}:{site}"}
    assert aehub_command("models", **path).stderr == ""
    said = [aehub_command("train", recipe, "--out", "run", **path).sentence for recipe in recipes]
    assert said[0] == (
        "aehub: the recipe needs nothing_of_that_name:RECIPE, which cannot be imported: "
        "ModuleNotFoundError: No module named 'nothing_of_that_name'. Install or upgrade the "
        "package of nothing_of_that_name.")
    assert "AttributeError: module 'mine.record' has no attribute 'RECIPE'." in said[1]
    assert "the recipe mine.record:Path has no NAME, LEARNING_RATE, Options, build," in said[2]
    assert "No module named 'aehub.training.recipes.mine'" in said[3]


@pytest.mark.slow
def test_every_command_works_with_it_by_name_and_says_what_is_missing_without_it(
    toy: dict[str, str], aehub_command: Client, tmp_path: Path
) -> None:
    write_clip(tmp_path / "clip.mkv", moving_picture(6, 67, 45))

    def facts(*arguments: object) -> Any:
        done = aehub_command(*arguments, "--json", **toy)
        assert (done.code, done.stderr) == (0, ""), done.stderr
        return json.loads(done.out)

    made = facts("compress", "clip.mkv", "clip.aev", "--model", ZLIB, "--quality", 100)
    assert (made["model"], made["psnr"], made["frames"]) == (ZLIB, 100, 6)
    assert facts("info", "clip.aev")["coder"] == 100
    assert "all intact" in aehub_command("verify", "clip.aev", **toy).out
    assert aehub_command("decompress", "clip.aev", "back.mkv", **toy).code == 0
    with open_clip(tmp_path / "clip.mkv") as one, open_clip(tmp_path / "back.mkv") as two:
        for first, second in zip(one, two, strict=True):
            assert all(map(np.array_equal, first.picture, second.picture))
    assert facts("edit", "clip.aev", "part.aev", "--trim", "2f:5f", "--reverse")["frames"] == 3
    turn = "edit", "clip.aev", "turned.aev", "--rotate", 90
    assert "zlib-planes cannot turn what it has coded" in aehub_command(*turn, **toy).sentence
    assert facts(*turn, "--via-pixels")["psnr"] == 100
    assert facts("concat", "clip.aev", "part.aev", "both.aev")["frames"] == 9
    compared = facts("compare", "clip.mkv", "--codecs", f"x264-medium,{ZLIB}", "--frames", 2)
    assert len([point for point in compared["points"] if point["codec"] == ZLIB]) == 6
    # The same without the package.
    sentence = aehub_command("decompress", "clip.aev", "again.mkv").sentence
    assert f"written with the model '{ZLIB}', whose codec, of payload format 100" in sentence
    assert sentence.endswith("is not on this machine; install the package that brings it.")
    assert aehub_command("info", "clip.aev").code == aehub_command("verify", "clip.aev").code == 0
    assert f"no model '{ZLIB}' here" in aehub_command(
        "compress", "clip.mkv", "new.aev", "--model", ZLIB).sentence


def test_an_object_that_is_a_codec_needs_no_record(tmp_path: Path) -> None:
    codec, pictures = ZlibCodec({"name": "mine"}), moving_picture(2, 32, 32)
    assert architecture_of(codec) is None
    made = aehub.compress(pictures, tmp_path / "a.aev", model=codec, quality=100)
    assert (made.model, made.psnr) == ("mine", 100)
    assert len(list(aehub.decompress(tmp_path / "a.aev", model=codec))) == 2
    assert aehub.edit(tmp_path / "a.aev", tmp_path / "b.aev", [aehub.Reverse()],
                      model=codec).frames == 2


@pytest.mark.parametrize("member", ["name", "device", "grid", "entropy_hash", "group_encoder"])
def test_a_member_that_a_codec_lacks_is_named(member: str, tmp_path: Path) -> None:
    whole = ZlibCodec({"name": "mine"})
    partial = SimpleNamespace(**{name: getattr(whole, name) for name in dir(Codec)
                                 if not name.startswith("_") and name != member})
    words = f"a SimpleNamespace, has no {member}; give it all members of aehub.Codec: codes, config"
    with pytest.raises(InputError, match=words):
        aehub.compress(moving_picture(1, 32, 32), tmp_path / "a.aev", model=partial)


def test_its_models_are_published_under_their_hashes(
    toy: dict[str, str], hub: Any, aehub_command: Client
) -> None:
    done = aehub_command("publish", ZLIB, "--repo", "lab/toy", "--endpoint", hub.url, "--json",
                         HF_TOKEN="hf_" + "a" * 34, **toy)
    assert json.loads(done.out)["tag"] == "7a6c69622d653031-7a6c69622d733031", done.stderr


@pytest.mark.slow
def test_a_model_is_refused_where_its_package_is_missing_or_its_arguments_are_others(
    toy: dict[str, str], site: Path, aehub_command: Client
) -> None:
    folder = site / "zlib_codec" / "weights" / ZLIB
    here = aehub_command("compress", TINY / "x.png", "--model", folder)
    assert f"of the architecture '{ZLIB}', this AEHub knows d4-codec" in here.sentence
    assert "install the package that brings the architecture" in here.sentence
    config = json.loads((folder / "config.json").read_text())
    for change, words in (({"arguments": {"levels": 99}}, "allowed are none"),
                          ({"entropy_hash": "0"}, "not 16 hexadecimal digits"),
                          ({"task": "other"}, f"that of {ZLIB} is video-compression")):
        (folder / "config.json").write_text(json.dumps(config | change))
        assert words in aehub_command("compress", TINY / "x.png", "--model", folder, **toy).sentence


def test_a_model_that_is_still_to_be_made_is_noted_and_its_codec_known(
    site: Path, aehub_command: Client, python: Callable[..., Any]
) -> None:
    fields = '"new", COMPRESSION, "new.codec:New", payload_formats=(64,), recipes=("new:recipe",)'
    install(site, "new", RECORD.format(fields=fields, ships=1))
    path = {"PYTHONPATH": f"{ROOT}:{site}"}
    (note,) = aehub_command("models", **path).stderr.splitlines()
    assert "new/weights, which has no config.json; make it, or install the package" in note
    asked = aehub_command("compress", TINY / "x.png", "--model", "new", **path)
    assert "there is no model 'new' here" in asked.sentence and "make it" in asked.sentence
    (site / "new" / "__init__.py").write_text(
        "from aehub.training.recipes import dense_28 as recipe\n")
    recipe = "import json; from aehub.training import recipes; print(json.dumps({}))".format(
        "recipes.find('new:recipe').NAME")
    assert python(recipe, **path) == "dense-28"


@pytest.mark.parametrize(("record", "words"), [
    ("import nothing_of_that_name", "No module named 'nothing_of_that_name'. Upgrade or uninstall"),
    ("raise SystemError('no GPU\\nhere')", "SystemError: no GPU. Upgrade or uninstall"),
    ("RECORD = [1]", "bad.record:RECORD is a list and no Architecture; upgrade or uninstall bad."),
    ("", "AttributeError"),
    (RECORD.format(fields='"vae", "drawing", "bad.codec:Bad"', ships=0),
     "its name is that of vae of AEHub; uninstall one of the two."),
    (RECORD.format(fields='"bad", COMPRESSION, "bad.codec:Bad", payload_formats=(2,)', ships=0),
     "its payload format 2 is that of d4-codec of AEHub; uninstall one of the two."),
    (RECORD.format(fields='"bad", COMPRESSION, "b:Bad", recipes=("b:x", "d4-inter")', ships=0),
     "its recipe d4-inter is that of d4-codec of AEHub; uninstall one of the two."),
    (RECORD.format(fields='"bad", COMPRESSION, "b:Bad", recipes=None', ships=0),
     "'None'; recipes are a tuple of texts"),
    (RECORD.format(fields='"bad", COMPRESSION, "bad.codec:Bad", payload_formats=(128,)', ships=0),
     "(128,)'; payload formats are a tuple of numbers from 0 to 127."),
    (RECORD.format(fields='"bad", COMPRESSION, "no class"', ships=0), "a class is a text"),
])
def test_a_package_that_cannot_be_used_gets_a_sentence_and_breaks_nothing(
    record: str, words: str, site: Path, aehub_command: Client
) -> None:
    install(site, "bad", record)
    path = {"PYTHONPATH": f"{ROOT}:{site}"}
    done = aehub_command("models", "--json", **path)
    (note,) = done.stderr.splitlines()
    assert note.startswith("note: The package bad brings the codec bad, which cannot be used: ")
    assert words in note and note.endswith(".")
    assert "d4-codec" in {model["name"] for model in json.loads(done.out)["models"]}
    asked = aehub_command("compress", TINY / "x.png", "--model", "bad", **path)
    assert "there is no model 'bad' here" in asked.sentence and words in asked.sentence
    assert "known are: d4-codec, " in aehub_command("train", "bad", "--out", "run", **path).sentence


def test_two_packages_with_one_payload_format_leave_the_first(
    site: Path, aehub_command: Client
) -> None:
    for name in ("late", "early"):
        install(site, name, RECORD.format(
            fields=f'"{name}", COMPRESSION, "{name}.codec:Codec", payload_formats=(70,)', ships=0))
    (note,) = aehub_command("models", PYTHONPATH=f"{ROOT}:{site}").stderr.splitlines()
    assert "The package late brings" in note and "that of early of early" in note


def test_a_class_that_cannot_be_imported_is_named_with_its_package(
    toy: dict[str, str], site: Path, aehub_command: Client
) -> None:
    (site / "zlib_codec" / "codec.py").write_text("import nothing_of_that_name")
    assert aehub_command("models", **toy).stderr == ""
    text = aehub_command("compress", TINY / "x.png", "--model", ZLIB, **toy).sentence
    assert f"models of {ZLIB} need zlib_codec.codec:ZlibCodec, which cannot be imported: " in text
    assert "ModuleNotFoundError" in text and "upgrade the package of zlib_codec." in text


@pytest.mark.parametrize(("fields", "words"), [
    ({"name": "a/b"}, "'a/b'; a name has"), ({"name": 7}, "'7'; a name has"),
    ({"loaded": "module.Class"}, "a class is"), ({"network": "x"}, "a network is"),
    ({"payload_formats": (-1,)}, "from 0 to 127"), ({"payload_formats": (True,)}, "from 0 to 127"),
    ({"folders": ["a"]}, "folders are a tuple of paths"), ({"task": None}, "a task is a name"),
    ({"task": "two words"}, "a task is a name"), ({"recipes": None}, "recipes are a tuple"),
    ({"recipes": "x.y:z"}, "'x.y:z'; recipes are a tuple"),
    ({"recipes": ("a b",)}, "recipes are a tuple"), ({"recipes": (1,)}, "recipes are a tuple"),
    ({"planner": "fly"}, "'fly'; a planner is walk or cycle, or empty"),
    ({"planner": None}, "a planner is"), ({"card": {"tags": ()}}, "a card is a CardFacts"),
])
def test_a_record_that_says_nonsense_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Architecture(**{"name": "a", "task": "b", "loaded": "c:D"} | fields)


@pytest.mark.parametrize(("fields", "words"), [
    ({"pipeline": None}, "'None'; a pipeline is"), ({"tags": "video"}, "'video'; tags are"),
    ({"metrics": (1,)}, "metrics are a tuple of texts"),
])
def test_facts_of_a_card_that_are_nonsense_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        CardFacts(**fields)
