"""From a pipeline's latents, half way, to a picture: what each does at its end, for one row."""

from __future__ import annotations

from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from t2i_diffusers import autoencoder
from t2icli.nn.pixels import to_images


@torch.inference_mode()
def paint(pipeline: Any, latents: Tensor, shape: tuple[int, int]) -> Image:
    """The picture of latents (1, ...), as the pipeline would decode them."""
    latents = _as_grid(pipeline, latents.float(), shape)
    if type(pipeline.scheduler).__name__ == "SCMScheduler":  # Sana-Sprint's noise is of this size, not of 1
        latents = latents / pipeline.scheduler.config.sigma_data
    return to_images(autoencoder.decode(pipeline.vae, latents).clamp(0, 1))[0]


def _as_grid(pipeline: Any, latents: Tensor, shape: tuple[int, int]) -> Tensor:
    """Rows of patches as (1, c, h, w), or (1, c, 1, h, w) where the pipeline's networks know of time."""
    if latents.ndim != 3:
        return latents
    width, height = shape
    if hasattr(pipeline.vae, "bn"):
        step = pipeline.vae_scale_factor * 2
        return latents.transpose(1, 2).reshape(1, -1, height // step, width // step)
    grid: Tensor = pipeline._unpack_latents(latents, height, width, pipeline.vae_scale_factor)
    return grid
