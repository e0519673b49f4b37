"""Arguments of the public functions: whatever is given, it is used, or refused in a sentence."""

from __future__ import annotations

import gc
import inspect
import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aehub
from aehub.errors import AEHubError, InputError
from material import moving_picture

NAN, INF = float("nan"), float("inf")
WRONG: dict[str, Any] = {
    "nothing": None, "nan": NAN, "inf": INF, "minus one": -1, "zero": 0, "true": True,
    "empty text": "", "text": "nonsense", "zero byte": "a\0b", "bytes": b"abc", "list": [],
    "list of nothing": [None], "dict": {}, "object": object(), "array": np.array([]),
    "number of no dimension": np.array(1.5), "numpy nan": np.float32("nan"), "numpy bool": np.True_,
    "stream of text": io.StringIO("text"), "complex": 1j, "tuple": (1, 2), "class": int,
}
CLIP = np.stack(moving_picture(2, width=32, height=32))
# Arguments whose truth counts, whatever it is.
TRUTHS = {"force", "salvage", "audio", "measure", "group_exact", "via_pixels", "private", "patient",
          "stills", "loop", "ping_pong", "beside", "sheet", "grain", "restore"}
# Arguments that are functions: a class is one that nobody can check.
FUNCTIONS = {"progress", "coder", "measurer"}


@pytest.fixture(scope="module")
def aev(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("aev") / "clip.aev"
    aehub.compress(CLIP, path, measure=False)
    return path


def calls(aev: Path, out: Path) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Every public function, with arguments that it takes."""
    target = out / "out.aev"
    return {
        "compress": (aehub.compress, {"source": CLIP, "output": target}),
        "iter_compress": (aehub.iter_compress, {"source": CLIP, "output": target}),
        "decompress": (aehub.decompress, {"source": aev}),
        "decompress_to": (aehub.decompress_to, {"source": aev, "output": out / "out.mkv"}),
        "iter_decompress_to": (aehub.iter_decompress_to,
                               {"source": aev, "output": out / "out.mkv"}),
        "edit": (aehub.edit, {"source": aev, "output": target, "operations": [aehub.Reverse()]}),
        "iter_edit": (aehub.iter_edit, {"source": aev, "output": target, "operations": []}),
        "concat": (aehub.concat, {"sources": [aev, aev], "output": target}),
        "iter_concat": (aehub.iter_concat, {"sources": [aev], "output": target}),
        "animate": (aehub.animate, {"output": out / "a.gif", "model": "dense-28", "seeds": [1, 2],
                                    "seconds": 0.1}),
        "compare": (aehub.compare, {"sources": [aev], "codecs": "x264-medium"}),
        "info": (aehub.info, {"source": aev}),
        "verify": (aehub.verify, {"source": aev}),
        "open": (aehub.open, {"source": aev}),
        "load": (aehub.load, {"name": "d4-codec"}),
        "download": (aehub.download, {"name": "d4-codec"}),
        "list_models": (aehub.list_models, {}),
        "publish": (aehub.publish, {"name": "d4-codec", "repo": "a/b"}),
        "Trim": (aehub.Trim, {"part": "0:1"}),
        "Rotate": (aehub.Rotate, {"degrees": 90}),
        "Flip": (aehub.Flip, {"direction": "vertical"}),
    }



def finished(result: Any) -> None:
    """Run what comes lazily, at most to its first step."""
    if isinstance(result, Iterator):
        next(result, None)
        result.close()  # type: ignore[attr-defined]
    elif hasattr(result, "close"):
        result.close()


@pytest.mark.parametrize("function", calls(Path(), Path()))
def test_a_wrong_argument_is_a_sentence_or_is_used(
    function: str, aev: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call, given = calls(aev, tmp_path)[function]
    raw = []
    for name in inspect.signature(call).parameters.keys() - TRUTHS:
        for kind, value in WRONG.items():
            if name in FUNCTIONS and kind == "class":
                continue
            try:
                finished(call(**{**given, name: value, **({"force": True} if "output" in given
                                                          else {})}))
            except AEHubError as error:
                assert str(error).strip() and "Traceback" not in str(error)
            except Exception as error:
                raw.append(f"{name}={kind}: {type(error).__name__}: {str(error)[:90]}")
    assert not raw, "\n".join(raw)
    assert not list(tmp_path.glob(".*"))


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    made = aehub.compress(CLIP, tmp_path / "a.aev", quality=np.float32(40), group=np.int64(1),
                          fps=np.float64(25))
    assert (made.quality, made.fps, aehub.info(tmp_path / "a.aev")["groups"]) == (40, "25/1", 2)
    aehub.compress(CLIP, tmp_path / "b.aev", target_size=np.int32(5000))
    assert (tmp_path / "b.aev").stat().st_size <= 5000
    assert str(aehub.Rotate(np.int64(90))) == "rotate 90"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "goal",
    [{"quality": 50, "target_size": 1000}, {"quality": 50, "target_kbps": 100.0},
     {"target_size": 1000, "target_kbps": 100.0}],
)
def test_one_goal_of_a_compression_can_be_given(goal: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{' and '.join(goal)} exclude each other"):
        aehub.compress(CLIP, tmp_path / "a.aev", **goal)


@pytest.mark.parametrize("value", [NAN, INF, -1, 0, "100", True])
def test_a_target_is_a_number_above_zero(value: Any, tmp_path: Path) -> None:
    for name in ("target_kbps", "target_size"):
        if (name, value) == ("target_size", "100"):
            continue
        with pytest.raises(InputError, match=f"^{name} is "):
            aehub.compress(CLIP, tmp_path / "a.aev", **{name: value})


def test_a_trim_is_the_same_in_words_and_as_an_operation(aev: Path, tmp_path: Path) -> None:
    frames = np.stack(moving_picture(4, width=32, height=32))
    for trim in ("1f:3f", aehub.Trim("1f:3f")):
        made = aehub.compress(frames, tmp_path / "a.aev", trim=trim, force=True, measure=False)
        assert made.frames == 2
    with pytest.raises(InputError, match="is not A:B"):
        aehub.compress(frames, tmp_path / "b.aev", trim="")


def test_progress_is_told_where_frames_are_given_back(aev: Path) -> None:
    seen: list[tuple[int, int]] = []
    frames = aehub.decompress(aev, progress=lambda done, total: seen.append((done, total)))
    assert isinstance(frames, Iterator)
    next(frames)
    assert seen == [(1, 2)]
    assert len(list(frames)) == 1 and seen == [(1, 2), (2, 2)]


def test_frames_that_nobody_reads_leave_no_file_open(aev: Path) -> None:
    frames = aehub.decompress(aev)
    frames.close()  # type: ignore[attr-defined]
    # A file that is still open warns as it is deleted.
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        del frames
        gc.collect()
    assert not [one for one in said if issubclass(one.category, ResourceWarning)]


def test_a_source_without_a_name_needs_an_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for source in (".", "..", "/", Path()):
        with pytest.raises(InputError, match="has no name to build on; give an output"):
            aehub.compress(source)
