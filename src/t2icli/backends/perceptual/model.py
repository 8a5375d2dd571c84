"""The metrics themselves."""

from __future__ import annotations

import warnings

from torch import Tensor

from t2icli.backends import perceptual
from t2icli.nn import weights
from t2icli.nn.perceptual import Lpips, laplacian

ABSENT = (
    "lpips/vgg16 is not installed, so details are compared at several scales instead: see t2i models pull lpips/vgg16"
)


class Laplacian:
    name = "laplacian"

    def __init__(self, settings: perceptual.LaplacianSettings) -> None:
        self.levels = settings.levels

    def distance(self, images: Tensor, others: Tensor) -> Tensor:
        return laplacian(2 * images - 1, 2 * others - 1, self.levels)


class Vgg16:
    name = "lpips"

    def __init__(self, network: Lpips) -> None:
        self.network = network

    def distance(self, images: Tensor, others: Tensor) -> Tensor:
        self.network.to(images.device)
        return self.network(2 * images - 1, 2 * others - 1)


def load_lpips(settings: perceptual.LpipsSettings) -> Vgg16 | Laplacian:
    if settings.model is None:
        warnings.warn(ABSENT, UserWarning, stacklevel=2)
        return Laplacian(perceptual.LaplacianSettings())
    return Vgg16(weights.load(weights.unfilled(Lpips), settings.model))
