"""Pipelines of Hunyuan, each with two text encoders."""

from __future__ import annotations

from typing import Any

from t2i_diffusers.libraries import diffusers, transformers
from t2i_diffusers.testing import components
from t2icli.testing import tokenizers


def hunyuan_dit() -> Any:
    bert = transformers.BertConfig(
        vocab_size=128, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    transformer = diffusers.HunyuanDiT2DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=4,
        patch_size=2,
        sample_size=8,
        hidden_size=32,
        num_layers=2,
        cross_attention_dim=16,
        cross_attention_dim_t5=16,
        pooled_projection_dim=16,
        text_len=77,
        text_len_t5=256,
    )
    return diffusers.HunyuanDiTPipeline(
        vae=components.vae(),
        text_encoder=transformers.BertModel(bert).eval(),
        tokenizer=tokenizers.bert(),
        transformer=transformer,
        scheduler=diffusers.DDPMScheduler(
            beta_start=0.00085, beta_end=0.02, beta_schedule="scaled_linear", prediction_type="v_prediction"
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        text_encoder_2=components.t5(16),
        tokenizer_2=tokenizers.t5(),
    )


def hunyuan_image() -> Any:
    """Its VAE needs at least 32 channels; one of its guiders reads what is to be written in the picture."""
    transformer = diffusers.HunyuanImageTransformer2DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        text_embed_dim=16,
        text_embed_2_dim=16,
        rope_axes_dim=(4, 4),
    )
    vae = diffusers.AutoencoderKLHunyuanImage(
        in_channels=3,
        out_channels=3,
        latent_channels=8,
        block_out_channels=(32, 32, 32, 32, 32, 32),
        layers_per_block=1,
        spatial_compression_ratio=32,
        sample_size=64,
        scaling_factor=0.75289,
    )
    guiders = [diffusers.AdaptiveProjectedMixGuidance(guidance_scale=3.5, enabled=enabled) for enabled in (True, False)]
    return diffusers.HunyuanImagePipeline(
        scheduler=components.flow(shift=5.0),
        vae=vae,
        text_encoder=components.qwen25_vl(),
        tokenizer=tokenizers.qwen(),
        text_encoder_2=components.t5(16, 384),
        tokenizer_2=tokenizers.byt5(),
        transformer=transformer,
        guider=guiders[0],
        ocr_guider=guiders[1],
    )
