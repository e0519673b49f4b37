"""Animation: walks through the latents of a model, from picture to picture."""
