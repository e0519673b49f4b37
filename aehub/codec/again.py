"""Sources that are read more than once: pipes and iterables are kept aside first."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

import numpy as np


@contextmanager
def kept(source: Any) -> Iterator[Any]:
    """A source that can be read again, for each encode of a target search."""
    if hasattr(source, "read"):
        with in_file(source) as file:
            yield file
    elif isinstance(source, (str, os.PathLike, Sequence, np.ndarray)):
        yield source
    else:
        yield list(source)


@contextmanager
def in_file(stream: BinaryIO) -> Iterator[BinaryIO]:
    """The stream if it can seek, or a temporary file of what it holds."""
    if stream.seekable():
        yield stream
        return
    with tempfile.TemporaryFile() as file:
        shutil.copyfileobj(stream, file)
        file.seek(0)
        yield cast(BinaryIO, file)
