"""Autoencoder classes of diffusers that are known by name: config and tensors to an autoencoder.

A config comes from a hub, so it is not trusted: the class is one of `CLASSES`, each argument is one
of its constructor, a plain value within bounds, and the network is built without memory for its
parameters until their shapes agree with the tensors. No code of a repository runs.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from aehub.codecs.quantised.autoencoder import FrameAutoencoder, FrameRules
from aehub.codecs.quantised.weights import fill, on_meta_device
from aehub.errors import ModelError, WeightsError
from aehub.weights.device import Device, resolve_device, resolve_dtype, torch_defaults

_4N1 = (1, 5, 9, 13, 17)
_8N1 = (1, 9, 17)
_LTX_TIMESTEP = 0.05
"""Noise level that decoders of LTX with a timestep are run at, the default of its authors."""


def _seeded(_: Tensor) -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _timestep(latents: Tensor) -> Tensor:
    return torch.full((1,), _LTX_TIMESTEP, device=latents.device, dtype=latents.dtype)


CLASSES = {rules.name: rules for rules in (
    FrameRules("AutoencoderKL", batched=True),
    FrameRules("AutoencoderTiny", batched=True),
    FrameRules("AutoencoderDC", batched=True),
    FrameRules("AsymmetricAutoencoderKL", batched=True),
    FrameRules("VQModel", batched=True),
    FrameRules("ConsistencyDecoderVAE", batched=True, decode_arguments={"generator": _seeded}),
    FrameRules("AutoencoderKLTemporalDecoder", tuple(range(1, 9)), batched=True,
               decode_arguments={"num_frames": len}),
    FrameRules("AutoencoderKLWan", _4N1, keeps_state=True),
    FrameRules("AutoencoderKLLTXVideo", _8N1, decode_arguments={"temb": _timestep}),
    FrameRules("AutoencoderKLLTX2Video", _8N1, decode_arguments={"temb": _timestep}),
    FrameRules("AutoencoderKLCogVideoX", _8N1),
    FrameRules("AutoencoderKLHunyuanVideo", _4N1),
    FrameRules("AutoencoderKLHunyuanVideo15", _4N1),
    FrameRules("AutoencoderKLMochi", (1, 7, 13, 19)),
    FrameRules("AutoencoderKLMagvit", _4N1, keeps_state=True),
    FrameRules("AutoencoderKLCosmos", _8N1),
    FrameRules("AutoencoderVidTok", (1, 5, 9, 13, 16, 17), keeps_state=True, lead=lambda network: (
        network.temporal_compression_ratio - 1 if network.is_causal else 0)),
    FrameRules("AutoencoderKLKVAEVideo", _4N1),
    FrameRules("AutoencoderKLMiniMaxH3", (22, 39), native_tiles=True),
)}
"""What is known of each class; its counts of frames are tried when it is loaded."""

_UNREAD_ARGUMENTS = {"block_out_channels", "force_upcast"}
"""Entries that some classes write into a config and do not read."""
_MAX_NUMBER = 1 << 20
_MAX_REPEATS = 64
"""Largest number of layers or blocks in a row; the largest published one is 36."""
_MAX_ENTRIES, _MAX_LEVELS = 1024, 16
"""Most numbers in a list such as `latents_mean`, which has 256 in Cosmos; most levels, stages and
other entries of all other lists, which have at most 6."""
_OLD_ATTENTION = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.",
                  ".proj_attn.": ".to_out.0."}
"""Names in attention layers of weights from before 2023, and those of today."""


@torch_defaults()
def load(config: Mapping[str, Any], tensors: Mapping[str, Tensor], *, device: Device = "cpu",
         dtype: torch.dtype = torch.float32) -> FrameAutoencoder:
    """Load an autoencoder of a class of diffusers.

    Args:
        config: config.json, parsed and not trusted.
        tensors: of all its safetensors files.
        device: to compute on.
        dtype: to compute in.

    Raises:
        ModelError: diffusers is not installed.
        WeightsError: the class is not in the list, an argument is unknown or out of bounds, or a
            tensor is missing, unknown or of another shape.
    """
    on, dtype = resolve_device(device), resolve_dtype(dtype)
    name = config.get("_class_name")
    rules = CLASSES.get(name) if isinstance(name, str) else None
    if rules is None:
        raise WeightsError(f"the config names the class {str(name)[:60]!r}; those known are "
                           f"{', '.join(sorted(CLASSES))}.")
    kind = _class_of_diffusers(rules.name)
    arguments = check_arguments(config, kind.__init__, rules.name)
    try:
        with on_meta_device():
            network = kind(**arguments)
    except Exception as error:
        raise WeightsError(f"the config of this {rules.name} has arguments that it refuses: "
                           f"{str(error).splitlines()[0][:120] if str(error) else 'no reason'}; "
                           "name another model.") from error
    _work_on_the_whole(network, rules)
    skeleton = fill(network, {_renamed(key): tensor for key, tensor in tensors.items()}, on, dtype)
    if hasattr(skeleton, "decoder_scheduler"):
        skeleton.decoder_scheduler = _StepsOfShapes()  # type: ignore[assignment]
    _remove_noise(network)
    mean, std = _standardisation(network)
    return FrameAutoencoder(network, skeleton, rules, mean=mean, std=std, device=on, dtype=dtype)


def check_arguments(config: Mapping[str, Any], constructor: Callable[..., None], name: str
                    ) -> dict[str, Any]:
    """Return the arguments of a class from its config.

    Args:
        config: config.json, not trusted.
        constructor: of the class, whose signature has all arguments.
        name: of the class.

    Raises:
        WeightsError: one is unknown, of another type than JSON's plain ones, or out of bounds.
    """
    known = set(inspect.signature(constructor).parameters) - {"self"}
    arguments = {}
    for key, value in config.items():
        if key.startswith("_") or key in _UNREAD_ARGUMENTS - known:
            continue
        if key not in known:
            raise WeightsError(f"the config of this {name} has an unknown argument {key[:60]!r}; "
                               "name another model, or upgrade aehub.")
        largest = _MAX_REPEATS if "layers" in key or "blocks" in key else _MAX_NUMBER
        if not _is_within(value, largest):
            raise WeightsError(f"the config of this {name} has {key} = {str(value)[:60]}; allowed "
                               f"are plain values, numbers up to {largest}, and short lists.")
        arguments[key] = value
    return arguments


def _is_within(value: Any, largest: int, depth: int = 2) -> bool:
    if isinstance(value, list):
        numbers = all(isinstance(entry, float) for entry in value)
        return (depth > 0 and len(value) <= (_MAX_ENTRIES if numbers else _MAX_LEVELS)
                and all(_is_within(entry, largest, depth - 1) for entry in value))
    if isinstance(value, str):
        return len(value) <= 64
    return value is None or (isinstance(value, (bool, int, float)) and math.isfinite(value)
                             and -largest <= value <= largest)


def _class_of_diffusers(name: str) -> type[nn.Module]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import diffusers

            return getattr(diffusers, name)
    except ImportError:
        raise ModelError('this model is an autoencoder of diffusers, which is not installed; run: '
                         'pip install "aehub[diffusers]".') from None
    except AttributeError:
        raise ModelError(f"the diffusers installed here has no {name}; run: pip install "
                         '"aehub[diffusers]".') from None


class _StepsOfShapes:
    """Stand-in for the scheduler of a consistency decoder where tensors have no values."""

    timesteps, init_noise_sigma = (1008, 512), 1.0

    def set_timesteps(self, *_: Any, **__: Any) -> None:
        """Keep the two steps."""

    def scale_model_input(self, sample: Tensor, _: int) -> Tensor:
        """Return the sample."""
        return sample

    def step(self, output: Tensor, *_: Any) -> SimpleNamespace:
        """Return the network's output as the next sample."""
        return SimpleNamespace(prev_sample=output)


