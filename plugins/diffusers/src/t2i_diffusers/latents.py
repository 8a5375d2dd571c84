"""From a pipeline's latents, half way, to a picture: what each does at its end, for one row."""

from __future__ import annotations

from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from t2icli.nn.pixels import to_images


@torch.inference_mode()
def paint(pipeline: Any, latents: Tensor, shape: tuple[int, int]) -> Image:
    """The picture of latents (1, ...), as the pipeline would decode them."""
    vae = pipeline.vae
    latents = _as_grid(pipeline, latents.to(vae.dtype), shape)
    if hasattr(vae, "bn"):  # FLUX.2: patches are normalised by the statistics of training
        scale = torch.sqrt(vae.bn.running_var.view(1, -1, 1, 1) + vae.config.batch_norm_eps)
        latents = pipeline._unpatchify_latents(latents * scale.to(latents) + vae.bn.running_mean.view(1, -1, 1, 1))
    else:
        latents = _unscaled(vae.config, latents)
        if type(pipeline.scheduler).__name__ == "SCMScheduler":  # Sana-Sprint's noise is of this size, not of 1
            latents = latents / pipeline.scheduler.config.sigma_data
    pixels = vae.decode(latents, return_dict=False)[0]
    pixels = pixels[:, :3, 0] if pixels.ndim == 5 else pixels[:, :3]
    return to_images((pixels.float() / 2 + 0.5).clamp(0, 1))[0]


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


def _unscaled(config: Any, latents: Tensor) -> Tensor:
    mean, std = config.get("latents_mean"), config.get("latents_std")
    scale = config.get("scaling_factor") or 1.0
    if mean is None or std is None:
        return latents / scale + (config.get("shift_factor") or 0.0)
    shape = (1, -1, *[1] * (latents.ndim - 2))
    as_tensor = [torch.tensor(values).view(shape).to(latents) for values in (mean, std)]
    return latents * as_tensor[1] / scale + as_tensor[0]
