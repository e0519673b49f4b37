"""Entry of the Space: `python app.py` opens the page."""

from __future__ import annotations

import os

# Read when gradio and huggingface_hub are imported: nothing calls home.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

try:
    # ZeroGPU wants to be first, before anything touches CUDA.
    import spaces  # noqa: F401
except ImportError:
    pass

from aehub.cli import main

if __name__ == "__main__":
    main(["serve"], prog_name="aehub")
