"""Tiny random autoencoders of every class of diffusers that AEHub knows, and of the TAESD family.

The arguments are those of diffusers' own tests, in short. Classes that read a padded border need a
few positions, and MiniMaxH3 tiles of its own; all are built in well under a second.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from aehub.codecs.quantised.taesd import Block, SoftLimit

_RESNETS = {"down_block_types": ["DownEncoderBlock2D"] * 2,
            "up_block_types": ["UpDecoderBlock2D"] * 2}
_LTX = {"in_channels": 3, "out_channels": 3, "latent_channels": 8, "block_out_channels": [8] * 4,
        "layers_per_block": [1] * 5, "timestep_conditioning": False, "patch_size": 1,
        "patch_size_t": 1, "encoder_causal": True, "decoder_causal": False}
_DC = {side: values for name in ("encoder", "decoder") for side, values in {
    f"{name}_block_types": ["ResBlock", "EfficientViTBlock"], f"{name}_block_out_channels": [8, 8],
    f"{name}_qkv_multiscales": [[], [5]], f"{name}_layers_per_block": [1, 1]}.items()}
_CONSISTENCY = {
    "encoder_block_out_channels": [2, 4], "encoder_in_channels": 3, "encoder_out_channels": 4,
    "encoder_down_block_types": ["DownEncoderBlock2D"] * 2, "decoder_add_attention": False,
    "decoder_block_out_channels": [2, 4], "decoder_downsample_padding": 1, "decoder_in_channels": 7,
    "decoder_down_block_types": ["ResnetDownsampleBlock2D"] * 2, "decoder_layers_per_block": 1,
    "decoder_norm_eps": 1e-5, "decoder_norm_num_groups": 2, "encoder_norm_num_groups": 2,
    "decoder_num_train_timesteps": 1024, "decoder_out_channels": 6,
    "decoder_resnet_time_scale_shift": "scale_shift", "decoder_time_embedding_type": "learned",
    "decoder_up_block_types": ["ResnetUpsampleBlock2D"] * 2, "scaling_factor": 1,
    "latent_channels": 4}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "AutoencoderKL": {**_RESNETS, "block_out_channels": [2, 4], "latent_channels": 4,
                      "norm_num_groups": 2},
    "AutoencoderTiny": {"encoder_block_out_channels": [32, 32], "num_encoder_blocks": [1, 1],
                        "decoder_block_out_channels": [32, 32], "num_decoder_blocks": [1, 1]},
    "AutoencoderDC": {**_DC, "in_channels": 3, "latent_channels": 4, "attention_head_dim": 2,
                      "downsample_block_type": "conv", "upsample_block_type": "interpolate",
                      "scaling_factor": 0.41407},
    "AsymmetricAutoencoderKL": {**_RESNETS, "down_block_out_channels": [2, 4],
                                "up_block_out_channels": [2, 4], "norm_num_groups": 2},
    "VQModel": {**_RESNETS, "block_out_channels": [8, 16], "norm_num_groups": 8,
                "latent_channels": 3},
    "ConsistencyDecoderVAE": _CONSISTENCY,
    "AutoencoderKLTemporalDecoder": {"block_out_channels": [32, 64], "latent_channels": 4,
                                     "down_block_types": ["DownEncoderBlock2D"] * 2,
                                     "layers_per_block": 1},
    "AutoencoderKLWan": {"base_dim": 3, "z_dim": 16, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1,
                         "temperal_downsample": [False, True, True]},
    "AutoencoderKLLTXVideo": {
        **_LTX, "decoder_block_out_channels": [8] * 4, "decoder_layers_per_block": [1] * 5,
        "spatio_temporal_scaling": [True, True, False, False],
        "decoder_spatio_temporal_scaling": [True, True, False, False],
        "decoder_inject_noise": [False] * 5, "upsample_residual": [False] * 4,
        "upsample_factor": [1] * 4},
    "AutoencoderKLLTX2Video": {
        **_LTX, "decoder_block_out_channels": [16, 32, 64], "decoder_layers_per_block": [1] * 4,
        "spatio_temporal_scaling": [True] * 4, "decoder_spatio_temporal_scaling": [True] * 3,
        "decoder_inject_noise": [False] * 4, "upsample_residual": [True] * 3,
        "downsample_type": ["spatial", "temporal", "spatiotemporal", "spatiotemporal"],
        "upsample_factor": [2] * 3, "encoder_spatial_padding_mode": "zeros",
        "decoder_spatial_padding_mode": "zeros"},
    "AutoencoderKLCogVideoX": {
        "down_block_types": ["CogVideoXDownBlock3D"] * 4, "block_out_channels": [8] * 4,
        "up_block_types": ["CogVideoXUpBlock3D"] * 4, "latent_channels": 4, "layers_per_block": 1,
        "norm_num_groups": 2, "temporal_compression_ratio": 4},
    "AutoencoderKLHunyuanVideo": {
        "down_block_types": ["HunyuanVideoDownBlock3D"] * 4, "block_out_channels": [8] * 4,
        "up_block_types": ["HunyuanVideoUpBlock3D"] * 4, "latent_channels": 4,
        "layers_per_block": 1, "norm_num_groups": 4},
    "AutoencoderKLHunyuanVideo15": {"latent_channels": 8, "block_out_channels": [16] * 5,
                                    "layers_per_block": 1},
    "AutoencoderKLMochi": {
        "in_channels": 15, "latent_channels": 4, "encoder_block_out_channels": [32] * 4,
        "decoder_block_out_channels": [32] * 4, "layers_per_block": [1] * 5, "scaling_factor": 1,
        "latents_mean": [0.0] * 4, "latents_std": [1.0] * 4},
    "AutoencoderKLMagvit": {
        "latent_channels": 4, "block_out_channels": [8] * 4, "layers_per_block": 1,
        "down_block_types": ["SpatialDownBlock3D"] + ["SpatialTemporalDownBlock3D"] * 3,
        "up_block_types": ["SpatialUpBlock3D"] + ["SpatialTemporalUpBlock3D"] * 3,
        "norm_num_groups": 8, "spatial_group_norm": True},
    "AutoencoderKLCosmos": {
        "latent_channels": 4, "encoder_block_out_channels": [8] * 4, "patch_type": "haar",
        "decode_block_out_channels": [8] * 4, "attention_resolutions": [8], "resolution": 64,
        "num_layers": 2, "patch_size": 4, "spatial_compression_ratio": 4,
        "temporal_compression_ratio": 4, "latents_mean": [0.0] * 64, "latents_std": [1.0] * 64},
    "AutoencoderVidTok": {"is_causal": True, "ch": 32, "ch_mult": [1, 1, 1, 1], "z_channels": 4,
                          "double_z": True, "num_res_blocks": 1, "regularizer": "kl"},
    "AutoencoderKLKVAEVideo": {"ch": 32, "ch_mult": [1, 2], "num_res_blocks": 1, "z_channels": 4,
                               "temporal_compress_times": 2},
    "AutoencoderKLMiniMaxH3": {
        "latent_channels": 4, "block_out_channels": [8, 16], "layers_per_block": 1,
        "spatial_downsample_factors": [2, 2], "temporal_downsample_factors": [2, 2],
        "norm_num_groups": 8, "decoder_num_layers": 2, "decoder_num_attention_heads": 2,
        "decoder_attention_head_dim": 8, "decoder_num_register_tokens": 2, "decoder_ffn_mult": 2,
        "clip_length": 17, "token_drop": 3, "latents_mean": [0.0] * 4, "latents_std": [1.0] * 4},
}
"""Constructor arguments by class."""


def random_model(name: str, seed: int = 0, **more: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return config and tensors of a tiny random autoencoder of a class.

    Args:
        name: of the class.
        seed: of its weights.
        more: arguments of its constructor in place of those listed.
    """
    import diffusers

    arguments = ARGUMENTS[name] | more
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = getattr(diffusers, name)(**arguments)
    tensors = {key: tensor.clone().contiguous() for key, tensor in network.state_dict().items()}
    return {"_class_name": name, "_diffusers_version": "0.42.1", **arguments}, tensors


