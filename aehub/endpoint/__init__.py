"""A running AEHub as a hub: serves the bundled models by the read protocol of huggingface_hub.

    HF_ENDPOINT=http://HOST:7860 aehub download aehub/d4-codec
    aehub download d4-codec --endpoint http://HOST:7860

Routes for Starlette, to be put before those of the application.
"""

from __future__ import annotations

from aehub.endpoint.models import ServedFile, ServedModel, served_models
from aehub.endpoint.routes import routes

__all__ = ["ServedFile", "ServedModel", "served_models", "routes"]
