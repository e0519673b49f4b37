"""Fingerprints in compressed files: an index of these decodes nothing and has the same rows."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

import aehub
from aehub.api import search
from aehub.bitstream import Writer, open_reader, verify
from aehub.bitstream.chunk import pack_chunk
from aehub.bitstream.validation import info
from aehub.files import PendingOutput
from aehub.retrieval import fingerprint
from aehub.retrieval.fingerprint import FingerprintModel, read_carried
from retrieval.conftest import Films
from retrieval.test_index import states
from retrieval.test_search_command import run


@pytest.fixture(scope="module")
def model() -> FingerprintModel:
    loaded = aehub.load("fingerprint", device="cpu")
    assert isinstance(loaded, FingerprintModel)
    return loaded


@pytest.fixture(scope="module")
def kept(films: Films, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six.aev with its fingerprints; do not change it."""
    folder = tmp_path_factory.mktemp("kept") / "films"
    folder.mkdir()
    shutil.copy(films.folder / "six.aev", folder)
    assert states(aehub.index(folder, folder.parent / "index", store=True)) == {"six.aev": "added"}
    return folder


@pytest.fixture
def folder(kept: Path, tmp_path: Path) -> Path:
    """A copy of that folder, to change."""
    return shutil.copytree(kept, tmp_path / "films")


