"""Trims, reversals and joins: which frames and which bytes stay, and what becomes of the sound."""

from __future__ import annotations

import io
import random
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import aehub
from aehub.bitstream import GroupHeader, Writer, open_reader
from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.d4.encoder import FrameEncoder
from aehub.codecs.gop import FrameSlot
from aehub.errors import DamagedError, ExistsError, InputError
from bitstream.examples import CHAIN, file_header
from editing.files import (
    QUALITY,
    edited,
    heads_of,
    joined,
    planes_of,
    read_worded,
    shown,
    tiny_model,
    worded_file,
    words_instead_of_codes,
)
from material import moving_picture, write_clip
from predicted_files import orbit

FRAMES = 10


@pytest.fixture(scope="module")
def model() -> D4Codec:
    return tiny_model()


@pytest.fixture(scope="module")
def source(model: D4Codec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames in groups of four, which have frames between two references."""
    path = tmp_path_factory.mktemp("source") / "clip.aev"
    aehub.compress(np.stack(orbit(FRAMES, 48, 34, seed=6)), path, model=model, group=4,
                   quality=QUALITY, measure=False)
    return path


@pytest.fixture(scope="module")
def heard(model: D4Codec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds with sound."""
    folder = tmp_path_factory.mktemp("heard")
    clip = write_clip(folder / "clip.mp4", moving_picture(30, 64, 32), fps=10, audio=True)
    aehub.compress(clip, folder / "clip.aev", model=model, measure=False)
    return folder / "clip.aev"


def without_references(path: Path, model: D4Codec, output: Path) -> Path:
    """The shown frames again, in groups of four that stand alone."""
    planes = planes_of(path, model)
    with open_reader(path) as reader, output.open("wb") as stream:
        with Writer(stream, reader.header) as writer:
            for begin in range(0, len(planes), 4):
                encoder = FrameEncoder(model.runtime, QUALITY)
                for number, picture in enumerate(planes[begin:begin + 4]):
                    encoder.write([encoder.encode(FrameSlot(number, (), None), picture)])
                words, payload = encoder.finish()
                writer.group(GroupHeader(number + 1, reader.header.quality, stream_words=words),
                             payload)
    return output


def payloads_of(path: Path) -> list[bytes]:
    with open_reader(path) as reader:
        return [group.payload for group in reader.groups()]


def packets_of(path: Path) -> list[tuple[int, bytes]]:
    """(milliseconds, bytes) of every packet of a file's sound."""
    with open_reader(path) as reader:
        track = b"".join(reader.audio_pieces())
    if not track:
        return []
    with av.open(io.BytesIO(track)) as container:
        return [(int(packet.pts), bytes(packet)) for packet in container.demux(audio=0)
                if packet.size]


def cut(path: Path, part: str, output: Path, model: D4Codec, **options: Any) -> aehub.Edited:
    return aehub.edit(path, output, [aehub.Trim(part)], model=model, **options)


def test_whole_groups_are_moved_byte_by_byte(source: Path, model: D4Codec, tmp_path: Path) -> None:
    output = tmp_path / "part.aev"
    result = cut(source, "4f:10f", output, model)
    assert payloads_of(output) == payloads_of(source)[1:]
    assert heads_of(output) == heads_of(source)[1:]
    assert (result.frames, result.seconds) == (6, 0.24)


def test_a_group_that_begins_before_the_trim_keeps_its_bytes_and_hides_frames(
    source: Path, model: D4Codec, tmp_path: Path
) -> None:
    output = tmp_path / "part.aev"
    cut(source, "6f:", output, model)
    assert payloads_of(output) == payloads_of(source)[1:]
    assert [header.shown for header in heads_of(output)] == [(2, 4), (0, 2)]


def test_what_comes_after_the_trim_is_really_gone(
    source: Path, model: D4Codec, tmp_path: Path
) -> None:
    output = tmp_path / "part.aev"
    cut(source, ":5f", output, model)
    assert [header.n_frames for header in heads_of(output)] == [4, 1]
    assert len(payloads_of(output)[1]) < 0.7 * len(payloads_of(source)[1])


def test_group_exact_drops_what_is_hidden(source: Path, model: D4Codec, tmp_path: Path) -> None:
    source = without_references(source, model, tmp_path / "alone.aev")
    loose, tight, later = (tmp_path / f"{name}.aev" for name in ("loose", "tight", "later"))
    cut(source, "3f:6f", loose, model)
    cut(source, "3f:6f", tight, model, group_exact=True)
    aehub.edit(loose, later, model=model, group_exact=True)
    assert [header.n_frames for header in heads_of(tight)] == [1, 2]
    assert tight.stat().st_size < loose.stat().st_size
    assert later.read_bytes() == tight.read_bytes()


def test_reverse_plays_the_same_frames_backward_out_of_the_same_bytes(
    source: Path, model: D4Codec, tmp_path: Path
) -> None:
    there, back = tmp_path / "there.aev", tmp_path / "back.aev"
    aehub.edit(source, there, [aehub.Reverse()])
    assert payloads_of(there) == payloads_of(source)[::-1]
    for wanted, found in zip(planes_of(source, model)[::-1], planes_of(there, model), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(wanted, found, strict=True))
    aehub.edit(there, back, [aehub.Reverse()])
    assert back.read_bytes() == source.read_bytes()


def test_the_order_of_trim_and_reverse_counts() -> None:
    data = worded_file([GroupHeader(8, 5000), GroupHeader(8, 5000)])
    with words_instead_of_codes():
        before = edited(data, [aehub.Trim(":3f"), aehub.Reverse()])
        after = edited(data, [aehub.Reverse(), aehub.Trim(":3f")])
    assert [frame.name for frame in shown(before)] == ["0.2", "0.1", "0.0"]
    assert [frame.name for frame in shown(after)] == ["1.7", "1.6", "1.5"]


def test_a_hidden_frame_that_others_need_stays() -> None:
    header = GroupHeader(8, 5000, frame_types=CHAIN)
    between = replace(header, references=((), (0, 4), (1, 4), (2, 4), (0,), (4,), (4,), (5,)))
    wanted = {
        (":3f", header): ["0.0", "0.1", "0.2"],
        # Frame 3 stays too: a gap would change how far frame 4 is from its reference.
        (":3f", between): ["0.0", "0.1", "0.2", "0.3", "0.4"],
        ("5f:6f", between): ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5"],
    }
    with words_instead_of_codes():
        for (part, group), names in wanted.items():
            output = edited(worded_file([group]), [aehub.Trim(part)])
            (kept,) = open_reader(BytesIO(output)).groups()
            assert read_worded(kept.payload)[1] == names
        later = replace(between, frame_types=bytes((0, 1, 1, 1, 0, 1, 1, 1)),
                        references=((), (0,), (1,), (2,), (), (4,), (5,), (6,)))
        tight = edited(worded_file([later]), [aehub.Trim("5f:6f")], group_exact=True)
        exact = edited(worded_file([between]), [aehub.Trim("5f:6f")], group_exact=True)
    (kept,) = open_reader(BytesIO(tight)).groups()
    assert read_worded(kept.payload)[1] == ["0.4", "0.5"] and kept.header.shown == (1, 2)
    (kept,) = open_reader(BytesIO(exact)).groups()
    assert read_worded(kept.payload)[1] == ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5"]
    assert kept.header.shown == (5, 6)


def test_a_trim_of_unsteady_times_goes_by_the_clock() -> None:
    header = GroupHeader(4, 5000, times=(0, 10, 12, 40), last_duration=5)
    data = worded_file([header], time_base=Fraction(1, 100))
    with words_instead_of_codes():
        part = edited(data, [aehub.Trim("0.1:0.4")])
    assert [(frame.name, frame.ticks) for frame in shown(part)] == [("0.1", 2), ("0.2", 28)]


@pytest.mark.parametrize("part", ["10f:", "4:5", "0.401:0.402"])
def test_a_trim_that_keeps_nothing_says_how_long_the_file_is(
    source: Path, part: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="10 frames, 0.4 s"):
        aehub.edit(source, tmp_path / "part.aev", [aehub.Trim(part)])
    assert not list(tmp_path.iterdir())


def test_halves_whose_model_is_not_here_stay_two_groups(
    source: Path, model: D4Codec, tmp_path: Path
) -> None:
    parts = [tmp_path / f"{number}.aev" for number in range(2)]
    for path, part in zip(parts, (":5f", "5f:"), strict=True):
        cut(source, part, path, model)
    aehub.concat(parts, tmp_path / "joined.aev")
    assert [header.n_frames for header in heads_of(tmp_path / "joined.aev")] == [4, 1, 4, 2]
    assert len(planes_of(tmp_path / "joined.aev", model)) == FRAMES


def test_neighbours_that_only_look_like_halves_stay_apart() -> None:
    early, late = GroupHeader(2, 5000), GroupHeader(4, 5000, shown=(2, 4))
    with words_instead_of_codes():
        one = edited(worded_file([GroupHeader(2, 5000), GroupHeader(2, 5000)]), [aehub.Trim("2f:")])
        whole = joined([one, worded_file([late])])
        assert len(shown(whole)) == 4
        assert len(heads_of(BytesIO(whole))) == 2
        assert len(heads_of(BytesIO(joined([worded_file([early]), worded_file([late])])))) == 1
        unlike = replace(early, quality=4000)
        assert len(heads_of(BytesIO(joined([worded_file([unlike]), worded_file([late])])))) == 2


@pytest.mark.parametrize(("changes", "words"), [
    ({"model": "other"}, "the model is other, not tiny"),
    ({"width": 72}, "the frame size is 72x48, not 64x48"),
    ({"pixel_aspect": Fraction(4, 3)}, "the pixel aspect is 4/3, not 1"),
    ({"entropy_hash": bytes(8)}, "tables is 0000000000000000"),
    ({"synthesis_hash": bytes(8)}, "decoder is 0000000000000000"),
])
def test_files_that_do_not_fit_together_are_refused_by_name(
    changes: dict[str, Any], words: str
) -> None:
    headers = [GroupHeader(2, 5000)]
    with pytest.raises(InputError, match=words):
        joined([worded_file(headers), worded_file(headers, **changes)])


def test_files_with_other_clocks_keep_their_times_when_joined() -> None:
    steady = worded_file([GroupHeader(4, 5000)], fps=Fraction(30000, 1001))
    finer = worded_file([GroupHeader(3, 5000, times=(0, 7, 21), last_duration=4)],
                        time_base=Fraction(1, 90000))
    with open_reader(BytesIO(joined([steady, finer]))) as reader:
        base = reader.header.time_base
        seconds = [t * base for group in reader.groups() for t in
                   group.header.durations(reader.header.frame_ticks)]
    assert seconds[:4] == [Fraction(1001, 30000)] * 4
    assert [round(t * 90000) for t in seconds[4:]] == [7, 14, 4]


def test_sound_stays_in_step_with_a_trim(heard: Path, model: D4Codec, tmp_path: Path) -> None:
    output = tmp_path / "part.aev"
    result = cut(heard, "1:2", output, model)
    whole, part = packets_of(heard), packets_of(output)
    assert result.audio_bytes > 0 and not result.notes
    assert [data for _, data in part] == [data for t, data in whole if 957 < t < 2000]
    assert part[-1][0] == pytest.approx(1000, abs=25) and -43 <= part[0][0] <= 0


def test_sound_of_turned_pictures_is_the_same(heard: Path, model: D4Codec, tmp_path: Path) -> None:
    output = tmp_path / "turned.aev"
    aehub.edit(heard, output, [aehub.Rotate(90), aehub.Flip("vertical")], model=model)
    with open_reader(heard) as before, open_reader(output) as after:
        assert b"".join(before.audio_pieces()) == b"".join(after.audio_pieces())


def test_a_reversal_leaves_the_sound_out_and_says_so(heard: Path, tmp_path: Path) -> None:
    result = aehub.edit(heard, tmp_path / "back.aev", [aehub.Reverse()])
    assert result.audio_bytes == 0 and "sound was left out" in result.notes[0]
    twice = aehub.edit(heard, tmp_path / "twice.aev", [aehub.Reverse(), aehub.Reverse()])
    assert twice.audio_bytes > 0 and not twice.notes
    assert (tmp_path / "twice.aev").read_bytes() == heard.read_bytes()


def test_sound_that_was_cut_is_whole_again_when_joined(
    heard: Path, model: D4Codec, tmp_path: Path
) -> None:
    parts = [tmp_path / f"{number}.aev" for number in range(3)]
    for path, part in zip(parts, (":1", "1:1.7", "1.7:"), strict=True):
        cut(heard, part, path, model)
    aehub.concat(parts, tmp_path / "joined.aev", model=model)
    assert packets_of(tmp_path / "joined.aev") == packets_of(heard)


def test_silent_parts_of_a_join_stay_silent(heard: Path, model: D4Codec, tmp_path: Path) -> None:
    silent = tmp_path / "silent.aev"
    clip = write_clip(tmp_path / "clip.mp4", moving_picture(10, 64, 32), fps=10)
    aehub.compress(clip, silent, model=model, measure=False)
    result = aehub.concat([silent, heard], tmp_path / "joined.aev")
    assert not result.notes
    found = packets_of(tmp_path / "joined.aev")
    assert [t - 1000 for t, _ in found][:5] == [t for t, _ in packets_of(heard)][:5]


def loudness(path: Path) -> list[float]:
    """Peaks of every tenth of a second of a file's sound, from the time of the first picture."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=8000)
    with open_reader(path) as reader:
        track = b"".join(reader.audio_pieces())
    samples = np.zeros(80_000, np.float32)
    with av.open(BytesIO(track)) as container:
        for packet in container.demux(audio=0):
            for frame in packet.decode() if packet.pts is not None else ():
                at = round(frame.time * 8000)
                piece = np.concatenate([p.to_ndarray()[0] for p in resampler.resample(frame)])
                samples[at : at + len(piece)] = piece
    return [float(np.abs(tenth).max()) for tenth in samples.reshape(-1, 800)]


def test_sounds_of_several_kinds_are_joined_in_step(
    heard: Path, model: D4Codec, tmp_path: Path
) -> None:
    paths = [heard]
    for name, codec in (("silent", False), ("opus", "libopus"), ("flac", "flac")):
        clip = write_clip(tmp_path / f"{name}.mp4", moving_picture(10, 64, 32), fps=10, audio=codec)
        paths.append(tmp_path / f"{name}.aev")
        aehub.compress(clip, paths[-1], model=model, measure=False)
    result = aehub.concat(paths, tmp_path / "joined.aev")
    (note,) = result.notes
    assert "encoded again" in note and "opus.aev, flac.aev" in note and "silent" not in note
    peaks = loudness(tmp_path / "joined.aev")
    # Three seconds with sound, one without, two with.
    assert min(peaks[1:29] + peaks[41:59]) > 0.2 and max(peaks[32:39]) < 0.01
    assert max(peaks[62:]) < 0.01


def test_lossless_sound_of_two_clips_is_joined(model: D4Codec, tmp_path: Path) -> None:
    paths = []
    for number, seconds in enumerate((1, 2)):
        clip = write_clip(tmp_path / f"{number}.mkv", moving_picture(10 * seconds, 64, 32), fps=10,
                          audio="flac")
        paths.append(tmp_path / f"{number}.aev")
        aehub.compress(clip, paths[-1], model=model, measure=False)
    result = aehub.concat(paths, tmp_path / "joined.aev")
    assert not result.notes
    assert packets_of(tmp_path / "joined.aev")[-1][0] > 2500


def test_notes_of_the_files_are_kept(tmp_path: Path) -> None:
    parts = []
    for name in ("one", "two"):
        stream = BytesIO()
        with Writer(stream, file_header()) as writer:
            writer.group(GroupHeader(1, 5000), b"0|0.0")
            writer.metadata({name: 1})
        parts.append(stream.getvalue())
    with words_instead_of_codes():
        assert open_reader(BytesIO(joined(parts))).metadata == {"one": 1, "two": 1}
        turned = edited(parts[0], [aehub.Rotate(90)])
    assert open_reader(BytesIO(turned)).metadata == {"one": 1}


def test_a_damaged_file_gives_its_intact_groups_edited_and_one_sentence(
    source: Path, model: D4Codec, tmp_path: Path
) -> None:
    data = bytearray(source.read_bytes())
    with open_reader(source) as reader:
        data[[*reader.groups()][1].offset + 20] ^= 1
    broken, output = tmp_path / "broken.aev", tmp_path / "turned.aev"
    broken.write_bytes(data)
    with pytest.raises(DamagedError, match="1 of 3 groups cannot be read"):
        aehub.edit(broken, output, [aehub.Reverse(), aehub.Rotate(90)], model=model)
    assert aehub.verify(output).ok and aehub.info(output)["frames"] == 6
    broken.write_bytes(source.read_bytes()[:-30])
    with pytest.raises(DamagedError, match="cut off"):
        aehub.edit(broken, output, [aehub.Reverse()], force=True)
    with pytest.raises(DamagedError, match="broken.aev"):
        aehub.concat([source, broken], output, force=True)
    assert aehub.verify(output).ok and aehub.info(output)["frames"] >= FRAMES + 8


def test_random_bytes_never_bring_an_edit_down(source: Path, model: D4Codec) -> None:
    whole, chance = source.read_bytes(), random.Random(3)
    for _ in range(40):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            edited(bytes(data), [aehub.Rotate(90), aehub.Trim("1f:9f")], model=model)
        except aehub.AEHubError as error:
            assert str(error)


def test_an_edit_leaves_nothing_behind_when_it_is_closed(
    source: Path, model: D4Codec, tmp_path: Path
) -> None:
    job = aehub.iter_edit(source, tmp_path / "turned.aev", [aehub.Rotate(90)], model=model)
    assert next(job).total == FRAMES
    job.close()
    assert not list(tmp_path.iterdir())


def test_an_existing_file_is_not_overwritten_without_force(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "there.aev"
    output.write_bytes(b"mine")
    for job in (lambda: aehub.edit(source, output, [aehub.Reverse()]),
                lambda: aehub.concat([source, source], output)):
        with pytest.raises(ExistsError):
            job()
    assert output.read_bytes() == b"mine"


def seen(data: bytes) -> list[tuple[str, float]]:
    """(name, seconds) of each frame of a file of words."""
    with open_reader(BytesIO(data)) as reader:
        base = reader.header.time_base
    assert aehub.verify(BytesIO(data)).ok
    return [(frame.name, float(frame.ticks * base)) for frame in shown(data)]


def test_a_trim_keeps_what_is_on_screen_for_as_long_as_it_is() -> None:
    slow = worded_file([GroupHeader(3, 5000), GroupHeader(2, 5000)], fps=Fraction(1, 3))
    wanted = {
        "1:2": [("0.0", 1)],
        "2:4": [("0.0", 1), ("0.1", 1)],
        "8:9.25": [("0.2", 1), ("1.0", 0.25)],
        "2f:4f": [("0.2", 3), ("1.0", 3)],
        "13.99:": [("1.1", 1.01)],
        "1:1f": [("0.0", 2)],
        "2.99:6.01": [("0.1", 3)],
    }
    with words_instead_of_codes():
        for part, frames in wanted.items():
            assert seen(edited(slow, [aehub.Trim(part)])) == frames, part
        turned = edited(slow, [aehub.Reverse(), aehub.Trim("1:4.5"), aehub.Trim("1:3")])
        assert seen(turned) == [("1.1", 1), ("1.0", 1)]
        with open_reader(BytesIO(edited(slow, [aehub.Trim("3:9")]))) as reader:
            assert reader.header.frame_ticks == 1, "times that were whole frames stay so"


def test_halves_of_a_frame_become_one_again() -> None:
    slow = worded_file([GroupHeader(3, 5000), GroupHeader(2, 5000)], fps=Fraction(1, 3))
    with words_instead_of_codes():
        for cut, n_parts in (("4.5", 2), ("4.03", 2), ("3.01", 1), ("5.99", 1)):
            halves = [edited(slow, [aehub.Trim(part)]) for part in (f":{cut}", f"{cut}:")]
            assert [name for half in halves for name, _ in seen(half)].count("0.1") == n_parts
            assert seen(joined(halves)) == seen(slow)


def test_a_held_frame_keeps_its_time_in_every_edit() -> None:
    held = worded_file([GroupHeader(2, 5000), GroupHeader(2, 5000, last_duration=75)])
    frames = [("0.0", 0.04), ("0.1", 0.04), ("1.0", 0.04), ("1.1", 3.0)]
    with words_instead_of_codes():
        assert seen(held) == frames
        assert seen(edited(held, [aehub.Reverse()])) == frames[::-1]
        assert seen(edited(held, [aehub.Rotate(90)])) == frames
        assert seen(edited(held, [aehub.Trim("0.04:1.12")])) == [*frames[1:3], ("1.1", 1.0)]
        assert seen(joined([held, held])) == frames + frames
