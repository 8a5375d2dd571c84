"""Inception v3 as published figures of FID and KID use it, with the resizing of TensorFlow 1.

torchvision's blocks have the same parameters. The network of 2015 differs in one branch of each block: its average
leaves out the padding, and the last block takes the largest in place of the average.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from PIL.Image import Image
from torch import Tensor, nn
from torchvision.models.inception import BasicConv2d, InceptionA, InceptionB, InceptionC, InceptionD, InceptionE

from t2icli.backends.inception import Settings
from t2icli.nn import weights
from t2icli.nn.devices import pick_device
from t2icli.nn.embedding import Runner, finite

SIDE = 299
WIDTH = 2048


def averaged(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


largest = partial(F.max_pool2d, kernel_size=3, stride=1, padding=1)


class BlockA(InceptionA):  # type: ignore[misc]
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(averaged(x))]


class BlockC(InceptionC):  # type: ignore[misc]
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(averaged(x))]


class BlockE(InceptionE):  # type: ignore[misc]
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(averaged(x))]


class LastBlock(InceptionE):  # type: ignore[misc]
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(largest(x))]


class Network(nn.Sequential):
    """Pictures of 299 x 299 in [-1, 1] to 2,048 features: (b, 3, 299, 299) -> (b, 2048)."""

    def __init__(self) -> None:
        super().__init__()
        halve = partial(nn.MaxPool2d, 3, stride=2)
        layers = {
            "Conv2d_1a_3x3": BasicConv2d(3, 32, kernel_size=3, stride=2),
            "Conv2d_2a_3x3": BasicConv2d(32, 32, kernel_size=3),
            "Conv2d_2b_3x3": BasicConv2d(32, 64, kernel_size=3, padding=1),
            "pool_1": halve(),
            "Conv2d_3b_1x1": BasicConv2d(64, 80, kernel_size=1),
            "Conv2d_4a_3x3": BasicConv2d(80, 192, kernel_size=3),
            "pool_2": halve(),
            "Mixed_5b": BlockA(192, pool_features=32),
            "Mixed_5c": BlockA(256, pool_features=64),
            "Mixed_5d": BlockA(288, pool_features=64),
            "Mixed_6a": InceptionB(288),
            "Mixed_6b": BlockC(768, channels_7x7=128),
            "Mixed_6c": BlockC(768, channels_7x7=160),
            "Mixed_6d": BlockC(768, channels_7x7=160),
            "Mixed_6e": BlockC(768, channels_7x7=192),
            "Mixed_7a": InceptionD(768),
            "Mixed_7b": BlockE(1280),
            "Mixed_7c": LastBlock(2048),
            "average": nn.AdaptiveAvgPool2d(1),
            "flat": nn.Flatten(),
        }
        for name, layer in layers.items():
            self.add_module(name, layer)


def resized(images: Tensor, side: int) -> Tensor:
    """Bilinear, as TensorFlow 1 did it: corners of the grids lie on each other, nothing is smoothed on the way down."""
    for dim in (2, 3):
        size = images.shape[dim]
        at = torch.arange(side, device=images.device, dtype=torch.float32) * (size / side)
        low = at.floor().long()
        high = (low + 1).clamp(max=size - 1)
        share = (at - low).reshape([side if each == dim else 1 for each in range(4)])
        images = torch.lerp(images.index_select(dim, low), images.index_select(dim, high), share)
    return images


class Inception:
    """Features of pictures, and how far those of two pictures are apart."""

    name = "inception"

    def __init__(self, settings: Settings) -> None:
        device = pick_device(settings.device)
        self.network = weights.load(weights.unfilled(Network), settings.model).to(device)
        self.run = Runner(f"model {settings.model.name!r}", WIDTH, settings.batch, device, "fp32")

    def features(self, images: Sequence[Image]) -> Tensor:
        """(n, 2048), those of a picture whatever the others."""
        return self.run(images, _pixels, self.network, finish=finite)

    def distance(self, images: Tensor, others: Tensor) -> Tensor:
        return (self._embed(images) - self._embed(others)).square().mean(1)

    def _embed(self, images: Tensor) -> Tensor:
        self.network.to(images.device)
        features: Tensor = self.network(_scaled(images.float() * 255))
        return features


def _pixels(image: Image) -> tuple[Tensor]:
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    return (_scaled(pixels[None].float())[0],)


def _scaled(images: Tensor) -> Tensor:
    return (resized(images, SIDE) - 128) / 128
