"""The index: what is read again, what survives an interruption, damage and absence in words."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import aehub
from aehub.retrieval import fingerprint, store
from aehub.retrieval.sampling import small_pictures
from aehub.retrieval.store import default_folder
from material import tones, write_clip
from pageserver import ROOT
from retrieval.conftest import FPS, Films, film, scene

KILLED_AT = '''
import os, signal, sys
import aehub

def killed(done, total, calls=[]):
    calls.append(done)
    if len(calls) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

aehub.index(sys.argv[1], sys.argv[2], progress=killed)
'''


@pytest.fixture
def index(films: Films, tmp_path: Path) -> Path:
    """A copy of the index, to spoil."""
    return shutil.copytree(films.index, tmp_path / "index")


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A folder of two short clips."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for seed in (11, 12):
        write_clip(folder / f"{seed}.mkv", scene(seed), fps=FPS)
    return folder


def states(indexed: aehub.Indexed) -> dict[str, str]:
    return {Path(file.path).name: file.state for file in indexed.files}


def names(matches: list[aehub.Match]) -> list[str]:
    return [Path(match.path).name for match in matches]


# What is read again.


def test_files_that_have_not_changed_are_skipped(clips: Path, tmp_path: Path) -> None:
    first = aehub.index(clips, tmp_path / "index")
    assert states(first) == {"11.mkv": "added", "12.mkv": "added"}
    again = aehub.index(clips, tmp_path / "index")
    assert states(again) == {"11.mkv": "unchanged", "12.mkv": "unchanged"}
    assert [file.segments for file in again.files] == [file.segments for file in first.files]
    assert again.segments == first.segments > 0


def test_the_same_content_at_another_path_shares_its_segments(clips: Path, tmp_path: Path) -> None:
    before = aehub.index(clips, tmp_path / "index").segments
    shutil.copy(clips / "11.mkv", clips / "copy.mkv")
    after = aehub.index(clips, tmp_path / "index")
    assert states(after)["copy.mkv"] == "added" and after.segments == before
    found = aehub.search(clips / "11.mkv", tmp_path / "index")
    assert sorted(names(found)[:2]) == ["11.mkv", "copy.mkv"]
    assert found[0].score == found[1].score


def test_a_changed_file_no_longer_matches_until_it_is_indexed_again(
    clips: Path, tmp_path: Path
) -> None:
    aehub.index(clips, tmp_path / "index")
    query = shutil.copy(clips / "11.mkv", tmp_path / "query.mkv")
    write_clip(clips / "11.mkv", scene(13), fps=FPS)
    os.utime(clips / "11.mkv", (1, 1))
    found = aehub.results.run_job(aehub.iter_search(query, tmp_path / "index"), None)
    assert found.matches == ()
    assert found.notes == (f"{clips / '11.mkv'} changed since being indexed and is left out; index "
                           "again.",)
    assert states(aehub.index(clips, tmp_path / "index"))["11.mkv"] == "added"
    assert names(aehub.search(clips / "11.mkv", tmp_path / "index")) == ["11.mkv"]
    assert aehub.search(query, tmp_path / "index") == []


def test_a_file_that_vanished_no_longer_matches(clips: Path, tmp_path: Path) -> None:
    aehub.index(clips, tmp_path / "index")
    query = shutil.move(clips / "11.mkv", tmp_path / "query.mkv")
    found = aehub.results.run_job(aehub.iter_search(query, tmp_path / "index"), None)
    assert found.matches == () and "vanished since" in found.notes[0]
    # Its segments go, and with them half of the rows.
    size = sum(path.stat().st_size for path in (tmp_path / "index").glob("vectors-*"))
    assert states(aehub.index(clips, tmp_path / "index")) == {
        "11.mkv": "removed", "12.mkv": "unchanged"}
    assert sum(path.stat().st_size for path in (tmp_path / "index").glob("vectors-*")) < size
    assert names(aehub.search(clips / "12.mkv", tmp_path / "index")) == ["12.mkv"]
    assert aehub.search(query, tmp_path / "index") == []


def test_other_folders_are_left_alone(clips: Path, films: Films, index: Path) -> None:
    before = len(aehub.index(films.folder, index).files)
    assert states(aehub.index(clips, index)) == {"11.mkv": "added", "12.mkv": "added"}
    assert len(aehub.index(films.folder, index).files) == before


# Which files of a folder.


def test_a_folder_of_pictures_is_one_clip_and_with_clips_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, picture in enumerate(scene(14, 12)):
        Image.fromarray(picture).save(folder / f"{number}.png")
    indexed = aehub.index(tmp_path, tmp_path / "index")
    assert states(indexed) == {"pictures": "added"}
    assert len(aehub.index(tmp_path, tmp_path / "each", each=True).files) == 12
    write_clip(folder / "clip.mkv", scene(15), fps=FPS)
    (failed,) = aehub.index(tmp_path, tmp_path / "index").files
    assert failed.state == "failed" and failed.error is not None
    assert "holds pictures and clips" in failed.error and "--each" in failed.error


def test_a_picture_that_becomes_one_of_a_clip_is_indexed_once(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for number, state in enumerate(("added", "removed")):
        Image.fromarray(scene(14)[number]).save(tmp_path / "pictures" / f"{number}.png")
        indexed = aehub.index(tmp_path, tmp_path / "index")
        assert states(indexed)["0.png"] == state
    assert states(indexed) == {"0.png": "removed", "pictures": "added"}


def test_a_folder_that_cannot_be_written_is_one_sentence(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "index" / "lock.sqlite").mkdir(parents=True)
    for folder in (tmp_path / "file", tmp_path / "index"):
        with pytest.raises(aehub.InputError, match="cannot be read or written: .*; choose another"):
            aehub.index(clips, folder)


def test_a_folder_that_can_no_longer_be_read_as_it_is_keeps_what_is_known(
    clips: Path, tmp_path: Path
) -> None:
    before = aehub.index(clips, tmp_path / "index").segments
    Image.fromarray(scene(14)[0]).save(clips / "cover.jpg")
    indexed = aehub.index(clips, tmp_path / "index")
    assert states(indexed) == {"clips": "failed"} and indexed.segments == before
    assert names(aehub.search(clips / "11.mkv", tmp_path / "index")) == ["11.mkv"]


def test_nothing_is_removed_below_a_folder_that_is_not_there(clips: Path, tmp_path: Path) -> None:
    before = aehub.index(clips, tmp_path / "index").segments
    clips.rename(tmp_path / "elsewhere")
    indexed = aehub.index(clips, tmp_path / "index")
    assert states(indexed) == {"clips": "failed"} and indexed.segments == before
    assert "does not exist" in str(indexed.files[0].error)
    (tmp_path / "elsewhere").rename(clips)
    assert set(states(aehub.index(clips, tmp_path / "index")).values()) == {"unchanged"}


def test_a_changed_picture_of_a_folder_is_noticed_though_size_and_time_stay(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, picture in enumerate(scene(14, 3)):
        Image.fromarray(picture).save(folder / f"{number}.bmp")
        os.utime(folder / f"{number}.bmp", (number + 1, number + 1))
    aehub.index(folder, tmp_path / "index")
    assert states(aehub.index(folder, tmp_path / "index")) == {"pictures": "unchanged"}
    (folder / "0.bmp").rename(folder / "9.bmp")
    assert states(aehub.index(folder, tmp_path / "index")) == {"pictures": "added"}


def test_linked_folders_are_followed_once_and_files_found_under_their_own_names(
    clips: Path, tmp_path: Path
) -> None:
    root, outside = tmp_path / "root", clips.rename(tmp_path / "outside")
    (root / "z").mkdir(parents=True)
    shutil.copy(outside / "11.mkv", root / "z" / "own.mkv")
    (root / "a").symlink_to(root / "z")
    (root / "z" / "loop").symlink_to(root)
    (root / "linked").symlink_to(outside)
    indexed = aehub.index(root, tmp_path / "index")
    assert [file.path for file in indexed.files] == [
        str(root / "linked" / "11.mkv"), str(root / "linked" / "12.mkv"), str(root / "z/own.mkv")]


def test_a_folder_that_may_not_be_read_is_one_sentence_and_not_the_end(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clips / "closed").mkdir()
    shutil.copy(clips / "11.mkv", clips / "closed" / "13.mkv")
    before = aehub.index(clips, tmp_path / "index").segments
    iterdir = Path.iterdir

    def refusing(folder: Path) -> Iterator[Path]:
        # Permissions do not bind root.
        if folder.name == "closed":
            raise PermissionError(13, "Permission denied", str(folder))
        return iterdir(folder)

    monkeypatch.setattr(Path, "iterdir", refusing)
    indexed = aehub.index(clips, tmp_path / "index")
    assert states(indexed) == {"11.mkv": "unchanged", "12.mkv": "unchanged", "closed": "failed"}
    assert indexed.files[2].error == f"{clips / 'closed'} cannot be read: Permission denied."
    assert indexed.segments == before


def test_whatever_a_decoder_raises_is_an_error_of_its_file(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path, *_: object, **__: object) -> Iterator[object]:
        if path.name == "11.mkv":
            raise MemoryError
        return small_pictures(path, *_, **__)

    monkeypatch.setattr(fingerprint, "small_pictures", failing)
    indexed = aehub.index(clips, tmp_path / "index")
    assert states(indexed) == {"11.mkv": "failed", "12.mkv": "added"}
    assert str(indexed.files[0].error).startswith(f"{clips / '11.mkv'} cannot be read: ")


def test_every_error_begins_with_the_path_and_names_no_option_of_other_commands(
    films: Films, tmp_path: Path
) -> None:
    aehub.concat([films.folder / "six.aev"] * 3, tmp_path / "whole.aev")
    for name in ("whole.aev", "three.mp4"):
        source = tmp_path / name if name == "whole.aev" else films.folder / name
        (tmp_path / f"cut-{name}").write_bytes(source.read_bytes()[:source.stat().st_size // 2])
    (tmp_path / "text.mp4").write_text("no clip")
    indexed = aehub.index([tmp_path, tmp_path / "text.mp4"], tmp_path / "index")
    errors = {file.path: file.error for file in indexed.files if file.error}
    assert len(errors) == 3
    for path, error in errors.items():
        assert str(error).startswith(path) and "--" not in str(error)


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_names_that_are_no_utf_8_are_names(clips: Path, tmp_path: Path) -> None:
    path = clips / os.fsdecode(b"bad\xff.mkv")
    (clips / "11.mkv").rename(path)
    bad = clips / os.fsdecode(b"cut\xff.mkv")
    bad.write_bytes(path.read_bytes()[:300])
    for state in ("added", "unchanged"):
        indexed = {file.path: file for file in aehub.index(clips, tmp_path / "index").files}
        assert indexed[str(path)].state == state and indexed[str(bad)].state == "failed"
    assert aehub.search(path, tmp_path / "index")[0].path == str(path)
    assert [match.path for match in aehub.search(path, tmp_path / "index")] == [str(path)]
    path.unlink()
    assert states(aehub.index(clips, tmp_path / "index"))[path.name] == "removed"


def test_hidden_files_other_files_and_the_index_itself_are_passed_over(clips: Path) -> None:
    (clips / "notes.txt").write_text("not a clip")
    (clips / ".hidden").mkdir()
    write_clip(clips / ".hidden" / "clip.mkv", scene(16), fps=FPS)
    aehub.index(clips, clips / "index")
    assert set(states(aehub.index(clips, clips / "index"))) == {"11.mkv", "12.mkv"}


def test_one_bad_file_does_not_stop_the_others(clips: Path, tmp_path: Path) -> None:
    (clips / "10.mkv").write_bytes((clips / "11.mkv").read_bytes()[:300])
    with av.open(str(clips / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=48_000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(tones(0.1), format="fltp", layout="stereo")
        frame.rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    indexed = aehub.index([clips, tmp_path / "nowhere.mp4"], tmp_path / "index")
    errors = {Path(file.path).name: file.error for file in indexed.files if file.error}
    assert errors.keys() == {"10.mkv", "sound.mp4", "nowhere.mp4"} and indexed.failed == 3
    assert "sound.mp4 holds no pictures; give a clip with a video" in str(errors["sound.mp4"])
    assert "does not exist" in str(errors["nowhere.mp4"])
    assert states(indexed)["11.mkv"] == states(indexed)["12.mkv"] == "added"


def test_what_is_intact_of_a_damaged_file_is_indexed(films: Films, tmp_path: Path) -> None:
    aehub.concat([films.folder / "six.aev"] * 3, tmp_path / "whole.aev")
    data = (tmp_path / "whole.aev").read_bytes()
    (tmp_path / "cut.aev").write_bytes(data[:len(data) * 2 // 3])
    (tmp_path / "whole.aev").unlink()
    for state in ("added", "unchanged"):
        (file,) = aehub.index(tmp_path, tmp_path / "index").files
        assert file.state == state and file.segments and file.error


# Interruption, and two at once.


def test_a_killed_run_is_completed_by_the_next(films: Films, tmp_path: Path) -> None:
    # In the middle of the second file.
    code = [sys.executable, "-c", KILLED_AT, str(films.folder), str(tmp_path), "12"]
    done = subprocess.run(code, cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    resumed = aehub.index(films.folder, tmp_path)
    assert sorted(states(resumed).values()) == ["added"] * 3 + ["unchanged"]
    for name in ("vectors-0.f16", "signatures-0.i8"):
        assert (tmp_path / name).read_bytes() == (films.index / name).read_bytes()
    query = film(1, 2, 3)[22:40]
    assert aehub.search(query, tmp_path) == aehub.search(query, films.index)


def test_rows_that_nothing_names_are_written_over(clips: Path, films: Films, index: Path) -> None:
    for path in index.glob("*-0.*"):
        with path.open("ab") as stream:
            stream.write(b"\x3c" * 1000)
    assert aehub.search(scene(1), index) == aehub.search(scene(1), films.index)
    aehub.index(clips, index)
    assert names(aehub.search(clips / "12.mkv", index)) == ["12.mkv"]
    assert aehub.search(scene(1), index) == aehub.search(scene(1), films.index)


def test_two_processes_do_not_write_at_once_but_one_may_search(
    clips: Path, films: Films, index: Path
) -> None:
    job = aehub.iter_index(clips, index)
    next(job)
    with pytest.raises(aehub.InputError, match="another process writes the index"):
        aehub.index(films.folder, index)
    assert aehub.search(scene(1), index) == aehub.search(scene(1), films.index)
    job.close()
    assert states(aehub.index(clips, index)) == {"11.mkv": "added", "12.mkv": "added"}


def test_two_processes_share_an_index_one_after_the_other(clips: Path, tmp_path: Path) -> None:
    code = [sys.executable, "-c", "import sys, aehub; aehub.index(*sys.argv[1:])"]
    runs = [subprocess.Popen([*code, str(clips / name), str(tmp_path / "index")], cwd=ROOT,
                             stderr=subprocess.PIPE, text=True) for name in ("11.mkv", "12.mkv")]
    for one in runs:
        _, errors = one.communicate()
        assert one.returncode == 0 or "another process writes the index" in errors
    assert not aehub.index(clips, tmp_path / "index").failed
    assert names(aehub.search(clips / "12.mkv", tmp_path / "index")) == ["12.mkv"]


def test_closing_the_iterator_keeps_what_was_added(clips: Path, tmp_path: Path) -> None:
    job = aehub.iter_index(clips, tmp_path / "index")
    while next(job).done < 1:
        pass
    job.close()
    assert names(aehub.search(clips / "11.mkv", tmp_path / "index")) == ["11.mkv"]
    assert aehub.search(clips / "12.mkv", tmp_path / "index") == []


# Damage and absence.


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwrite(path: Path) -> None:
    path.write_bytes(b"\xff" * path.stat().st_size)


@pytest.mark.parametrize("change", [cut_in_half, overwrite, Path.unlink])
@pytest.mark.parametrize("name", ["files.sqlite", "vectors-0.f16", "signatures-0.i8"])
def test_damage_is_one_sentence_and_no_guess(
    index: Path, name: str, change: Callable[[Path], None]
) -> None:
    change(index / name)
    remedy = "delete it and index again" if "sqlite" in name else "index the same folders again"
    with pytest.raises(aehub.FormatError, match=f"is damaged .*; {remedy}"):
        aehub.search(scene(1), index)


@pytest.mark.parametrize("change", [cut_in_half, overwrite, Path.unlink])
def test_indexing_again_restores_lost_rows(
    films: Films, index: Path, change: Callable[[Path], None]
) -> None:
    change(index / "vectors-0.f16")
    assert "added" in states(aehub.index(films.folder, index)).values()
    assert aehub.search(scene(1), index) == aehub.search(scene(1), films.index)


@pytest.mark.parametrize("statement", [
    "delete from about", "update about set value = 'x' where key = 'version'",
    "drop table contents", "drop table files"])
def test_a_spoilt_database_is_one_sentence(films: Films, index: Path, statement: str) -> None:
    with closing(sqlite3.connect(index / "files.sqlite", isolation_level=None)) as database:
        database.execute(statement)
    for call in (lambda: aehub.search(scene(1), index), lambda: aehub.index(films.folder, index)):
        with pytest.raises(aehub.FormatError, match="is damaged .*; delete it and index again"):
            call()


def test_spoilt_times_are_restored_as_lost_rows_are(films: Films, index: Path) -> None:
    with closing(sqlite3.connect(index / "files.sqlite", isolation_level=None)) as database:
        database.execute("update contents set times = x'00'")
    with pytest.raises(aehub.FormatError, match="is damaged .*; index the same folders again"):
        aehub.search(scene(1), index)
    aehub.index(films.folder, index)
    assert aehub.search(scene(1), index) == aehub.search(scene(1), films.index)


def test_a_database_that_cannot_be_opened_is_one_sentence(films: Films, index: Path) -> None:
    (index / "files.sqlite").unlink()
    (index / "files.sqlite").mkdir()
    with pytest.raises(aehub.InputError, match="cannot be read or written: .*; choose another"):
        aehub.index(films.folder, index)


def test_what_an_index_lost_by_damage_is_named_until_it_is_indexed_again(
    films: Films, clips: Path, index: Path
) -> None:
    cut_in_half(index / "signatures-0.i8")
    for _ in range(2):
        indexed = aehub.index(clips, index)
        lost = [file.path for file in indexed.files if "was lost from the index" in str(file.error)]
        assert lost and indexed.failed == len(lost)
        assert all(Path(path).is_relative_to(films.folder) for path in lost)
        found = aehub.results.run_job(aehub.iter_search(scene(11), index), None)
        assert any(note.startswith(lost[0]) and "lost by damage" in note for note in found.notes)
    indexed = aehub.index(films.folder, index)
    assert not indexed.failed and list(states(indexed).values()).count("added") == len(lost)
    assert not aehub.index(clips, index).failed


def test_a_folder_without_an_index_is_not_called_damaged(clips: Path) -> None:
    with pytest.raises(aehub.InputError, match="there is no index in"):
        aehub.search(scene(1), clips)


def test_indexes_of_other_versions_and_models_are_refused(films: Films, index: Path) -> None:
    with closing(sqlite3.connect(index / "files.sqlite", isolation_level=None)) as database:
        database.execute("update about set value = 'abcdef0123456789' where key = 'sha256'")
    for call in (lambda: aehub.search(scene(1), index), lambda: aehub.index(films.folder, index)):
        with pytest.raises(aehub.WeightsError, match="of weights abcdef012345.* index again"):
            call()
    with closing(sqlite3.connect(index / "files.sqlite", isolation_level=None)) as database:
        database.execute("update about set value = '2' where key = 'version'")
    with pytest.raises(aehub.FormatError, match="has version 2, and this AEHub reads version 1"):
        aehub.search(scene(1), index)


def test_a_missing_and_an_empty_index_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(aehub.InputError, match="there is no index in .*index some clips first"):
        aehub.search(scene(1), tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    aehub.index(tmp_path / "empty", tmp_path / "index")
    with pytest.raises(aehub.InputError, match="is empty; index some clips first"):
        aehub.search(scene(1), tmp_path / "index")


def test_a_model_that_makes_no_fingerprints_is_refused(films: Films) -> None:
    with pytest.raises(aehub.ModelError, match="d4-codec makes no"):
        aehub.search(scene(1), films.index, model="d4-codec")


def test_the_folder_is_the_users_where_none_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("AEHUB_INDEX", raising=False)
    assert default_folder() == tmp_path / "aehub" / "index"
    monkeypatch.setenv("AEHUB_INDEX", str(tmp_path / "mine"))
    assert default_folder() == tmp_path / "mine"


def test_a_second_of_video_takes_at_most_a_kilobyte(films: Films) -> None:
    size = sum(path.stat().st_size for path in films.index.glob("*-0.*"))
    seconds = 6 + 4 + 2
    with closing(sqlite3.connect(films.index / "files.sqlite")) as database:
        size += database.execute("select sum(length(times)) from contents").fetchone()[0]
    assert size <= 1000 * seconds


def test_stored_vectors_multiply_exactly_in_any_order() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((200, 64))
    rows = store.in_units(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    products = rows.astype(np.float32) @ rows.astype(np.float32).T
    assert np.array_equal(products, rows.astype(np.float64) @ rows.astype(np.float64).T)
    order = rng.permutation(64)
    assert np.array_equal(products, rows[:, order].astype(np.float32) @ (
        rows[:, order].astype(np.float32).T))
