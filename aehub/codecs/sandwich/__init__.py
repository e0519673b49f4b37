"""The codec `sandwich-av1`: AV1 as quantiser and entropy coder, a learned restorer behind it."""

from __future__ import annotations

PAYLOAD_FORMATS = (5,)
"""Layout of payloads: side information, then a stream of AV1 (docs/format.md)."""
