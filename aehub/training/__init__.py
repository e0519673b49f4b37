"""`aehub train`: every model of the zoo by one loop. Nothing else in the package imports this."""

from aehub.training.run import train

__all__ = ["train"]
