"""Sizes of LoRA training: for GPUs of 8, 12 and 24 GB, by the family of the base."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from t2i_diffusers.folder import open_repository
from t2icli.contract.entries import Size
from t2icli.registry import discovery
from t2icli.store import models
from t2icli.store.models import Model

INT8 = {"quantize": "int8", "checkpointing": True}
BF16 = {"quantize": "none", "checkpointing": True}
LORA_SIZES: dict[Size, dict[str, Any]] = {
    "8gb": {**INT8, "rank": 8, "pixels": 512, "loop": {"batch_size": 2, "grad_accum": 2, "max_steps": 1500}},
    "12gb": {**INT8, "rank": 16, "pixels": 1024, "loop": {"batch_size": 2, "grad_accum": 2, "max_steps": 2000}},
    "24gb": {**BF16, "rank": 32, "pixels": 1024, "loop": {"batch_size": 4, "grad_accum": 2, "max_steps": 2000}},
}
BY_FAMILY: dict[str, dict[Size, dict[str, Any]]] = {
    "StableDiffusionXLPipeline": {
        "8gb": {**BF16, "pixels": 1024},
        "12gb": {**BF16, "loop": {"grad_accum": 1}},
        "24gb": {"loop": {"grad_accum": 1}},
    },
    "Flux2KleinPipeline": {"8gb": {"pixels": 1024}, "12gb": {**BF16}, "24gb": {"loop": {"grad_accum": 1}}},
    "QwenImagePipeline": {
        "12gb": {"pixels": 512},
        "24gb": {**INT8, "rank": 16, "pixels": 512, "loop": {"grad_accum": 4}},
    },
}
"""What differs from the sizes above, which are those of Z-Image. Qwen-Image needs 24 GB in any case."""


def suited(size: Size, option: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of a size for the base that was chosen."""
    word = option.get("base")
    if word is None:
        return {}
    base = word if isinstance(word, Model) else models.find(str(word), discovery.installed().sources)
    return BY_FAMILY.get(open_repository(base.folder).pipeline, {}).get(size, {})
