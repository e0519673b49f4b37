"""Block motion of `d4-codec`: estimated by the encoder, coded, compensated by the decoder.

    field.py        the motion of one frame, and its transform under rotations and flips
    search.py       motion estimation: phase correlation, coarse and sub-sample block search
    rdo.py          rate-distortion refinement of vectors and prediction modes
    compensate.py   quarter-sample prediction with overlapped blocks (OBMC)
    coding.py       syntax of the motion of a frame: modes, vectors, splits, coded-block flags
    symbols.py      scan passes, symbol coders and adaptive tables of that syntax
"""
