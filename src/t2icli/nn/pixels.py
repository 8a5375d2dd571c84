"""Between PIL pictures and float tensors in [0, 1]."""

from __future__ import annotations

import random

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def to_tensor(image: Image.Image) -> Tensor:
    """(3, h, w)."""
    pixels = np.array(image.convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def to_images(images: Tensor) -> list[Image.Image]:
    """(b, 3, h, w) as pictures, rounded to the nearest of 256 values."""
    pixels = (images.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return [Image.fromarray(one) for one in pixels.permute(0, 2, 3, 1).cpu().numpy()]


def square(image: Image.Image, size: int, *, at_random: bool = False) -> Image.Image:
    """Shrunk until the shorter side is `size`, then cut: from the middle, or anywhere (with `random`)."""
    shorter = min(image.size)
    width, height = (size if side == shorter else int(size * side / shorter) for side in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    if at_random:
        left, top = random.randint(0, width - size), random.randint(0, height - size)
    else:
        left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))
