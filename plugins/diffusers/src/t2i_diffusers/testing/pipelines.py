"""Pipelines of the true classes with networks of a few thousand numbers, drawn at random from a fixed seed.

`build(family, folder)` writes one; no file is downloaded. What they draw is noise, so they show that a pipeline is
driven rightly, not that its pictures are good.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from t2i_diffusers.libraries import diffusers, quiet, transformers
from t2icli.testing import tokenizers

FOUR_DOWN = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}


def build(family: str, folder: Path) -> Path:
    """Save a tiny pipeline of this family; the same bytes every time."""
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        {**FAMILIES, **OTHERS}[family]().save_pretrained(folder)
    return folder


def _vae(latents: int = 4, **options: Any) -> Any:
    """Four levels: the pipelines reckon with pictures eight times as large as latents."""
    shape = {"block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4, "latent_channels": latents, "sample_size": 64}
    return diffusers.AutoencoderKL(**shape, **FOUR_DOWN, **options)


def _flow(**options: Any) -> Any:
    return diffusers.FlowMatchEulerDiscreteScheduler(**options)


def _clip_text(projected: bool = False, width: int = 16) -> Any:
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


def _unet(cross: int, **options: Any) -> Any:
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
        vae=_vae(),
        text_encoder=_clip_text(),
        tokenizer=tokenizers.clip(),
        unet=_unet(16),
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
        unet=_unet(16, time_cond_proj_dim=8),
        scheduler=diffusers.LCMScheduler.from_config(plain.scheduler.config),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl() -> Any:
    unet = _unet(
        32,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 16,
        transformer_layers_per_block=1,
    )
    return diffusers.StableDiffusionXLPipeline(
        vae=_vae(),
        text_encoder=_clip_text(),
        text_encoder_2=_clip_text(projected=True),
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
        scheduler=_flow(shift=3.0),
        vae=_vae(16, scaling_factor=1.5305, shift_factor=0.0609),
        text_encoder=_clip_text(projected=True),
        tokenizer=tokenizers.clip(),
        text_encoder_2=_clip_text(projected=True),
        tokenizer_2=tokenizers.clip(),
        text_encoder_3=_t5(32),
        tokenizer_3=tokenizers.t5(),
    )


def _t5(width: int, vocabulary: int = tokenizers.VOCABULARY, kind: str = "T5EncoderModel") -> Any:
    config = transformers.T5Config(
        vocab_size=vocabulary, d_model=width, d_kv=8, d_ff=16, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu"
    )
    return getattr(transformers, kind)(config).eval()


def _qwen3(layers: int = 2, width: int = 16) -> Any:
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
        scheduler=_flow(shift=3.0),
        vae=_vae(16, scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=_qwen3(),
        tokenizer=tokenizers.qwen(),
        transformer=transformer,
    )


VISION_IDS = {"image_token_id": 261, "video_token_id": 262, "vision_start_token_id": 259, "vision_end_token_id": 260}


def _qwen25_vl(width: int = 16) -> Any:
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
        scheduler=_flow(use_dynamic_shifting=True, base_shift=0.5, max_shift=0.9, shift_terminal=0.02),
        vae=diffusers.AutoencoderKLQwenImage(base_dim=8, z_dim=16, num_res_blocks=1),
        text_encoder=_qwen25_vl(),
        tokenizer=tokenizers.qwen(),
        transformer=transformer,
    )


def qwen_image_edit() -> Any:
    plain = qwen_image()
    parts = {name: plain.components[name] for name in ("scheduler", "vae", "text_encoder", "tokenizer", "transformer")}
    return diffusers.QwenImageEditPipeline(**parts, processor=_qwen_vl_processor("Qwen2VLProcessor", 14))


def _flux2_vae() -> Any:
    return diffusers.AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8, 8), norm_num_groups=4, latent_channels=4, layers_per_block=1, sample_size=64
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
        scheduler=_flow(use_dynamic_shifting=True),
        vae=_flux2_vae(),
        text_encoder=_qwen3(layers=28, width=8),
        tokenizer=tokenizers.qwen(),
        transformer=transformer,
        is_distilled=False,
    )


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
        vae=_vae(),
        text_encoder=transformers.BertModel(bert).eval(),
        tokenizer=tokenizers.bert(),
        transformer=transformer,
        scheduler=diffusers.DDPMScheduler(
            beta_start=0.00085, beta_end=0.02, beta_schedule="scaled_linear", prediction_type="v_prediction"
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        text_encoder_2=_t5(16),
        tokenizer_2=tokenizers.t5(),
    )


def cogview4() -> Any:
    config = transformers.GlmConfig(
        vocab_size=tokenizers.VOCABULARY,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
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
        vae=_vae(),
        transformer=transformer,
        scheduler=_flow(base_shift=0.25, max_shift=0.75, use_dynamic_shifting=True, time_shift_type="linear"),
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
    unet = _unet(
        16,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 16,
        encoder_hid_dim=16,
        encoder_hid_dim_type="text_proj",
    )
    return diffusers.KolorsPipeline(
        vae=_vae(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=diffusers.EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.014, beta_schedule="scaled_linear", steps_offset=1, num_train_timesteps=1100
        ),
    )


def _gemma2() -> Any:
    config = transformers.Gemma2Config(
        vocab_size=tokenizers.VOCABULARY,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    return transformers.Gemma2Model(config).eval()


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
        text_encoder=_gemma2(),
        vae=vae,
        transformer=transformer,
        scheduler=diffusers.DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
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
        scheduler=_flow(shift=6.0),
        vae=_vae(16, scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=_gemma2(),
        tokenizer=tokenizers.gemma(),
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


def _qwen_vl_processor(kind: str, patch: int) -> Any:
    """With image and video processors of the true classes, for pictures of few patches."""
    few = {"min_pixels": 32 * 32, "max_pixels": 128 * 128}
    tokenizer = tokenizers.qwen()
    images = transformers.Qwen2VLImageProcessor(patch_size=patch, **few)
    family = kind.removesuffix("Processor")
    videos = getattr(transformers, f"{family}VideoProcessor")(patch_size=patch)
    return getattr(transformers, kind)(images, tokenizer, videos, chat_template=tokenizers.CHAT)


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
        scheduler=_flow(use_dynamic_shifting=True),
        vae=_vae(16, scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=_qwen25_vl(),
        tokenizer=tokenizers.qwen(),
        text_processor=_qwen_vl_processor("Qwen2VLProcessor", 14),
        transformer=transformer,
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
        scheduler=_flow(shift=5.0),
        vae=vae,
        text_encoder=_qwen25_vl(),
        tokenizer=tokenizers.qwen(),
        text_encoder_2=_t5(16, 384),
        tokenizer_2=tokenizers.byt5(),
        transformer=transformer,
        guider=guiders[0],
        ocr_guider=guiders[1],
    )


def ernie_image() -> Any:
    text = {
        "model_type": "mistral",
        "vocab_size": tokenizers.VOCABULARY,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
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
        vae=_flux2_vae(),
        text_encoder=transformers.Mistral3Model(config).eval(),
        tokenizer=tokenizers.glm(),
        scheduler=_flow(shift=3.0),
    )


def qwen_image_21() -> Any:
    text = {
        "vocab_size": tokenizers.VOCABULARY,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
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
    config = transformers.Qwen3VLConfig(text_config=text, vision_config=vision, **VISION_IDS)
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
        scheduler=_flow(use_dynamic_shifting=True),
        vae=vae,
        text_encoder=transformers.Qwen3VLForConditionalGeneration(config).eval(),
        processor=_qwen_vl_processor("Qwen3VLProcessor", 16),
        transformer=transformer,
    )


FAMILIES: Mapping[str, Callable[[], Any]] = {
    "stable-diffusion": stable_diffusion,
    "stable-diffusion-xl": stable_diffusion_xl,
    "stable-diffusion-3": stable_diffusion_3,
    "z-image": z_image,
    "qwen-image": qwen_image,
    "flux2-klein": flux2_klein,
    "hunyuan-dit": hunyuan_dit,
    "cogview4": cogview4,
    "kolors": kolors,
    "sana": sana,
    "sana-sprint": sana_sprint,
    "lumina2": lumina2,
    "qwen-image-2.1": qwen_image_21,
    "hunyuan-image": hunyuan_image,
    "longcat-image": longcat_image,
    "ernie-image": ernie_image,
}
"""What builds a pipeline of each family that draws from words."""
OTHERS: Mapping[str, Callable[[], Any]] = {"qwen-image-edit": qwen_image_edit, "latent-consistency": latent_consistency}
"""Of one that needs a picture, and of one that stands for all that are named nowhere here."""
