"""CLIP-GEN's VQGAN: an image to a grid of codes and back. Images are in [-1, 1] here.

Parameters keep the names of the released checkpoint, so its tensors load untouched. Against
taming-transformers' VQGAN: GroupNorm eps 1e-5, attention as one fused projection, flat `down`/`up`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i_clipgen import CodecShape as Shape


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels)


class Residual(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        first = [norm(channels), nn.SiLU(), nn.Conv2d(channels, out, 3, padding=1)]
        second = [norm(out), nn.SiLU(), nn.Dropout(0.0), nn.Conv2d(out, out, 3, padding=1)]
        self.block = nn.Sequential(*first, *second)
        self.shortcut = nn.Identity() if channels == out else nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.block(x)


class Attention(nn.Module):
    """Every place of the feature map looks at every other; one head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.attn = nn.MultiheadAttention(channels, 1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        places = self.norm(x).flatten(2).transpose(1, 2)  # (b, h w, c)
        mixed, _ = self.attn(places, places, places, need_weights=False)
        return x + mixed.transpose(1, 2).reshape(x.shape)


class Downsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # right and bottom only


class Upsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def level(channels: int, out: int, blocks: int, attention: bool) -> list[nn.Module]:
    """Residual blocks from `channels` to `out`, each followed by attention where the level has it."""
    layers: list[nn.Module] = []
    for block in range(blocks):
        layers.append(Residual(channels if block == 0 else out, out))
        layers += [Attention(out)] if attention else []
    return layers


def middle(channels: int) -> nn.Sequential:
    return nn.Sequential(Residual(channels, channels), Attention(channels), Residual(channels, channels))


class Encoder(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        channels = shape.base
        self.conv_in = nn.Conv2d(3, channels, 3, padding=1)
        down: list[nn.Module] = []
        for depth, (out, attention) in enumerate(shape.levels):
            down += level(channels, out, shape.blocks, attention)
            down += [Downsample(out)] if depth + 1 < len(shape.levels) else []
            channels = out
        self.down = nn.Sequential(*down)
        self.mid = middle(channels)
        to_code = [nn.Conv2d(channels, shape.width, 3, padding=1), nn.Conv2d(shape.width, shape.width, 1)]
        self.final = nn.Sequential(norm(channels), nn.SiLU(), *to_code)

    def forward(self, x: Tensor) -> Tensor:
        return self.final(self.mid(self.down(self.conv_in(x))))  # (b, width, grid, grid)


class Decoder(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        channels = shape.levels[-1][0]
        self.quant_conv_in = nn.Conv2d(shape.width, shape.width, 1)
        self.conv_in = nn.Conv2d(shape.width, channels, 3, padding=1)
        self.mid = middle(channels)
        up: list[nn.Module] = []
        for depth, (out, attention) in reversed(list(enumerate(shape.levels))):
            up += level(channels, out, shape.blocks + 1, attention)
            up += [Upsample(out)] if depth > 0 else []
            channels = out
        self.up = nn.Sequential(*up)
        self.final = nn.Sequential(norm(channels), nn.SiLU(), nn.Conv2d(channels, 3, 3, padding=1))

    def forward(self, z: Tensor) -> Tensor:
        return self.final(self.up(self.mid(self.conv_in(self.quant_conv_in(z)))))


class Quantizer(nn.Module):
    """The codebook: nearest neighbour by Euclidean distance, trained by gradients."""

    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(codes, width)
        nn.init.uniform_(self.embedding.weight, -1 / codes, 1 / codes)

    def nearest(self, z: Tensor) -> Tensor:
        """(b, width, h, w) -> (b, h, w) codes."""
        places = z.permute(0, 2, 3, 1)  # (b, h, w, width)
        distance = torch.cdist(places.flatten(0, 2), self.embedding.weight)
        return distance.argmin(dim=1).reshape(places.shape[:3])

    def look_up(self, codes: Tensor) -> Tensor:
        """(b, h, w) codes -> (b, width, h, w)."""
        return self.embedding(codes).permute(0, 3, 1, 2)


class VQGAN(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.encoder = Encoder(shape)
        self.decoder = Decoder(shape)
        self.quantizer = Quantizer(shape.codes, shape.width)

    def encode(self, images: Tensor) -> Tensor:
        """(b, 3, size, size) in [-1, 1] -> (b, grid, grid) codes."""
        return self.quantizer.nearest(self.encoder(images))

    def decode(self, codes: Tensor) -> Tensor:
        """(b, grid, grid) codes -> images; the network does not bound them to [-1, 1]."""
        return self.decoder(self.quantizer.look_up(codes))

    def forward(self, images: Tensor, commitment: float = 1.0, codebook: float = 0.2) -> tuple[Tensor, Tensor]:
        """The reconstruction, with gradients passed straight through the choice of codes, and the codebook's loss."""
        z = self.encoder(images)
        chosen = self.quantizer.look_up(self.quantizer.nearest(z))
        loss = commitment * F.mse_loss(z, chosen.detach()) + codebook * F.mse_loss(chosen, z.detach())
        return self.decoder(z + (chosen - z).detach()), loss
