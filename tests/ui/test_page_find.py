"""The Find panel through the API: matches without folders, orientations, labels, limits, errors."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

import aehub
from aehub.errors import InputError
from aehub.hub import find
from aehub.media.clip import open_clip
from aehub.report.matched_part import iter_pair, thumbnail, turn_of, write_turned_part
from aehub.results import Match, run_job
from aehub.retrieval.fingerprint import FingerprintModel
from aehub.retrieval.indexing import Writer
from aehub.retrieval.matching import EDITS
from aehub.retrieval.store import DATABASE
from aehub.ui.find import _span
from aehub.ui.library import Library
from material import moving_picture, write_clip
from pageserver import PageServer, page_server

SIZE = 160, 96


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of two clips, one of them compressed, a text and a folder."""
    folder = tmp_path_factory.mktemp("secret-films")
    (folder / "more").mkdir()
    write_clip(folder / "harbour.mp4", moving_picture(50, *SIZE, seed=1))
    write_clip(folder / "street.mkv", moving_picture(30, *SIZE, seed=2), codec="ffv1")
    aehub.compress(folder / "street.mkv", folder / "more" / "street.aev", effort=0, measure=False)
    (folder / "street.mkv").unlink()
    (folder / "readme.txt").write_text("no clip")
    return folder


@pytest.fixture(scope="module")
def searched(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    with page_server(tmp_path_factory.mktemp("find"), AEHUB_LIBRARY=str(films),
                     AEHUB_MAX_SECONDS="4", AEHUB_MAX_PIXELS="300000") as running:
        client = Client(running.url, verbose=False, download_files=False)
        still = tmp_path_factory.mktemp("still") / "still.png"
        Image.new("RGB", SIZE).save(still)
        # A search of a library that is being indexed says so.
        while client.predict(handle_file(still), api_name="/search")[0]["notes"]:
            time.sleep(0.5)
        yield running


@pytest.fixture
def client(searched: PageServer, tmp_path: Path) -> Client:
    return Client(searched.url, verbose=False, download_files=str(tmp_path))


def part(folder: Path, seed: int, first: int, last: int, turns: int = 0) -> Path:
    """Frames `first` to `last` of a clip, turned clockwise so often."""
    frames = [np.ascontiguousarray(np.rot90(frame, -turns))
              for frame in moving_picture({1: 50, 2: 30}[seed], *SIZE, seed=seed)[first:last]]
    return write_clip(folder / "part.mp4", frames)


def served(page: PageServer, html: str, name: str) -> bytes:
    start = html.index("ae/jobs/")
    token = html[start:].split("/")[2]
    status, body = page.get(f"/ae/jobs/{token}/{name}")
    assert status == 200
    return body


def test_a_turned_part_is_found_and_shown_turned_like_it(
    client: Client, searched: PageServer, films: Path, tmp_path: Path
) -> None:
    facts, shown, listed = client.predict(handle_file(part(tmp_path, 1, 20, 40, turns=1)),
                                          api_name="/search")
    best = facts["matches"][0]
    assert list(best) == ["name", "start", "end", "orientation", "score"]
    assert (best["name"], best["orientation"]) == ("harbour.mp4", "--rotate 90")
    assert best["start"] == pytest.approx(0.8, abs=0.25)
    assert "turned to match" in shown and "shows harbour.mp4 turned clockwise" in shown
    for name in ("query.mp4", "found.mp4"):
        (tmp_path / name).write_bytes(served(searched, shown, name))
    with open_clip(tmp_path / "query.mp4") as yours, open_clip(tmp_path / "found.mp4") as theirs:
        assert (yours.info.width, yours.info.height) == SIZE[::-1]
        pairs = list(zip(yours, theirs, strict=True))
    assert len(pairs) >= 15
    apart = [np.abs(one.picture[0].astype(int) - other.picture[0]).mean() for one, other in pairs]
    # The same frame of both, and not the one before or after it.
    assert np.median(apart) < 3
    assert served(searched, json.dumps(listed), "match-0.jpg").startswith(b"\xff\xd8")
    assert str(films) not in json.dumps([facts, shown, listed])
    assert films.parent.name not in json.dumps([facts, shown, listed])


def test_a_picture_finds_its_place_in_a_compressed_file(
    client: Client, searched: PageServer, tmp_path: Path
) -> None:
    picture = tmp_path / "still.png"
    Image.fromarray(moving_picture(30, *SIZE, seed=2)[16][:, ::-1]).save(picture)
    facts, shown, _ = client.predict(handle_file(picture), 1, api_name="/search")
    (match,) = facts["matches"]
    assert (match["name"], match["orientation"]) == ("street.aev", "--flip horizontal")
    assert "Your picture" in shown and "<video" not in shown
    with Image.open(BytesIO(served(searched, shown, "found.jpg"))) as found:
        assert found.size == SIZE


def test_what_is_not_there_is_no_error(client: Client, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (96, 160, 3), np.uint8) for _ in range(10)]
    facts, shown, _ = client.predict(handle_file(write_clip(tmp_path / "noise.mp4", noise)),
                                     api_name="/search")
    assert facts["matches"] == [] and "No match" in shown


