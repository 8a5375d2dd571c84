"""Pipelines with a text encoder of CLIP: Stable Diffusion and what was made of it."""

from __future__ import annotations

from typing import Any

from t2i_diffusers.libraries import diffusers
from t2i_diffusers.testing import components
from t2icli.testing import tokenizers


def _trained_for_epsilon() -> Any:
    return diffusers.DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def stable_diffusion() -> Any:
    return diffusers.StableDiffusionPipeline(
        vae=components.vae(),
        text_encoder=components.clip_text(),
        tokenizer=tokenizers.clip(),
        unet=components.unet(16),
        scheduler=_trained_for_epsilon(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def latent_consistency() -> Any:
    plain = stable_diffusion()
    parts = {name: plain.components[name] for name in ("vae", "text_encoder", "tokenizer")}
    return diffusers.LatentConsistencyModelPipeline(
        **parts,
        unet=components.unet(16, time_cond_proj_dim=8),
        scheduler=diffusers.LCMScheduler.from_config(plain.scheduler.config),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl() -> Any:
    unet = components.unet(
        32,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 16,
        transformer_layers_per_block=1,
    )
    return diffusers.StableDiffusionXLPipeline(
        vae=components.vae(),
        text_encoder=components.clip_text(),
        text_encoder_2=components.clip_text(projected=True),
        tokenizer=tokenizers.clip(),
        tokenizer_2=tokenizers.clip(),
        unet=unet,
        scheduler=diffusers.EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        ),
        add_watermarker=False,
    )


def stable_diffusion_3() -> Any:
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=8,
        in_channels=16,
        out_channels=16,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=32,
        pos_embed_max_size=16,
    )
    return diffusers.StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=components.flow(shift=3.0),
        vae=components.vae(16, scaling_factor=1.5305, shift_factor=0.0609),
        text_encoder=components.clip_text(projected=True),
        tokenizer=tokenizers.clip(),
        text_encoder_2=components.clip_text(projected=True),
        tokenizer_2=tokenizers.clip(),
        text_encoder_3=components.t5(32),
        tokenizer_3=tokenizers.t5(),
    )
