"""Bitstream: the `.aev` file format. `docs/format.md` is the specification.

    Writer(stream, header).group(...)  ->  header | group | group | ... | index | footer
    open_reader(path).groups()       ->  the intact groups, then `DamagedError` if any is lost

Independent of pictures and models, without torch; reads from and writes to pipes.
"""

from __future__ import annotations

from aehub.bitstream.file_header import (
    FileHeader,
    is_aev,
    is_aev_file,
    nearest_rate,
    pack_file_header,
    unpack_file_header,
)
from aehub.bitstream.group_header import (
    INTRA,
    PREDICTED,
    GroupHeader,
    coding_order,
    dependency_closure,
    hierarchical_references,
    join_streams,
    key_pictures,
    mini_gop_runs,
    restrict_header,
    retained_frames,
    retime,
    split_payload,
    truncate_payload,
)
from aehub.bitstream.group_header_io import pack_group_header, unpack_group_header
from aehub.bitstream.index import IndexEntry
from aehub.bitstream.reader import Group, Reader, open_reader
from aehub.bitstream.validation import Report, verify
from aehub.bitstream.writer import Writer

__all__ = [
    "INTRA",
    "PREDICTED",
    "FileHeader",
    "Group",
    "GroupHeader",
    "IndexEntry",
    "Reader",
    "Report",
    "Writer",
    "key_pictures",
    "coding_order",
    "dependency_closure",
    "is_aev",
    "is_aev_file",
    "nearest_rate",
    "open_reader",
    "pack_file_header",
    "pack_group_header",
    "hierarchical_references",
    "join_streams",
    "restrict_header",
    "retained_frames",
    "retime",
    "split_payload",
    "truncate_payload",
    "mini_gop_runs",
    "unpack_file_header",
    "unpack_group_header",
    "verify",
]
