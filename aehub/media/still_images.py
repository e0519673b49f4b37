"""Pictures read with imageio and Pillow: upright pages in 8 bits; play counts of animations.

Broken metadata is ignored.
"""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

import imageio.v3 as iio
import numpy as np
from PIL import Image, ImageCms

from aehub.config import Limits
from aehub.errors import InputError, LimitError
from aehub.media import conversion, file_type
from aehub.media.picture import add_note
from aehub.media.source import READABLE, check_pixels

CLIP_KINDS = file_type.STILL_KINDS | {"png", "webp", "avif"}
"""Formats (`file_type.kind_of`) that are read here also as clips."""
READABLE_KINDS = CLIP_KINDS | {"jpeg_pipe", "gif"}
"""Formats that are read here; Pillow reads more, some by running other programs."""
ANIMATED_KINDS = frozenset({"gif", "apng", "webp"})
PLAYS_TAG = "PLAYS"
"""Tag with the play count in Matroska files written here, which have no field for it."""

# TIFF NewSubfileType bits: a smaller copy of another page, the mask of another page.
_NO_PICTURE_SUBFILE = 1 | 4
# TIFF PhotometricInterpretation.
_WHITE_IS_ZERO = 0
_ROUNDED_NOTE = "16-bit samples were rounded to 8 bits."
# Pillow modes with transparency.
_ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
# Chunks that an APNG needs besides the critical ones of PNG.
_ANIMATION_CHUNKS = (b"acTL", b"fcTL", b"fdAT")