def _work_on_the_whole(network: nn.Module, rules: FrameRules) -> None:
    """Switch off chunks of frames that a class fades into each other; tiles are made here."""
    if not rules.native_tiles:
        for name in ("use_tiling", "use_framewise_encoding", "use_framewise_decoding"):
            if hasattr(network, name):
                setattr(network, name, False)


def _remove_noise(network: nn.Module) -> None:
    """Set the noise that decoders of LTX add between layers to its mean, zero."""
    for name, parameter in network.named_parameters():
        if name.endswith(("per_channel_scale1", "per_channel_scale2")):
            parameter.zero_()


def _renamed(name: str) -> str:
    if ".attentions." in name:
        for old, new in _OLD_ATTENTION.items():
            name = name.replace(old, new)
    return name


def _standardisation(network: Any) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of latents, [C or 1, latent frames or 1] each.

    They are buffers or arguments `latents_mean`, `latents_std`, in some classes for each latent
    frame; `shift_factor` is a mean and `scaling_factor` a factor on top.
    """
    config = network.config
    channels = next((config[name] for name in ("latent_channels", "z_dim") if name in config), 1)
    mean, std = (dict(network.named_buffers()).get(name, config.get(name))
                 for name in ("latents_mean", "latents_std"))
    scale = config.get("scaling_factor") or 1.0
    factors = []
    for value, default, divisor in ((mean, config.get("shift_factor") or 0.0, 1.0),
                                    (std, 1.0, scale)):
        given = torch.as_tensor([default] if value is None else value, dtype=torch.float32)
        if given.numel() > 1 and given.numel() % channels:
            raise WeightsError(f"the config of this {type(network).__name__} has {given.numel()} "
                               f"latents_mean for {channels} channels; name another model.")
        factors.append(given.cpu().reshape(channels if given.numel() > 1 else 1, -1) / divisor)
    if not (torch.isfinite(torch.stack([factor.sum() for factor in factors])).all()
            and (factors[1] > 0).all()):
        raise WeightsError(f"the config of this {type(network).__name__} has latents of no "
                           "positive standard deviation; name another model.")
    return factors[0], factors[1]
