"""Tell pictures from clips, in files and folders: by the first bytes, else by the name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from aehub.clips import sniff

_PICTURES = sniff.STILLS | {"jpeg_pipe"}
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


def listed(folder: Path) -> Listing:
    """Sort the files of a folder by what they hold; animations are clips, folders are others."""
    listing = Listing([], [], [])
    places = {"picture": listing.pictures, "": listing.others}
    for path in sorted(folder.iterdir(), key=_natural):
        if not is_hidden(path):
            places.get(what_is(path), listing.clips).append(path)
    return listing


def below(folder: Path) -> Iterator[Path]:
    """Every picture and clip below a folder, by name; hidden files and folders are left out."""
    for path in sorted(folder.rglob("*")):
        hidden = any(is_hidden(Path(part)) for part in path.relative_to(folder).parts)
        if not hidden and what_is(path):
            yield path


def is_hidden(path: Path) -> bool:
    """Whether a file is kept out of sight: `._clip.mp4`, `.DS_Store`, `Thumbs.db`."""
    return path.name.startswith(".") or path.name.lower() in _CLUTTER


def what_is(path: Path) -> What:
    """Tell what a file holds: by its bytes, else by its name; empty for what is neither."""
    suffix = path.suffix.lower()
    named: What = "picture" if suffix in PICTURE_SUFFIXES else ""
    named = "clip" if suffix in VIDEO_SUFFIXES else named
    return told_by_bytes(path) or named if path.is_file() else ""


def told_by_bytes(path: Path) -> What:
    """What the first bytes of a file say that it holds; empty if they say nothing."""
    try:
        with path.open("rb") as file:
            return _told_by(file)
    except OSError:
        return ""


def _told_by(file: BinaryIO) -> What:
    head = file.read(sniff.HEAD_BYTES)
    kind = sniff.kind_of(head)
    if kind in ("png", "webp", "gif"):
        return "animation" if sniff.is_animated(file, kind) else "picture"
    if kind in _PICTURES:
        return "picture"
    if kind in ("avif", "heif"):
        return "animation" if head[8:12] in _SEQUENCES else "picture"
    return "clip" if kind in _CLIPS else ""


def named(paths: Sequence[Path]) -> str:
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
