"""Record of the architecture `d4-codec`."""

from __future__ import annotations

from aehub.codecs.d4 import PAYLOAD_FORMATS
from aehub.weights.architectures import COMPRESSION, Architecture, CardFacts

RECORDS = (
    Architecture(
        "d4-codec", COMPRESSION, loaded="aehub.codecs.d4.codec:D4Codec",
        network="aehub.codecs.d4.network:D4Network", payload_formats=PAYLOAD_FORMATS,
        recipes=("d4-codec", "d4-inter", "d4-filter", "d4-upscale"), planner="walk",
        card=CardFacts("image-to-image", (
            "video-compression", "image-compression", "autoencoder", "neural-codec"),
            ("psnr", "ms-ssim"))),
)
