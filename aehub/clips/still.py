"""Pictures as Pillow reads them: their pages upright and in 8 bits, broken metadata ignored."""

from __future__ import annotations

import io
import re
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, TypeVar

import numpy as np
from PIL import Image, ImageCms

from aehub.clips import orientation, samples, sniff
from aehub.clips.orientation import Orientation
from aehub.clips.source import READABLE, check_pixels
from aehub.config import Limits
from aehub.errors import InputError, LimitError

# Of Pillow's readers, those that know their files by the first bytes and run no other program.
_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "AVIF", "JPEG2000", "PSD", "ICO", "PPM",
            "QOI")
KINDS = sniff.STILLS | {"png", "webp", "avif"}
"""What `sniff.kind_of` calls the files that are read here, whole clips included."""
_ORIENTATION, _BITS, _PHOTOMETRIC, _SUBFILE = 0x112, 258, 262, 254
# Bits of a TIFF page's kind: a smaller copy of another page, the mask of another page.
_NO_PICTURE = 1 | 4
_WHITE_IS_ZERO = 0
_ROUNDED = "16-bit samples were rounded to 8 bits."
# Chunks of a PNG besides those that every reader must know.
_ANIMATION = (b"acTL", b"fcTL", b"fdAT")

_T = TypeVar("_T")


