"""Signatures of the public functions: complete for readers, for type checkers and in both forms."""

from __future__ import annotations

import ast
import inspect
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

import aehub
from pageserver import ROOT

FUNCTIONS = {name: value for name in aehub.__all__
             if inspect.isfunction(value := getattr(aehub, name))}
METHODS = {f"{owner.__name__}.{name}": inspect.unwrap(value)
           for owner in (aehub.Model, aehub.Archive) for name, value in inspect.getmembers(owner)
           if not name.startswith("_") and inspect.isroutine(value)}
PAIRS = sorted(name for name in FUNCTIONS if f"iter_{name}" in FUNCTIONS)

# Each public name once, and each argument of each function by its name.
CALLER = '''
from __future__ import annotations

import io
import subprocess
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import torch

import aehub
from aehub.codecs.base import SegmentLatents
from aehub.measure import parse_codecs
from aehub.media.picture import ClipInfo, Picture
from zlib_codec.codec import ZlibCodec


def show(done: int, total: int) -> None:
    print(done / max(1, total))


callback: aehub.ProgressCallback = show
device: aehub.Device = torch.device("cpu")
model = aehub.load(name="d4-codec", device=device)
assert_type(model, aehub.Model)
foreign: aehub.Codec = ZlibCodec({"name": "mine"})
models: list[aehub.ModelLike] = ["d4-codec", Path("folder"), model, foreign]
pipe = subprocess.Popen(["cat"], stdout=subprocess.PIPE).stdout
assert pipe is not None
files: list[aehub.FileLike] = ["clip.aev", Path("clip.aev"), io.BytesIO(), pipe]
picture = np.zeros((4, 4, 3), np.uint8)
grey = aehub.Picture([picture[..., 0]], aehub.PictureFormat((aehub.PlaneFormat("Y"),)))
clips: list[aehub.ClipLike] = [*files, picture, [picture, picture], (picture for _ in range(2)),
                               grey, [grey, grey], (grey for _ in range(2))]

assert_type(aehub.compress(
    source=clips[0], output=files[0], model=models[0], quality=50, target_size=None,
    target_kbps=None, effort=5, trim=aehub.Trim("0:1"), group=8, force=True, salvage=True,
    audio=False, measure=False, grain=True, fps=Fraction(25), device="auto", coder=None,
    progress=callback), aehub.Compressed)
assert_type(aehub.iter_compress(
    source=clips[1], output=None, model=models[1], quality=None, target_size=1000,
    target_kbps=None, effort=5, trim="0:1", group=None, force=True, salvage=True, audio=False,
    measure=False, grain=False, fps="25", device=device, coder=None),
    Generator[aehub.Progress, None, aehub.Compressed])

frames = aehub.decompress(source=files[1], model=models[2], scale="1/2", device=device,
                          progress=callback)
assert_type(frames, Iterator[np.ndarray])
for frame in aehub.decompress("clip.aev"):
    assert_type(frame, np.ndarray)
assert_type(aehub.decompress_to(
    source="clip.aev", output="clip.mp4", model=None, scale=0.25, restore=True, force=True,
    device="cpu", progress=show),
    aehub.Decompressed)
for step in aehub.iter_decompress_to(
        source="clip.aev", output=io.BytesIO(), model=model, scale=2, restore=False, force=True,
        device="cpu"):
    assert_type(step, aehub.Progress)
    assert_type(step.done, int)

with aehub.open(source="clip.aev", model=model, scale=Fraction(1, 8), device="cpu") as archive:
    assert_type(archive, aehub.Archive)
    assert_type(archive.info, ClipInfo)
    assert_type(archive[0], np.ndarray)
    assert_type(archive.picture(number=0), Picture)
    assert_type(archive.time(number=0), Fraction)
    assert_type(archive.latents(), Iterator[SegmentLatents])
    archive.close()
assert_type(aehub.open("clip.aev")[3:5], np.ndarray)
assert_type([len(frame) for frame in aehub.open("clip.aev")], list[int])
assert_type(aehub.info(source="clip.aev"), dict[str, Any])
report = aehub.verify(source=b"contents")
assert_type(report, aehub.Report)
assert_type(report.problems, list[str])

operations: list[aehub.Operation] = [
    aehub.Rotate(90), aehub.Flip("vertical"), aehub.Transpose(), aehub.Reverse(),
    aehub.Scale("1/2")]
assert_type(aehub.edit(
    source="clip.aev", output="turned.aev", operations=operations, model=model, group_exact=True,
    via_pixels=True, force=True, device="cpu", progress=show), aehub.Edited)
assert_type(aehub.iter_edit(
    source="clip.aev", output="turned.aev", operations=[aehub.Rotate(90)], model=model,
    group_exact=True, via_pixels=True, force=True, device="cpu"),
    Generator[aehub.Progress, None, aehub.Edited])
assert_type(aehub.save_latents(
    source="clip.aev", output="clip.safetensors", model=None, force=True, device="cpu"), int)
assert_type(aehub.compress_latents(
    source="clip.safetensors", output="clip.aev", model=model, quality=50, force=True,
    device="cpu"), int)
assert_type(aehub.concat(
    sources=files, output="whole.aev", model=None, force=True, device="cpu", progress=show),
    aehub.Edited)
assert_type(aehub.iter_concat(
    sources=["a.aev", "b.aev"], output="whole.aev", model=None, force=True, device="cpu"),
    Generator[aehub.Progress, None, aehub.Edited])

assert_type(aehub.index(
    paths=["films", Path("clip.mp4")], index="folder", model=model, each=True, store=True,
    device="cpu", reader=None, progress=show), aehub.Indexed)
assert_type(aehub.iter_index(
    paths="films", index=None, model="name", each=False, store=False, device=device,
    reader=None), Generator[aehub.Progress, None, aehub.Indexed])
indexed: list[aehub.IndexedFile] = [*aehub.index("films").files]
matches = aehub.search(
    query=clips[0], index=Path("folder"), limit=5, threshold=0.5, model=model, device="cpu",
    progress=show)
assert_type(matches, list[aehub.Match])
assert_type(aehub.iter_search(
    query="clip.mp4", index=None, limit=5, threshold=0, model="name", device=device),
    Generator[aehub.Progress, None, aehub.Found])
assert_type(aehub.duplicates(index=None, model=model, device="cpu", progress=show),
            aehub.Duplicates)
assert_type(aehub.iter_duplicates(index="folder", model=model, device="cpu"),
            Generator[aehub.Progress, None, aehub.Duplicates])

labelled = aehub.classify(
    paths=["inbox", Path("clip.mp4")], examples={"cats": ["cat.mp4"]}, model=model, each=True,
    device="cpu", progress=show)
assert_type(labelled, list[aehub.Classified])
assert_type(aehub.iter_classify(
    paths="clip.mp4", examples=Path("examples"), model="name", each=False, device=device),
    Generator[aehub.Progress, None, list[aehub.Classified]])

codecs: list[aehub.BenchmarkCodec] = parse_codecs("x264-medium,avif")
clip: aehub.SourceClip = aehub.SourceClip("name", [], ClipInfo(4, 4, Fraction(25), Fraction(1)))
comparison = aehub.compare(
    sources=["clip.mp4", Path("clip.mkv"), clip], codecs=codecs, frames=10, stills=False,
    anchor="x264-medium", measurer=None, progress=show)
assert_type(comparison, aehub.Comparison)

assert_type(aehub.list_models(endpoint=None, states=["bundled"]), list[aehub.ModelEntry])
assert_type(aehub.download(
    name="d4-codec", to="folder", endpoint=None, token=True, force=True, progress=show,
    patient=False), Path)
assert_type(aehub.publish(
    name=Path("folder"), repo="org/name", endpoint=None, token=None, private=True, message="text",
    measured=comparison.to_dict(), codec="d4-codec", datasets=["org/data"]), aehub.Published)
assert_type(aehub.Model.from_pretrained(
    name="d4-codec", device="cpu", dtype=torch.float64, revision=None, endpoint=None, token=None,
    force_download=False), aehub.Model)
assert_type(aehub.Model.from_folder(folder=Path(), device="cpu", dtype=torch.float32), aehub.Model)
model.save_pretrained(folder="folder")
assert_type(model.push_to_hub(
    repo_id="org/name", endpoint=None, token=None, private=True, commit_message="text",
    measured=comparison.to_dict(), datasets=["org/data"]), aehub.Published)
try:
    walker: aehub.ModelLike | aehub.LatentModel = model
    coder: aehub.Codec | None = None
    keyframes: list[aehub.KeyframeLike] = [1, "cat.png", Path("cat.png"), picture]
    assert_type(aehub.animate(
        output="walk.mp4", model=walker, seeds=[1, 2], keyframes=keyframes, clip=picture,
        at=["1.5", "last"], seconds=[1, 2.5], fps="25", path="lerp", easing="linear", loop=True,
        ping_pong=False, truncation=0.7, scale=2, beside=True, sheet=False, direction="all",
        steps=8, contact=Path("sheet.png"), recipe=None, force=True, device="cpu", progress=show),
        aehub.Animated)
    assert_type(aehub.iter_animate(
        output=Path("walk.mp4"), model=None, seeds=None, keyframes=None, clip=None, at=None,
        seconds=4, fps=None, path=None, easing=None, loop=None, ping_pong=None, truncation=None,
        scale=None, beside=None, sheet=None, direction=None, steps=None, contact=None,
        recipe="walk.recipe.json", force=True, device=device),
        Generator[aehub.Progress, None, aehub.Animated])
except (aehub.BusyError, aehub.DamagedError, aehub.ExistsError, aehub.FormatError, aehub.HubError,
        aehub.InputError, aehub.LimitError, aehub.ModelError, aehub.Offline, aehub.UnknownModel,
        aehub.WeightsError) as error:
    problem: aehub.AEHubError = error
'''


