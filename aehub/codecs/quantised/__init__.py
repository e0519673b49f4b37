"""Quantised autoencoders: any autoencoder of diffusers or of the TAESD family makes `.aev` files.

    codec               the loaded model; groups of frames to payloads and back
    autoencoder         one interface for all classes: frame rule, size rule, standardisation
    diffusers_classes   the classes of diffusers
    taesd               the TAESD family
    latent_coding       latents as bits
    tiling              memory

A payload needs nothing that floats to be read: steps are numbers of a table, codes are integers
whose contexts are integers.
"""

from __future__ import annotations

PAYLOAD_FORMATS = (4,)
"""The `coder` byte of file headers."""
