"""Words for files that are not `.aev` files, so that an error can name what was found."""

from __future__ import annotations

from aehub.files import is_lfs_pointer


def looks_like(data: bytes) -> str:
    """Say in words what a file that is not ours begins like."""
    if data[4:8] == b"ftyp":
        return "an MP4 or MOV video; compress it first"
    if is_lfs_pointer(data):
        return "only a pointer of Git LFS; run git lfs pull for the file itself"
    signatures = (
        (b"\x1aE\xdf\xa3", "a Matroska or WebM video; compress it first"),
        (b"\x89PNG", "a PNG picture; compress it first"),
        (b"\xff\xd8\xff", "a JPEG picture; compress it first"),
        (b"GIF8", "a GIF; compress it first"),
        (b"RIFF", "an AVI, WAV or WebP file; compress it first"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"\x1f\x8b", "a gzip archive"),
    )
    for signature, words in signatures:
        if data.startswith(signature):
            return words
    text = data[:16].decode("ascii", "replace")
    if all(c.isprintable() and c.isascii() or c.isspace() for c in text):
        return f"text ({text!r})"
    return f"something else (its first bytes are {data[:8].hex(' ')})"
