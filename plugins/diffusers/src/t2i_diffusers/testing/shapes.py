"""The bases that a LoRA is trained beside, as they are published: configurations of networks, and no weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from t2i_diffusers.folder import INDEX

VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}
SDXL = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
KLEIN = {
    "in_channels": 128,
    "num_layers": 5,
    "num_single_layers": 20,
    "num_attention_heads": 24,
    "joint_attention_dim": 7680,
    "guidance_embeds": False,
}


@dataclass(frozen=True)
class Shape:
    """A base: its class, its networks' classes with what differs from their defaults, its text encoders' size."""

    pipeline: str
    denoiser: str
    vae: str
    text: int
    """Numbers of all text encoders."""
    config: Mapping[str, Any] = field(default_factory=dict)
    vae_config: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """The folder of a pipeline, with configurations alone."""
        name = "unet" if "UNet" in self.denoiser else "transformer"
        scheduler = "EulerDiscreteScheduler" if name == "unet" else "FlowMatchEulerDiscreteScheduler"
        parts = {"scheduler": scheduler, name: self.denoiser, "vae": self.vae}
        _write(
            folder / INDEX, {"_class_name": self.pipeline} | {key: ["diffusers", kind] for key, kind in parts.items()}
        )
        _write(folder / "scheduler/scheduler_config.json", {})
        _write(folder / name / "config.json", self.config)
        _write(folder / "vae/config.json", self.vae_config)
        if name == "unet":
            _write(folder / "text_encoder_2/config.json", {"projection_dim": 1280})
        return folder


def _write(path: Path, table: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(table))


BASES: Mapping[str, Shape] = {
    "Stable Diffusion XL": Shape(
        "StableDiffusionXLPipeline", "UNet2DConditionModel", "AutoencoderKL", 817_700_000, SDXL, VAE
    ),
    "FLUX.2 klein 4B": Shape(
        "Flux2KleinPipeline", "Flux2Transformer2DModel", "AutoencoderKLFlux2", 4_022_000_000, KLEIN, {}
    ),
    "Z-Image": Shape(
        "ZImagePipeline",
        "ZImageTransformer2DModel",
        "AutoencoderKL",
        4_022_000_000,
        {},
        VAE | {"latent_channels": 16},
    ),
    "Qwen-Image": Shape(
        "QwenImagePipeline", "QwenImageTransformer2DModel", "AutoencoderKLQwenImage", 8_292_000_000, {}, {}
    ),
}
