"""File formats and their content: pictures, animations and clips, in files and folders.

The first bytes of a file decide, and its name only where they are inconclusive.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from aehub.files import is_lfs_pointer

HEAD_BYTES = 64
"""Bytes from the start of a file that `kind_of` needs."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

# First bytes -> the name of the libavformat demuxer, or a name of this package.
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
    (PNG_SIGNATURE, "png"),
)
STILL_KINDS = frozenset({"bmp", "tiff", "jp2", "psd", "ico", "qoi", "ppm"})
"""Formats whose files are always pictures, except JPEG."""
_PICTURE_KINDS = STILL_KINDS | {"jpeg_pipe"}
_CLIP_KINDS = frozenset({"mov", "matroska", "avi", "yuv4mpegpipe"})
# Major brands of HEIF and AVIF files that are image sequences.
_SEQUENCE_BRANDS = (b"avis", b"hevc", b"msf1")
_DESCRIPTIONS = {
    "mov": "an MP4 or MOV video", "matroska": "a Matroska or WebM video", "avi": "an AVI video",
    "yuv4mpegpipe": "a Y4M video", "gif": "a GIF", "png": "a PNG picture",
    "jpeg_pipe": "a JPEG picture", "webp": "a WebP picture", "avif": "an AVIF picture",
    "heif": "a HEIC picture",
}
_ARCHIVES = {b"PK\x03\x04": "a ZIP archive", b"\x1f\x8b": "a gzip archive"}
# A letter, the number of the variant, white space: too short for a plain magic number.
_PPM = re.compile(rb"P[1-6][\s#]")
_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
# Atoms without whose end pictures are lost.
_NEEDED_ATOMS = frozenset({b"ftyp", b"moov", b"mdat", b"moof", b"meta"})
# The IDs of ContentEncodings, ContentEncoding and ContentEncryption in a Matroska track.
_ENCRYPTED_TRACK = re.compile(
    rb"\x1aE\xdf\xa3.*\x6d\x80.{1,8}\x62\x40.{1,40}?\x50\x35", re.DOTALL
)
# Size of an MPEG transport stream packet in bytes, and its sync byte.
_TS_PACKET, _TS_SYNC = 188, 0x47

# Files that desktops leave in folders; names that begin with a dot are hidden anyway.
_CLUTTER = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir"})
# Suffixes decide where the first bytes do not, and where a file cannot be read.
PICTURE_SUFFIXES = frozenset(
    ".png .apng .jpg .jpeg .jpe .jfif .mpo .bmp .dib .tif .tiff .webp .gif .avif .heic .heif .jp2 "
    ".j2k .jpx .psd .ico .qoi .ppm .pgm .pbm .pnm "
    # Pictures that cannot be read here; reading them gives an error that says so.
    ".jxl .exr .hdr .tga .dds .pcx .dng .cr2 .cr3 .nef .arw .raf .orf .rw2".split()
)
VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .qt .mkv .webm .avi .y4m .ts .mts .m2ts .mpg .mpeg .m2v .vob .flv .f4v .ogv "
    ".wmv .asf .3gp .3g2 .ivf .h264 .264 .hevc .265 .obu".split()
)
# File names that a message lists at most.
_MAX_NAMES = 3

Content = Literal["picture", "animation", "clip", ""]


class FolderListing(NamedTuple):
    """The visible files of a folder in natural order: 2.png before 10.png."""

    pictures: list[Path]
    clips: list[Path]
    others: list[Path]


def kind_of(head: bytes) -> str | None:
    """Return the format of a file from its first `HEAD_BYTES`, None if it is unknown."""
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
    """Describe a file that is no `.aev` file by its first bytes."""
    kind = kind_of(data)
    if kind == "sound":
        return "sound"
    if kind is not None:
        return f"{_DESCRIPTIONS.get(kind, 'a picture')}; compress it first"
    if is_lfs_pointer(data):
        return "only a pointer of Git LFS; run git lfs pull for the file itself"
    for magic, description in _ARCHIVES.items():
        if data.startswith(magic):
            return description
    text = data[:16].decode("ascii", "replace")
    if all(c.isprintable() and c.isascii() or c.isspace() for c in text):
        return f"text ({text!r})"
    return f"something else (its first bytes are {data[:8].hex(' ')})"


def is_encrypted(head: bytes) -> bool:
    """True if a Matroska file or a transport stream is marked as encrypted.

    libavformat does not pass the mark on.
    """
    if _ENCRYPTED_TRACK.match(head):
        return True
    packets = range(0, len(head) - 3, _TS_PACKET)
    is_ts = len(packets) > 3 and all(head[at] == _TS_SYNC for at in packets[:4])
    return is_ts and any(head[at + 3] & 0x80 for at in packets if head[at] == _TS_SYNC)


