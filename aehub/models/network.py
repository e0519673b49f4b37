"""A network and its config on disk: all that a model is that has no entropy coder.

    save(folder, "dense-28", network)
    load(folder).network

The class of a network tells what it may be built with, `ARGUMENTS`, and holds what it was built
with, `config`. Its named parameters are stored and nothing else; statistics that are not trained
are parameters without gradient. Numbers are stored as `STORED`, float32 if the class does not say.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from aehub.errors import WeightsError
from aehub.models import weights
from aehub.models.architectures import ARCHITECTURES, architecture
from aehub.models.folder import CONFIG
from aehub.models.surroundings import plain


@dataclass(frozen=True)
class StoredNetwork:
    """A model as it lies in its folder.

    Attributes:
        name: what people call it, e.g. "dense-28".
        network: in float32 and evaluation mode.
        config: the whole of config.json.
    """

    name: str
    network: nn.Module
    config: dict[str, Any]


def save(folder: Path, name: str, network: nn.Module) -> dict[str, Any]:
    """Write config.json and model.safetensors; returns the config.

    Args:
        folder: made if need be.
        name: of the model.
        network: of one of `ARCHITECTURES`.

    Raises:
        WeightsError: a number is not finite, or `network` is of no architecture that is listed.
    """
    kind: Any = type(network)
    place = f"{kind.__module__}:{kind.__qualname__}"
    names = [name for name, known in ARCHITECTURES.items() if known.place == place]
    if not names:
        raise WeightsError(f"{place} is not listed among the architectures; add it there.")
    tensors = weights.to_tensors(network, _integers(network), _stored(kind))
    return weights.write(
        folder, tensors, network, name=name, architecture=names[0],
        task=ARCHITECTURES[names[0]].task, arguments=getattr(network, "config", {}))


@plain()
def load(folder: Path) -> StoredNetwork:
    """Load a model folder, strictly: hash, names, shapes and types must all agree.

    Raises:
        WeightsError: anything is missing, tampered with, or of an architecture this AEHub lacks.
    """
    config = weights.read_config(folder)
    known = architecture(config["architecture"])
    kind, path = known.network(), folder / CONFIG
    if config.get("task") != known.task:
        raise WeightsError(f"{path} says the task {str(config.get('task'))[:40]!r}; models of "
                           f"{config['architecture']} do {known.task}. Download the model again.")
    weights.check_arguments(config.get("arguments"), getattr(kind, "ARGUMENTS", {}), path)
    tensors = weights.read_tensors(folder, config["sha256"])
    try:
        network = kind(**config["arguments"])
    except ValueError as err:
        raise WeightsError(f"{path} asks for what {config['architecture']} cannot be: {err} "
                           "Download the model again.") from err
    weights.from_tensors(network, tensors, _integers(network), _stored(kind))
    return StoredNetwork(config["name"], network.eval().requires_grad_(False), config)


def _integers(network: nn.Module) -> dict[str, tuple[float, torch.dtype]]:
    """Parameters of an integer type are stored as they are."""
    return {name: (1.0, parameter.dtype) for name, parameter in network.named_parameters()
            if not parameter.is_floating_point()}


def _stored(kind: type) -> tuple[float, torch.dtype]:
    return 1.0, getattr(kind, "STORED", torch.float32)
