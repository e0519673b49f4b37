"""What moved between frames: found in the encoder, written, applied in the decoder.

    field.py     the motion of a frame, and how it turns
    vectors.py   motion to bits and back
    symbols.py   what those bits say, and the tables they start from
    pyramid.py   an order of blocks that turning does not change
    context.py   what the integer network may know of earlier frames
    ports.py     writing, reading and counting with one loop
    plane.py     a luma plane as the encoder searches it
    coarse.py    where blocks come from, about
    search.py    where blocks come from
    warp.py      references moved by vectors
"""
