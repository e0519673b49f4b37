"""What a search finds: parts, pictures, turned and changed ones, and nothing where nothing is."""

from __future__ import annotations

import subprocess
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import aehub
from aehub import ClipLike
from aehub.editing.operations import element, parse
from aehub.media.orientation import ELEMENTS, ORDER, turn
from aehub.results import run_job
from aehub.retrieval import matching, store
from aehub.retrieval.fingerprint import Fingerprints
from aehub.retrieval.matching import EDITS
from aehub.retrieval.store import Library, StoredContent
from material import write_clip
from retrieval.conftest import FPS, Films, film, scene

TURNS = ["", "rotate 90", "rotate 180", "rotate 270", "flip horizontal", "flip vertical",
         "transpose", "rotate 90, flip vertical"]


def turned(pictures: list[np.ndarray], g: int) -> list[np.ndarray]:
    return [np.ascontiguousarray(np.moveaxis(turn(np.moveaxis(picture, 2, 0), g), 0, 2))
            for picture in pictures]


def cut(folder: Path, pictures: list[np.ndarray]) -> Path:
    """A clip of pictures, as a query."""
    return write_clip(folder / "query.mkv", pictures, fps=FPS)


def best(query: ClipLike, films: Films) -> aehub.Match:
    found = aehub.search(query, films.index)
    assert found, "no match"
    return found[0]


def test_flags_of_edits_turn_by_the_element_they_stand_for() -> None:
    assert len(EDITS) == ORDER
    for g, flags in enumerate(EDITS):
        words = flags.replace("--", ", ").lstrip(", ")
        assert element(parse(words)) == g
    assert EDITS[ELEMENTS["rotate-90"]] == "--rotate 90"


def test_a_part_is_found_at_its_time(films: Films, tmp_path: Path) -> None:
    match = best(cut(tmp_path, film(1, 2, 3)[25:35]), films)
    assert Path(match.path) == films.folder / "three.mp4"
    assert match.start == pytest.approx(2.5, abs=0.25)
    assert match.end == pytest.approx(3.5, abs=0.25)
    assert match.orientation == "" and 0.5 <= match.score <= 1


def test_a_picture_is_found_in_clips_and_among_pictures(films: Films, tmp_path: Path) -> None:
    match = best(film(4, 5)[28], films)
    assert Path(match.path).name == "two.mkv"
    assert match.start == pytest.approx(2.8, abs=0.25) and match.start <= match.end
    Image.fromarray(scene(7)[5]).resize((64, 44)).save(tmp_path / "small.jpg")
    match = best(tmp_path / "small.jpg", films)
    assert Path(match.path).name == "seven.png" and match.start == match.end == 0


@pytest.mark.parametrize("g", range(1, ORDER))
def test_a_turned_clip_is_found_with_its_orientation(
    films: Films, tmp_path: Path, g: int
) -> None:
    match = best(cut(tmp_path, turned(film(1, 2, 3)[42:54], g)), films)
    assert Path(match.path).name == "three.mp4"
    assert match.start == pytest.approx(4.2, abs=0.25)
    assert match.orientation == EDITS[g]


def test_a_compressed_file_turned_eight_ways_gets_equal_scores(
    films: Films, tmp_path: Path
) -> None:
    found = []
    for number, words in enumerate(TURNS):
        query = tmp_path / f"{number}.aev"
        aehub.edit(films.folder / "six.aev", query, parse(words))
        matches = aehub.search(query, films.index, threshold=0)
        assert Path(matches[0].path).name == "six.aev"
        assert element(parse(matches[0].orientation.replace("--", ", ").lstrip(", "))) == (
            element(parse(words)))
        found.append([(match.path, match.start, match.end, match.score) for match in matches])
    assert len(found[0]) > 1
    assert all(one == found[0] for one in found)


def test_library_files_turned_eight_ways_get_equal_scores(films: Films, tmp_path: Path) -> None:
    for number, words in enumerate(TURNS):
        aehub.edit(films.folder / "six.aev", tmp_path / f"{number}.aev", parse(words))
    aehub.index([tmp_path, films.folder], tmp_path / "index")
    matches = aehub.search(cut(tmp_path, scene(6)[3:14]), tmp_path / "index")
    ours = [match for match in matches if Path(match.path).parent == tmp_path]
    assert len({Path(match.path).name for match in ours}) == len(TURNS)
    assert len({(match.start, match.end, match.score) for match in ours}) == 1
    # Of the query to itself, as each file is turned into it.
    assert len({match.orientation for match in ours}) == len(TURNS)


def test_a_query_of_several_clips_finds_each(films: Films, tmp_path: Path) -> None:
    query = cut(tmp_path, scene(5) + film(1, 2, 3)[20:40] + scene(8))
    found = {Path(match.path).name: match for match in aehub.search(query, films.index)}
    assert found.keys() == {"two.mkv", "three.mp4"}
    assert found["two.mkv"].start == pytest.approx(2, abs=0.3)
    assert found["three.mp4"].start == pytest.approx(2, abs=0.3)
    assert found["three.mp4"].end == pytest.approx(4, abs=0.3)


