"""Networks, tables and quantisers of a codec on a device, for readers and writers of groups."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from aehub.codecs.d4.checkpoint import StoredModel, place_on_device
from aehub.codecs.d4.network import D4Network, FrameNetwork
from aehub.codecs.d4.planes import PlaneBatch, unshuffle
from aehub.codecs.d4.quantisation import Quantiser, texture_masking
from aehub.codecs.d4.settings import SETTINGS, EncoderSettings
from aehub.coding.range_coder import ScaleTables
from aehub.errors import WeightsError
from aehub.weights.device import HALF_TYPES


@dataclass(frozen=True)
class Runtime:
    """Networks, tables and quantisers on a device.

    Attributes:
        name: of the model, for error sentences.
        network: on `device`.
        tables: frequency tables of intra frames.
        inter_tables: frequency tables of inter frames.
        quantiser: of intra frames; encoders only.
        inter_quantiser: of inter frames; encoders only.
        masking_exponent: of the factor by which texture raises lambda in intra frames.
        settings: of the encoder.
        device: where the networks run.
        code_dtype: type of codes, planes, and activations between convolutions.
    """

    name: str
    network: D4Network
    tables: ScaleTables
    inter_tables: ScaleTables
    quantiser: Quantiser
    inter_quantiser: Quantiser
    masking_exponent: float
    settings: EncoderSettings
    device: torch.device
    code_dtype: torch.dtype

    @classmethod
    def of(cls, stored: StoredModel, device: torch.device, dtype: torch.dtype) -> Runtime:
        """The model on a device, its convolutions computing in `dtype`."""
        fitted = stored.config.get("encoder", {})
        inter = {"lambda": fitted.get("inter_lambda", 0.0)}
        return cls(
            stored.name, place_on_device(stored, device, dtype), stored.tables, stored.inter_tables,
            Quantiser(stored.tables, fitted, device),
            Quantiser(stored.inter_tables, inter, device), fitted.get("masking", 0.0), SETTINGS,
            device, torch.float32 if dtype in HALF_TYPES else dtype)

    def network_for(self, references: tuple[int, ...]) -> FrameNetwork:
        """The networks of a frame with these references, none for an intra frame.

        Raises:
            WeightsError: there are more than two.
        """
        if not references:
            return self.network
        if len(references) > 2:
            raise WeightsError(f"{self.name} has no networks for frames with {len(references)} "
                               "references, at most 2; the file needs another model.")
        return self.network.inter

    def rdoq_weight(self, batch: PlaneBatch) -> Tensor | None:
        """Factor of lambda in intra frames, [B, 1, h, w]; None where it is 1."""
        return (texture_masking(unshuffle(batch), self.masking_exponent)
                if self.masking_exponent else None)
