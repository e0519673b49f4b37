"""Reports of compressions and edits: all that the page shows beside the file itself.

    prepare        probe a clip; write a lossless working copy, trimmed and resized
    compression    prepare -> compress -> decode and measure -> other codecs at the same bytes
    matched_size   x264 and AV1 at the bytes of an `.aev` file
    playback       original and reconstruction as video, as numbers and as single frames
    equivariance   an edited file against its original
    arena          one clip through several models, side by side
    records        the results, as dataclasses; needs no torch

Everything long is an iterator; closing it stops the work.
"""