class StillImage:
    """An open picture file; a context manager.

    Attributes:
        size: shown (width, height) of every page.
        n_pages: pages that can be shown one after the other, at least 1.
        notes: sentences about what was left out or changed; grows while pages are read.
    """

    def __init__(self, file: BinaryIO, name: str, limits: Limits) -> None:
        """Read the headers of all pages, and the first page.

        Raises:
            InputError: the picture is damaged or of a kind that cannot be read.
            LimitError: it is too large.
        """
        self.notes: list[str] = []
        self._file, self._name, self._limits = file, name, limits
        self._kind, self._png_bits = _kind_of_file(file), 8
        if self._kind == "png":
            # Bit depth in the header, after the size.
            file.seek(len(file_type.PNG_SIGNATURE) + 16)
            self._png_bits = int.from_bytes(file.read(1), "big")
        self._image = _open_image(file, name, limits)
        with _no_warnings():
            height, width = self._image.properties(index=0).shape[:2]
            check_pixels(name, width, height, limits)
            self._pages = self._page_numbers()
        self.n_pages = len(self._pages)
        try:
            first = self._read_page(0)
        except InputError:
            bare = self._without_metadata()
            if bare is None:
                raise
            first = bare
        self._first: np.ndarray | None = first
        self.size = first.shape[1], first.shape[0]

    def page(self, index: int) -> np.ndarray:
        """Return page `index`: uint8 [H, W, 3] in RGB, or [H, W, 4] with its opacity.

        Raises:
            InputError: the page is damaged.
        """
        if index == 0 and self._first is not None:
            page, self._first = self._first, None
            return page
        return self._read_page(index)

    def __enter__(self) -> StillImage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the picture."""
        self._image.close()

    def _read_page(self, index: int) -> np.ndarray:
        if self._kind == "tiff":
            # Pillow keeps the palette of the page read before, and fails with it.
            self._image = _open_image(self._file, self._name, self._limits)
        with _no_warnings():
            try:
                return np.ascontiguousarray(self._pixels(self._pages[index]))
            except InputError:
                raise
            except Exception as err:  # Damaged pictures make Pillow raise nearly anything.
                raise InputError(f"{self._name} is damaged: it cannot be decoded.") from err

    def _without_metadata(self) -> np.ndarray | None:
        """The first page if only metadata are damaged."""
        for keep_exif in (True, False):
            bare = without_metadata(self._file, keep_exif=keep_exif)
            if bare is not None:
                self._image = _open_image(bare, self._name, self._limits)
                with suppress(InputError):
                    return self._read_page(0)
        return None

    def _pixels(self, page: int) -> np.ndarray:
        """Page number `page` of the file, upright, in 8 bits."""
        tags = self._image.metadata(index=page, exclude_applied=False)
        mode = tags["mode"]
        # Pillow scales deep samples of this format to 16 bits.
        if mode.startswith("I;16") or (mode, self._kind) == ("I", "ppm"):
            return self._from_16_bits(self._samples(page), tags)
        if mode in ("I", "F"):
            raise InputError(
                f"{self._name} has samples of 32 bits; save it as an 8-bit picture."
            )
        bits = tags.get("BitsPerSample", self._png_bits)
        if 16 in (bits if isinstance(bits, tuple) else (bits,)):
            # Pillow keeps the upper 8.
            add_note(self.notes, _ROUNDED_NOTE)
        if mode == "LAB":
            array = self._samples(page)
            image = Image.frombytes("LAB", array.shape[1::-1], array.tobytes())
            lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
            return np.asarray(ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB"))
        if mode == "La":
            return self._samples(page, "LA")[..., [0, 0, 0, 1]]
        if "transparency" in tags or mode in _ALPHA_MODES:
            return self._samples(page, "RGBA")
        return self._samples(page, None if mode == "P" else "RGB")

    def _samples(self, page: int, mode: str | None = None) -> np.ndarray:
        array: np.ndarray = self._image.read(
            index=page, mode=mode, rotate=True, writeable_output=False)
        return array

    def _from_16_bits(self, deep: np.ndarray, tags: dict[str, Any]) -> np.ndarray:
        """A grey page of 12 or 16 bits."""
        add_note(self.notes, _ROUNDED_NOTE)
        deep = deep.astype(np.uint16)
        depth = 12 if tags.get("BitsPerSample") in (12, (12,)) else 16
        grey = conversion.to_8_bits(deep, depth, full_range=True)
        if tags.get("PhotometricInterpretation") == _WHITE_IS_ZERO:
            grey = 255 - grey
        channels = [grey] * 3
        if "transparency" in tags:
            clear = deep == tags["transparency"]
            channels.append(np.where(clear, 0, 255).astype(np.uint8))
        return np.stack(channels, axis=2)

    def _page_numbers(self) -> list[int]:
        """Numbers of the pages that can be shown one after the other."""
        if self._kind == "ico":
            sizes = self._image.metadata(index=0).get("sizes", ())
            if len(sizes) > 1:
                add_note(self.notes, f"The largest of {len(sizes)} pictures in the file was taken.")
        if self._kind in ("webp", "avif"):
            return list(range(self._image.properties(index=...).n_images or 1))
        # Further pictures of other formats are gain maps, previews and layers.
        return self._tiff_pages() if self._kind == "tiff" else [0]

    def _tiff_pages(self) -> list[int]:
        sizes: dict[int, tuple[int, ...]] = {}
        number = 0
        try:
            while True:
                tags = self._image.metadata(index=number)
                if not int(tags.get("NewSubfileType", 0)) & _NO_PICTURE_SUBFILE:
                    sizes[number] = tags["shape"]
                number += 1
        except EOFError:
            pass
        except Exception:  # A broken chain of pages: those before are intact.
            add_note(self.notes, f"The file is damaged after page {number}; the rest was left out.")
        pages = list(sizes) or [0]
        if not sizes:
            add_note(self.notes, "Only a smaller copy of the picture could be read.")
        if len(set(sizes.values())) > 1:
            add_note(self.notes, f"The file holds {len(pages)} pages of different sizes; the first "
                     "was taken.")
            return pages[:1]
        return pages


def metadata(file: BinaryIO) -> dict[str, Any]:
    """Return the metadata of a picture, none if it cannot be opened."""
    with _no_warnings():
        try:
            return dict(_imageio_file(file).metadata(index=0, exclude_applied=False))
        except Exception:  # The pixels may still be readable.
            return {}


def without_metadata(file: BinaryIO, *, keep_exif: bool) -> BinaryIO | None:
    """Copy a PNG with only the chunks that its pixels need, or a WebP without EXIF.

    Args:
        file: the picture.
        keep_exif: keep intact EXIF of a PNG, too.

    Returns:
        The copy, None if there is nothing to leave out, or for other formats.
    """
    kind = _kind_of_file(file)
    if kind == "webp":
        return _without_exif(file)
    if kind != "png":
        return None
    begin = len(file_type.PNG_SIGNATURE)
    chunks, is_reduced = [file_type.PNG_SIGNATURE], False
    for name, end in file_type.png_chunks(file):
        file.seek(begin)
        chunk = file.read(end - begin)
        begin = end
        is_intact = zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")
        affects_display = name == b"tRNS" or (keep_exif and name == b"eXIf")
        # Pixel aspect ratio.
        affects_display = affects_display or (name == b"pHYs" and len(chunk) == 12 + 9)
        if name[:1].isupper() or name in _ANIMATION_CHUNKS or (affects_display and is_intact):
            chunks.append(chunk)
        else:
            is_reduced = True
    return io.BytesIO(b"".join(chunks)) if is_reduced else None


def play_count(file: BinaryIO, kind: str) -> int:
    """Return how often a GIF, APNG or animated WebP is played, 0 for ever or if it is damaged.

    A GIF states its repetitions; without them it is played once.
    """
    tags = metadata(file)
    loop = tags.get("loop") if tags else 0
    if kind == "gif":
        return 1 if loop is None else int(loop) + 1 if loop else 0
    return int(loop or 0)


def parse_play_count(value: Any) -> int:
    """Read the play count of a tag, 0 if it is no such number."""
    text = str(value)
    return int(text) if text.isdecimal() and len(text) < 6 else 0


def _without_exif(file: BinaryIO) -> BinaryIO | None:
    positions = [at for name, at in file_type.webp_chunks(file) if name == b"EXIF"]
    file.seek(0)
    data = bytearray(file.read())
    for position in positions:
        data[position - 8 : position - 4] = b"JUNK"
    return io.BytesIO(data) if positions else None


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Suppress Pillow's warnings, which print paths of source files to stderr."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _imageio_file(file: BinaryIO) -> Any:
    unclosed: Any = _Unclosed(file)
    return iio.imopen(unclosed, "r", plugin="pillow")


class _Unclosed:
    """A file that imageio cannot close."""

    def __init__(self, file: Any) -> None:
        self.read, self.readline, self.seek, self.tell = (
            file.read, file.readline, file.seek, file.tell)

    def close(self) -> None:
        """Do nothing."""


def _kind_of_file(file: BinaryIO) -> str | None:
    file.seek(0)
    return file_type.kind_of(file.read(file_type.HEAD_BYTES))


def _open_image(file: BinaryIO, name: str, limits: Limits) -> Any:
    """Open a picture with imageio."""
    with _no_warnings():
        try:
            if _kind_of_file(file) not in READABLE_KINDS:
                raise ValueError(name)
            return _imageio_file(file)
        except Exception as err:  # Broken metadata make Pillow raise nearly anything.
            if isinstance(err.__cause__, Image.DecompressionBombError):
                most = min(limits.max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or limits.max_pixels))
                raise LimitError(
                    f"{name} has more pixels than the {most} that are allowed. Make it smaller."
                ) from err
            bare = without_metadata(file, keep_exif=True)
            if bare is not None:
                return _open_image(bare, name, limits)
            raise InputError(
                f"{name} is not a clip or picture that can be read; give an intact {READABLE}."
            ) from err
