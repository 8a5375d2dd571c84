"""A VQGAN model folder as a codec."""

from __future__ import annotations

import msgspec

from t2icli.backends.vqgan import Settings
from t2icli.nn import weights
from t2icli.nn.codec import LatentNetworkCodec
from t2icli.nn.shapes import VqganShape
from t2icli.nn.vqgan import Vqgan


def load(settings: Settings) -> LatentNetworkCodec:
    shape = msgspec.convert(settings.model.card.config, VqganShape)
    return LatentNetworkCodec(
        weights.load(weights.unfilled(Vqgan, shape), settings.model),
        channels=shape.embed_dim,
        codes=shape.n_embed,
        factor=shape.factor,
        size=(settings.height or shape.resolution, settings.width or shape.resolution),
        batch=settings.batch,
        device=settings.device,
        precision=settings.precision,
    )
