"""Record of the codec of other libraries' autoencoders."""

from __future__ import annotations

from aehub.codecs.quantised import PAYLOAD_FORMATS
from aehub.weights.architectures import COMPRESSION, Architecture, CardFacts
from aehub.weights.foreign import TAESD

CLASSES = (
    "AutoencoderKL", "AutoencoderTiny", "AutoencoderDC", "AutoencoderKLWan",
    "AutoencoderKLLTXVideo", "AutoencoderKLCogVideoX", "AutoencoderKLHunyuanVideo",
    "AutoencoderKLMochi", "AutoencoderKLMagvit", "AsymmetricAutoencoderKL", "VQModel",
    "AutoencoderKLCosmos", "AutoencoderKLTemporalDecoder", "AutoencoderVidTok",
    "AutoencoderKLHunyuanVideo15", "AutoencoderKLLTX2Video", "AutoencoderKLKVAEVideo",
    "ConsistencyDecoderVAE", "AutoencoderKLMiniMaxH3",
)
"""Classes of diffusers that `diffusers_classes` has a record of."""

RECORDS = (
    Architecture(
        "quantised-autoencoder", COMPRESSION,
        loaded="aehub.codecs.quantised.codec:QuantisedAutoencoder",
        payload_formats=PAYLOAD_FORMATS, planner="walk",
        card=CardFacts("image-to-image", ("autoencoder", "video-compression")),
        foreign_classes=(*CLASSES, TAESD)),
)
