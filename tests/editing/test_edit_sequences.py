"""A thousand random edits: what is shown and what is stored are always what they should be."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import aehub
from aehub.bitstream import (
    GroupHeader,
    coding_order,
    open_reader,
    restrict_header,
    retained_frames,
)
from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.d4.network import HYPER_LATENTS
from aehub.editing.operations import Turn, element, parse
from aehub.media.orientation import compose, inverse
from editing.files import (
    QUALITY,
    Shown,
    edited,
    joined,
    shown,
    tiny_model,
    worded_file,
    words_instead_of_codes,
)
from material import moving_picture
from predicted_files import frames_of

TURNS = [aehub.Rotate(90), aehub.Rotate(180), aehub.Rotate(270), aehub.Flip("horizontal"),
         aehub.Flip("vertical"), aehub.Transpose()]
TICK = Fraction(1, 25)


def searched(examples: int) -> Any:
    """Random, but the same at every run, and without a data base on the disk."""
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None,
                    suppress_health_check=list(HealthCheck))


@st.composite
def group_headers(draw: st.DrawFn, *, all_shown: bool = False) -> GroupHeader:
    """A group whose frames are predicted from each other in any way."""
    n = draw(st.integers(1, 6))
    order = draw(st.permutations(range(n)))
    references: list[tuple[int, ...]] = [()] * n
    for place, frame in enumerate(order):
        before = order[:place]
        used = draw(st.lists(st.sampled_from(before), max_size=2, unique=True)) if before else []
        references[frame] = tuple(used)
    gaps = draw(st.lists(st.integers(1, 3), min_size=n, max_size=n))
    first = 0 if all_shown else draw(st.integers(0, n - 1))
    return GroupHeader(
        n, draw(st.sampled_from([5000, 4321])),
        crop=(draw(st.integers(0, 31)), draw(st.integers(0, 31))),
        shown=(first, n if all_shown else draw(st.integers(first + 1, n))),
        reverse=draw(st.booleans()), times=tuple(np.cumsum([0, *gaps[:-1]]).tolist()),
        last_duration=gaps[-1], frame_types=bytes(1 if used else 0 for used in references),
        references=tuple(references))


def files(*, all_shown: bool = False) -> st.SearchStrategy[bytes]:
    headers = st.lists(group_headers(all_shown=all_shown), min_size=1, max_size=4)
    return headers.map(worded_file)


@st.composite
def trims(draw: st.DrawFn, n_frames: int, ticks: int) -> aehub.Trim:
    """A part of a clip, on either kind of clock; it may keep nothing."""
    unit = draw(st.booleans())
    most = n_frames if unit else ticks
    first = draw(st.integers(0, most - 1))
    stop = draw(st.integers(first + 1, most + 1))
    write = (lambda t: f"{t}f") if unit else (lambda t: f"{float(t * TICK):.4f}")
    return aehub.Trim(f"{write(first) if first else ''}:{write(stop) if stop <= most else ''}")


def expected(frames: list[Shown], operation: Any) -> list[Shown]:
    """Expected effect of an operation on the shown frames."""
    if isinstance(operation, aehub.Reverse):
        return frames[::-1]
    if isinstance(operation, Turn):
        return [frame._replace(g=compose(element([operation]), frame.g)) for frame in frames]
    first, last = operation.part.split(":")
    in_frames = "f" in operation.part
    kept, ticks = [], 0
    for number, frame in enumerate(frames):
        begin, end = (number, number + 1) if in_frames else (ticks, ticks + frame.ticks)
        limits = [Fraction(side.rstrip("f")) / (1 if in_frames else TICK) if side else default
                  for side, default in ((first, 0), (last, end))]
        part = min(end, int(limits[1])) - max(begin, int(limits[0]))
        if part > 0:
            kept.append(frame if in_frames else frame._replace(ticks=part))
        ticks += frame.ticks
    return kept


@searched(600)
@given(files(), st.data())
def test_any_sequence_of_edits_shows_what_each_in_turn_would(data: bytes, more: Any) -> None:
    frames = shown(data)
    operations = []
    for _ in range(more.draw(st.integers(1, 4))):
        ticks = sum(frame.ticks for frame in frames)
        kinds = st.sampled_from([*TURNS, aehub.Reverse(), aehub.Reverse()])
        operation = more.draw(st.one_of(kinds, trims(len(frames), ticks)))
        after = expected(frames, operation)
        if after:
            operations.append(operation)
            frames = after
    with words_instead_of_codes():
        exact = more.draw(st.booleans())
        at_once = edited(data, operations, group_exact=exact)
        step_by_step = data
        for operation in operations:
            step_by_step = edited(step_by_step, [operation], group_exact=exact)
    assert shown(at_once) == frames == shown(step_by_step)
    assert aehub.verify(BytesIO(at_once)).ok
    if exact:
        for group in open_reader(BytesIO(at_once)).groups():
            header = group.header
            assert retained_frames(header, exact=True) == tuple(range(header.n_frames))


@searched(250)
@given(files(all_shown=True), st.data())
def test_the_two_halves_of_a_file_make_the_file_again_byte_for_byte(
    data: bytes, more: Any
) -> None:
    cuts = sorted(more.draw(st.sets(st.integers(1, max(1, len(shown(data)) - 1)), max_size=3)))
    edges = [0, *cuts, len(shown(data))]
    parts = [(a, b) for a, b in zip(edges, edges[1:]) if b > a]
    with words_instead_of_codes():
        halves = [edited(data, [aehub.Trim(f"{a}f:{b}f")]) for a, b in parts]
        whole = joined(halves)
    assert [frame for half in halves for frame in shown(half)] == shown(data)
    assert whole == data


@searched(100)
@given(files(), st.sampled_from(TURNS), st.booleans())
def test_an_edit_and_its_opposite_give_the_file_back(data: bytes, turn: Any, flip: bool) -> None:
    back = next(other for other in TURNS if element([turn, other]) == 0)
    with words_instead_of_codes():
        there = edited(data, [turn, *([aehub.Reverse()] if flip else [])])
        assert edited(there, [*([aehub.Reverse()] if flip else []), back]) == data


@searched(150)
@given(group_headers(), st.booleans())
def test_frames_that_stay_keep_their_order_of_coding(header: GroupHeader, exact: bool) -> None:
    frames = retained_frames(header, exact=exact)
    less = restrict_header(header, frames, frame_ticks=1)
    assert list(frames) == list(range(frames[0], frames[-1] + 1)), "distances changed"
    wanted = [frame for frame in coding_order(header) if frame in frames]
    assert [frames[frame] for frame in coding_order(less)] == wanted
    assert [tuple(frames[used] for used in refs) for refs in less.resolved_references] == [
        header.resolved_references[f] for f in frames]
    assert [less.durations(1)[f] for f in range(*less.shown)] == list(
        header.durations(1)[slice(*header.shown)])


@pytest.fixture(scope="module")
def model() -> D4Codec:
    return tiny_model()


@pytest.fixture(scope="module")
def real(model: D4Codec) -> bytes:
    """Five frames of 40x34 in groups of three."""
    stream = BytesIO()
    aehub.compress(np.stack(moving_picture(5, 40, 34, seed=2)), stream, model=model, group=3,
                   quality=QUALITY, measure=False)
    return stream.getvalue()


def by_frame(data: bytes, model: D4Codec, g: int) -> list[list[bytes]]:
    """The codes of every frame shown, turned by `g`."""
    latents, found = model.network.representation, []
    with open_reader(BytesIO(data)) as reader:
        for group in reader.groups():
            frames = {frame.number: frame for frame in frames_of(model, group, reader.header)}
            for frame in map(frames.get, group.header.display_order):
                assert frame is not None
                parts = [HYPER_LATENTS.act(frame.codes.hyper.numpy(), g),
                         latents.act(frame.codes.latent.numpy(), g)]
                parts += [] if frame.motion is None else [frame.motion.turn(g).vectors]
                # Of integers, for a turned zero may be negative.
                found.append([part.astype(np.int32).tobytes() for part in parts])
    return found


STEPS = st.lists(st.sampled_from([*TURNS, aehub.Reverse()]), min_size=1, max_size=3)


@searched(100)
@given(operations=STEPS, first=st.integers(0, 4), n=st.integers(1, 5))
def test_real_codes_are_moved_and_never_changed(
    model: D4Codec, real: bytes, operations: list[Any], first: int, n: int
) -> None:
    trim = aehub.Trim(f"{first}f:{first + n}f")
    there = edited(real, [trim, *operations], model=model)
    g = element(operations)
    wanted = by_frame(real, model, g)[first:first + n]
    backward = sum(isinstance(step, aehub.Reverse) for step in operations) % 2
    assert by_frame(there, model, 0) == (wanted[::-1] if backward else wanted)
    assert element([*operations, *parse("transpose, transpose")]) == g
    assert compose(inverse(g), g) == 0
