"""The command line: its words, exit codes and streams, on real files."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from aehub.cli import main
from aehub.cli.console import ErrorReportingGroup, progress_bar
from aehub.cli.options import bytes_text, parse_size, print_json
from aehub.errors import DamagedError, Offline, UnknownModel
from material import moving_picture, write_clip

ROOT = Path(__file__).resolve().parent.parent
KEYS = [
    "model", "bytes", "audio_bytes", "frames", "width", "height", "fps", "seconds", "kbps",
    "bits_per_pixel", "ratio", "psnr", "ms_ssim", "elapsed",
]
FRAMES = 6


def run(*arguments: str | Path, stdin: bytes | None = None) -> Result:
    """The command in this process, on a stdin and stdout that are no terminals."""
    return CliRunner().invoke(main, [str(part) for part in arguments], input=stdin)


def failing(error: BaseException) -> Result:
    """A guarded command that raises `error`."""

    @click.group(cls=ErrorReportingGroup)
    def group() -> None:
        """A group."""

    @group.command()
    def fail() -> None:
        raise error

    return CliRunner().invoke(group, ["fail"])


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short real clip with an ordinary codec."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_clip(path, moving_picture(FRAMES, width=64, height=48), fps=Fraction(30000, 1001))
    return path


@pytest.fixture(scope="module")
def aev(clip: Path) -> Path:
    """The same clip, compressed by the command line."""
    path = clip.with_name("once.aev")
    done = run("compress", clip, path)
    assert done.exit_code == 0, done.stderr
    return path


# Words, usage and exit codes.


def test_every_command_of_the_contract_is_there() -> None:
    expected = {"compress", "decompress", "info", "verify", "compare", "models", "train"}
    assert expected <= main.commands.keys()


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_and_option_explains_itself(name: str) -> None:
    command = main.commands[name]
    assert command.help
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.name
    assert run(name, "--help").exit_code == 0


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "aehub", "--version"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stdout.startswith("aehub, version ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["unknown"],
        ["compress"],
        ["compress", "a.mp4", "b.aev", "c.aev"],
        ["compress", "a.mp4", "--quality", "101"],
        ["compress", "a.mp4", "--quality", "nan"],
        ["compress", "a.mp4", "--target-kbps", "0"],
        ["compress", "a.mp4", "--target-size", "big"],
        ["compress", "a.mp4", "--target-size", "1MB", "--target-kbps", "100"],
        ["compress", "a.mp4", "--quality", "50", "--target-size", "1MB"],
        ["compress", "a.mp4", "--trim", "three"],
        ["compress", "a.mp4", "--group", "0"],
        ["compress", "-"],
        ["compress", "a.mp4", "-", "--json"],
        ["decompress", "-"],
        ["compare"],
        ["train", "d4-codec"],
        ["train", "d4-codec", "--out", "x", "--minutes", "1", "--steps", "1"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2_and_says_why(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert "Error: " in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_a_file_is_never_both_input_and_output(command: str, clip: Path) -> None:
    before = clip.read_bytes()
    done = run(command, clip, clip, "--force")
    assert done.exit_code == 2
    assert "both input and output" in done.stderr
    assert clip.read_bytes() == before


# The guard: one sentence, never a traceback.


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (DamagedError("2 of 9 groups are lost."), "aehub: 2 of 9 groups are lost.\n"),
        (UnknownModel("no model 'x' is known."), "aehub: no model 'x' is known.\n"),
        (Offline("the network is\noff."), "aehub: the network is off.\n"),
        (FileNotFoundError(2, "No such file", "a.mp4"), "aehub: a.mp4: No such file.\n"),
        (OSError(28, "No space left on device"), "aehub: No space left on device.\n"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_expected_error_is_one_sentence_and_exit_1(error: Exception, words: str) -> None:
    done = failing(error)
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", words)


def test_memory_running_out_tells_the_remedy() -> None:
    done = failing(MemoryError())
    assert done.exit_code == 1
    assert "--trim" in done.stderr


def test_a_missing_extra_names_the_command_that_installs_it() -> None:
    done = failing(ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib"))
    assert done.exit_code == 1
    assert "pip install 'aehub[plot]'" in done.stderr


def test_an_unexpected_error_is_called_a_bug_without_a_traceback() -> None:
    done = failing(ZeroDivisionError("division by zero"))
    assert done.exit_code == 1
    assert "this is a bug" in done.stderr
    assert "ZeroDivisionError: division by zero" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_traceback_is_shown_only_when_debugging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AEHUB_DEBUG", "1")
    assert "Traceback" in failing(ZeroDivisionError("division by zero")).stderr


def test_an_interruption_is_quiet_and_exits_with_130() -> None:
    done = failing(KeyboardInterrupt())
    assert (done.exit_code, done.stdout, done.stderr) == (130, "", "")


def test_a_reader_that_goes_away_is_no_news() -> None:
    done = failing(BrokenPipeError(32, "Broken pipe"))
    assert (done.exit_code, done.stderr) == (1, "")


def test_a_closed_pipe_leaves_nothing_on_stderr() -> None:
    code = (
        "import click, sys; from aehub.cli.console import ErrorReportingGroup\n"
        "group = ErrorReportingGroup('group')\n"
        "@group.command()\n"
        "def talk():\n"
        "    for _ in range(100000): sys.stdout.write('a line of some length\\n')\n"
        "group(['talk'])"
    )
    talker = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert talker.stdout and talker.stderr
    talker.stdout.readline()
    talker.stdout.close()
    with talker.stderr as stderr:
        assert stderr.read() == b""
    assert talker.wait(timeout=30) == 1


# Values.


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500kB", 500_000),
        ("2MB", 2_000_000),
        ("1.5 MB", 1_500_000),
        ("1234", 1234),
        ("1234 B", 1234),
        ("3k", 3000),
        (" 1kb ", 1000),
        ("1GB", 10**9),
        ("2KiB", 2048),
        (".5MiB", 2**19),
    ],
)
def test_sizes_count_in_thousands_unless_they_say_otherwise(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "kB", "-5kB", "1e6", "5 boxes", "1.2.3MB", "nan", "inf"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="500kB"):
        parse_size(text)


@pytest.mark.parametrize("text", ["0", "0.0004kB"])
def test_a_size_below_one_byte_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="less than one byte"):
        parse_size(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (34_560_000, "34.6 MB"),
        (5 * 10**9, "5.0 GB"),
    ],
)
def test_byte_counts_are_written_for_people(count: int, text: str) -> None:
    assert bytes_text(count) == text


def test_json_never_holds_what_json_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"psnr": float("inf"), "list": [float("nan"), 1.5], "nested": {"a": -float("inf")}})
    read = json.loads(capsys.readouterr().out)
    assert read == {"psnr": None, "list": [None, 1.5], "nested": {"a": None}}


# Progress.


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("done", "total", "shown"), [(3, 6, " 50%"), (7, 0, "7/?"),
                                                      (12, 10, "100%")])
def test_progress_is_drawn_on_a_terminal_and_wiped_at_the_end(
    monkeypatch: pytest.MonkeyPatch, done: int, total: int, shown: str
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_bar("compressing") as progress:
        time.sleep(0.15)  # Between two drawings lies a tenth of a second.
        progress(done, total)
    *_, drawn, wiped, end = terminal.getvalue().split("\r")
    assert drawn.startswith("compressing") and shown in drawn
    assert not wiped.strip() and len(wiped) >= len(drawn.rstrip()) and end == ""


def test_progress_says_nothing_where_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with progress_bar("compressing") as progress:
        progress(3, 6)
    assert log.getvalue() == ""


# The commands, on real files.


def test_compress_tells_people_what_came_out(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.aev"
    done = run("compress", clip, target)
    assert done.exit_code == 0, done.stderr
    assert f"{FRAMES} frames of 64x48" in done.stdout
    assert bytes_text(target.stat().st_size) in done.stdout
    assert "dB" in done.stdout


def test_compress_prints_the_keys_of_the_contract(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.aev"
    done = run("compress", clip, target, "--json", "--quality", "30.5")
    assert done.exit_code == 0, done.stderr
    facts = json.loads(done.stdout)
    assert [key for key in facts if key in KEYS] == KEYS
    assert facts["bytes"] == target.stat().st_size
    assert facts["fps"] == "30000/1001"
    assert (facts["frames"], facts["width"], facts["height"]) == (FRAMES, 64, 48)
    assert facts["ratio"] == pytest.approx(clip.stat().st_size / facts["bytes"], rel=1e-3)
    assert facts["ms_ssim"] is None  # below 176 pixels it is not defined


def test_without_a_name_the_output_lies_beside_the_input(clip: Path, tmp_path: Path) -> None:
    copy = tmp_path / "film.mp4"
    copy.write_bytes(clip.read_bytes())
    assert run("compress", copy).exit_code == 0
    assert (tmp_path / "film.aev").stat().st_size > 0


@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_nothing_is_overwritten_without_force(
    command: str, clip: Path, aev: Path, tmp_path: Path
) -> None:
    given = clip if command == "compress" else aev
    target = tmp_path / ("out.aev" if command == "compress" else "out.mkv")
    target.write_bytes(b"precious")
    refused = run(command, given, target)
    assert refused.exit_code == 1
    assert "--force" in refused.stderr
    assert target.read_bytes() == b"precious"
    assert run(command, given, target, "--force").exit_code == 0
    assert target.read_bytes() != b"precious"


@pytest.mark.parametrize("command", ["compress", "decompress", "info", "verify", "compare"])
def test_a_missing_input_is_one_sentence_and_exit_1(command: str, tmp_path: Path) -> None:
    done = run(command, tmp_path / "nowhere.bin")
    assert done.exit_code == 1
    assert "nowhere.bin" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "bug" not in done.stderr


@pytest.mark.parametrize("command", ["compress", "decompress", "info", "compare"])
@pytest.mark.parametrize("content", [b"", b"not a film at all" * 99], ids=["empty", "noise"])
def test_a_file_of_another_kind_is_one_sentence_and_exit_1(
    command: str, content: bytes, tmp_path: Path
) -> None:
    given = tmp_path / "given.bin"
    given.write_bytes(content)
    done = run(command, given)
    assert done.exit_code == 1
    assert done.stderr.startswith("aehub: ")
    assert done.stderr.count("\n") == 1
    assert "bug" not in done.stderr
    assert sorted(tmp_path.iterdir()) == [given]


def test_an_unknown_model_is_named(clip: Path, tmp_path: Path) -> None:
    done = run("compress", clip, tmp_path / "out.aev", "--model", "no-such-model")
    assert done.exit_code == 1
    assert "no-such-model" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_trim_keeps_the_frames_named(clip: Path, tmp_path: Path) -> None:
    done = run("compress", clip, tmp_path / "out.aev", "--trim", "2f:5f", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["frames"] == 3


def test_a_clip_that_breaks_off_is_an_error_unless_salvaged(clip: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.mkv"
    write_clip(whole, moving_picture(24, width=64, height=48))
    cut = tmp_path / "cut.mkv"
    content = whole.read_bytes()
    cut.write_bytes(content[: len(content) * 2 // 3])
    refused = run("compress", cut, tmp_path / "out.aev")
    assert refused.exit_code == 1
    assert "--salvage" in refused.stderr
    assert not (tmp_path / "out.aev").exists()
    kept = run("compress", cut, tmp_path / "out.aev", "--salvage", "--json")
    assert kept.exit_code == 0, kept.stderr
    assert 0 < json.loads(kept.stdout)["frames"] < 24


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".gif", ".webp", ".png"])
def test_decompress_writes_every_kind_it_names(suffix: str, aev: Path, tmp_path: Path) -> None:
    target = tmp_path / f"back{suffix}"
    done = run("decompress", aev, target)
    assert done.exit_code == 0, done.stderr
    assert f"{FRAMES} frames of 64x48" in done.stdout
    assert target.stat().st_size > 0


def test_an_output_without_a_suffix_is_a_folder_of_pictures(aev: Path, tmp_path: Path) -> None:
    assert run("decompress", aev, tmp_path / "pictures").exit_code == 0
    assert len(list((tmp_path / "pictures").glob("*.png"))) == FRAMES


def piped(arguments: Sequence[str | Path], stdin: bytes = b"") -> bytes:
    """What a real process writes to a real pipe."""
    done = subprocess.run(
        [sys.executable, "-m", "aehub", *map(str, arguments)],
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_pipes_carry_clips_and_files_and_nothing_else(clip: Path, aev: Path) -> None:
    compressed = piped(["compress", "-", "-"], clip.read_bytes())
    pictures = piped(["decompress", "-", "-"], compressed)
    assert pictures.startswith(b"YUV4MPEG2 ")
    assert pictures.count(b"FRAME") == FRAMES
    assert pictures == piped(["decompress", aev, "-"])


def test_info_prints_lines_for_people_and_one_object_for_programs(aev: Path) -> None:
    facts = json.loads(run("info", aev, "--json").stdout)
    assert facts["model"] == "d4-codec"
    assert facts["frames"] == FRAMES
    text = run("info", aev).stdout
    assert all(key in text for key in facts)


def test_verify_tells_intact_files_from_damaged_ones(aev: Path, tmp_path: Path) -> None:
    good = run("verify", aev)
    assert good.exit_code == 0
    assert "intact" in good.stdout
    content = bytearray(aev.read_bytes())
    content[len(content) // 2] ^= 0x40
    damaged = tmp_path / "damaged.aev"
    damaged.write_bytes(content)
    bad = run("verify", damaged)
    assert bad.exit_code == 1
    assert "damaged.aev" in bad.stderr
    assert bad.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["info", "verify"])
def test_looking_at_a_file_needs_no_torch(command: str, aev: Path) -> None:
    code = (
        "import sys; from aehub.cli import main\n"
        f"main([{command!r}, {str(aev)!r}], standalone_mode=False)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1] == "False", done.stderr


def test_models_lists_the_bundled_flagship() -> None:
    listed = json.loads(run("models", "--json").stdout)["models"]
    flagship = next(entry for entry in listed if entry["name"] == "d4-codec")
    assert flagship["state"] == "bundled"
    assert {"task", "parameters", "bytes", "folder", "summary"} <= flagship.keys()
    assert "d4-codec" in run("models").stdout


def test_compare_prints_a_table_or_one_object(clip: Path, tmp_path: Path) -> None:
    plot = tmp_path / "curves.png"
    done = run("compare", clip, "--codecs", "x264-medium,svtav1-6", "--plot", plot)
    assert done.exit_code == 0, done.stderr
    assert "x264-medium" in done.stdout
    assert plot.read_bytes().startswith(b"\x89PNG")
    again = run("compare", clip, "--codecs", "x264-medium", "--json")
    assert isinstance(json.loads(again.stdout), dict)


def test_compare_looks_at_the_plot_before_it_measures(clip: Path, tmp_path: Path) -> None:
    plot = tmp_path / "curves.png"
    plot.write_bytes(b"precious")
    done = run("compare", clip, "--codecs", "x264-medium", "--plot", plot)
    assert done.exit_code == 1
    assert "--force" in done.stderr
    assert plot.read_bytes() == b"precious"


@pytest.mark.parametrize("option", ["--scale", "--steps", "--fps", "--seconds"])
def test_a_zero_is_not_taken_for_an_option_left_out(option: str, tmp_path: Path) -> None:
    result = run("animate", tmp_path / "a.gif", "--model", "dense-28", option, "0")
    assert result.exit_code == 1 and " 0" in result.stderr
    assert not list(tmp_path.iterdir())


def test_training_never_writes_into_a_used_folder_unasked(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"precious")
    done = run("train", "d4-codec", "--out", tmp_path, "--steps", "1")
    assert done.exit_code == 1
    assert "--resume" in done.stderr
    assert (tmp_path / "model.safetensors").read_bytes() == b"precious"


def test_an_unknown_recipe_is_named(tmp_path: Path) -> None:
    done = run("train", "no-such-recipe", "--out", tmp_path / "out", "--steps", "1")
    assert done.exit_code == 1
    assert "no-such-recipe" in done.stderr
    assert "bug" not in done.stderr
