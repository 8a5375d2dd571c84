"""Tiny random models of the true classes, each built once."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from t2icli.testing import tokenizers

THIN = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
EYES = {**THIN, "image_size": 32, "patch_size": 16}
VISION_IDS = {"image_token_id": 261, "video_token_id": 262, "vision_start_token_id": 259, "vision_end_token_id": 260}
SMALL = {"size": {"height": 32, "width": 32}, "crop_size": {"height": 32, "width": 32}}


def _dual(kind: str, text: dict[str, Any], vision: dict[str, Any], processor: Any, **options: Any) -> tuple[Any, Any]:
    config = getattr(transformers, f"{kind}Config")(text_config=text, vision_config=vision, **options)
    return getattr(transformers, f"{kind}Model")(config), processor


def clip() -> tuple[Any, Any]:
    text = {**THIN, "vocab_size": tokenizers.CLIP_VOCABULARY, "max_position_embeddings": 77}
    text |= {"bos_token_id": 512, "eos_token_id": 513, "pad_token_id": 513}
    images = transformers.CLIPImageProcessor(**SMALL)
    return _dual("CLIP", text, EYES, transformers.CLIPProcessor(images, tokenizers.clip()), projection_dim=12)


def siglip() -> tuple[Any, Any]:
    text = {**THIN, "vocab_size": 128, "max_position_embeddings": 64, "projection_size": 16}
    images = transformers.SiglipImageProcessor(size=SMALL["size"])
    return _dual("Siglip", text, EYES, transformers.SiglipProcessor(images, tokenizers.t5()))


def siglip2() -> tuple[Any, Any]:
    text = {**THIN, "vocab_size": tokenizers.VOCABULARY, "max_position_embeddings": 64, "projection_size": 16}
    vision = {**THIN, "patch_size": 16, "num_patches": 256}
    images = transformers.Siglip2ImageProcessor(patch_size=16)
    return _dual("Siglip2", text, vision, transformers.Siglip2Processor(images, tokenizers.gemma()))


def metaclip_2() -> tuple[Any, Any]:
    text = {**THIN, "vocab_size": tokenizers.CLIP_VOCABULARY, "max_position_embeddings": 77}
    text |= {"bos_token_id": 512, "eos_token_id": 513, "pad_token_id": 513}
    images = transformers.CLIPImageProcessor(**SMALL)
    return _dual("MetaClip2", text, EYES, transformers.CLIPProcessor(images, tokenizers.clip()), projection_dim=12)


def altclip() -> tuple[Any, Any]:
    text = {**THIN, "vocab_size": 128, "max_position_embeddings": 90, "project_dim": 12, "pad_token_id": 0}
    processor = transformers.AltCLIPProcessor(transformers.CLIPImageProcessor(**SMALL), tokenizers.t5())
    return _dual("AltCLIP", text, EYES, processor, projection_dim=12)


def chinese_clip() -> tuple[Any, Any]:
    text = {**THIN, "vocab_size": 128, "max_position_embeddings": 64}
    images = transformers.ChineseCLIPImageProcessor(**SMALL)
    return _dual(
        "ChineseCLIP", text, EYES, transformers.ChineseCLIPProcessor(images, tokenizers.bert()), projection_dim=12
    )


def align() -> tuple[Any, Any]:
    text = {**THIN, "vocab_size": 128, "max_position_embeddings": 64}
    vision = {
        "image_size": 32,
        "in_channels": [32],
        "out_channels": [16],
        "kernel_sizes": [3],
        "strides": [1],
        "num_block_repeats": [1],
        "expand_ratios": [1],
        "depthwise_padding": [],
        "hidden_dim": 16,
        "width_coefficient": 1.0,
    }
    images = transformers.EfficientNetImageProcessor(size=SMALL["size"])
    return _dual("Align", text, vision, transformers.AlignProcessor(images, tokenizers.bert()), projection_dim=16)


QWEN_TEXT = {
    **THIN,
    "vocab_size": tokenizers.VOCABULARY,
    "num_key_value_heads": 1,
    "bos_token_id": 256,
    "eos_token_id": 258,
    "pad_token_id": 256,
}
QWEN_EYES = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}


def _qwen_processor(kind: str, patch: int) -> Any:
    images = transformers.Qwen2VLImageProcessor(patch_size=patch, min_pixels=32 * 32, max_pixels=64 * 64)
    videos = getattr(transformers, kind.replace("Processor", "VideoProcessor"))(patch_size=patch)
    return getattr(transformers, kind)(images, tokenizers.qwen(), videos, chat_template=tokenizers.CHAT)


def qwen3_vl() -> tuple[Any, Any]:
    rope = {"rope_type": "default", "rope_theta": 5000000.0, "mrope_section": [2, 1, 1]}
    vision = {**QWEN_EYES, "patch_size": 16, "deepstack_visual_indexes": [0], "num_position_embeddings": 16}
    config = transformers.Qwen3VLConfig(
        text_config={**QWEN_TEXT, "head_dim": 8, "rope_parameters": rope}, vision_config=vision, **VISION_IDS
    )
    return transformers.Qwen3VLForConditionalGeneration(config), _qwen_processor("Qwen3VLProcessor", 16)


def qwen2_vl() -> tuple[Any, Any]:
    rope = {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [1, 1, 2]}
    vision = {"depth": 1, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "patch_size": 14, "mlp_ratio": 2}
    config = transformers.Qwen2VLConfig(
        text_config={**QWEN_TEXT, "rope_parameters": rope}, vision_config=vision, **VISION_IDS
    )
    return transformers.Qwen2VLForConditionalGeneration(config), _qwen_processor("Qwen2VLProcessor", 14)


def blip() -> tuple[Any, Any]:
    text = {**THIN, "vocab_size": 128, "max_position_embeddings": 64, "encoder_hidden_size": 16}
    text |= {"bos_token_id": 2, "pad_token_id": 0, "sep_token_id": 3, "eos_token_id": 3}
    config = transformers.BlipConfig(text_config=text, vision_config=EYES, projection_dim=16)
    images = transformers.BlipImageProcessor(size=SMALL["size"])
    return transformers.BlipForConditionalGeneration(config), transformers.BlipProcessor(images, tokenizers.bert())


def internvl() -> tuple[Any, Any]:
    vision = {**THIN, "image_size": [28, 28], "patch_size": [14, 14]}
    config = transformers.InternVLConfig(
        text_config={"model_type": "qwen2", **QWEN_TEXT}, vision_config=vision, image_token_id=261, image_seq_length=1
    )
    images = transformers.GotOcr2ImageProcessor(size={"height": 28, "width": 28}, min_patches=1, max_patches=2)
    videos = transformers.InternVLVideoProcessor(size={"height": 28, "width": 28})
    tokenizer = tokenizers.qwen(
        start_image_token="<|vision_start|>",
        end_image_token="<|vision_end|>",
        context_image_token="<|image_pad|>",
        video_token="<|video_pad|>",
    )
    processor = transformers.InternVLProcessor(
        images, tokenizer, videos, image_seq_length=1, chat_template=tokenizers.CHAT
    )
    return transformers.InternVLForConditionalGeneration(config), processor


def smolvlm() -> tuple[Any, Any]:
    pytest.importorskip("num2words", reason="its processor needs it")
    vision = {**EYES, "image_size": 32}
    config = transformers.SmolVLMConfig(
        text_config={"model_type": "llama", **QWEN_TEXT}, vision_config=vision, image_token_id=261, scale_factor=2
    )
    edges = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}}
    images, videos = transformers.SmolVLMImageProcessor(**edges), transformers.SmolVLMVideoProcessor(**edges)
    tokenizer = tokenizers.qwen(
        fake_image_token="<|vision_start|>",
        image_token="<|image_pad|>",
        global_image_token="<|vision_pad|>",
        end_of_utterance_token="<|im_end|>",
        video_token="<|video_pad|>",
    )
    processor = transformers.SmolVLMProcessor(images, tokenizer, videos, image_seq_len=1, chat_template=tokenizers.CHAT)
    return transformers.SmolVLMForConditionalGeneration(config), processor


def florence2() -> tuple[Any, Any]:
    ids = {"bos_token_id": 256, "pad_token_id": 256, "eos_token_id": 258, "decoder_start_token_id": 258}
    text = {"model_type": "bart", "vocab_size": tokenizers.VOCABULARY, "d_model": 16, "max_position_embeddings": 128}
    for side in ("encoder", "decoder"):
        text |= {f"{side}_layers": 1, f"{side}_attention_heads": 2, f"{side}_ffn_dim": 16}
    vision = {
        "depths": (1, 1),
        "patch_size": (7, 3),
        "patch_stride": (4, 2),
        "patch_padding": (3, 1),
        "patch_prenorm": (False, True),
        "embed_dim": (8, 16),
        "num_heads": (2, 2),
        "num_groups": (2, 2),
        "window_size": 4,
        "drop_path_rate": 0.0,
        "projection_dim": 16,
        "max_position_embeddings": 16,
    }
    config = transformers.Florence2Config(
        text_config={**text, **ids}, vision_config=vision, image_token_id=261, is_encoder_decoder=True, **ids
    )
    images = transformers.CLIPImageProcessor(**SMALL)
    images.image_seq_length = 17
    tokenizer = tokenizers.qwen(image_token="<|image_pad|>")
    tokenizer.chat_template, tokenizer.bos_token = None, "<|endoftext|>"
    return transformers.Florence2ForConditionalGeneration(config), transformers.Florence2Processor(images, tokenizer, 1)


BUILDERS = {
    builder.__name__: builder
    for builder in (
        clip,
        siglip,
        siglip2,
        metaclip_2,
        altclip,
        chinese_clip,
        align,
        qwen3_vl,
        qwen2_vl,
        internvl,
        smolvlm,
        florence2,
        blip,
    )
}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`tiny("siglip2")`: the folder of such a model, to be left as it is."""
    root, built = tmp_path_factory.mktemp("models"), set[str]()

    def find(name: str) -> Path:
        if name not in built:
            with torch.random.fork_rng(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.manual_seed(0)
                model, processor = BUILDERS[name]()
                for parameter in model.parameters():
                    if parameter.ndim:  # all but temperatures; large enough for answers to differ
                        parameter.data.copy_(torch.randn(parameter.shape) * 0.3)
                model.save_pretrained(root / name)
                processor.save_pretrained(root / name)
            built.add(name)
        return root / name

    return find
