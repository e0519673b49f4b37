"""Registry of architectures: for each name in a config.json, its task and the class of its network.

A new architecture adds one line here. Classes are imported on use, so the registry is light.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

from aehub.errors import WeightsError

COMPRESSION, LATENT_ANIMATION, SPRITE_ANIMATION = (
    "video-compression", "latent-animation", "sprite-animation")
TASKS = (COMPRESSION, LATENT_ANIMATION, SPRITE_ANIMATION)


class Architecture(NamedTuple):
    """One architecture: the task of its models, and "module:Class" of its network."""

    task: str
    class_path: str

    def network_class(self) -> Any:
        """Import the class of its network."""
        module, _, name = self.class_path.partition(":")
        return getattr(import_module(module), name)


ARCHITECTURES = {
    "d4-codec": Architecture(COMPRESSION, "aehub.codecs.d4.network:D4Network"),
    "dense": Architecture(LATENT_ANIMATION, "aehub.generators.dense:DenseAutoencoder"),
    "vae": Architecture(LATENT_ANIMATION, "aehub.generators.vae:PictureVAE"),
    "sprite-motion": Architecture(SPRITE_ANIMATION,
                                  "aehub.generators.sprite.network:SpriteNetwork"),
}


def architecture(name: object) -> Architecture:
    """Look up an architecture by name.

    Raises:
        WeightsError: there is none of that name.
    """
    found = ARCHITECTURES.get(name) if isinstance(name, str) else None
    if found is None:
        raise WeightsError(f"the model is of the architecture {str(name)[:40]!r}, this AEHub knows "
                           f"{', '.join(ARCHITECTURES)}; upgrade aehub, or name another model.")
    return found
