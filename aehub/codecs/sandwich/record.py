"""Record of the architecture `sandwich-av1`."""

from __future__ import annotations

from aehub.codecs.sandwich import PAYLOAD_FORMATS
from aehub.weights.architectures import COMPRESSION, Architecture, CardFacts

RECORDS = (
    Architecture(
        "sandwich-av1", COMPRESSION, loaded="aehub.codecs.sandwich.codec:SandwichCodec",
        network="aehub.codecs.sandwich.network:SandwichNetwork", payload_formats=PAYLOAD_FORMATS,
        recipes=("sandwich-av1",),
        card=CardFacts("image-to-image", ("video-compression", "av1", "post-filter"),
                       ("psnr", "ms-ssim"))),
)
