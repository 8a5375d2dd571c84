"""CLIP-GEN's VQGAN as a codec: images in [0, 1] to codes in raster order and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from t2i_clipgen import CodecShape
from t2i_clipgen.vqgan.convert import renamed
from t2icli.nn import weights
from t2icli.nn.codec import NetworkCodec
from t2icli.nn.vqgan import Vqgan

if TYPE_CHECKING:
    from t2i_clipgen import CodecSettings


def load(settings: CodecSettings) -> NetworkCodec:
    shape = msgspec.convert(settings.model.card.config, CodecShape)
    return NetworkCodec(
        weights.load(
            weights.unfilled(Vqgan, shape.network), settings.model, rename=lambda tensors: renamed(tensors, shape)
        ),
        codes=shape.codes,
        factor=shape.network.factor,
        size=(shape.size, shape.size),
        batch=settings.batch,
        device=settings.device,
        precision="fp32",
    )
