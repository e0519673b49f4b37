"""Indexes of millions of segments, which usearch searches; here a small one stands for them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import aehub
from aehub.retrieval import nearest, store
from material import write_clip
from retrieval.conftest import FPS, Films, film, scene

pytest.importorskip("usearch.index")


@pytest.fixture
def index(films: Films, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the index, counted among the large ones."""
    monkeypatch.setattr(nearest, "LEAST_SEGMENTS", 1)
    folder = shutil.copytree(films.index, tmp_path / "index")
    aehub.index(films.folder, folder)
    assert (folder / "vectors-0.usearch").is_file()
    return folder


def test_a_graph_gives_the_matches_of_an_exact_search(films: Films, index: Path) -> None:
    for query in (film(1, 2, 3)[22:40], scene(4), scene(7)[5], scene(21)):
        assert aehub.search(query, index) == aehub.search(query, films.index)


def test_segments_that_a_graph_lacks_are_found(
    films: Films, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write_clip(tmp_path / "new.mkv", scene(17), fps=FPS)
    with monkeypatch.context() as patch:
        patch.setattr(nearest, "LEAST_SEGMENTS", 10**9)
        aehub.index(clip, index)
    assert aehub.search(clip, index)[0].path == str(clip)
    aehub.index(clip, index)
    assert aehub.search(clip, index)[0].path == str(clip)


def test_a_graph_that_knows_rows_of_removed_files_is_used(
    films: Films, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write_clip(tmp_path / "new.mkv", scene(17, 5), fps=FPS)
    aehub.index(clip, index)
    clip.unlink()
    aehub.index(tmp_path, index)
    library = store.read(index, aehub.load("fingerprint"))
    assert not library.generation and len(nearest._opened(library)) > len(library.vectors)
    for query in (film(1, 2, 3)[22:40], scene(4)):
        assert aehub.search(query, index) == aehub.search(query, films.index)


def test_a_damaged_graph_is_done_without_and_made_anew(films: Films, index: Path) -> None:
    graph = index / "vectors-0.usearch"
    size = graph.stat().st_size
    graph.write_bytes(graph.read_bytes()[:100])
    assert aehub.search(scene(4), index) == aehub.search(scene(4), films.index)
    aehub.index(films.folder, index)
    assert graph.stat().st_size == size
