"""Syntax of edits: on the command line, in Python, in words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import aehub
from aehub.cli import main
from aehub.codecs.d4.codec import D4Codec
from aehub.editing.operations import element, parse
from aehub.errors import InputError
from aehub.media.orientation import ELEMENTS
from editing.files import planes_of, tiny_model
from golden_files import MODEL
from material import moving_picture

KEYS = ["path", "model", "bytes", "bytes_before", "audio_bytes", "frames", "width", "height",
        "fps", "seconds", "psnr", "elapsed", "notes"]


def run(*arguments: Any, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(part) for part in arguments], input=stdin)


@pytest.fixture(scope="module")
def model() -> D4Codec:
    return tiny_model()


@pytest.fixture(scope="module")
def source(model: D4Codec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "clip.aev"
    aehub.compress(np.stack(moving_picture(5, 40, 34)), path, model=model, group=2, measure=False)
    return path


@pytest.mark.parametrize(("words", "name"), [
    ("rotate 90", "rotate-90"), ("rotate -90", "rotate-270"), ("rotate 450", "rotate-90"),
    ("rotate 90, flip horizontal", "transpose"), ("flip horizontal, rotate 90", "transverse"),
    ("transpose, transpose", "identity"), ("rotate 0", "identity"), ("trim 1:2", "identity"),
    (" Rotate  180 , reverse,", "rotate-180"),
])
def test_words_become_one_element_of_the_group(words: str, name: str) -> None:
    assert element(parse(words)) == ELEMENTS[name]


def test_operations_are_written_as_they_are_read() -> None:
    words = "rotate 90, flip vertical, transpose, trim 1.5:4, trim 2f:, reverse"
    assert ", ".join(map(str, parse(words))) == words
    assert parse(words)[4] == aehub.Trim("2f:")


@pytest.mark.parametrize(("words", "sentence"), [
    ("rotate 45", "45 degrees is not possible"), ("flip over", "'over' is not known"),
    ("spin", "'spin' is not known"), ("rotate", "'rotate' is not known"),
    ("reverse 2", "'reverse 2' is not known"), ("trim 4:2", "must come after"),
    ("trim x", "not A:B"), ("rotate ²", "is not known"),
])
def test_other_words_are_refused_in_one_sentence(words: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        parse(words)


def test_options_apply_in_the_order_given(source: Path, model: D4Codec, tmp_path: Path) -> None:
    orders = {
        ("--rotate", "90", "--flip", "horizontal"): "rotate 90, flip horizontal",
        ("--flip", "horizontal", "--rotate", "90"): "flip horizontal, rotate 90",
        ("--rotate=90", "--transpose", "--rotate", "180", "--transpose"):
            "rotate 90, transpose, rotate 180, transpose",
        ("--trim", ":3f", "--reverse", "--trim", "1f:"): "trim :3f, reverse, trim 1f:",
        ("--reverse", "--trim", ":3f", "--reverse"): "reverse, trim :3f, reverse",
    }
    for options, words in orders.items():
        done = run("edit", *options, source, tmp_path / "cli.aev", "--model", MODEL, "--force")
        assert done.exit_code == 0, done.stderr
        aehub.edit(source, tmp_path / "python.aev", parse(words), model=model, force=True)
        assert (tmp_path / "cli.aev").read_bytes() == (tmp_path / "python.aev").read_bytes()


def test_the_result_tells_the_bytes_before_and_after(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "turned.aev"
    done = run("edit", source, output, "--rotate", "90", "--model", MODEL)
    assert done.exit_code == 0 and "5 frames of 34x40, 0.20 s" in done.stdout
    assert "before" in done.stdout
    done = run("edit", source, output, "--transpose", "--model", MODEL, "--force", "--json")
    facts = json.loads(done.stdout)
    assert list(facts) == KEYS
    assert facts["bytes"] == output.stat().st_size and facts["psnr"] is None
    assert facts["bytes_before"] == source.stat().st_size


def test_the_way_through_pixels_prints_the_loss(source: Path, tmp_path: Path) -> None:
    done = run("edit", source, tmp_path / "turned.aev", "--rotate", "90", "--via-pixels",
               "--model", MODEL)
    assert done.exit_code == 0, done.stderr
    assert " dB against the decoded pictures" in done.stdout


def test_pipes_at_both_ends(source: Path, model: D4Codec, tmp_path: Path) -> None:
    done = run("edit", "-", "-", "--rotate", "180", "--model", MODEL, stdin=source.read_bytes())
    assert done.exit_code == 0, done.stderr
    aehub.edit(source, tmp_path / "turned.aev", [aehub.Rotate(180)], model=model)
    assert done.stdout_bytes == (tmp_path / "turned.aev").read_bytes()


def test_concat_joins_all_but_the_last_name(source: Path, model: D4Codec, tmp_path: Path) -> None:
    output = tmp_path / "joined.aev"
    done = run("concat", source, source, source, output)
    assert done.exit_code == 0 and "15 frames" in done.stdout
    assert len(planes_of(output, model)) == 15


@pytest.mark.parametrize(("arguments", "words"), [
    (["edit", "{source}", "{output}"], "nothing to do"),
    (["edit", "{source}", "{output}", "--rotate", "45"], "45"),
    (["edit", "{source}", "{source}", "--reverse"], "both input and output"),
    (["edit", "{source}", "-", "--reverse", "--json"], "both want standard output"),
    (["edit", "{source}"], "OUT"),
    (["concat", "{source}", "{output}"], "at least two"),
    (["concat", "{source}", "{source}", "{source}"], "both input and output"),
])
def test_wrong_usage_is_told_and_nothing_written(
    source: Path, arguments: list[str], words: str, tmp_path: Path
) -> None:
    before = source.read_bytes()
    named = [part.format(source=source, output=tmp_path / "o.aev") for part in arguments]
    done = run(*named)
    assert done.exit_code == 2 and words in done.stderr
    assert source.read_bytes() == before and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("options", "words"), [
    (["--trim", "9:"], "keeps no frame"), (["--rotate", "90"], "model"),
])
def test_what_cannot_be_done_is_one_sentence(
    source: Path, options: list[str], words: str, tmp_path: Path
) -> None:
    done = run("edit", source, tmp_path / "o.aev", *options)
    assert done.exit_code == 1 and words in done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1


def test_the_help_says_what_stays_in_the_file() -> None:
    text = " ".join(run("edit", "--help").stdout.split())
    assert "keeps the frames before it in the file, hidden" in text


def test_moves_of_whole_groups_load_no_torch(source: Path, tmp_path: Path) -> None:
    code = ("import sys, aehub; "
            f"aehub.edit({str(source)!r}, {str(tmp_path / 'o.aev')!r}, [aehub.Reverse()]); "
            "print('torch' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
