"""Edits of compressed files: codes move, pictures are never decoded.

    operations.py  what can be asked for: turns of the picture, parts of the time
    timeline.py    which groups are shown, in which order, and how much of each
    window.py      where the shown window lies in a turned plane
    hidden.py      which hidden frames the shown ones need, and groups without the others
    rewrite.py     one file -> its edited groups, one at a time
    join.py        files one after the other; halves of a group become one again
    sound.py       the sound that goes with what is shown
    job.py         all of it: file in, stream out, and what there is to say
    pixels.py      the way around for models whose latents do not turn: decode, turn, encode

Moves of whole groups need no model; what is inside a payload is the business of
`aehub.codecs.d4.transcode`.
"""
