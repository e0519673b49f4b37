"""Files one after the other: groups are moved as they are, halves of a group become one again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from functools import reduce
from math import gcd, lcm

from aehub.clips.colour import as_shown
from aehub.container import FileHead, GroupHead, Reader, pack_group_head, retime
from aehub.container.filehead import TIME_BASE_LIMITS
from aehub.container.grouphead import lasting
from aehub.edit.hidden import kept_by_trim, restricted, shortened
from aehub.edit.rewrite import Load
from aehub.errors import DamagedError, InputError, ModelError

_Written = tuple[GroupHead, bytes]


def joined_head(readers: Sequence[Reader]) -> FileHead:
    """The head of the file that holds them all: the first one's, with times fine enough for all.

    Raises:
        InputError: two files differ in what all groups of a file share.
    """
    first = readers[0]
    for other in readers[1:]:
        for what, one, two in zip(_SHARED, _shared(first.head), _shared(other.head), strict=True):
            if one != two:
                raise InputError(f"{other.name} cannot follow {first.name}: {what} is {two}, not "
                                 f"{one}; {_REMEDIES.get(what, 'compress them alike.')}")
    bases = {reader.head.time_base for reader in readers}
    if len(bases) == 1:
        return first.head
    whole = lcm(*(base.denominator for base in bases))
    common = Fraction(reduce(gcd, (int(base * whole) for base in bases)), whole)
    fits = common.numerator <= TIME_BASE_LIMITS[0] and common.denominator <= TIME_BASE_LIMITS[1]
    return replace(first.head, time_base=common if fits else min(bases))


_SHARED = ("the model", "the revision of its tables", "the revision of its decoder", "the coder",
           "the frame size", "the colour", "the pixel aspect")
_REMEDIES = {"the frame size": "turn or compress them to one size."}


def _shared(head: FileHead) -> tuple[str, ...]:
    colour = as_shown(head.colour, head.width, head.height)
    return (head.model, head.entropy_hash.hex(), head.synthesis_hash.hex(), str(head.coder),
            f"{head.width}x{head.height}",
            f"matrix {colour.matrix}, {'full' if colour.full_range else 'limited'} range, "
            f"primaries {colour.primaries}, transfer {colour.transfer}", str(head.pixel_aspect))


class Joiner:
    """Gives the groups of several files in order.

    Args:
        readers: the files; they can seek.
        load: finds the model that a file head names; called only where a half lacks frames.

    Attributes:
        head: of the joined file.
        lost: for each file that lost groups, its name.
    """

    def __init__(self, readers: Sequence[Reader], load: Load) -> None:
        self.head, self.lost = joined_head(readers), list[str]()
        self._readers, self._load = readers, load

    def groups(self) -> Iterator[_Written]:
        """Yield (head, payload) of every group to write."""
        held: _Written | None = None
        for group in self._all():
            if held is None:
                held = group
                continue
            whole = self._merged(held, group)
            if whole is None:
                yield held
            held = group if whole is None else whole
        if held is not None:
            yield held

    def damage(self) -> DamagedError | None:
        """What was lost, None if nothing was."""
        cut = [reader.name for reader in self._readers if not reader.summary()["complete"]]
        names = ", ".join(self.lost or cut)
        if not names:
            return None
        return DamagedError(f"{names}: damaged or cut off; the groups found were joined"
                            f"{', without sound, for it would not fit' if self.lost else ''}.")

    def _all(self) -> Iterator[_Written]:
        for reader in self._readers:
            for number in range(len(reader.index or ())):
                try:
                    group = reader.group_at(number)
                except DamagedError:
                    self.lost += [reader.name] if reader.name not in self.lost else []
                    continue
                yield retime(group.head, reader.head, self.head), group.payload

    def _merged(self, first: _Written, second: _Written) -> _Written | None:
        """The group that a trim cut the two from; None if it did not.

        The part that holds the later frames holds the others too, hidden. The halves fit if
        cutting it again, where the earlier part ends, makes exactly that part. Of a frame that was
        cut itself both show a part.
        """
        early, late = (second, first) if second[0].reverse else (first, second)
        (head, payload), (whole, everything) = early, late
        cut, step = head.shown[1] - 1, self.head.step
        shares = head.durations(step)[cut], whole.durations(step)[whole.shown[0]]
        again = whole
        # Whole frames are no shares, as a rule.
        if cut == whole.shown[0] and step not in shares:
            again = lasting(whole, {cut: shares[0]}, step)
            whole = lasting(whole, {cut: sum(shares)}, step)
        elif cut + 1 != whole.shown[0]:
            return None
        again = replace(again, shown=head.shown)
        frames = kept_by_trim(again, exact=False)
        is_less = len(frames) < whole.n_frames
        less = restricted(again, frames, step) if is_less else again
        if pack_group_head(less, self.head) != pack_group_head(head, self.head):
            return None
        cuts = self._cuts(everything, again, frames) if is_less else iter((everything,))
        if payload not in cuts:
            return None
        return replace(whole, shown=(head.shown[0], whole.shown[1])), everything

    def _cuts(self, payload: bytes, head: GroupHead, frames: Sequence[int]) -> Iterator[bytes]:
        """What a trim to these frames may have left: cut off, or written again then or since."""
        less = shortened(head, payload, frames)
        if less is not None:
            yield less
        from aehub.codec import turning

        # Without the model, or with a damaged stream, the halves stay two groups: nothing is lost.
        with suppress(ModelError, DamagedError):
            runtime = self._load(self.head).runtime
            yield turning.rewrite_group(runtime, payload, head, self.head, 0, frames)[0]
