"""Pipelines with a text encoder of GLM, and one with Mistral and the tokenizer of GLM."""

from __future__ import annotations

from typing import Any

import torch

from t2i_diffusers.libraries import diffusers, transformers
from t2i_diffusers.testing import components
from t2icli.testing import tokenizers


def cogview4() -> Any:
    config = transformers.GlmConfig(
        **components.TEXT,
        pad_token_id=0,
        eos_token_id=0,
    )
    transformer = diffusers.CogView4Transformer2DModel(
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        text_embed_dim=16,
        time_embed_dim=16,
        condition_dim=8,
        pos_embed_max_size=16,
        sample_size=8,
        rope_axes_dim=(8, 8),
    )
    return diffusers.CogView4Pipeline(
        tokenizer=tokenizers.glm(),
        text_encoder=transformers.GlmModel(config).eval(),
        vae=components.vae(),
        transformer=transformer,
        scheduler=components.flow(base_shift=0.25, max_shift=0.75, use_dynamic_shifting=True, time_shift_type="linear"),
    )


def kolors() -> Any:
    from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel

    tokenizer = tokenizers.chatglm()
    config = ChatGLMConfig(
        num_layers=2,
        padded_vocab_size=tokenizer.vocab_size,
        hidden_size=16,
        ffn_hidden_size=16,
        kv_channels=8,
        num_attention_heads=2,
        seq_length=256,
        multi_query_attention=True,
        multi_query_group_num=1,
        add_qkv_bias=True,
        original_rope=True,
    )
    text_encoder = ChatGLMModel(config).eval().float()
    for parameter in text_encoder.parameters():  # they start as uninitialised memory
        torch.nn.init.normal_(parameter, std=0.1)
    unet = components.unet(
        16,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 16,
        encoder_hid_dim=16,
        encoder_hid_dim_type="text_proj",
    )
    return diffusers.KolorsPipeline(
        vae=components.vae(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=diffusers.EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.014, beta_schedule="scaled_linear", steps_offset=1, num_train_timesteps=1100
        ),
    )


def ernie_image() -> Any:
    text = {
        "model_type": "mistral",
        **components.TEXT,
    }
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Mistral3Config(text_config=text, vision_config={"model_type": "pixtral", **vision})
    transformer = diffusers.ErnieImageTransformer2DModel(
        hidden_size=32,
        num_attention_heads=2,
        num_layers=1,
        ffn_hidden_size=32,
        in_channels=16,
        out_channels=16,
        text_in_dim=16,
        rope_axes_dim=(4, 6, 6),
    )
    return diffusers.ErnieImagePipeline(
        transformer=transformer,
        vae=components.flux2_vae(),
        text_encoder=transformers.Mistral3Model(config).eval(),
        tokenizer=tokenizers.glm(),
        scheduler=components.flow(shift=3.0),
    )