@pytest.mark.slow
def test_the_examples_are_searched_where_no_library_is_given(
    page: PageServer, tmp_path: Path
) -> None:
    from aehub.ui import examples

    with open_clip(examples.clip("coffee")) as clip:
        frames = [frame.picture for number, frame in enumerate(clip) if 10 <= number < 34]
    query = write_pictures(tmp_path / "coffee-part.mkv", frames)
    client = Client(page.url, verbose=False, download_files=str(tmp_path))
    facts, *_ = client.predict(handle_file(query), api_name="/search")
    assert facts["matches"][0]["name"] == "coffee.mkv"
    assert facts["matches"][0]["start"] == pytest.approx(10 / 24, abs=0.25)


def write_pictures(path: Path, pictures: list[aehub.Picture]) -> Path:
    from aehub.media.writer import open_writer

    with open_clip(pictures, fps=24) as clip, open_writer(path, info=clip.info) as writer:
        for frame in clip:
            writer.write(frame)
    return path


def test_a_clip_gets_the_label_of_its_examples(client: Client, tmp_path: Path) -> None:
    clips = [handle_file(write_clip(tmp_path / f"{seed}.mp4", moving_picture(20, *SIZE, seed=seed)))
             for seed in range(3)]
    plain = []
    for level in (60, 200):
        path = tmp_path / f"plain-{level}.png"
        Image.new("RGB", SIZE, (level, 30, 90)).save(path)
        plain.append(handle_file(path))
    facts, shown = client.predict(clips[0], "discs", clips[1:], "plain", plain,
                                  api_name="/classify")
    assert facts["label"] == "discs" and facts["name"] == "0.mp4" and "path" not in facts
    assert set(facts["scores"]) == {"discs", "plain"}
    assert "<h3>discs</h3>" in shown
    facts, shown = client.predict(clips[0], "", plain, api_name="/classify")
    assert facts["label"] is None and list(facts["scores"]) == ["label 1"]
    assert "<h3>None of these</h3>" in shown


@pytest.mark.parametrize(("endpoint", "arguments", "sentence"), [
    ("/search", (), "is 6.0 s long and this page searches at most 4 s; use aehub search"),
    ("/classify", ("a",), "is 6.0 s long and this page labels at most 4 s; use aehub classify"),
])
def test_a_long_clip_is_refused(
    client: Client, tmp_path: Path, endpoint: str, arguments: tuple[str, ...], sentence: str
) -> None:
    long = handle_file(write_clip(tmp_path / "long.mp4", moving_picture(30, 64, 48), fps=5))
    given = [*arguments, [long]] if arguments else []
    with pytest.raises(Exception, match=sentence):
        client.predict(long, *given, api_name=endpoint)


