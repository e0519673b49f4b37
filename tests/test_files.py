"""Outputs: whole or not at all, in their place whatever that is, and refused before the work."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import aehub
from aehub.cli import main
from aehub.errors import ExistsError, InputError
from aehub.files import check_output, open_output, refuse_overwriting
from aehub.media.colour import from_rgb
from aehub.media.picture import ClipInfo, Colour, Frame
from aehub.media.writer import SUFFIXES, open_writer
from material import moving_picture, write_clip

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 255
"""Bytes of a name on the file systems in use."""


@pytest.fixture(scope="module")
def aev(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short compressed clip."""
    path = tmp_path_factory.mktemp("aev") / "clip.aev"
    aehub.compress(moving_picture(2, width=64, height=48), path, measure=False)
    return path


def name_of(length: int, suffix: str) -> str:
    return "n" * (length - len(suffix)) + suffix


def refusal(*arguments: str | Path) -> str:
    """The one sentence with which the command refuses."""
    done = CliRunner().invoke(main, [str(part) for part in arguments])
    assert (done.exit_code, done.stdout) == (1, ""), done.stderr
    assert done.stderr.startswith("aehub: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_name_as_long_as_a_name_can_be_is_written(suffix: str, tmp_path: Path) -> None:
    colour = Colour(1, False, 1, 1)
    picture = from_rgb(np.zeros((16, 16, 3), np.uint8), colour)
    info = ClipInfo(16, 16, Fraction(25), Fraction(1, 25), colour)
    target = tmp_path / name_of(LONGEST, suffix)
    with open_writer(target, info=info) as writer:
        writer.write(Frame(picture, 0))
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_every_command_writes_a_name_as_long_as_a_name_can_be(aev: Path, tmp_path: Path) -> None:
    first, second = (tmp_path / name_of(LONGEST, f"{n}.aev") for n in (1, 2))
    aehub.edit(aev, first, [aehub.Rotate(90)])
    aehub.concat([first, first], second)
    aehub.compress(moving_picture(1, width=64, height=48), first, force=True, measure=False)
    clip = tmp_path / name_of(LONGEST - len(".recipe.json"), ".gif")
    aehub.animate(clip, model="dense-28", seeds=[1, 2], seconds=0.1)
    assert not list(tmp_path.glob(".*"))


def written_text(path: Path) -> None:
    with open_output(path, force=False) as file:
        file.write(b"text")


def test_a_name_that_is_too_long_is_refused_before_the_work(tmp_path: Path) -> None:
    target = tmp_path / name_of(LONGEST + 1, ".aev")
    with pytest.raises(InputError, match="cannot be written: File name too long"):
        aehub.compress("no-such-clip.mp4", target)
    # The recipe beside an animation has a longer name than the animation.
    with pytest.raises(InputError, match=r"recipe\.json cannot be written"):
        aehub.animate(tmp_path / name_of(LONGEST, ".gif"), model="no-such-model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("force", [True, False])
def test_a_folder_is_no_output_and_no_hidden_file_is_named(
    force: bool, aev: Path, tmp_path: Path
) -> None:
    place = tmp_path / "place.mp4"
    place.mkdir()
    calls: list[Callable[[], object]] = [
        lambda: aehub.compress(moving_picture(1, width=64, height=48), place, force=force),
        lambda: aehub.decompress_to(aev, place, force=force),
        lambda: aehub.edit(aev, place, [], force=force),
        lambda: aehub.concat([aev, aev], place, force=force),
        lambda: aehub.animate(place, force=force),
        lambda: aehub.compress(moving_picture(1, width=64, height=48), ".", force=force),
    ]
    for call in calls:
        with pytest.raises(InputError, match="is a folder; give the name of a file"):
            call()
    assert list(tmp_path.iterdir()) == [place] and not list(place.iterdir())


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no folder that takes no files")
def test_a_place_that_takes_no_file_is_refused_before_the_work_by_its_own_name() -> None:
    for call in (lambda: aehub.compress("no-such-clip.mp4", "/proc/out.aev", target_size=10),
                 lambda: aehub.animate("/proc/out.gif", model="no-such-model")):
        with pytest.raises(InputError, match=r"^/proc/out\.(aev|gif) cannot be written: ") as told:
            call()
        assert ".part" not in str(told.value)


def test_a_slash_at_the_end_means_a_folder(aev: Path, tmp_path: Path) -> None:
    for command in (["compress", aev], ["edit", "--reverse", aev], ["concat", aev, aev]):
        assert "ends in a slash as a folder does" in refusal(*command, f"{tmp_path}/new/")
    with pytest.raises(InputError, match="ends in a slash"):
        aehub.decompress_to(aev, f"{tmp_path}/new.mp4/")
    assert not list(tmp_path.iterdir())
    aehub.decompress_to(aev, f"{tmp_path}/new/")
    assert len(list((tmp_path / "new").glob("*.png"))) == 2


def test_a_link_is_followed_and_stays_a_link(aev: Path, tmp_path: Path) -> None:
    real, link, dangling = tmp_path / "store" / "real.aev", tmp_path / "l.aev", tmp_path / "d.aev"
    real.parent.mkdir()
    real.write_bytes(b"old")
    link.symlink_to(real)
    dangling.symlink_to(real.with_name("new.aev"))
    with pytest.raises(ExistsError):
        aehub.edit(aev, link, [])
    aehub.edit(aev, link, [], force=True)
    aehub.edit(aev, dangling, [])
    for place in (link, dangling):
        assert place.is_symlink() and place.resolve().parent == real.parent
        assert aehub.info(place)["frames"] == 2


def test_written_files_have_the_access_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        written_text(tmp_path / "file")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_pipes_and_devices_are_written_and_not_replaced(aev: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.aev"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    aehub.edit(aev, pipe, [aehub.Reverse()])
    reader.join(10)
    assert read[0].startswith(aev.read_bytes()[:4]) and pipe.is_fifo()
    for call in (lambda: aehub.edit(aev, os.devnull, []),
                 lambda: aehub.decompress_to(aev, os.devnull)):
        call()
        assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
    clip = tmp_path / "pipe.mp4"
    os.mkfifo(clip)
    reader = threading.Thread(target=lambda: read.append(clip.read_bytes()))
    reader.start()
    aehub.decompress_to(aev, clip)
    reader.join(10)
    assert b"ftyp" in read[1][:16] and clip.is_fifo()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_the_work_leaves_no_file(number: signal.Signals, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mkv"
    write_clip(clip, moving_picture(60, width=320, height=240))
    running = subprocess.Popen(
        [sys.executable, "-m", "aehub", "compress", str(clip), "out.aev"], cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE,
        # Under nohup a hang-up is ignored, here too.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))
    assert running.stderr
    with running.stderr as stderr:
        while not list(tmp_path.glob(".*.part")):
            assert running.poll() is None
            time.sleep(0.02)
        running.send_signal(number)
        assert running.wait(30) == 128 + number
        assert stderr.read() == b""
    assert list(tmp_path.iterdir()) == [clip]


def test_an_address_is_not_read_and_the_sentence_says_what_to_do(tmp_path: Path) -> None:
    address = "https://host.example/clip.mp4"
    gif = str(tmp_path / "walk.gif")
    for command in (["compress"], ["decompress"], ["info"], ["compare"],
                    ["animate", gif, "--clip"], ["animate", gif, "--keyframe"]):
        told = refusal(*command, address)
        assert f"{address} is an address" in told and "curl" in told
    with pytest.raises(InputError, match="give the path alone: /a/clip.mp4"):
        aehub.compress("file:///a/clip.mp4")
    with pytest.raises(InputError, match="is an address"):
        check_output("s3://bucket/clip.aev")


def test_nothing_is_left_where_only_a_check_was_made(tmp_path: Path) -> None:
    refuse_overwriting(tmp_path / "new.aev")
    assert not list(tmp_path.iterdir())
