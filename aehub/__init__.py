"""Pretrained autoencoders that compress video, edit the compressed file and animate latents.

`__init__.pyi` lists the public names. They are imported at their first use: `import aehub` loads
neither torch nor numpy.
"""

from __future__ import annotations

from aehub import threads
from aehub.lazy import public_names

# Before anything loads torch.
threads.configure_openmp()
__all__, __getattr__, __dir__ = public_names(__name__, __file__)