WRONG_VALUES = [
    "aehub.compress(5)", 'aehub.compress("a.mp4", model=5)',
    'aehub.compress("a.mp4", quality="60")', "aehub.load(device=0)",
    'aehub.edit("a.aev", "b.aev", ["rotate 90"])', 'aehub.concat([1], "b.aev")',
    'aehub.animate("a.mp4", seeds=["1"])', 'aehub.verify(["a.aev"])',
]


def parameters(call: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    found = dict(inspect.signature(call).parameters)
    found.pop("self", None)
    return found


def calls_in(tree: ast.AST) -> dict[str, dict[str, str]]:
    """Name of a called function -> its arguments by name, over all calls."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).removeprefix("aehub.")
            found.setdefault(name, {}).update(
                {word.arg: ast.unparse(word.value) for word in node.keywords if word.arg})
    return found


@pytest.mark.parametrize("name", PAIRS)
def test_both_forms_of_a_function_take_the_same_arguments(name: str) -> None:
    whole, steps = parameters(FUNCTIONS[name]), parameters(FUNCTIONS[f"iter_{name}"])
    progress = whole.pop("progress")
    assert progress.default is None and progress.kind is inspect.Parameter.KEYWORD_ONLY
    assert whole == steps
    # Each is handed on under its own name.
    tree = ast.parse(textwrap.dedent(inspect.getsource(FUNCTIONS[name])))
    (call,) = (node for node in ast.walk(tree)
               if isinstance(node, ast.Call) and ast.unparse(node.func) == f"iter_{name}")
    given = [ast.unparse(value) for value in call.args]
    assert given == list(whole)[:len(given)]
    assert {word.arg: ast.unparse(word.value) for word in call.keywords} == {
        argument: argument for argument in list(whole)[len(given):]}


@pytest.mark.parametrize("name", [*FUNCTIONS, *METHODS])
def test_every_argument_has_a_type_and_a_line_of_its_own(name: str) -> None:
    call = (FUNCTIONS | METHODS)[name]
    text = inspect.getdoc(FUNCTIONS.get(name.removeprefix("iter_"), call)) or ""
    for argument in parameters(call).values():
        assert argument.kind not in (argument.VAR_KEYWORD, argument.VAR_POSITIONAL), argument
        assert argument.annotation not in (argument.empty, "Any"), argument
        assert re.search(rf"^    {argument.name}: |`{argument.name}`", text, re.MULTILINE), argument


def test_a_caller_names_every_argument() -> None:
    """The caller below is complete."""
    tree = ast.parse(CALLER)
    assert {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)
            and ast.unparse(node.value) == "aehub"} == set(aehub.__all__)
    calls = calls_in(tree)
    for name in FUNCTIONS:
        assert calls[name].keys() == parameters(FUNCTIONS[name]).keys(), name
    for name, method in METHODS.items():
        # Called of a class, or of an object named like it.
        call = calls.get(name) or calls[name[0].lower() + name[1:]]
        assert call.keys() == parameters(method).keys(), name


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Messages of mypy --strict about a right and a wrong caller of the installed package."""
    folder = tmp_path_factory.mktemp("caller")
    (folder / "right.py").write_text(CALLER)
    shutil.copytree(ROOT / "tests" / "zlib_codec", folder / "zlib_codec")
    wrong = [f"aehub.{name}(misspelt=1)" for name in FUNCTIONS]
    wrong += ['aehub.decompress("a.aev", "a.mp4")', "aehub.compres", *WRONG_VALUES]
    (folder / "wrong.py").write_text("\n".join(["import aehub", *wrong]))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir=cache",
         "right.py", "wrong.py"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and not done.stderr, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    return {name: [line for line in lines if line.startswith(f"{name}.py:")]
            for name in ("right", "wrong")}


@pytest.mark.slow
def test_type_checkers_accept_what_is_right(complaints: dict[str, list[str]]) -> None:
    assert not complaints["right"]


@pytest.mark.slow
def test_type_checkers_refuse_what_is_wrong(complaints: dict[str, list[str]]) -> None:
    said = "\n".join(complaints["wrong"])
    for name in FUNCTIONS:
        assert f'Unexpected keyword argument "misspelt" for "{name}"' in said
    assert len(re.findall(r"\[(?:arg-type|list-item)\]$", said, re.MULTILINE)) == len(WRONG_VALUES)
    assert 'Too many positional arguments for "decompress"' in said
    assert 'Module has no attribute "compres"' in said
