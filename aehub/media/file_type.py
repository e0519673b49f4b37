"""What kind of file these bytes are, told by its first bytes and never by its name.

Tell pictures from clips, in files and folders: by the first bytes, else by the name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from aehub.files import is_lfs_pointer

HEAD_BYTES = 64
PNG = b"\x89PNG\r\n\x1a\n"

# First bytes -> the name of the libavformat reader. "None" of these: libavformat may guess.
_MAGICS = (
    (b"\x1aE\xdf\xa3", "matroska"),
    (b"GIF8", "gif"),
    (b"\xff\xd8\xff", "jpeg_pipe"),
    (b"YUV4MPEG2", "yuv4mpegpipe"),
    (b"BM", "bmp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    *((magic, "sound") for magic in (b"ID3", b"fLaC", b"#!AMR", b"caff")),
    # MPEG audio and AAC without a container.
    *((b"\xff" + second, "sound") for second in (b"\xfb", b"\xf3", b"\xf2", b"\xf1", b"\xf9")),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"\0\0\0\x0cjP  ", "jp2"),
    (b"\xff\x4f\xff\x51", "jp2"),
    (b"8BPS", "psd"),
    (b"\0\0\1\0", "ico"),
    (b"qoif", "qoi"),
    (PNG, "png"),
)
STILLS = frozenset({"bmp", "tiff", "jp2", "psd", "ico", "qoi", "ppm"})
"""Kinds of which every file is a picture, but JPEG."""
_WORDS = {"mov": "an MP4 or MOV video", "matroska": "a Matroska or WebM video",
          "avi": "an AVI video", "yuv4mpegpipe": "a Y4M video", "gif": "a GIF",
          "png": "a PNG picture",
          "jpeg_pipe": "a JPEG picture", "webp": "a WebP picture", "avif": "an AVIF picture",
          "heif": "a HEIC picture"}
_ARCHIVES = {b"PK\x03\x04": "a ZIP archive", b"\x1f\x8b": "a gzip archive"}
# A letter, the number of the variant, white space: too short to stand among the magics.
_PPM = re.compile(rb"P[1-6][\s#]")
_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
# Without the end of these, pictures are lost.
_NEEDED_ATOMS = frozenset({b"ftyp", b"moov", b"mdat", b"moof", b"meta"})
# The ids of ContentEncodings, ContentEncoding and ContentEncryption in a Matroska track.
_ENCRYPTED_TRACK = re.compile(
    rb"\x1aE\xdf\xa3.*\x6d\x80.{1,8}\x62\x40.{1,40}?\x50\x35", re.DOTALL
)
# Bytes of a transport stream's packet, and the first of them.
_TS_PACKET, _TS_SYNC = 188, 0x47


def kind_of(head: bytes) -> str | None:
    """Name the kind of a file from its first `HEAD_BYTES`; `None` when it is no known one."""
    for magic, kind in _MAGICS:
        if head.startswith(magic):
            return kind
    if _PPM.match(head):
        return "ppm"
    if head.startswith(b"RIFF"):
        return {b"WEBP": "webp", b"AVI ": "avi", b"WAVE": "sound"}.get(head[8:12])
    if head.startswith(b"FORM") and head[8:12] in (b"AIFF", b"AIFC"):
        return "sound"
    if head[4:8] in _ATOMS:
        brands = head[8 : int.from_bytes(head[:4], "big")] if head[4:8] == b"ftyp" else b""
        if b"avif" in brands or b"avis" in brands:
            return "avif"
        return "heif" if b"heic" in brands or b"mif1" in brands else "mov"
    return None


def describe_bytes(data: bytes) -> str:
    """Say in words what a file that is no `.aev` file begins like."""
    kind = kind_of(data)
    if kind == "sound":
        return "sound"
    if kind is not None:
        return f"{_WORDS.get(kind, 'a picture')}; compress it first"
    if is_lfs_pointer(data):
        return "only a pointer of Git LFS; run git lfs pull for the file itself"
    for magic, words in _ARCHIVES.items():
        if data.startswith(magic):
            return words
    text = data[:16].decode("ascii", "replace")
    if all(c.isprintable() and c.isascii() or c.isspace() for c in text):
        return f"text ({text!r})"
    return f"something else (its first bytes are {data[:8].hex(' ')})"


def is_encrypted(head: bytes) -> bool:
    """Whether a Matroska file or a transport stream says so; libavformat does not pass it on."""
    if _ENCRYPTED_TRACK.match(head):
        return True
    packets = range(0, len(head) - 3, _TS_PACKET)
    is_ts = len(packets) > 3 and all(head[at] == _TS_SYNC for at in packets[:4])
    return is_ts and any(head[at + 3] & 0x80 for at in packets if head[at] == _TS_SYNC)


def declared_bytes(file: BinaryIO, kind: str | None, size: int) -> int | None:
    """Bytes the file says it should have at least, `None` when it does not say.

    A download that broke off or a full disk leaves fewer: libavformat would end such a clip early
    and without a word.
    """
    if kind in ("avi", "webp"):
        file.seek(4)
        return int.from_bytes(file.read(4), "little") + 8
    if kind in ("mov", "avif", "heif"):
        return _end_of_atoms(file, size)
    if kind == "matroska":
        return _end_of_segment(file)
    if kind == "png":
        return next((end for name, end in png_chunks(file) if name == b"IEND"), size + 1)
    if kind == "gif":
        return max(end for _, end in _gif_blocks(file))
    return None


def is_animated(file: BinaryIO, kind: str) -> bool:
    """Whether a PNG, WebP or GIF holds more than one picture."""
    if kind == "webp":
        return any(name == b"ANIM" for name, _ in webp_chunks(file))
    if kind == "gif":
        return sum(name == b"," for name, _ in _gif_blocks(file)) > 1
    # The animation control chunk comes before the picture.
    first = (name for name, _ in png_chunks(file) if name in (b"acTL", b"IDAT"))
    return next(first, b"") == b"acTL"


def webp_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """The top-level chunks of a WebP file: (name, position of the payload)."""
    position = 12
    while True:
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return
        yield header[:4], position + 8
        length = int.from_bytes(header[4:], "little")
        position += 8 + length + length % 2


def _end_of_atoms(file: BinaryIO, size: int) -> int:
    """Where the last top-level atom of a QuickTime or MP4 file that matters says it ends.

    Programs append all kinds of things to a film; players stop at what they do not know.
    """
    position = 0
    while position + 8 <= size:
        file.seek(position)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        is_cut = position + length > size
        if length < 8 or is_cut and header[4:8] not in _NEEDED_ATOMS:
            return size
        position += length
    return position


def _end_of_segment(file: BinaryIO) -> int | None:
    """Where the segment of a Matroska file says it ends; `None` for live recordings."""
    file.seek(0)
    head = file.read(4096)
    found = head.find(b"\x18\x53\x80\x67")
    if found < 0 or len(head) < found + 12:
        return None
    width = 9 - head[found + 4].bit_length()
    field = int.from_bytes(head[found + 4 : found + 4 + width], "big")
    length = field & ((1 << 7 * width) - 1)
    if width > 8 or length == (1 << 7 * width) - 1:
        return None
    return found + 4 + width + length


def png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """The chunks of a PNG file: (name, position of the end)."""
    position = len(PNG)
    while True:
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return
        position += int.from_bytes(header[:4], "big") + 12
        yield header[4:], position


def _gif_blocks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """The blocks of a GIF: (their first byte, position of the end), `b","` for a picture."""
    file.seek(0)
    flags = file.read(13)[10:11]
    position = 13 + _palette_bytes(flags)
    while True:
        file.seek(position)
        block = file.read(10)
        if block[:1] == b"!":
            position = _end_of_sub_blocks(file, position + 2)
        elif block[:1] == b"," and len(block) == 10:
            position = _end_of_sub_blocks(file, position + 11 + _palette_bytes(block[9:]))
        else:
            # The trailer, garbage that viewers take for it, or the end of a cut-off file.
            yield b";", position + 1
            return
        yield block[:1], position


def _end_of_sub_blocks(file: BinaryIO, position: int) -> int:
    """Skip chunks of up to 255 bytes, each led by its length, to the empty one."""
    while True:
        file.seek(position)
        length = file.read(1)
        if not length:
            return position
        position += 1 + length[0]
        if length == b"\0":
            return position


def _palette_bytes(flags: bytes) -> int:
    """Bytes of the palette that these flags announce."""
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0


_PICTURES = STILLS | {"jpeg_pipe"}
_CLIPS = frozenset({"mov", "matroska", "avi", "yuv4mpegpipe"})
_SEQUENCES = (b"avis", b"hevc", b"msf1")
# What desktops leave in folders; names that begin with a point are hidden anyway.
_CLUTTER = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir"})
# Names count where the first bytes tell nothing, and where a file cannot be read.
PICTURE_SUFFIXES = frozenset(
    ".png .apng .jpg .jpeg .jpe .jfif .mpo .bmp .dib .tif .tiff .webp .gif .avif .heic .heif .jp2 "
    ".j2k .jpx .psd .ico .qoi .ppm .pgm .pbm .pnm "
    # Pictures that cannot be read here, and are told so.
    ".jxl .exr .hdr .tga .dds .pcx .dng .cr2 .cr3 .nef .arw .raf .orf .rw2".split()
)
VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .qt .mkv .webm .avi .y4m .ts .mts .m2ts .mpg .mpeg .m2v .vob .flv .f4v .ogv "
    ".wmv .asf .3gp .3g2 .ivf .h264 .264 .hevc .265 .obu".split()
)

_NAMED = 3

What = Literal["picture", "animation", "clip", ""]


class Listing(NamedTuple):
    """The files of a folder in natural order, 2.png before 10.png, without hidden ones."""

    pictures: list[Path]
    clips: list[Path]
    others: list[Path]


def list_folder(folder: Path) -> Listing:
    """Sort the files of a folder by what they hold; animations are clips, folders are others."""
    listing = Listing([], [], [])
    places = {"picture": listing.pictures, "": listing.others}
    for path in sorted(folder.iterdir(), key=_natural):
        if not is_hidden(path):
            places.get(content_of(path), listing.clips).append(path)
    return listing


def iter_media_files(folder: Path) -> Iterator[Path]:
    """Every picture and clip below a folder, by name; hidden files and folders are left out."""
    for path in sorted(folder.rglob("*")):
        hidden = any(is_hidden(Path(part)) for part in path.relative_to(folder).parts)
        if not hidden and content_of(path):
            yield path


def is_hidden(path: Path) -> bool:
    """Whether a file is kept out of sight: `._clip.mp4`, `.DS_Store`, `Thumbs.db`."""
    return path.name.startswith(".") or path.name.lower() in _CLUTTER


def content_of(path: Path) -> What:
    """Tell what a file holds: by its bytes, else by its name; empty for what is neither."""
    suffix = path.suffix.lower()
    named: What = "picture" if suffix in PICTURE_SUFFIXES else ""
    named = "clip" if suffix in VIDEO_SUFFIXES else named
    return content_from_bytes(path) or named if path.is_file() else ""


def content_from_bytes(path: Path) -> What:
    """What the first bytes of a file say that it holds; empty if they say nothing."""
    try:
        with path.open("rb") as file:
            return _told_by(file)
    except OSError:
        return ""


def _told_by(file: BinaryIO) -> What:
    head = file.read(HEAD_BYTES)
    kind = kind_of(head)
    if kind in ("png", "webp", "gif"):
        return "animation" if is_animated(file, kind) else "picture"
    if kind in _PICTURES:
        return "picture"
    if kind in ("avif", "heif"):
        return "animation" if head[8:12] in _SEQUENCES else "picture"
    return "clip" if kind in _CLIPS else ""


def names_text(paths: Sequence[Path]) -> str:
    """The names of files, at most `_NAMED` of them."""
    names = [path.name + ("/" if path.is_dir() else "") for path in paths[:_NAMED]]
    more = len(paths) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    """A sort key in which runs of digits count as numbers."""
    pieces: list[str] = []
    for character in path.name.lower():
        if pieces and pieces[-1][-1].isdecimal() == character.isdecimal():
            pieces[-1] += character
        else:
            pieces.append(character)
    return [(not p.isdecimal(), int(p) if p.isdecimal() else 0, p) for p in pieces]
