"""Records of the autoencoders of small pictures."""

from __future__ import annotations

from aehub.weights.architectures import Architecture, CardFacts

_TASK, _LOADED = "latent-animation", "aehub.generators.autoencoder:Autoencoder"
_CARD = CardFacts("unconditional-image-generation", ("animation", "autoencoder", "latent-walk"))

RECORDS = (
    Architecture("dense", _TASK, _LOADED, "aehub.generators.dense:DenseAutoencoder",
                 recipes=("dense-28",), planner="walk", card=_CARD),
    Architecture("vae", _TASK, _LOADED, "aehub.generators.vae:PictureVAE",
                 recipes=("emoji-vae",), planner="walk", card=_CARD),
)
