"""A discrete VAE's model folder as a codec."""

from __future__ import annotations

import msgspec

from t2icli.backends.dvae import DvaeShape, Settings
from t2icli.backends.dvae.model import DiscreteVAE
from t2icli.nn import weights
from t2icli.nn.codec import NetworkCodec


def load(settings: Settings) -> NetworkCodec:
    shape = msgspec.convert(settings.model.card.config, DvaeShape)
    return NetworkCodec(
        weights.load(weights.unfilled(DiscreteVAE, shape), settings.model),
        codes=shape.num_tokens,
        factor=2**shape.num_layers,
        size=(settings.height or shape.image_size, settings.width or shape.image_size),
        batch=settings.batch,
        device=settings.device,
        precision=settings.precision,
    )
