"""Record of the architecture `sprite-motion`."""

from __future__ import annotations

from aehub.weights.architectures import Architecture, CardFacts

RECORDS = (
    Architecture(
        "sprite-motion", "sprite-animation", loaded="aehub.generators.sprite.model:SpriteAnimator",
        network="aehub.generators.sprite.network:SpriteNetwork", recipes=("sprite-motion",),
        planner="cycle",
        card=CardFacts("image-to-image", ("animation", "autoencoder", "pixel-art", "sprites"))),
)
