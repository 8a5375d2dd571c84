"""CLIP-GEN's VQGAN as a codec: images in [0, 1] to codes in raster order and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import torch
from torch import Tensor

from t2i_clipgen.vqgan.model import VQGAN, Shape
from t2icli.nn import devices, weights
from t2icli.nn.blocks import by_themselves

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
        self.size = (shape.size, shape.size)

    def encode(self, images: Tensor) -> Tensor:
        return self._run(images, lambda some: self.model.encode(some * 2 - 1).flatten(1))

    def decode(self, codes: Tensor) -> Tensor:
        return self._run(codes, lambda some: to_unit(self.model.decode(some.unflatten(1, self.grid))))

    def _run(self, whole: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """`function` of each item by itself; the results come back to where `whole` is."""

        @torch.inference_mode()
        def compute(part: Tensor) -> Tensor:
            return function(part.to(self.device)).to(part.device)

        return by_themselves(compute, [whole], self.device, self.batch)


def to_unit(images: Tensor) -> Tensor:
    """From the network's unbounded [-1, 1] to [0, 1]."""
    return (images * 0.5 + 0.5).clamp(0, 1)


def load(settings: CodecSettings) -> Codec:
    return Codec(settings)
