"""Contact sheets and sprite sheets: many frames as one picture.

The JSON of a sprite sheet has the form of Aseprite (array of frames, tags, durations in
milliseconds), which game engines and sprite editors import.

Source: https://www.aseprite.org/docs/cli/#sheet and its `--list-tags --format json-array`
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from aehub.errors import InputError


class Tag(NamedTuple):
    """A named range of frames, `first` to `last`, both included."""

    name: str
    first: int
    last: int


def sprite_sheet(rows: np.ndarray) -> np.ndarray:
    """Rows of frames as one picture.

    Args:
        rows: uint8 [R, N, H, W, 4].

    Returns:
        uint8 [R H, N W, 4].
    """
    n_rows, n_columns, height, width, channels = rows.shape
    return np.ascontiguousarray(
        rows.transpose(0, 2, 1, 3, 4).reshape(n_rows * height, n_columns * width, channels))


def sheet_json(image: str, shape: Sequence[int], names: Sequence[str], durations_ms: Sequence[int],
               tags: Sequence[Tag]) -> dict[str, Any]:
    """The JSON object of a sprite sheet.

    Args:
        image: name of the sheet's file.
        shape: of the frames, (R, N, H, W) or more.
        names: of all frames, row by row; the last row may have fewer.
        durations_ms: of all frames.
        tags: ranges of frames, such as the cycle of each direction.
    """
    n_rows, n_columns, height, width = shape[:4]
    cells = [(row, column) for row in range(n_rows) for column in range(n_columns)]
    frames = [{
        "filename": name,
        "frame": {"x": column * width, "y": row * height, "w": width, "h": height},
        "rotated": False, "trimmed": False,
        "spriteSourceSize": {"x": 0, "y": 0, "w": width, "h": height},
        "sourceSize": {"w": width, "h": height},
        "duration": duration,
    } for name, duration, (row, column) in zip(names, durations_ms, cells, strict=False)]
    return {"frames": frames, "meta": {
        "app": "aehub", "version": "1.0", "image": image, "format": "RGBA8888",
        "size": {"w": n_columns * width, "h": n_rows * height}, "scale": "1",
        "frameTags": [{"name": tag.name, "from": tag.first, "to": tag.last, "direction": "forward"}
                      for tag in tags]}}


def cycle_tags(directions: Sequence[str], columns: int) -> tuple[Tag, ...]:
    """The tags of a sheet of walk cycles, one row per direction: standing, then the steps."""
    return tuple(tag for row, name in enumerate(directions) for tag in (
        Tag(f"stand {name}", row * columns, row * columns),
        Tag(f"walk {name}", row * columns + 1, (row + 1) * columns - 1)))


def cycle_sheet_json(image: str, cycles: np.ndarray, directions: Sequence[str], step_ms: int
                     ) -> dict[str, Any]:
    """The JSON object of a sheet of walk cycles.

    Args:
        image: name of the sheet's file.
        cycles: uint8 [R, 1 + steps, H, W, 4]: for each direction standing, then the steps.
        directions: names of the rows.
        step_ms: duration of a frame in milliseconds.
    """
    n = cycles.shape[1]
    names = [f"{direction} {number}" for direction in directions for number in range(n)]
    return sheet_json(image, cycles.shape, names, [step_ms] * len(names),
                      cycle_tags(directions, n))


def contact_sheet(pictures: Sequence[np.ndarray], columns: int, gap: int = 2) -> np.ndarray:
    """Pictures of one size in a grid on white.

    Args:
        pictures: uint8 [H, W, C] each.
        columns: pictures per row.
        gap: white pixels between pictures.

    Returns:
        uint8 [.., .., C].

    Raises:
        InputError: there are no pictures, or they differ in size.
    """
    if not len(pictures) or columns < 1 or len({picture.shape for picture in pictures}) > 1:
        raise InputError("a contact sheet takes at least one picture, all of one size, and at "
                         "least one column.")
    height, width, channels = pictures[0].shape
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255,
                    np.uint8)
    for number, picture in enumerate(pictures):
        y, x = number // columns * (height + gap), number % columns * (width + gap)
        sheet[y:y + height, x:x + width] = picture
    return sheet
