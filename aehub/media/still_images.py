"""Pictures as imageio reads them, with Pillow: their pages upright and in 8 bits.

Broken metadata is ignored.

The number of plays of an animation, which decoders do not report.
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
from aehub.media.source import READABLE, check_pixels

KINDS = file_type.STILL_KINDS | {"png", "webp", "avif"}
"""What `sniff.kind_of` calls the files that are read here, whole clips included."""
# Pillow reads more, some by running other programs.
_READ = KINDS | {"jpeg_pipe", "gif"}
# Bits of a TIFF page's kind: a smaller copy of another page, the mask of another page.
_NO_PICTURE = 1 | 4
_WHITE_IS_ZERO = 0
_ROUNDED = "16-bit samples were rounded to 8 bits."
_CLEAR_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
# Chunks of a PNG besides those that every reader must know.
_ANIMATION = (b"acTL", b"fcTL", b"fdAT")


class StillImage:
    """A picture file; a context manager.

    Attributes:
        size: shown (width, height) of every page.
        n_pages: pages that can be shown one after the other, at least 1.
        notes: what was left out or changed; grows while pages are read.
    """

    def __init__(self, file: BinaryIO, name: str, limits: Limits) -> None:
        """Read the heads of all pages, and the first page.

        Raises:
            InputError: the picture is damaged or of a kind that cannot be read.
            LimitError: it is too large.
        """
        self.notes: list[str] = []
        self._file, self._name, self._limits = file, name, limits
        self._kind, self._png_bits = _kind_of(file), 8
        if self._kind == "png":
            # Of its header, after the size.
            file.seek(len(file_type.PNG_SIGNATURE) + 16)
            self._png_bits = int.from_bytes(file.read(1), "big")
        self._image = _opened(file, name, limits)
        with _quiet():
            height, width = self._image.properties(index=0).shape[:2]
            check_pixels(name, width, height, limits)
            self._pages = self._numbered()
        self.n_pages = len(self._pages)
        try:
            first = self._read(0)
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
        return self._read(index)

    def __enter__(self) -> StillImage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the picture."""
        self._image.close()

    def _read(self, index: int) -> np.ndarray:
        if self._kind == "tiff":
            # Pillow keeps the palette of the page looked at before, and fails with it.
            self._image = _opened(self._file, self._name, self._limits)
        with _quiet():
            try:
                return np.ascontiguousarray(self._pixels(self._pages[index]))
            except InputError:
                raise
            except Exception as err:  # Damaged pictures make Pillow raise nearly anything.
                raise InputError(f"{self._name} is damaged: it cannot be decoded.") from err

    def _without_metadata(self) -> np.ndarray | None:
        """The first page where only metadata are damaged."""
        for oriented in (True, False):
            bare = without_metadata(self._file, oriented=oriented)
            if bare is not None:
                self._image = _opened(bare, self._name, self._limits)
                with suppress(InputError):
                    return self._read(0)
        return None

    def _pixels(self, page: int) -> np.ndarray:
        """Page number `page` of the file, upright, in 8 bits."""
        told = self._image.metadata(index=page, exclude_applied=False)
        mode = told["mode"]
        # Pillow stretches deep samples of this format to 16 bits.
        if mode.startswith("I;16") or (mode, self._kind) == ("I", "ppm"):
            return self._from_16_bits(self._stored(page), told)
        if mode in ("I", "F"):
            raise InputError(
                f"{self._name} has samples of 32 bits; save it as an 8-bit picture."
            )
        bits = told.get("BitsPerSample", self._png_bits)
        if 16 in (bits if isinstance(bits, tuple) else (bits,)):
            # Pillow keeps the upper 8.
            self._note(_ROUNDED)
        if mode == "LAB":
            array = self._stored(page)
            image = Image.frombytes("LAB", array.shape[1::-1], array.tobytes())
            lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
            return np.asarray(ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB"))
        if mode == "La":
            return self._stored(page, "LA")[..., [0, 0, 0, 1]]
        if "transparency" in told or mode in _CLEAR_MODES:
            return self._stored(page, "RGBA")
        return self._stored(page, None if mode == "P" else "RGB")

    def _stored(self, page: int, mode: str | None = None) -> np.ndarray:
        array: np.ndarray = self._image.read(
            index=page, mode=mode, rotate=True, writeable_output=False)
        return array

    def _from_16_bits(self, deep: np.ndarray, told: dict[str, Any]) -> np.ndarray:
        """A grey page of 12 or 16 bits."""
        self._note(_ROUNDED)
        deep = deep.astype(np.uint16)
        depth = 12 if told.get("BitsPerSample") in (12, (12,)) else 16
        grey = conversion.to_8_bits(deep, depth, full_range=True)
        if told.get("PhotometricInterpretation") == _WHITE_IS_ZERO:
            grey = 255 - grey
        channels = [grey] * 3
        if "transparency" in told:
            clear = deep == told["transparency"]
            channels.append(np.where(clear, 0, 255).astype(np.uint8))
        return np.stack(channels, axis=2)

    def _numbered(self) -> list[int]:
        """The numbers of the pages that can be shown one after the other."""
        if self._kind == "ico":
            sizes = self._image.metadata(index=0).get("sizes", ())
            if len(sizes) > 1:
                self._note(f"The largest of {len(sizes)} pictures in the file was taken.")
        if self._kind in ("webp", "avif"):
            return list(range(self._image.properties(index=...).n_images or 1))
        # Further pictures of other kinds are none to be shown: gain maps, previews, layers.
        return self._tiff_pages() if self._kind == "tiff" else [0]

    def _tiff_pages(self) -> list[int]:
        sizes: dict[int, tuple[int, ...]] = {}
        number = 0
        try:
            while True:
                told = self._image.metadata(index=number)
                if not int(told.get("NewSubfileType", 0)) & _NO_PICTURE:
                    sizes[number] = told["shape"]
                number += 1
        except EOFError:
            pass
        except Exception:  # A broken chain of pages: those before are intact.
            self._note(f"What follows page {number} of the file is damaged and was left out.")
        pages = list(sizes) or [0]
        if not sizes:
            self._note("Only a smaller copy of the picture could be read.")
        if len(set(sizes.values())) > 1:
            self._note(f"The file holds {len(pages)} pages of different sizes; the first was "
                       "taken.")
            return pages[:1]
        return pages

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)


