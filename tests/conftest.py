"""Settings of every test: no network, and no models that this machine's user fetched before."""

from __future__ import annotations

import os
import tempfile

# Read when huggingface_hub is imported, by the tests and by every process they start.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HOME"] = os.path.join(tempfile.gettempdir(), "aehub-tests-without-models")
for name in ("AEHUB_MODELS", "AEHUB_AUTO_DOWNLOAD", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_TOKEN"):
    os.environ.pop(name, None)

# No test goes through a proxy of this machine's user: those that need one name it themselves.
for scheme in ("http", "https", "all", "no"):
    for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper()):
        os.environ.pop(name, None)

# Read when torch is imported. Threads that wait for each other spin: where other work shares the
# machine, that made tests ten times slower. Instead, tests run side by side.
os.environ["OMP_NUM_THREADS"] = "1"
