"""Quantised autoencoders: the adapter of foreign classes, and the codec on their latents."""
