"""The bounds of an `.aev` file: each is checked before anything of that size is allocated."""

from __future__ import annotations

MAX_CHUNK = 64 << 20
"""Bytes in the body of a chunk: 10 s of 4K at 50 Mbit/s, and it fits in any memory."""

MAX_AUDIO_PIECE = 1 << 20
"""Bytes in one audio chunk: damage costs a piece, and a pipe never waits long for one."""

MAX_METADATA = 1 << 20
"""Bytes of JSON in one metadata chunk: notes, not archives."""

MAX_SIDE = 16384
"""Width or height in luma samples: the limit of AV1 level 6, WebP and most GPUs."""

MAX_PIXELS = 1 << 26
"""Luma samples in a coded plane: twice 8K UHD; a float32 decoder needs about 1 GB there."""

MAX_GROUP_FRAMES = 16384
"""Frames in a group: more than a minute at 240 frames per second."""

MAX_TICKS = 1 << 40
"""Ticks shown by one group: three hours at the finest time base."""

MAX_QUALITY = 10_000
"""Quality in hundredths: 100.00."""

MAX_MODEL_NAME = 40
"""Bytes of UTF-8 in a model name, so that the file head stays within `MAX_FILE_HEAD`."""

MAX_FILE_HEAD = 96
"""Bytes of a file head as this version writes it, magic and CRC included."""

MAX_REFERENCES = 4
"""Frames one frame may be predicted from: decoded references are what a decoder must hold."""

MAX_SPAN = 64
"""Frames from one anchor of a pyramid to the next: a decoder then holds at most eight frames."""

MAX_WASTE = 1 << 30
"""Bytes checked in vain after damage: bounds the time that a hostile file costs."""

GRID = 32
"""Coded planes are multiples of this many luma samples."""
