"""Pipelines of the true classes with networks of a few thousand numbers, drawn at random from a fixed seed.

`build(family, folder)` writes one; no file is downloaded. What they draw is noise, so they show that a pipeline is
driven rightly, not that its pictures are good.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from t2i_diffusers.libraries import quiet
from t2i_diffusers.testing import clip, gemma, glm, hunyuan, qwen

FAMILIES: Mapping[str, Callable[[], Any]] = {
    "stable-diffusion": clip.stable_diffusion,
    "stable-diffusion-xl": clip.stable_diffusion_xl,
    "stable-diffusion-3": clip.stable_diffusion_3,
    "z-image": qwen.z_image,
    "qwen-image": qwen.qwen_image,
    "flux2-klein": qwen.flux2_klein,
    "hunyuan-dit": hunyuan.hunyuan_dit,
    "cogview4": glm.cogview4,
    "kolors": glm.kolors,
    "sana": gemma.sana,
    "sana-sprint": gemma.sana_sprint,
    "lumina2": gemma.lumina2,
    "qwen-image-2.1": qwen.qwen_image_21,
    "hunyuan-image": hunyuan.hunyuan_image,
    "longcat-image": qwen.longcat_image,
    "ernie-image": glm.ernie_image,
}
"""What builds a pipeline of each family that draws from words."""
OTHERS: Mapping[str, Callable[[], Any]] = {
    "qwen-image-edit": qwen.qwen_image_edit,
    "latent-consistency": clip.latent_consistency,
}
"""A family that needs a picture, and one that this plugin names nowhere."""


def build(family: str, folder: Path) -> Path:
    """Save a tiny pipeline of this family; the same bytes every time."""
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        {**FAMILIES, **OTHERS}[family]().save_pretrained(folder)
    return folder
