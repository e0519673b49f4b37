"""Training of every model of the zoo (`aehub train`); only the command line imports it."""

from aehub.training.run import train

__all__ = ["train"]
