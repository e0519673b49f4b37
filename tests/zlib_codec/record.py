"""Record of the architecture, which the entry point names."""

from pathlib import Path

from aehub.weights.architectures import COMPRESSION, Architecture

RECORD = Architecture(
    "zlib-planes", COMPRESSION, loaded="zlib_codec.codec:ZlibCodec", payload_formats=(100,),
    folders=(Path(__file__).parent / "weights" / "zlib-planes",))
