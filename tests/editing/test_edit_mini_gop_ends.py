"""Trims of predicted groups: payloads are cut off where a run ends, and nothing is read."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aehub
from aehub.bitstream import (
    GroupHeader,
    Writer,
    key_pictures,
    open_reader,
    retained_frames,
    truncate_payload,
)
from aehub.codecs import gop
from aehub.codecs.d4.frame_coding import GroupReader
from aehub.coding.adaptive_tables import read_uniform, write_uniform
from aehub.coding.range_coder import Decoder, Encoder, ScaleTables, max_magnitude
from editing.files import edited, joined
from predicted_files import (
    Encoded,
    compressed,
    encoded,
    equal_frames,
    groups_of,
    orbit,
    planes_of,
    tiny,
    turned_group,
)

N_FRAMES = 38
SIZE = (48, 34)
TURN, BACK = aehub.Rotate(90), aehub.Rotate(270)


def random_stream(seed: int) -> tuple[bytes, list[int], list[Any]]:
    """A payload of symbols of all kinds; its words after each batch of symbols; the batches."""
    chance = np.random.default_rng(seed)
    encoder = Encoder(TABLES)
    ends, batches = [], []
    for _ in range(chance.integers(2, 30)):
        if chance.random() < 0.5:
            size = int(chance.choice([1, 2, 48, 64, 4096, 1 << 23]))
            values = chance.integers(0, size, 1).astype(np.int32)
            write_uniform(encoder.coder, values, max(2, size))
            batches.append((values, max(2, size)))
        else:
            tables = chance.integers(0, 64, chance.integers(1, 6)).astype(np.uint8)
            reach = np.array([max_magnitude(i) + 9 if i else 0 for i in tables.tolist()])
            codes = (chance.uniform(-1, 1, len(tables)) ** 5 * reach).round().astype(np.int32)
            encoder.write(codes, tables)
            batches.append((codes, tables))
        ends.append(int(encoder.coder.num_words()))
    return encoder.finish(), ends, batches


TABLES = ScaleTables.fit()


def reads_the_same(payload: bytes, batches: list[Any]) -> bool:
    decoder = Decoder(TABLES, payload)
    try:
        for values, tables in batches:
            found = (read_uniform(decoder.coder, 1, tables) if isinstance(tables, int)
                     else decoder.read(tables))
            if not np.array_equal(found, values):
                return False
    except (ValueError, AssertionError):
        return False
    return True


def test_one_word_more_than_a_run_has_is_what_its_decoder_reads() -> None:
    n_cuts = too_short = 0
    for seed in range(400):
        payload, ends, batches = random_stream(seed)
        assert ends == sorted(ends) and len(payload) == 4 * ends[-1]
        for n, end in enumerate(ends, 1):
            assert reads_the_same(payload[:4 * (end + 1)], batches[:n])
            too_short += not reads_the_same(payload[:4 * end], batches[:n])
        n_cuts += len(ends)
    assert n_cuts > 4000 and too_short > 0, "the word more is never dependency_closure"


def groups_with_ends() -> list[Encoded]:
    """Groups of the tiny model, with run ends as turning finds them."""
    found = []
    for runs, size, quality in (((4, 4, 2), (64, 64), 61.8), ((1, 1, 1, 3, 2, 2), (96, 32), 30),
                                ((2,) * 5, (32, 32), 80)):
        n = 1 + sum(runs)
        group = encoded(planes_of(orbit(n, *size, seed=n)), quality, runs)
        ends = ((1,) * (len(group.header.stream_words) + 1),) * len(runs)
        marked = replace(group.header, mini_gop_ends=ends)
        payload, header = turned_group(tiny(), group.payload, marked, *plain(group), 0)
        assert payload == group.payload and header.mini_gop_ends is not None
        found.append(group._replace(header=header))
    return found


def plain(group: Encoded) -> tuple[Any]:
    """The header of a file that holds nothing but the group."""
    header, _ = groups_of(compressed(orbit(1, *group.size)))
    return (header,)


def test_real_groups_read_the_same_up_to_every_mini_gop_end() -> None:
    cuts = 0
    for group in groups_with_ends():
        for stop in range(1, group.header.n_frames):
            header = replace(group.header, shown=(0, stop))
            frames = retained_frames(header, exact=False)
            if len(frames) == header.n_frames:
                continue
            assert frames[-1] == min(a for a in key_pictures(header) if a >= stop - 1)
            less = truncate_payload(header, group.payload, frames, 1)
            assert less is not None
            found = list(GroupReader(tiny().runtime, less[1], less[0], group.size, 3).frames())
            wanted = [frame for frame in group.written if frame.number in frames]
            assert len(found) == len(frames)
            assert all(map(equal_frames, found, wanted))
            cuts += 1
    assert cuts >= 20


@pytest.fixture(scope="module")
def source() -> bytes:
    """One group of a first frame and several runs."""
    data = compressed(orbit(N_FRAMES, *SIZE, seed=6), measure=False, quality=90)
    (group,) = groups_of(data)[1]
    assert group.header.mini_gop_ends is not None and len(group.header.mini_gop_ends) >= 3
    return data


def header_of(data: bytes) -> GroupHeader:
    (group,) = groups_of(data)[1]
    return group.header


def without_ends(data: bytes) -> bytes:
    """The file as written before headers had mini-GOP ends."""
    header, groups = groups_of(data)
    stream = BytesIO()
    with Writer(stream, header) as writer:
        for group in groups:
            writer.group(replace(group.header, mini_gop_ends=None), group.payload)
    return stream.getvalue()


def shown(data: bytes) -> np.ndarray:
    return np.stack(list(aehub.decompress(BytesIO(data), model=tiny())))


def test_the_encoder_tells_where_runs_end(source: bytes) -> None:
    header, (group,) = groups_of(source)
    assert len(group.header.mini_gop_ends or ()) == len(key_pictures(group.header)) - 1
    assert turned_group(tiny(), group.payload, group.header, header, 0) == (
        group.payload, group.header)


def test_groups_of_two_runs_are_not_made_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gop, "_HIGH_MOTION", np.inf)  # Else there may be more mini-GOPs.
    for n in (1, 2, 9):
        assert all(group.header.mini_gop_ends is None
                   for group in groups_of(compressed(orbit(n, 32, 32), measure=False))[1])


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("part", [":1f", ":10f", "12f:20f", "3f:26f", "2f:37f"])
def test_a_trim_reads_no_symbol_and_asks_for_no_model(
    source: bytes, part: str, exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = shown(source)[slice(*(int(side.rstrip("f") or 0) for side in part.split(":")))]

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a trim needs no model and no entropy coder")

    with monkeypatch.context() as patch:
        patch.setattr("aehub.api.edit._loader", lambda model, device: never)
        patch.setattr("torch.nn.Module.__call__", never)
        for name in ("aehub.coding.range_coder.Decoder", "aehub.coding.range_coder.Encoder"):
            patch.setattr(f"{name}.__init__", never)
        cut = edited(source, [aehub.Trim(part)], group_exact=exact)
    assert np.array_equal(shown(cut), wanted)
    assert aehub.verify(BytesIO(cut)).ok
    last = int(part.split(":")[1].rstrip("f")) - 1
    keys = key_pictures(header_of(source))
    assert header_of(cut).n_frames == min(key for key in keys if key >= last) + 1
    for group in groups_of(cut)[1]:
        assert len(group.payload) <= len(groups_of(source)[1][0].payload)


def test_a_trim_does_not_even_import_torch(source: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.aev"
    path.write_bytes(source)
    code = ("import aehub, sys; from pathlib import Path; "
            f"aehub.edit(Path({str(path)!r}), Path({str(tmp_path / 'part.aev')!r}), "
            "[aehub.Trim('3f:12f')]); assert 'torch' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert aehub.info(tmp_path / "part.aev")["frames"] == 9


def test_files_without_mini_gop_ends_are_trimmed_as_before(source: bytes) -> None:
    old = without_ends(source)
    cut = edited(old, [aehub.Trim("3f:12f")], model=tiny())
    assert header_of(cut).mini_gop_ends is None
    assert np.array_equal(shown(cut), shown(source)[3:12])
    parts = [edited(old, [aehub.Trim(part)], model=tiny()) for part in (":12f", "12f:")]
    assert joined(parts, model=tiny()) == old


def test_a_part_of_a_part_is_the_part_at_once(source: bytes) -> None:
    once = edited(source, [aehub.Trim("2f:11f")])
    twice = edited(edited(source, [aehub.Trim(":30f")]), [aehub.Trim("2f:11f")])
    assert twice == once
    first = edited(once, [aehub.Reverse(), aehub.Trim("3f:")])
    assert np.array_equal(shown(first), shown(source)[2:11][::-1][3:])


@pytest.mark.parametrize("edges", [(0, 1, 9, 38), (0, 12, 13, 38), (0, 20, 38), (0, 37, 38)])
def test_parts_of_a_group_make_the_file_again_without_a_model(
    source: bytes, edges: tuple[int, ...]
) -> None:
    parts = [edited(source, [aehub.Trim(f"{a}f:{b}f")]) for a, b in zip(edges, edges[1:])]
    assert joined(parts) == source
    backward = [edited(part, [aehub.Reverse()]) for part in parts[::-1]]
    assert joined(backward) == edited(source, [aehub.Reverse()])


def test_turned_groups_tell_where_their_runs_end(source: bytes) -> None:
    turned = edited(source, [TURN], model=tiny())
    assert edited(turned, [BACK], model=tiny()) == source
    for data in (edited(turned, [aehub.Trim("4f:12f")]),
                 edited(source, [aehub.Trim("4f:12f"), TURN], model=tiny())):
        assert np.array_equal(shown(data), shown(turned)[4:12])


def test_a_trim_with_a_turn_reads_each_group_once(
    source: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bare(header: GroupHeader) -> GroupHeader:
        return replace(header, mini_gop_ends=None)

    # Where the header does not tell where runs end, a cut group is read.
    header, groups = groups_of(source)
    stream = BytesIO()
    with Writer(stream, header) as writer:
        for group in groups:
            writer.group(bare(group.header), group.payload)
    trim = aehub.Trim("6f:13f")
    for data in (stream.getvalue(), source):
        apart = edited(edited(data, [trim], model=tiny()), [TURN], model=tiny())
        read: list[int] = []
        with monkeypatch.context() as patch:
            plain = GroupReader.__init__
            patch.setattr(GroupReader, "__init__",
                          lambda *given: (read.append(1), plain(*given))[1])  # noqa: B023
            together = edited(data, [trim, TURN], model=tiny())
        touched = sum(1 for _ in groups_of(together)[1])
        assert together == apart and len(read) == touched
        assert np.array_equal(shown(together), shown(edited(data, [TURN], model=tiny()))[6:13])


def test_halves_turned_since_become_one_group_again(source: bytes) -> None:
    halves = [edited(edited(source, [aehub.Trim(part)]), [TURN], model=tiny())
              for part in (":12f", "12f:")]
    assert joined(halves, model=tiny()) == edited(source, [TURN], model=tiny())


def test_neighbours_of_other_content_stay_apart(source: bytes) -> None:
    early, late = (edited(source, [aehub.Trim(part)]) for part in (":12f", "12f:"))
    header, (group,) = groups_of(early)
    stream = BytesIO()
    with Writer(stream, header) as writer:
        writer.group(group.header, bytes(4) + group.payload[4:])
    with open_reader(BytesIO(joined([stream.getvalue(), late], model=tiny()))) as reader:
        assert len(reader.index or ()) == 2