@pytest.fixture
def undecoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever is decoded, or its model loaded, fails."""
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("decoded")

    monkeypatch.setattr(search, "load_for_file", refuse)
    monkeypatch.setattr(fingerprint, "small_pictures", refuse)
    monkeypatch.setattr(FingerprintModel, "_fingerprint", refuse)
    yield


def rows(index: Path) -> list[bytes]:
    return [next(index.glob(name)).read_bytes() for name in ("vectors-*.f16", "signatures-*.i8")]


def times(index: Path, model: FingerprintModel) -> list[float]:
    (content,) = search.read_index(index, model).contents
    return list(content.times)


def test_groups_sound_and_permissions_stay(films: Films, folder: Path, tmp_path: Path) -> None:
    path = shutil.copy(films.folder / "six.aev", tmp_path / "six.aev")
    path.chmod(0o640)
    aehub.index(path, tmp_path / "index", store=True)
    assert path.stat().st_mode & 0o777 == 0o640
    assert verify(path).ok
    size = info(path)["fingerprint_bytes"]
    before, after = films.folder.joinpath("six.aev").read_bytes(), path.read_bytes()
    assert 0 < size < len(after) - len(before) < size + 16
    assert before[:1000] == after[:1000] and before[-21:] == after[-21:]
    with open_reader(films.folder / "six.aev") as one, open_reader(path) as other:
        assert list(one.groups()) == list(other.groups())
    assert sorted(one.name for one in tmp_path.iterdir()) == ["films", "index", "six.aev"]


@pytest.mark.usefixtures("undecoded")
def test_another_index_decodes_nothing_and_has_the_same_rows(kept: Path, tmp_path: Path) -> None:
    assert states(aehub.index(kept, tmp_path / "other")) == {"six.aev": "added"}
    assert rows(tmp_path / "other") == rows(kept.parent / "index")


def test_a_plain_index_has_the_same_rows(
    films: Films, kept: Path, tmp_path: Path, model: FingerprintModel
) -> None:
    aehub.index(films.folder / "six.aev", tmp_path / "plain")
    assert rows(tmp_path / "plain") == rows(kept.parent / "index")
    assert times(tmp_path / "plain", model) == times(kept.parent / "index", model)


def test_a_file_whose_model_is_nowhere_is_indexed(
    kept: Path, tmp_path: Path, model: FingerprintModel
) -> None:
    stream, path = BytesIO(), tmp_path / "nowhere.aev"
    with open_reader(kept / "six.aev") as reader:
        found = reader.fingerprints()
        assert found is not None
        header = replace(reader.header, model="nowhere", entropy_hash=bytes(8))
        with Writer(stream, header) as writer:
            for group in reader.groups():
                writer.group(group.header, group.payload)
    path.write_bytes(stream.getvalue())
    (file,) = aehub.index(path, tmp_path / "none").files
    assert file.state == "failed" and "nowhere" in str(file.error)
    with open_reader(BytesIO(stream.getvalue())) as reader, path.open("wb") as output:
        reader.copy_with(found._replace(stamp=reader.stamp), output)
    assert states(aehub.index(path, tmp_path / "index")) == {"nowhere.aev": "added"}
    assert rows(tmp_path / "index") == rows(kept.parent / "index")


@pytest.mark.usefixtures("undecoded")
def test_the_index_holds_the_stamp_of_the_rewritten_file(folder: Path, kept: Path) -> None:
    index = kept.parent / "index"
    before = (kept / "six.aev").stat()
    again = aehub.index(kept, index, store=True)
    assert states(again) == {"six.aev": "unchanged"} and not again.failed
    after = (kept / "six.aev").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    shutil.copy(kept / "six.aev", folder / "copy.aev")
    # Of equal content: its rows are shared.
    copied = shutil.copytree(index, folder.parent / "index")
    assert aehub.index(folder, copied).segments == again.segments


@pytest.mark.usefixtures("undecoded")
def test_long_queries_use_what_they_carry(
    films: Films, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_DENSE_SECONDS", 0.1)
    found = aehub.search(kept / "six.aev", films.index)
    assert Path(found[0].path).name == "six.aev"


def test_files_indexed_before_are_given_theirs_without_decoding(
    films: Films, tmp_path: Path, undecoded: None
) -> None:
    """Two of equal content, a link to one, and a clip of another kind, which stays."""
    shutil.copytree(films.index, tmp_path / "index")
    copies = [Path(shutil.copy(films.folder / "six.aev", tmp_path / f"{n}.aev")) for n in range(2)]
    (tmp_path / "link.aev").symlink_to(copies[0])
    clip = Path(shutil.copy2(films.folder / "three.mp4", tmp_path))
    before = clip.read_bytes()
    first = aehub.index(tmp_path, tmp_path / "index", store=True)
    assert not first.failed and clip.read_bytes() == before
    assert all(info(path)["fingerprint_bytes"] for path in copies)
    assert copies[0].read_bytes() == copies[1].read_bytes()
    assert set(states(aehub.index(tmp_path, tmp_path / "index")).values()) == {"unchanged"}
    assert (tmp_path / "link.aev").is_symlink()


def test_a_file_that_cannot_be_written_is_indexed_and_named(
    films: Films, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shutil.copy(films.folder / "six.aev", tmp_path / "six.aev")
    before = path.read_bytes()

    def refuse(_: PendingOutput) -> NoReturn:
        raise aehub.InputError("six.aev cannot be written: Permission denied.")

    monkeypatch.setattr(PendingOutput, "open", refuse)
    done = run("index", path, "--index", tmp_path / "index", "--store")
    assert done.exit_code == 1 and "1 added" in done.stdout
    assert done.stderr.count("\n") == 1 and "but was not written anew" in done.stderr
    assert "Permission denied." in done.stderr
    assert path.read_bytes() == before
    assert states(aehub.index(path, tmp_path / "index")) == {"six.aev": "unchanged"}
    # Not allowed by its own mode.
    monkeypatch.setattr(os, "access", lambda *_: False)
    (file,) = aehub.index(path, tmp_path / "index", store=True).files
    assert file.state == "unchanged" and "read-only" in str(file.error)


def test_a_file_that_changes_meanwhile_is_left_alone(
    films: Films, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shutil.copy(films.folder / "six.aev", tmp_path / "six.aev")
    opened = PendingOutput.open

    def changed(pending: PendingOutput) -> Any:
        os.utime(path, (1, 1))
        return opened(pending)

    monkeypatch.setattr(PendingOutput, "open", changed)
    (file,) = aehub.index(path, tmp_path / "index", store=True).files
    assert "changed since it was read" in str(file.error)
    assert path.read_bytes() == (films.folder / "six.aev").read_bytes()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["index", "six.aev"]


# When they do not count.


def test_those_of_another_model_are_ignored_and_replaced(
    folder: Path, kept: Path, model: FingerprintModel
) -> None:
    path = folder / "six.aev"
    stream = BytesIO()
    with open_reader(path) as reader:
        found = reader.fingerprints()
        assert found is not None
        reader.copy_with(found._replace(model=bytes(8)), stream)
    path.write_bytes(stream.getvalue())
    assert read_carried(path, model) is None
    aehub.index(folder, folder.parent / "index", store=True)
    assert rows(folder.parent / "index") == rows(kept.parent / "index")
    assert path.read_bytes() == (kept / "six.aev").read_bytes()


@pytest.mark.parametrize("part", ["fingerprints", "group"])
def test_a_damaged_file_is_indexed_from_its_codes(
    folder: Path, kept: Path, model: FingerprintModel, part: str
) -> None:
    path = folder / "six.aev"
    data = bytearray(path.read_bytes())
    with open_reader(path) as reader:
        size = info(path)["fingerprint_bytes"]
        headers = reader._require_scan("").chunk_headers
        kind = 0x85 if part == "fingerprints" else 0x01
        damaged = next(header for header in headers if header.kind == kind)
    data[damaged.offset + damaged.header_size + 50] ^= 0x10
    path.write_bytes(bytes(data))
    assert size and read_carried(path, model) is None and not verify(path).ok
    (file,) = aehub.index(folder, folder.parent / "index", store=True).files
    assert "is damaged" in str(file.error) and path.read_bytes() == bytes(data)
    if part == "fingerprints":
        assert file.state == "added"
        assert rows(folder.parent / "index") == rows(kept.parent / "index")
        output = folder.parent / "edited.aev"
        aehub.edit(path, output, [aehub.Reverse()])
        assert verify(output).ok and info(output)["fingerprint_bytes"] == 0


def test_whatever_the_chunk_says_a_file_is_indexed_in_words(
    folder: Path, model: FingerprintModel
) -> None:
    path, source, counted = folder / "six.aev", random.Random(0), 0
    data = path.read_bytes()
    with open_reader(path) as reader:
        chunk = next(one for one in reader._require_scan("").chunk_headers if one.kind == 0x85)
    start = chunk.offset + chunk.header_size
    body, rest = data[start:start + chunk.length], data[chunk.offset + chunk.size:]
    for number in range(300):
        spoilt = bytearray(body[:source.randrange(len(body))] if number % 3 == 0 else body)
        for _ in range(number % 3):
            spoilt[source.randrange(min(60, len(body)))] ^= 1 << source.randrange(8)
        path.write_bytes(data[:chunk.offset] + pack_chunk(0x85, spoilt) + rest)
        found = read_carried(path, model)
        if found is not None:
            counted += 1
            assert len(found.times) == len(found.vectors) == len(found.signatures)
            assert np.all(np.diff(found.times) > 0)
            assert np.allclose(np.linalg.norm(found.vectors.astype(float), axis=1), 1, atol=0.01)
    assert counted < 200
    (file,) = aehub.index(folder, folder.parent / "index").files
    assert file.state == "added" and file.error is None


def test_edits_leave_them_out(kept: Path, tmp_path: Path) -> None:
    path = kept / "six.aev"
    aehub.edit(path, tmp_path / "trimmed.aev", [aehub.Trim("0.5:1.5")])
    aehub.edit(path, tmp_path / "turned.aev", [aehub.Rotate(90)])
    aehub.edit(path, tmp_path / "backward.aev", [aehub.Reverse()])
    aehub.concat([path, path], tmp_path / "twice.aev")
    aehub.edit(path, tmp_path / "same.aev", [])
    written = sorted(tmp_path.glob("*.aev"))
    assert len(written) == 5
    for output in written:
        assert info(output)["fingerprint_bytes"] == 0 and verify(output).ok, output


def test_half_precision_holds_the_rows(kept: Path, model: FingerprintModel) -> None:
    found = read_carried(kept / "six.aev", model)
    assert found is not None and found.vectors.dtype == np.float16
    assert found.signatures.shape[1:] == (8, model.shape[1])
