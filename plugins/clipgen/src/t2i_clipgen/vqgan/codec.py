"""CLIP-GEN's VQGAN as a codec: images in [0, 1] to codes in raster order and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import torch
from torch import Tensor

from t2i_clipgen.vqgan.model import VQGAN, Shape
from t2icli.nn import devices, weights

if TYPE_CHECKING:
    from t2i_clipgen import CodecSettings


class Codec:
    def __init__(self, settings: CodecSettings) -> None:
        shape = msgspec.convert(settings.model.card.config, Shape)
        self.device = devices.pick_device(settings.device)
        self.model = weights.load(VQGAN(shape), settings.model).to(self.device)
        self.batch = settings.batch
        self.codes = shape.codes
        self.grid = (shape.grid, shape.grid)

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        codes = [self.model.encode(some.to(self.device) * 2 - 1).flatten(1) for some in images.split(self.batch)]
        return torch.cat(codes).to(images.device)

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> Tensor:
        grids = codes.to(self.device).unflatten(1, self.grid)
        images = [self.model.decode(some) for some in grids.split(self.batch)]
        return to_unit(torch.cat(images)).to(codes.device)


def to_unit(images: Tensor) -> Tensor:
    """From the network's unbounded [-1, 1] to [0, 1]."""
    return (images * 0.5 + 0.5).clamp(0, 1)


def load(settings: CodecSettings) -> Codec:
    return Codec(settings)
