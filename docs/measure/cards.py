"""Model cards from templates: `{{name}}` becomes the measured value of that name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aehub.hub.card import front_matter


def write_card(folder: Path, template: Path, facts: Mapping[str, str], **matter: Any) -> None:
    """Write `folder/README.md`; `matter` goes to the front matter."""
    config = json.loads((folder / "config.json").read_text())
    values = {**facts, "front_matter": front_matter(config, **matter),
              "megabytes": f"{(folder / 'model.safetensors').stat().st_size / 1e6:.1f}",
              "parameters": f"{config['parameters']:,}"}
    text = template.read_text()
    for name, value in values.items():
        text = text.replace("{{" + name + "}}", value)
    (folder / "README.md").write_text(text)
