"""A diffusion transformer: text and latents as one sequence, where every position sees every other."""

from __future__ import annotations

import math

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2icli.nn.attention import attend_all
from t2icli.nn.transformer import join_heads, split_heads

WAVES = 64
"""Numbers that say the time."""


class FlowShape(msgspec.Struct, frozen=True):
    """The network's sizes, as stored in a model's card."""

    latents: tuple[int, int, int]
    """Channels, rows and columns."""
    text_length: int
    vocabulary: int = 0
    """Ids of the tokenizer, 0 being padding; 0 where encodings are read."""
    encodings: int = 0
    """Numbers of a token's encoding; 0 where ids are read."""
    embedding: int = 0
    """Numbers of a picture's embedding; 0 where there is none."""
    patch: int = 1
    width: int = 768
    layers: int = 12
    heads: int = 12
    mean: tuple[float, ...] = ()
    """Of each channel of the latents it was trained on."""
    deviation: tuple[float, ...] = ()
    """Standard deviations of the same."""


def waves(time: Tensor, width: int) -> Tensor:
    """Times (b,) in [0, 1] as sines and cosines of growing length, (b, width)."""
    rates = 1000 * torch.exp(-math.log(10_000) / (width // 2) * torch.arange(width // 2, device=time.device))
    angles = time.float()[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Block(nn.Module):
    """Attention and feed-forward, each shifted, scaled and weighted by what the time says."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = (nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))
        self.modulation = nn.Linear(width, 6 * width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)
        for layer in (self.modulation, self.out, self.down):  # at first it changes nothing
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """(b, n, width), (b, width)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(F.silu(time))[:, None].chunk(6, dim=-1)
        x = x + (1 + gate1) * self.attention(self.norm1(x) * (1 + scale1) + shift1)
        return x + (1 + gate2) * self.down(F.gelu(self.up(self.norm2(x) * (1 + scale2) + shift2)))

    def attention(self, x: Tensor) -> Tensor:
        q, k, v = split_heads(self.qkv(x), 3, self.heads)
        q, k = (F.rms_norm(each, each.shape[-1:]) for each in (q, k))
        return self.out(join_heads(attend_all(q, k, v)))


class Flow(nn.Module):
    """The velocity, from noise to latents, at a point on the way.

    A condition of zeros is none: padding alone, or encodings and an embedding that are not there.
    """

    def __init__(self, shape: FlowShape) -> None:
        super().__init__()
        self.shape = shape
        d, (channels, rows, columns) = shape.width, shape.latents
        self.ids = nn.Embedding(shape.vocabulary, d) if shape.vocabulary else None
        self.encodings = Optional(shape.encodings, d) if shape.encodings else None
        self.embedding = Optional(shape.embedding, d) if shape.embedding else None
        self.inwards = nn.Linear(channels * shape.patch**2, d)
        self.places = rows * columns // shape.patch**2
        before = shape.text_length + bool(shape.embedding)
        self.position = nn.Parameter(0.02 * torch.randn(before + self.places, d))
        self.time = nn.Sequential(nn.Linear(WAVES, d), nn.SiLU(), nn.Linear(d, d))
        self.blocks = nn.ModuleList(Block(d, shape.heads) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(d)
        self.outwards = nn.Linear(d, channels * shape.patch**2)
        nn.init.zeros_(self.outwards.weight)
        if self.ids is not None:
            nn.init.normal_(self.ids.weight, std=0.02)

    def forward(self, x: Tensor, time: Tensor, text: Tensor, embedding: Tensor) -> Tensor:
        """Standard latents (b, c, rows, columns) at times (b,) in [0, 1], 1 being clean -> velocities of that shape."""
        when = self.time(waves(time, WAVES).to(self.position))
        x = torch.cat([*self.condition(text, embedding), self.inwards(self.cut(x.to(self.position)))], dim=1)
        x = x + self.position
        for block in self.blocks:
            x = block(x, when)
        return self.joined(self.outwards(self.norm(x[:, -self.places :])))

    def condition(self, text: Tensor, embedding: Tensor) -> list[Tensor]:
        """(b, text_length) ids or (b, text_length, encodings), and (b, embedding) -> positions of the sequence."""
        read = self.ids if self.encodings is None else self.encodings
        assert read is not None
        parts = [read(text)]
        if self.embedding is not None:
            parts.append(self.embedding(embedding[:, None]))
        return parts

    def cut(self, x: Tensor) -> Tensor:
        """(b, c, rows, columns) -> (b, places, c * patch * patch)."""
        return F.pixel_unshuffle(x, self.shape.patch).flatten(2).transpose(1, 2)

    def joined(self, x: Tensor) -> Tensor:
        rows = self.shape.latents[1] // self.shape.patch
        return F.pixel_shuffle(x.transpose(1, 2).unflatten(2, (rows, -1)), self.shape.patch)


class Optional(nn.Module):
    """Projects vectors to another width; a vector of zeros means none, and is replaced by a learned one."""

    def __init__(self, given: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(given, width)
        self.none = nn.Parameter(0.02 * torch.randn(width))

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.none)
        return torch.where(x.ne(0).any(-1, keepdim=True), self.project(x), self.none)