def metadata(file: BinaryIO) -> dict[str, Any]:
    """What the head of a picture says; nothing where it cannot be opened."""
    with _quiet():
        try:
            return dict(_resource(file).metadata(index=0, exclude_applied=False))
        except Exception:  # A photograph is more than its metadata.
            return {}


def without_metadata(file: BinaryIO, *, oriented: bool) -> BinaryIO | None:
    """A PNG with those chunks only that its pixels need, a WebP without EXIF.

    Args:
        file: the picture.
        oriented: keep EXIF of a PNG, too, if it is intact.

    Returns:
        The picture, `None` if there is nothing to leave out, or it is of another kind.
    """
    kind = _kind_of(file)
    if kind == "webp":
        return _without_exif(file)
    if kind != "png":
        return None
    begin = len(file_type.PNG_SIGNATURE)
    kept, is_less = [file_type.PNG_SIGNATURE], False
    for name, end in file_type.png_chunks(file):
        file.seek(begin)
        chunk = file.read(end - begin)
        begin = end
        is_intact = zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")
        is_shown = name == b"tRNS" or (oriented and name == b"eXIf")
        # The shape of pixels.
        is_shown = is_shown or (name == b"pHYs" and len(chunk) == 12 + 9)
        if name[:1].isupper() or name in _ANIMATION or (is_shown and is_intact):
            kept.append(chunk)
        else:
            is_less = True
    return io.BytesIO(b"".join(kept)) if is_less else None


def _without_exif(file: BinaryIO) -> BinaryIO | None:
    places = [place for name, place in file_type.webp_chunks(file) if name == b"EXIF"]
    file.seek(0)
    data = bytearray(file.read())
    for place in places:
        data[place - 8:place - 4] = b"JUNK"
    return io.BytesIO(data) if places else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Pillow's warnings, which print paths of source files to stderr."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _resource(file: BinaryIO) -> Any:
    lent: Any = _Lent(file)
    return iio.imopen(lent, "r", plugin="pillow")


class _Lent:
    """A file that imageio does not close."""

    def __init__(self, file: Any) -> None:
        self.read, self.readline, self.seek, self.tell = (
            file.read, file.readline, file.seek, file.tell)

    def close(self) -> None:
        """Leave it open."""


def _kind_of(file: BinaryIO) -> str | None:
    file.seek(0)
    return file_type.kind_of(file.read(file_type.HEAD_BYTES))


def _opened(file: BinaryIO, name: str, limits: Limits) -> Any:
    """The picture as a resource of imageio."""
    with _quiet():
        try:
            if _kind_of(file) not in _READ:
                raise ValueError(name)
            return _resource(file)
        except Exception as err:  # Broken metadata make Pillow raise nearly anything.
            if isinstance(err.__cause__, Image.DecompressionBombError):
                most = min(limits.max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or limits.max_pixels))
                raise LimitError(
                    f"{name} has more pixels than the {most} that are allowed. Make it smaller."
                ) from err
            bare = without_metadata(file, oriented=True)
            if bare is not None:
                return _opened(bare, name, limits)
            raise InputError(
                f"{name} is not a clip or picture that can be read; give an intact {READABLE}."
            ) from err


ANIMATIONS = frozenset({"gif", "apng", "webp"})
TAG = "PLAYS"
"""Of Matroska files written here, which have no field for it."""


def play_count(file: BinaryIO, kind: str) -> int:
    """Return how often a GIF, APNG or animated WebP is played, 0 for ever or where it is damaged.

    A GIF that says nothing is played once; otherwise it says how often it is repeated.
    """
    told = metadata(file)
    loop = told.get("loop") if told else 0
    if kind == "gif":
        return 1 if loop is None else int(loop) + 1 if loop else 0
    return int(loop or 0)


def parse_play_count(value: Any) -> int:
    """Return what a tag or a note says, 0 where it is no such number."""
    text = str(value)
    return int(text) if text.isdecimal() and len(text) < 6 else 0
