"""Generative models of small pictures: dense and variational autoencoders, and sprites."""
