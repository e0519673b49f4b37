"""Models that draw: dense and variational autoencoders of pictures, and sprites."""