class Still:
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
        self._name = name
        self._image = _opened(file, name, limits)
        check_pixels(name, *self._image.size, limits)
        self._pages = self._numbered()
        self.n_pages = len(self._pages)
        try:
            self._first: np.ndarray | None = self._read(0)
        except InputError:
            bare = without_metadata(file, oriented=True)
            if bare is None:
                raise
            self._image = _opened(bare, name, limits)
            self._first = self._read(0)
        self.size = self._first.shape[1], self._first.shape[0]

    def page(self, index: int) -> np.ndarray:
        """Return page `index`: uint8 [H, W, 3] in RGB, or [H, W, 4] with its opacity.

        Raises:
            InputError: the page is damaged.
        """
        if index == 0 and self._first is not None:
            page, self._first = self._first, None
            return page
        return self._read(index)

    def __enter__(self) -> Still:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the picture."""
        self._image.close()

    def _read(self, index: int) -> np.ndarray:
        image = self._image
        with _quiet():
            try:
                image.seek(self._pages[index])
                if image.format == "TIFF":
                    _forget_tags(image)
                if image.mode not in ("P", "PA"):
                    # Pillow keeps that of the page looked at before, and fails with it.
                    image.palette = None
                if _is_deep(image):
                    self._note(_ROUNDED)
                image.load()
                # After loading, for Pillow turns TIFF by itself and forgets the tag.
                turn = _orientation_of(image)
                page = self._pixels()
            except InputError:
                raise
            except Exception as err:  # Damaged pictures make Pillow raise nearly anything.
                raise InputError(f"{self._name} is damaged: it cannot be decoded.") from err
        return np.ascontiguousarray(turn.turn_array(page))

    def _pixels(self) -> np.ndarray:
        """The page as Pillow stores it, in 8 bits."""
        image = self._image
        # Pillow stretches deep samples of this format to 16 bits.
        if image.mode.startswith("I;16") or (image.mode, image.format) == ("I", "PPM"):
            return self._from_16_bits()
        if image.mode in ("I", "F"):
            raise InputError(
                f"{self._name} has samples of 32 bits; save it as an 8-bit picture."
            )
        if image.mode == "LAB":
            lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
            shown: Any = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
            return np.asarray(shown)
        if image.mode == "La":
            image = image.convert("LA")
        return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))

    def _from_16_bits(self) -> np.ndarray:
        """A grey page of 12 or 16 bits."""
        self._note(_ROUNDED)
        deep = np.asarray(self._image).astype(np.uint16)
        tags: Any = getattr(self._image, "tag_v2", {})
        grey = samples.to_8_bits(deep, 12 if tags.get(_BITS) == (12,) else 16, full_range=True)
        if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            grey = 255 - grey
        channels = [grey] * 3
        if "transparency" in self._image.info:
            clear = deep == self._image.info["transparency"]
            channels.append(np.where(clear, 0, 255).astype(np.uint8))
        return np.stack(channels, axis=2)

    def _numbered(self) -> list[int]:
        """The numbers of the pages that can be shown one after the other."""
        image = self._image
        with _quiet():
            if image.format == "ICO":
                others = len(image.info.get("sizes", ())) - 1
                if others > 0:
                    self._note(f"The largest of {others + 1} pictures in the file was taken.")
            if image.format in ("WEBP", "AVIF"):
                return list(range(getattr(image, "n_frames", 1)))
            # Further pictures of other kinds are none to be shown: gain maps, previews, layers.
            return self._tiff_pages() if image.format == "TIFF" else [0]

    def _tiff_pages(self) -> list[int]:
        image: Any = self._image
        sizes: dict[int, tuple[int, int]] = {}
        number = 0
        try:
            while True:
                image.seek(number)
                if not int(image.tag_v2.get(_SUBFILE, 0)) & _NO_PICTURE:
                    sizes[number] = image.size
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


def orientation_in(file: BinaryIO) -> Orientation:
    """How the picture in a file must be turned; upright if the file does not say."""
    return _looked_at(file, _orientation_of, Orientation())


def is_cmyk(file: BinaryIO) -> bool:
    """Whether the picture in a file is of four inks."""
    return _looked_at(file, lambda image: image.mode == "CMYK", False)


def loop_in(file: BinaryIO) -> int | None:
    """The number of loops that an animation states: `None` if none, 0 where it is damaged."""
    otherwise: int | None = 0
    return _looked_at(file, lambda image: image.info.get("loop"), otherwise)


def _looked_at(file: BinaryIO, look: Callable[[Image.Image], _T], otherwise: _T) -> _T:
    """What the head of a picture says, `otherwise` where Pillow cannot open it."""
    with _quiet(), suppress(Exception), Image.open(file, formats=_FORMATS) as image:
        return look(image)
    return otherwise


def without_metadata(file: BinaryIO, *, oriented: bool) -> BinaryIO | None:
    """A PNG with those chunks only that its pixels need; `None` if it has no others.

    Args:
        file: the picture.
        oriented: keep EXIF, too, if it is intact.
    """
    file.seek(0)
    begin = len(sniff.PNG)
    if file.read(begin) != sniff.PNG:
        return None
    kept, is_less = [sniff.PNG], False
    for name, end in sniff.png_chunks(file):
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


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Pillow's warnings, which print paths of source files to stderr."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _opened(file: BinaryIO, name: str, limits: Limits) -> Image.Image:
    with _quiet():
        try:
            return Image.open(file, formats=_FORMATS)
        except Image.DecompressionBombError as err:
            most = min(limits.max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or limits.max_pixels))
            raise LimitError(
                f"{name} has more pixels than the {most} that are allowed. Make it smaller."
            ) from err
        except Exception as err:  # Broken metadata make Pillow raise nearly anything.
            bare = without_metadata(file, oriented=True)
            if bare is not None:
                return _opened(bare, name, limits)
            raise InputError(
                f"{name} is not a clip or picture that can be read; give an intact {READABLE}."
            ) from err


def _forget_tags(image: Image.Image) -> None:
    """Drop the tags of a TIFF page but its orientation, for Pillow parses all while it loads."""
    exif: Any = {}
    # What was parsed before an error stays, and is given the second time.
    for _ in range(2):
        with suppress(Exception):
            exif = image.getexif()
    for tag in [tag for tag in exif if tag != _ORIENTATION]:
        del exif[tag]


def _is_deep(image: Any) -> bool:
    """Whether a picture is stored with 16 bits a sample of which Pillow keeps the upper 8."""
    modes = [tile[3][0] if isinstance(tile[3], tuple) else tile[3] for tile in image.tile]
    return any(re.match(r"(RGB|LA|CMYK)[AX]*;16", str(mode)) for mode in modes)


def _orientation_of(image: Image.Image) -> Orientation:
    try:
        return orientation.from_exif(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # A photograph is more than its metadata.
        return Orientation()
