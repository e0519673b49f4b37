"""The `.aev` file: how compressed clips are stored. `docs/format.md` is the specification.

    Writer(stream, head).group(...)  ->  head | group | group | ... | index | footer
    open_reader(path).groups()       ->  the intact groups, and one sentence if any is lost

Knows nothing of pictures or models and needs no torch; works on pipes in both directions.
"""

from __future__ import annotations

from aehub.container.audit import Report, verify
from aehub.container.filehead import (
    FileHead,
    is_aev,
    nearest_rate,
    pack_file_head,
    unpack_file_head,
)
from aehub.container.groupfields import pack_group_head, unpack_group_head
from aehub.container.grouphead import (
    INTRA,
    PREDICTED,
    GroupHead,
    anchors_of,
    coding_order,
    pyramid,
    retime,
    runs_of,
)
from aehub.container.index import IndexEntry
from aehub.container.reader import Group, Reader, open_reader
from aehub.container.writer import Writer

__all__ = [
    "INTRA",
    "PREDICTED",
    "FileHead",
    "Group",
    "GroupHead",
    "IndexEntry",
    "Reader",
    "Report",
    "Writer",
    "anchors_of",
    "coding_order",
    "is_aev",
    "nearest_rate",
    "open_reader",
    "pack_file_head",
    "pack_group_head",
    "pyramid",
    "retime",
    "runs_of",
    "unpack_file_head",
    "unpack_group_head",
    "verify",
]
