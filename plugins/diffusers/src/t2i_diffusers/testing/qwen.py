"""Pipelines with a text encoder of Qwen."""

from __future__ import annotations

from typing import Any

import torch

from t2i_diffusers.libraries import diffusers, transformers
from t2i_diffusers.testing import components
from t2icli.testing import tokenizers


def z_image() -> Any:
    transformer = diffusers.ZImageTransformer2DModel(
        in_channels=16,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[4, 6, 6],
        axes_lens=[1024, 64, 64],
    )
    with torch.no_grad():  # they start as uninitialised memory
        transformer.x_pad_token.normal_()
        transformer.cap_pad_token.normal_()
    return diffusers.ZImagePipeline(
        scheduler=components.flow(shift=3.0),
        vae=components.vae(16, scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=components.qwen3(),
        tokenizer=tokenizers.qwen(),
        transformer=transformer,
    )


def qwen_image() -> Any:
    transformer = diffusers.QwenImageTransformer2DModel(
        in_channels=64,
        out_channels=16,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(4, 6, 6),
    )
    return diffusers.QwenImagePipeline(
        scheduler=components.flow(use_dynamic_shifting=True, base_shift=0.5, max_shift=0.9, shift_terminal=0.02),
        vae=diffusers.AutoencoderKLQwenImage(base_dim=8, z_dim=16, num_res_blocks=1),
        text_encoder=components.qwen25_vl(),
        tokenizer=tokenizers.qwen(),
        transformer=transformer,
    )


def qwen_image_edit() -> Any:
    plain = qwen_image()
    parts = {name: plain.components[name] for name in ("scheduler", "vae", "text_encoder", "tokenizer", "transformer")}
    return diffusers.QwenImageEditPipeline(**parts, processor=components.qwen_vl_processor("Qwen2VLProcessor", 14))


def qwen_image_21() -> Any:
    text = {
        **components.TEXT,
        "rope_parameters": {"rope_type": "default", "rope_theta": 5000000.0, "mrope_section": [2, 1, 1]},
    }
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "out_hidden_size": 16,
        "patch_size": 16,
        "deepstack_visual_indexes": [0],
        "num_position_embeddings": 16,
    }
    config = transformers.Qwen3VLConfig(text_config=text, vision_config=vision, **components.VISION_IDS)
    transformer = diffusers.QwenImage21Transformer2DModel(
        in_channels=8,
        out_channels=8,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        context_in_dim=16,
        axes_dims_rope=(4, 6, 6),
    )
    vae = diffusers.AutoencoderKLQwenImage21(
        base_dim=8, decoder_base_dim=8, z_dim=8, num_res_blocks=1, latents_mean=[0.0] * 8, latents_std=[1.0] * 8
    )
    return diffusers.QwenImage21Pipeline(
        scheduler=components.flow(use_dynamic_shifting=True),
        vae=vae,
        text_encoder=transformers.Qwen3VLForConditionalGeneration(config).eval(),
        processor=components.qwen_vl_processor("Qwen3VLProcessor", 16),
        transformer=transformer,
    )


def flux2_klein() -> Any:
    """It reads the hidden layers 9, 18 and 27 of its text encoder, which therefore has 28."""
    transformer = diffusers.Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        timestep_guidance_channels=8,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    return diffusers.Flux2KleinPipeline(
        scheduler=components.flow(use_dynamic_shifting=True),
        vae=components.flux2_vae(),
        text_encoder=components.qwen3(layers=28, width=8),
        tokenizer=tokenizers.qwen(),
        transformer=transformer,
        is_distilled=False,
    )


def longcat_image() -> Any:
    transformer = diffusers.LongCatImageTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        axes_dims_rope=[4, 6, 6],
    )
    return diffusers.LongCatImagePipeline(
        scheduler=components.flow(use_dynamic_shifting=True),
        vae=components.vae(16, scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=components.qwen25_vl(),
        tokenizer=tokenizers.qwen(),
        text_processor=components.qwen_vl_processor("Qwen2VLProcessor", 14),
        transformer=transformer,
    )