def declared_bytes(file: BinaryIO, kind: str | None, size: int) -> int | None:
    """Return the least size in bytes that the file declares, None if it declares none.

    An interrupted download or a full disk leaves fewer: libavformat would end such a clip early
    without an error.
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
    """True if a PNG, WebP or GIF holds more than one picture."""
    if kind == "webp":
        return any(name == b"ANIM" for name, _ in webp_chunks(file))
    if kind == "gif":
        return sum(name == b"," for name, _ in _gif_blocks(file)) > 1
    # The animation control chunk comes before the picture.
    names = (name for name, _ in png_chunks(file) if name in (b"acTL", b"IDAT"))
    return next(names, b"") == b"acTL"


def webp_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield (name, position of the payload) of the top-level chunks of a WebP file."""
    position = 12
    while True:
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return
        yield header[:4], position + 8
        length = int.from_bytes(header[4:], "little")
        position += 8 + length + length % 2


def webp_durations(file: BinaryIO) -> list[tuple[int, int]]:
    """Return (position of the field, milliseconds) of each frame of an animated WebP."""
    durations = []
    for name, payload in webp_chunks(file):
        if name == b"ANMF":
            file.seek(payload + 12)
            durations.append((payload + 12, int.from_bytes(file.read(3), "little")))
    return durations


def list_folder(folder: Path) -> FolderListing:
    """Sort the files of a folder by content; animations are clips, folders are others."""
    listing = FolderListing([], [], [])
    lists = {"picture": listing.pictures, "": listing.others}
    for path in sorted(folder.iterdir(), key=_natural_key):
        if not is_hidden(path):
            lists.get(content_of(path), listing.clips).append(path)
    return listing


def iter_media_files(folder: Path) -> Iterator[Path]:
    """Yield every picture and clip below a folder by name, without hidden files and folders."""
    for path in sorted(folder.rglob("*")):
        hidden = any(is_hidden(Path(part)) for part in path.relative_to(folder).parts)
        if not hidden and content_of(path):
            yield path


def is_hidden(path: Path) -> bool:
    """True for files that desktops hide: `._clip.mp4`, `.DS_Store`, `Thumbs.db`."""
    return path.name.startswith(".") or path.name.lower() in _CLUTTER


def content_of(path: Path) -> Content:
    """Return the content of a file, from its bytes or else its suffix; empty if it is no media."""
    suffix = path.suffix.lower()
    by_suffix: Content = "picture" if suffix in PICTURE_SUFFIXES else ""
    by_suffix = "clip" if suffix in VIDEO_SUFFIXES else by_suffix
    return content_from_bytes(path) or by_suffix if path.is_file() else ""


def content_from_bytes(path: Path) -> Content:
    """Return the content of a file by its first bytes alone; empty if they are inconclusive."""
    try:
        with path.open("rb") as file:
            return _content_of_file(file)
    except OSError:
        return ""


def _content_of_file(file: BinaryIO) -> Content:
    head = file.read(HEAD_BYTES)
    kind = kind_of(head)
    if kind in ("png", "webp", "gif"):
        return "animation" if is_animated(file, kind) else "picture"
    if kind in _PICTURE_KINDS:
        return "picture"
    if kind in ("avif", "heif"):
        return "animation" if head[8:12] in _SEQUENCE_BRANDS else "picture"
    return "clip" if kind in _CLIP_KINDS else ""


def names_text(paths: Sequence[Path]) -> str:
    """List the names of files, at most `_MAX_NAMES` of them."""
    names = [path.name + ("/" if path.is_dir() else "") for path in paths[:_MAX_NAMES]]
    more = len(paths) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _end_of_atoms(file: BinaryIO, size: int) -> int:
    """Declared end of the last needed top-level atom of a QuickTime or MP4 file.

    Programs append foreign data to such files; players stop at what they do not know.
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
    """Declared end of the segment of a Matroska file; None for live recordings."""
    file.seek(0)
    head = file.read(4096)
    size_at = head.find(b"\x18\x53\x80\x67") + 4
    if size_at < 4 or len(head) < size_at + 8:
        return None
    width = 9 - head[size_at].bit_length()
    field = int.from_bytes(head[size_at : size_at + width], "big")
    length = field & ((1 << 7 * width) - 1)
    if width > 8 or length == (1 << 7 * width) - 1:
        return None
    return size_at + width + length


def png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield (name, position of the end) of the chunks of a PNG file."""
    position = len(PNG_SIGNATURE)
    while True:
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return
        position += int.from_bytes(header[:4], "big") + 12
        yield header[4:], position


def _gif_blocks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield (first byte, position of the end) of the blocks of a GIF; `b","` is a picture."""
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
            # The trailer, garbage that viewers take for it, or the end of a truncated file.
            yield b";", position + 1
            return
        yield block[:1], position


def _end_of_sub_blocks(file: BinaryIO, position: int) -> int:
    """Skip sub-blocks of up to 255 bytes, each after its length, to the empty one."""
    while True:
        file.seek(position)
        length = file.read(1)
        if not length:
            return position
        position += 1 + length[0]
        if length == b"\0":
            return position


def _palette_bytes(flags: bytes) -> int:
    """Size in bytes of the colour table that the packed flags announce."""
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0


def _natural_key(path: Path) -> list[tuple[bool, int, str]]:
    """A sort key in which runs of digits count as numbers."""
    pieces: list[str] = []
    for character in path.name.lower():
        if pieces and pieces[-1][-1].isdecimal() == character.isdecimal():
            pieces[-1] += character
        else:
            pieces.append(character)
    return [(not p.isdecimal(), int(p) if p.isdecimal() else 0, p) for p in pieces]
