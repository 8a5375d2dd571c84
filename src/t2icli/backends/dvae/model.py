"""DALLE-pytorch's discrete VAE under its own parameter names, so that its files load untouched."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2icli.backends.dvae import DvaeShape


class ResBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.net(x)
        return change + x


def encoder(shape: DvaeShape) -> nn.Sequential:
    width = shape.hidden_dim
    halvings = [
        nn.Sequential(nn.Conv2d(width if i else shape.channels, width, 4, stride=2, padding=1), nn.ReLU())
        for i in range(shape.num_layers)
    ]
    blocks = [ResBlock(width) for _ in range(shape.num_resnet_blocks)]
    return nn.Sequential(*halvings, *blocks, nn.Conv2d(width, shape.num_tokens, 1))


def decoder(shape: DvaeShape) -> nn.Sequential:
    width, blocks = shape.hidden_dim, shape.num_resnet_blocks
    widening = [nn.Conv2d(shape.codebook_dim, width, 1), *(ResBlock(width) for _ in range(blocks))] if blocks else []
    first = width if blocks else shape.codebook_dim
    doublings = [
        nn.Sequential(nn.ConvTranspose2d(width if i else first, width, 4, stride=2, padding=1), nn.ReLU())
        for i in range(shape.num_layers)
    ]
    return nn.Sequential(*widening, *doublings, nn.Conv2d(width, shape.channels, 1))


class DiscreteVAE(nn.Module):
    """Pixels to a grid of code logits; codes to pixels.

    `forward` is the training path: codes are drawn softly by Gumbel-softmax, so that gradients pass.
    """

    def __init__(self, shape: DvaeShape) -> None:
        super().__init__()
        self.shape = shape
        self.codebook = nn.Embedding(shape.num_tokens, shape.codebook_dim)
        self.encoder, self.decoder = encoder(shape), decoder(shape)

    def normalise(self, images: Tensor) -> Tensor:
        """[0, 1] to what the network was trained on; an opaque fourth channel is added where it has one."""
        if images.shape[1] < self.shape.channels:
            images = F.pad(images, (0, 0, 0, 0, 0, 1), value=1.0)
        return (images - self._channels(self.shape.mean, images)) / self._channels(self.shape.std, images)

    def denormalise(self, pixels: Tensor) -> Tensor:
        """Back to RGB, about [0, 1]."""
        return (pixels * self._channels(self.shape.std, pixels) + self._channels(self.shape.mean, pixels))[:, :3]

    def _channels(self, values: tuple[float, ...], like: Tensor) -> Tensor:
        return like.new_tensor(values[: like.shape[1]])[:, None, None]

    def logits(self, images: Tensor) -> Tensor:
        """(b, c, h, w) in [0, 1] -> (b, num_tokens, rows, columns)."""
        logits: Tensor = self.encoder(self.normalise(images))
        return logits

    def to_codes(self, images: Tensor) -> Tensor:
        return self.logits(images).argmax(1)

    def look_up(self, codes: Tensor) -> Tensor:
        """(b, rows, columns) codes -> normalised pixels."""
        pixels: Tensor = self.decoder(self.codebook(codes).movedim(-1, 1))
        return pixels

    def to_images(self, codes: Tensor) -> Tensor:
        return self.denormalise(self.look_up(codes))

    def forward(
        self, images: Tensor, temperature: float, *, straight_through: bool = False, reinmax: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Normalised pixels of softly drawn codes, and the logits they were drawn from."""
        logits = self.logits(images)
        drawn = F.gumbel_softmax(logits, tau=temperature, dim=1, hard=straight_through)
        if straight_through and reinmax:
            drawn = second_order(drawn, logits, temperature)
        return self.decoder(torch.einsum("bnhw,nd->bdhw", drawn, self.codebook.weight)), logits

    def loss(
        self,
        images: Tensor,
        temperature: float = 0.9,
        *,
        straight_through: bool = False,
        reinmax: bool = False,
        smooth_l1: bool = False,
        kl_weight: float = 0.0,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The loss, its part that compares pixels, and the divergence from even use of all codes."""
        pixels, logits = self(images, temperature, straight_through=straight_through, reinmax=reinmax)
        compare = F.smooth_l1_loss if smooth_l1 else F.mse_loss
        unlike, uneven = compare(pixels, self.normalise(images)), divergence(logits)
        return unlike + kl_weight * uneven, unlike, uneven


def second_order(drawn: Tensor, logits: Tensor, temperature: float) -> Tensor:
    """ReinMax (arXiv 2304.08612): the same one-hot value with a gradient exact to second order."""
    one_hot = drawn.detach()
    even = logits.softmax(1)
    mixed = (one_hot + (logits / temperature).softmax(1)) / 2
    mixed = ((mixed.log() - logits).detach() + logits).softmax(1)
    path = 2 * mixed - even / 2
    return path - path.detach() + one_hot


def divergence(logits: Tensor) -> Tensor:
    """KL of even use of all codes to the predicted use, as upstream takes it: summed over batch and positions."""
    log_use = logits.flatten(2).transpose(1, 2).float().log_softmax(-1)  # as upstream; torch is less exact over others
    return (log_use.exp() * (log_use + math.log(logits.shape[1]))).sum()
