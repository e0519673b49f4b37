"""Move the networks of a codec to a device and type, and check that integer networks stay exact."""

from __future__ import annotations

import torch

from aehub.errors import InputError, ModelError
from aehub.models.d4_codec import D4Codec
from aehub.models.device import SHORT
from aehub.models.frozen import freeze
from aehub.models.probe import reproduces_probe
from aehub.models.store import StoredModel
from aehub.models.surroundings import plain
from aehub.models.tied import compute_in


def placed(stored: StoredModel, device: torch.device, dtype: torch.dtype) -> D4Codec:
    """Return the networks of a model on `device`, ready to compute in `dtype`.

    Integer networks that are not exact there stay on the processor.

    Raises:
        InputError: the device lacks the type.
        ModelError: the integer networks are not even exact on the processor.
    """
    with plain():
        try:
            network = stored.network.to(device, torch.float32 if dtype in SHORT else dtype)
        except TypeError as error:
            raise InputError(f"{stored.name} cannot run in {dtype} on {device}; load it in "
                             "torch.float32.") from error
        if dtype in SHORT:
            compute_in(network, dtype)
        freeze(network)
        if device.type == "cpu" and dtype == torch.float32:
            return network
        if reproduces_probe(network, stored.probe):
            return network
        if device.type != "cpu":
            for coder in (network, network.inter):
                coder.scales.to("cpu")
            if reproduces_probe(network, stored.probe):
                return network
    raise ModelError(f"{stored.name} does not choose its tables as it has to in {dtype} on "
                     f"{device}; load it in torch.float32 on the cpu, or download it again.")
