"""Parts that several of the tiny pipelines share: autoencoders, schedulers, text encoders."""

from __future__ import annotations

from typing import Any

from t2i_diffusers.libraries import diffusers, transformers
from t2icli.testing import tokenizers

FOUR_DOWN = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}


VISION_IDS = {"image_token_id": 261, "video_token_id": 262, "vision_start_token_id": 259, "vision_end_token_id": 260}

TEXT = {
    "vocab_size": tokenizers.VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
}
"""Sizes of a text encoder."""


def vae(latents: int = 4, **options: Any) -> Any:
    """Four levels: the pipelines assume pictures eight times as large as latents."""
    shape = {"block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4, "latent_channels": latents, "sample_size": 64}
    return diffusers.AutoencoderKL(**shape, **FOUR_DOWN, **options)


def flux2_vae() -> Any:
    return diffusers.AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8, 8), norm_num_groups=4, latent_channels=4, layers_per_block=1, sample_size=64
    )


def flow(**options: Any) -> Any:
    return diffusers.FlowMatchEulerDiscreteScheduler(**options)


def unet(cross: int, **options: Any) -> Any:
    shape = {
        "sample_size": 8,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": 4,
        "cross_attention_dim": cross,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }
    return diffusers.UNet2DConditionModel(**{**shape, **options})


def clip_text(projected: bool = False, width: int = 16) -> Any:
    config = transformers.CLIPTextConfig(
        vocab_size=tokenizers.CLIP_VOCABULARY,
        hidden_size=width,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        projection_dim=16,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
    )
    return (transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel)(config).eval()


def t5(width: int, vocabulary: int = tokenizers.VOCABULARY, kind: str = "T5EncoderModel") -> Any:
    config = transformers.T5Config(
        vocab_size=vocabulary, d_model=width, d_kv=8, d_ff=16, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu"
    )
    return getattr(transformers, kind)(config).eval()


def qwen3(layers: int = 2, width: int = 16) -> Any:
    config = transformers.Qwen3Config(
        vocab_size=tokenizers.VOCABULARY,
        hidden_size=width,
        intermediate_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        bos_token_id=256,
        eos_token_id=256,
        pad_token_id=256,
    )
    return transformers.Qwen3ForCausalLM(config).eval()


def qwen25_vl(width: int = 16) -> Any:
    text = {
        "vocab_size": tokenizers.VOCABULARY,
        "hidden_size": width,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "bos_token_id": 256,
        "eos_token_id": 256,
        "pad_token_id": 256,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [1, 1, 2]},
    }
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "out_hidden_size": width,
        "patch_size": 14,
        "fullatt_block_indexes": [0],
    }
    config = transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **VISION_IDS)
    return transformers.Qwen2_5_VLForConditionalGeneration(config).eval()


def qwen_vl_processor(kind: str, patch: int) -> Any:
    """With image and video processors of the true classes, for pictures of few patches."""
    few = {"min_pixels": 32 * 32, "max_pixels": 128 * 128}
    tokenizer = tokenizers.qwen()
    images = transformers.Qwen2VLImageProcessor(patch_size=patch, **few)
    family = kind.removesuffix("Processor")
    videos = getattr(transformers, f"{family}VideoProcessor")(patch_size=patch)
    return getattr(transformers, kind)(images, tokenizer, videos, chat_template=tokenizers.CHAT)


def gemma2() -> Any:
    return transformers.Gemma2Model(transformers.Gemma2Config(**TEXT)).eval()
