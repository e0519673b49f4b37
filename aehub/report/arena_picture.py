"""A picture to share: the same part of a frame of the original and of each reconstruction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from aehub.media.conversion import to_rgb
from aehub.media.decoded_clip import DecodedClip
from aehub.media.picture import Picture
from aehub.report.arena_records import ArenaReport

_CROP, _SIDE = 128, 256
"""Side of a crop in pixels of the clip at most, and in the picture at least."""
_STEP = 8
"""Distance of the places that are tried for the crop, in pixels."""
_MARGIN, _GAP, _HEAD, _CAPTION = 28, 14, 58, 62
"""Lengths in pixels: border, between crops, title, text below a crop."""
_BACK, _TEXT, _SOFT = "#14161c", "#f3f2ee", "#9da1ae"
_ORIGINAL, _BEST = "#f0a94a", "#8b83ff"


def draw_crops(report: ArenaReport, clip: DecodedClip, decoded: Sequence[DecodedClip]) -> None:
    """Write `report.picture`: a row of crops where the models differ most, with captions.

    Args:
        report: names, sizes and measurements.
        clip: the original.
        decoded: the reconstructions, in the order of `report.results`.
    """
    number = len(clip) // 2
    pictures = [clip[number], *(part[number] for part in decoded)]
    x, y, side = crop_window(pictures)
    scale = max(1, round(_SIDE / side))
    shown = side * scale
    width = 2 * _MARGIN + len(pictures) * (shown + _GAP) - _GAP
    image = Image.new("RGB", (width, 2 * _MARGIN + _HEAD + shown + _CAPTION), _BACK)
    draw = ImageDraw.Draw(image)
    best = max(one.psnr for one in report.results)
    draw.text((_MARGIN, _MARGIN - 6), report.name, _TEXT, _font(26))
    draw.text((_MARGIN, _MARGIN + 28), _subtitle(report, number), _SOFT, _font(15))
    draw.text((width - _MARGIN, _MARGIN - 6), "AEHub", _BEST, _font(20), anchor="ra")
    captions = [("original", f"{report.width} x {report.height}", _ORIGINAL)]
    captions += [(one.model, f"{one.bytes / 1000:.1f} kB   {one.psnr:.2f} dB",
                  _BEST if one.psnr == best else _TEXT) for one in report.results]
    for column, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        left, top = _MARGIN + column * (shown + _GAP), _MARGIN + _HEAD
        rgb = to_rgb(picture, clip.info.colour)[y:y + side, x:x + side]
        crop = Image.fromarray(np.ascontiguousarray(rgb))
        image.paste(crop.resize((shown, shown), Image.Resampling.NEAREST), (left, top))
        _caption(draw, (left, top + shown + 10), shown, *caption)
    image.save(report.picture, "PNG")


def crop_window(pictures: Sequence[Picture]) -> tuple[int, int, int]:
    """Return (x, y, side) of the square where reconstructions differ most, or one has most loss.

    Args:
        pictures: the original, then the reconstructions.
    """
    height, width = pictures[0][0].shape
    side = min(height, width, _CROP)
    original = pictures[0][0].astype(np.float32)
    errors = np.stack([np.abs(picture[0] - original) for picture in pictures[1:]])
    loss = errors.max(0) - (errors.min(0) if len(errors) > 1 else 0)
    sums = np.pad(loss.cumsum(0, np.float64).cumsum(1), ((1, 0), (1, 0)))
    tops, lefts = (np.arange(0, size - side + 1, _STEP) for size in (height, width))
    rows = sums[tops + side] - sums[tops]
    row, column = divmod(int((rows[:, lefts + side] - rows[:, lefts]).argmax()), len(lefts))
    return int(lefts[column]), int(tops[row]), side


def _subtitle(report: ArenaReport, number: int) -> str:
    size = "one quality"
    if report.target_size is not None:
        size = f"all files at most {report.target_size / 1000:.1f} kB"
    return f"frame {number + 1} of {len(report.times)}, {size}, where they differ most"


def _caption(draw: ImageDraw.ImageDraw, place: tuple[int, int], width: int, name: str,
             numbers: str, colour: str) -> None:
    size = 19
    while size > 11 and draw.textlength(name, _font(size)) > width:
        size -= 1
    while len(name) > 4 and draw.textlength(name, _font(size)) > width:
        name = name[:-3] + ".."
    draw.text(place, name, colour, _font(size))
    draw.text((place[0], place[1] + 27), numbers, _SOFT, _font(16))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font that Pillow brings."""
    return ImageFont.load_default(size)
