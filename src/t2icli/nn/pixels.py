"""Between PIL pictures and float tensors in [0, 1]."""

from __future__ import annotations

import random

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from t2icli.data.dataset import PreparedDataset
from t2icli.ground.errors import T2IError


def to_tensor(image: Image.Image) -> Tensor:
    """(3, h, w)."""
    pixels = np.array(image.convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def to_images(images: Tensor) -> list[Image.Image]:
    """(b, 3, h, w) as pictures, rounded to the nearest of 256 values."""
    pixels = (images.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return [Image.fromarray(one) for one in pixels.permute(0, 2, 3, 1).cpu().numpy()]


def square(image: Image.Image, size: int) -> Image.Image:
    """Resized until the shorter side is `size`, then cropped to the middle."""
    shorter = min(image.size)
    width, height = (size if side == shorter else int(size * side / shorter) for side in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def random_square(image: Image.Image, smallest: float = 1.0) -> Image.Image:
    """A square from anywhere in the picture, of at least `smallest` of the area of the largest one."""
    side = max(1, round(min(image.size) * random.uniform(smallest, 1) ** 0.5))
    left, top = random.randint(0, image.width - side), random.randint(0, image.height - side)
    return image.crop((left, top, left + side, top + side))


def side(size: tuple[int, int]) -> int:
    """Of the square pictures that a codec of this size, height and width, is trained with."""
    height, width = size
    if height != width:
        raise T2IError(f"cannot train on pictures of {height} x {width} pixels", "choose a codec of square ones")
    return width


class Squares(Dataset[Tensor]):
    """Every picture of a dataset as (3, size, size): its middle, or another random square each time."""

    def __init__(self, data: PreparedDataset, size: int, *, at_random: bool = False, smallest: float = 1.0) -> None:
        self.data, self.size, self.at_random, self.smallest = data, size, at_random, smallest

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> Tensor:
        image = self.data.image(i)
        return to_tensor(square(random_square(image, self.smallest) if self.at_random else image, self.size))


class FullSize(Dataset[tuple[bytes, int, int]]):
    """Every picture of a dataset in its own size, in a form that torch's default collate can batch."""

    def __init__(self, data: PreparedDataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> tuple[bytes, int, int]:
        image = self.data.image(i)
        return image.tobytes(), image.width, image.height


def from_full_size(batch: tuple[list[bytes], Tensor, Tensor]) -> list[Image.Image]:
    """The pictures in a batch of `FullSize`."""
    pixels, widths, heights = batch
    sizes = zip(widths.tolist(), heights.tolist(), strict=True)
    return [Image.frombytes("RGB", size, one) for one, size in zip(pixels, sizes, strict=True)]
