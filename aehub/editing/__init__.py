"""Edits of compressed files: codes are moved, pictures are never decoded.

    operations.py  the operations: turns of the picture, trims and reversals
    timeline.py    the shown groups in display order, trimmed and reversed
    rewrite.py     one file to its edited groups, with the headers, frames and payloads that remain
    sound.py       audio of the shown part, copied or encoded again
    job.py         complete edits and joins: files in, stream out, outcome
    via_pixels.py  fallback for codecs that cannot turn what they coded: decode, turn, encode again

Moves of whole groups need no model; payloads are changed by the editor of their codec, a
`GroupEditor` (`aehub.codecs.base`).
"""