def test_wrong_questions_are_one_sentence(client: Client, clip: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("no clip")
    question, no_clip = handle_file(clip), handle_file(text)
    for given, endpoint, sentence in (
        ([no_clip], "/search", "text.txt is not a clip or picture"),
        ([None], "/search", "There is no clip yet; drop one"),
        ([question], "/classify", "No label has an example yet; drop a few clips of each"),
        ([question, "a", [question], "a", [question]], "/classify", "Two labels are named a"),
        ([question, "a", [no_clip]], "/classify", "text.txt is not a clip or picture"),
        ([question, "a", [question] * 25], "/classify", "25 examples are given and this page"),
    ):
        with pytest.raises(Exception, match=sentence):
            client.predict(*given, api_name=endpoint)


def test_the_library_is_a_folder_that_is_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent' is no folder; give a folder of clips\.$"):
        Library.from_env({"AEHUB_LIBRARY": str(tmp_path / "absent")})
    assert Library.from_env({}).folder is None
    assert Library.from_env({"AEHUB_LIBRARY": str(tmp_path)}).folder == tmp_path.resolve()


def test_an_empty_library_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    (tmp_path / "empty").mkdir()
    library = Library(tmp_path / "empty")
    with pytest.raises(InputError, match="the library holds no clip that can be read"):
        list(library.wait())
    assert library.status == "Searches the library empty: 0 clips."


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    """A library of one picture, not indexed yet."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    (tmp_path / "shelf").mkdir()
    Image.fromarray(moving_picture(1, *SIZE)[0]).save(tmp_path / "shelf" / "a.png")
    return Library(tmp_path / "shelf")


def test_a_damaged_cache_of_the_library_is_made_again(shelf: Library) -> None:
    aehub.index(shelf.folder, shelf.index, each=True)
    (shelf.index / DATABASE).write_bytes(b"no database" * 100)
    list(shelf.wait())
    assert shelf.status == "Searches the library shelf: 1 clip."
    assert len(aehub.search(shelf.folder / "a.png", shelf.index)) == 1


def test_while_another_process_indexes_the_library_what_is_there_is_searched(
    shelf: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aehub.ui.library._RETRY_SECONDS", 0.05)
    aehub.index(shelf.folder, shelf.index, each=True)
    with Writer(shelf.index, FingerprintModel.from_pretrained(find("fingerprint"))):
        list(shelf.wait())
        assert not shelf.is_ready
        assert shelf.status == "Searches the library shelf, which another process is indexing."
        assert len(aehub.search(shelf.folder / "a.png", shelf.index)) == 1
    while not shelf.is_ready:
        time.sleep(0.05)
    assert shelf.status == "Searches the library shelf: 1 clip."


def test_an_unexpected_error_of_the_library_ends_the_waiting(
    shelf: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed")

    monkeypatch.setattr("aehub.ui.library.iter_index", broken)
    with pytest.raises(InputError, match="indexing broke off unexpectedly"):
        list(shelf.wait())
    assert shelf.status.startswith("The library cannot be searched: indexing broke off")


def test_sentences_about_the_library_have_no_folders(shelf: Library) -> None:
    assert shelf.hidden(f"the index {shelf.index} is damaged; {shelf.folder}/a.png vanished; "
                        f"{shelf.folder} is empty.") == (
        "the index is damaged; a.png vanished; the library is empty.")


def test_every_orientation_has_words_and_a_turn() -> None:
    matches = [Match("clip.mp4", 0, 1, flags, 1) for flags in EDITS]
    assert [turn_of(match) for match in matches] == list(range(len(EDITS)))
    assert len({match.orientation_text for match in matches}) == len(EDITS)
    assert [match.orientation for match in matches if not match.orientation_text] == [""]


def test_parts_are_written_as_times() -> None:
    assert _span(1.24, 3.4) == "1.2–3.4 s"
    assert _span(2, 2) == "at 2.0 s"
    assert _span(65, 67.25) == "1:05.0–1:07.2 min"


def test_a_part_that_is_played_backward_is_shown_backward(tmp_path: Path) -> None:
    frames = moving_picture(40, *SIZE, seed=4)
    clip = write_clip(tmp_path / "clip.mp4", frames)
    query = write_clip(tmp_path / "query.mp4", frames[10:30][::-1])
    match = Match(str(clip), 0.4, 1.2, "", 1.0, query_start=0, query_end=0.8, speed=-1)
    (tmp_path / "out").mkdir()
    pair = run_job(iter_pair(query, match, tmp_path / "out"), None)
    assert pair.moving
    with open_clip(tmp_path / "out" / "found.mp4") as theirs:
        shown = [frame.picture[0].astype(int) for frame in theirs]
    with open_clip(write_clip(tmp_path / "wanted.mp4", frames[10:30][::-1])) as wanted:
        first = next(iter(wanted)).picture[0]
    assert np.abs(shown[0] - first).mean() < np.abs(shown[-1] - first).mean()


def test_an_example_is_searched_as_a_turned_part(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", moving_picture(40, *SIZE, seed=4))
    query = write_turned_part(clip, tmp_path / "query.mp4", "rotate-90")
    with open_clip(query) as opened:
        assert (opened.info.width, opened.info.height) == SIZE[::-1]
        assert sum(1 for _ in opened) == 20
    aehub.index(clip, tmp_path / "index")
    match = aehub.search(query, tmp_path / "index", threshold=0)[0]
    assert match.orientation == "--rotate 90" and match.start == pytest.approx(0.4, abs=0.25)
    assert (match.query_start, match.query_end) == (0, pytest.approx(0.8, abs=0.05))


def test_a_file_that_vanished_is_named(tmp_path: Path) -> None:
    match = Match(str(tmp_path / "gone.mp4"), 0, 1, "", 1, query_end=1)
    with pytest.raises(InputError, match=r"gone\.mp4 does not exist"):
        thumbnail(match, tmp_path / "x.jpg")
