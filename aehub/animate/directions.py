"""The directions of a latent space along which pictures change most."""

from __future__ import annotations

import numpy as np

from aehub.animate.model import Autoencoder

_SEEDS = 64
_BASES = 2


def main_directions(model: Autoencoder, count: int = 8) -> np.ndarray:
    """Directions that matter most, the strongest first.

    Pictures are moved along each number of their latents; the principal axes of how they change
    are the directions. Each is as long as one standard deviation of latents that the model draws.

    Args:
        model: whose latents are looked at.
        count: how many directions, at most as many as a latent has numbers.

    Returns:
        float32 [count, K].
    """
    drawn = model.sample(range(1, _SEEDS + 1)).astype(np.float64)
    mean, spread = drawn.mean(0), np.maximum(drawn.std(0), 1e-6)
    change = np.zeros((model.latent, model.latent))
    for base in (mean, *drawn[:_BASES - 1]):
        places = base + np.concatenate([np.zeros((1, model.latent)), np.diag(spread)])
        pictures = np.stack(model.decode(places.astype(np.float32))).astype(np.float64)
        moved = (pictures[1:] - pictures[0]).reshape(model.latent, -1)
        change += moved @ moved.T
    _, axes = np.linalg.eigh(change)
    chosen = axes.T[::-1][:count]
    # An axis may be turned around; its largest number shall be positive, everywhere.
    largest = np.take_along_axis(chosen, np.abs(chosen).argmax(1)[:, None], 1)
    ways = chosen * np.sign(largest) * spread
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    # Numbers of a latent may hang together: what counts is how far drawn ones reach along a way.
    reach = ((drawn - mean) @ ways.T).std(0)
    return np.asarray(ways * reach[:, None], np.float32)