def save_folder(name: str, folder: Path, seed: int = 0) -> Path:
    """Save a tiny random autoencoder as diffusers does; return its folder."""
    config, tensors = random_model(name, seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file(tensors, folder / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    return folder


def random_taesd(latent_channels: int = 4, pooled: bool = False, width: int = 8, seed: int = 0
                 ) -> dict[str, Tensor]:
    """Return tensors of a random autoencoder of the TAESD family, narrower than published ones.

    Args:
        latent_channels: C.
        pooled: with the pooled branch of taef2 in the blocks next to the latents.
        width: channels between the layers; published are 64.
        seed: of the weights.
    """
    def blocks(count: int, branch: bool = False) -> list[nn.Module]:
        return [Block(width, width, False, 4 * width * branch) for _ in range(count)]

    def conv(given: int, made: int, **more: Any) -> nn.Module:
        return nn.Conv2d(given, made, 3, padding=1, **more)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = nn.Sequential(conv(3, width), *blocks(1), *(
            module for stage in range(3) for module in (
                conv(width, width, stride=2, bias=False), *blocks(3, pooled and stage == 2))),
            conv(width, latent_channels))
        decoder = nn.Sequential(SoftLimit(), conv(latent_channels, width), nn.ReLU(), *(
            module for stage in range(3) for module in (
                *blocks(3, pooled and stage == 0), nn.Upsample(scale_factor=2),
                conv(width, width, bias=False))), *blocks(1), conv(width, 3))
    return {f"{side}.{name}": tensor.clone()
            for side, network in (("encoder", encoder), ("decoder", decoder))
            for name, tensor in network.state_dict().items()}
