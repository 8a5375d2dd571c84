"""Pipelines with a text encoder of Gemma."""

from __future__ import annotations

from typing import Any

from t2i_diffusers.libraries import diffusers
from t2i_diffusers.testing import components
from t2icli.testing import tokenizers


def sana() -> Any:
    vae = diffusers.AutoencoderDC(
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types=("ResBlock",) * 4,
        decoder_block_types=("ResBlock",) * 4,
        encoder_block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        encoder_layers_per_block=(1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        encoder_qkv_multiscales=((), (), (), ()),
        decoder_qkv_multiscales=((), (), (), ()),
        downsample_block_type="conv",
        scaling_factor=0.41407,
    )
    transformer = diffusers.SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=1,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=16,
        sample_size=8,
    )
    return diffusers.SanaPipeline(
        tokenizer=tokenizers.gemma(),
        text_encoder=components.gemma2(),
        vae=vae,
        transformer=transformer,
        scheduler=diffusers.DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    )


def sana_sprint() -> Any:
    plain = sana()
    transformer = diffusers.SanaTransformer2DModel.from_config(
        plain.transformer.config, guidance_embeds=True, qk_norm="rms_norm_across_heads"
    )
    return diffusers.SanaSprintPipeline(
        tokenizer=plain.tokenizer,
        text_encoder=plain.text_encoder,
        vae=plain.vae,
        transformer=transformer,
        scheduler=diffusers.SCMScheduler(),
    )


def lumina2() -> Any:
    transformer = diffusers.Lumina2Transformer2DModel(
        sample_size=8,
        in_channels=16,
        hidden_size=24,
        num_layers=1,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=8,
        axes_dim_rope=(4, 4, 4),
        axes_lens=(512, 64, 64),
        cap_feat_dim=16,
    )
    return diffusers.Lumina2Pipeline(
        transformer=transformer,
        scheduler=components.flow(shift=6.0),
        vae=components.vae(16, scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=components.gemma2(),
        tokenizer=tokenizers.gemma(),
    )
