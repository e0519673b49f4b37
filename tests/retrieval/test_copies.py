"""Copies among many files, and intros told apart from them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

import aehub
from aehub.editing.operations import parse
from aehub.retrieval.copies import Sets
from material import write_clip
from retrieval.conftest import FPS, film, scene


def groups(found: Sequence[Sequence[aehub.Match]]) -> list[list[str]]:
    return sorted(sorted(Path(match.path).name for match in group) for group in found)


@pytest.fixture(scope="module")
def duplicates(tmp_path_factory: pytest.TempPathFactory) -> aehub.Duplicates:
    """Three films with one intro; one of them again as a copy, as a turned and a shorter one."""
    folder = tmp_path_factory.mktemp("copies")
    for seed in (31, 33, 35):
        write_clip(folder / f"film{seed}.mkv", film(30, seed, seed + 1), fps=FPS)
    shutil.copy(folder / "film31.mkv", folder / "same.mkv")
    turned = [picture[:, ::-1].copy() for picture in film(30, 31, 32)]
    write_clip(folder / "mirrored.mp4", turned, fps=FPS, options={"crf": "30"})
    write_clip(folder / "excerpt.mp4", film(33, 34)[6:34], fps=FPS)
    write_clip(folder / "alone.mkv", scene(40), fps=FPS)
    assert not aehub.index(folder, folder / "index").failed
    return aehub.duplicates(folder / "index")


def test_copies_turned_copies_and_excerpts_are_grouped(duplicates: aehub.Duplicates) -> None:
    assert groups(duplicates.copies) == [
        ["excerpt.mp4", "film33.mkv"], ["film31.mkv", "mirrored.mp4", "same.mkv"]]


def test_the_longest_file_comes_first_and_the_others_tell_their_orientation(
    duplicates: aehub.Duplicates
) -> None:
    for group in duplicates.copies:
        assert group[0].end == max(match.end for match in group) and group[0].score == 1
        for match in group:
            mirrored = "mirrored" in match.path and "film" in group[0].path
            assert match.orientation == ("--flip horizontal" if mirrored else "")


def test_an_intro_is_a_shared_part_and_makes_no_copies(duplicates: aehub.Duplicates) -> None:
    (part,) = duplicates.shared
    assert {"film31.mkv", "film33.mkv", "film35.mkv"} <= {Path(one.path).name for one in part}
    for match in part:
        assert match.start == pytest.approx(0, abs=0.5) and match.end == pytest.approx(2, abs=0.6)


def test_a_short_clip_in_several_films_does_not_make_these_copies(tmp_path: Path) -> None:
    write_clip(tmp_path / "intro.mkv", scene(50), fps=FPS)
    for seed in (51, 53):
        write_clip(tmp_path / f"{seed}.mkv", film(50, seed, seed + 1), fps=FPS)
    aehub.index(tmp_path, tmp_path / "index")
    found = aehub.duplicates(tmp_path / "index")
    assert found.copies == ()
    assert groups(found.shared) == [["51.mkv", "53.mkv", "intro.mkv"]]


def test_links_to_a_file_are_no_copies_of_it(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "m.mkv", scene(60), fps=FPS)
    (tmp_path / "a.mkv").symlink_to(clip)
    (tmp_path / "z.mkv").hardlink_to(clip)
    aehub.index(tmp_path, tmp_path / "index")
    assert aehub.duplicates(tmp_path / "index").copies == ()
    assert [match.path for match in aehub.search(clip, tmp_path / "index")] == [str(clip)]
    shutil.copy(clip, tmp_path / "copy.mkv")
    aehub.index(tmp_path, tmp_path / "index")
    assert groups(aehub.duplicates(tmp_path / "index").copies) == [["copy.mkv", "m.mkv"]]


def test_long_chains_of_copies_are_one_group() -> None:
    sets = Sets()
    for number in range(20_000):
        sets.join(number, number + 1)
    assert len(sets.members()) == 1


def test_compressed_and_edited_files_are_copies_of_their_clip(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mkv", scene(60), fps=FPS)
    aehub.compress(tmp_path / "clip.mkv", tmp_path / "clip.aev", effort=0, measure=False)
    aehub.edit(tmp_path / "clip.aev", tmp_path / "turned.aev", parse("rotate 90"))
    aehub.index(tmp_path, tmp_path / "index")
    found = aehub.duplicates(tmp_path / "index")
    assert groups(found.copies) == [["clip.aev", "clip.mkv", "turned.aev"]]
    assert found.shared == ()