def test_a_long_query_is_compared_in_parts_and_found_as_one(
    films: Films, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = cut(tmp_path, scene(21) + film(1, 2, 3) + scene(4))
    whole = aehub.search(query, films.index)
    monkeypatch.setattr(matching, "MOST_PICTURES", 25)
    ticks: list[tuple[int, int]] = []
    parts = aehub.search(query, films.index, progress=lambda *now: ticks.append(now))
    assert [Path(match.path).name for match in parts] == ["three.mp4", "two.mkv"] or (
        [Path(match.path).name for match in parts] == ["two.mkv", "three.mp4"])
    for one, other in zip(*(sorted(found, key=lambda match: match.path)
                            for found in (whole, parts)), strict=True):
        assert one.start == pytest.approx(other.start, abs=0.3)
        assert one.end == pytest.approx(other.end, abs=0.3)
    assert ticks == sorted(ticks) and ticks[-1] == (200, 200)


def test_a_long_query_takes_little_memory(films: Films) -> None:
    model = aehub.load("fingerprint")
    rng = np.random.default_rng(0)
    n, (vector, signature) = 9000, model.shape
    vectors = rng.standard_normal((n, vector)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    query = Fingerprints(np.arange(n) * 0.4, vectors.astype(np.float16),
                         rng.integers(-40, 40, (n, ORDER, signature), np.int8))
    content = StoredContent(1, "", n * 0.4, 0, query.times, store.checksum(
        rows := store.in_units(vectors), query.signatures))
    library = Library(films.index, rows, query.signatures, [content], [])
    tracemalloc.start()
    (first, *_) = run_job(matching.search(library, query, 0.4), None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6
    assert first[1].start < 1 and first[1].end > n * 0.4 - 1


def test_long_arrays_are_compared_at_the_distance_of_an_index() -> None:
    times = np.arange(1000) / 10
    query = Fingerprints(times, np.zeros((1000, 2), np.float16), np.zeros((1000, 8, 2), np.int8))
    assert np.allclose(matching.thinned(query, 0.4).times, np.arange(250) * 0.4)


def test_compressed_files_in_streams_and_pipes_are_found(films: Films, tmp_path: Path) -> None:
    path = films.folder / "six.aev"
    expected = aehub.search(path, films.index)
    with path.open("rb") as stream:
        assert aehub.search(stream, films.index) == expected
    for command in (["cat", str(path)], ["cat", str(films.folder / "two.mkv")]):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert aehub.search(process.stdout, films.index) == aehub.search(
                command[1], films.index)
    with subprocess.Popen(["cat", str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert aehub.search(f"/dev/fd/{process.stdout.fileno()}", films.index) == expected


def test_a_film_that_holds_a_query_twice_gives_two_matches(films: Films, tmp_path: Path) -> None:
    write_clip(tmp_path / "twice.mkv", film(9, 10, 9), fps=FPS)
    aehub.index([tmp_path / "twice.mkv", films.folder], tmp_path / "index")
    matches = aehub.search(cut(tmp_path, scene(9)[4:16]), tmp_path / "index")
    starts = sorted(match.start for match in matches)
    assert starts == pytest.approx([0.4, 4.4], abs=0.25)


def test_a_clip_played_backward_or_faster_is_found(films: Films, tmp_path: Path) -> None:
    whole = film(1, 2, 3)
    match = best(cut(tmp_path, whole[24:38][::-1]), films)
    assert Path(match.path).name == "three.mp4"
    assert match.start == pytest.approx(2.4, abs=0.3)
    faster = [whole[int(1.25 * n)] for n in range(16, 30)]
    match = best(cut(tmp_path, faster), films)
    assert match.start == pytest.approx(2, abs=0.35) and match.end == pytest.approx(3.75, abs=0.35)


def test_an_absent_clip_has_no_match(films: Films) -> None:
    for seed in (20, 23, 24, 25):
        assert aehub.search(scene(seed), films.index) == []


def test_matches_are_ranked_limited_and_within_their_files(films: Films) -> None:
    found = aehub.search(film(1, 4), films.index, threshold=0)
    scores = [match.score for match in found]
    assert scores == sorted(scores, reverse=True) and len(found) >= 2
    lengths = {"three.mp4": 6.0, "two.mkv": 4.0, "six.aev": 2.0, "seven.png": 0.0}
    for match in found:
        assert 0 <= match.start <= match.end <= lengths[Path(match.path).name]
    assert aehub.search(film(1, 4), films.index, limit=1, threshold=0) == found[:1]


def test_limits_below_one_and_thresholds_above_it_are_refused(films: Films) -> None:
    with pytest.raises(aehub.InputError, match="limit is 0"):
        aehub.search(scene(1), films.index, limit=0)
    with pytest.raises(aehub.InputError, match="threshold is 1.5"):
        aehub.search(scene(1), films.index, threshold=1.5)


def test_only_an_empty_query_is_refused(films: Films, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    for query in (tmp_path / "empty.mp4", np.zeros((0, 8, 8, 3), np.uint8)):
        with pytest.raises(aehub.InputError):
            aehub.search(query, films.index)
    aehub.search(np.zeros((1, 8, 8, 3), np.uint8), films.index)
