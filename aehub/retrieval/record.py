"""Record of the architecture `fingerprint`."""

from __future__ import annotations

from aehub.weights.architectures import Architecture, CardFacts

RECORDS = (
    Architecture(
        "fingerprint", "video-retrieval", loaded="aehub.retrieval.fingerprint:FingerprintModel",
        network="aehub.retrieval.network:FingerprintNetwork", recipes=("fingerprint",),
        card=CardFacts("image-feature-extraction", (
            "video-retrieval", "copy-detection", "equivariance"), ("recall",))),
)
