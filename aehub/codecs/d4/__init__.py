"""Clips to `.aev` files and back.

    compress.py    frames of a clip -> groups of a file
    decompress.py  groups of a file -> frames
    target.py      the quality that meets a size
    trials.py      encodes until a size fits
    again.py       sources that are read more than once
    model.py       a loaded model: planes -> latents -> bytes, and back
"""
