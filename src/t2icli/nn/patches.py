"""Networks that see a picture as a grid of patches, one for each code, in place of a VQGAN's convolutions.

Patches are written as cosine coefficients, scaled as they are distributed in photographs: coarse ones are large, fine
ones small. Of plain pixels a network learns the fine ones last.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2icli.nn.attention import attend_all
from t2icli.nn.shapes import VqganShape
from t2icli.nn.transformer import join_heads, split_heads

HEAD = 64
"""Width of an attention head."""
COLOURS = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (1.0, -2.0, 1.0))
"""Directions of red, green and blue: light, and two colours."""
FALLS = ((1.0, 1.0), (0.35, 1.3), (0.2, 1.3))
"""For light and each colour: size of the coarsest coefficient, and how fast finer ones get smaller."""
FLATTER = 0.35
"""Power of these sizes that scales the waves: 0 trains fine ones too slowly, 1 amplifies their noise."""
OVERLAP = 3
"""Adjacent patches overlap by the side of a code divided by this, and fade into each other there."""


@functools.lru_cache(maxsize=8)
def cosines(side: int, count: int, unit: int) -> Tensor:
    """(side * side * 3, count): the largest cosine waves of a patch, each times its usual size.

    `unit` is the side that frequencies are counted by.
    """
    k = torch.arange(side, dtype=torch.float64)
    waves = torch.cos(math.pi / side * k[:, None] * (k + 0.5)) * math.sqrt(2 / side)
    waves[0] /= math.sqrt(2)
    colours = F.normalize(torch.tensor(COLOURS, dtype=torch.float64))
    frequency = torch.hypot(k[:, None], k) * unit / side
    sizes = torch.stack([top / (1 + rate * frequency) for top, rate in FALLS], dim=-1).flatten()
    order = sizes.argsort(descending=True, stable=True)[:count]
    down, across, colour = order // (3 * side), order // 3 % side, order % 3
    planes = waves[down][:, :, None] * waves[across][:, None, :]
    basis = (planes[..., None] * colours[colour][:, None, None, :]).flatten(1)
    return (basis.T * (8 * sizes[order]) ** FLATTER).float()


class PatchEncoder(nn.Module):
    """Pixels in [-1, 1] to latents, each code's own pixels through a small network."""

    basis: Tensor

    def __init__(self, shape: VqganShape) -> None:
        super().__init__()
        self.side, hidden = shape.factor, 3 * shape.ch // 2
        count = min(shape.coefficients, 3 * self.side**2)
        basis = cosines(self.side, count, self.side)
        self.register_buffer("basis", basis / basis.square().sum(0), persistent=False)
        self.layers = nn.Sequential(
            nn.Linear(count, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, shape.z_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        patches = x.unflatten(3, (-1, self.side)).unflatten(2, (-1, self.side))  # (b, 3, rows, side, columns, side)
        z: Tensor = self.layers(patches.permute(0, 2, 4, 3, 5, 1).flatten(3) @ self.basis)
        return z.movedim(-1, 1)


class Block(nn.Module):
    """Attention of every code to every code, then a network for each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        nn.init.zeros_(self.out.weight)  # at first it changes nothing
        nn.init.zeros_(self.down.weight)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = split_heads(self.qkv(self.norm1(x)), 3, self.heads)
        x = x + self.out(join_heads(attend_all(q, k, v)))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class PatchDecoder(nn.Module):
    """Latents to pixels, about [-1, 1]: a transformer over all codes, then patches that fade into their neighbours."""

    basis: Tensor
    window: Tensor

    def __init__(self, shape: VqganShape) -> None:
        super().__init__()
        self.step, self.margin = shape.factor, max(1, shape.factor // (2 * OVERLAP))
        self.side = self.step + 2 * self.margin
        count, grid = min(shape.coefficients, 3 * self.side**2), shape.resolution // shape.factor
        self.inwards = nn.Linear(shape.z_channels, shape.ch)
        self.position = nn.Parameter(0.02 * torch.randn(shape.ch, grid, grid))
        self.blocks = nn.Sequential(*(Block(shape.ch) for _ in range(shape.transformer)))
        self.norm, self.outwards = nn.LayerNorm(shape.ch), nn.Linear(shape.ch, count)
        window = fading(self.side, 2 * self.margin)
        basis = cosines(self.side, count, self.step) * window.repeat_interleave(3)[:, None]
        self.register_buffer("basis", basis, persistent=False)
        self.register_buffer("window", window, persistent=False)

    @property
    def last(self) -> nn.Linear:
        """The layer that gives the pixels."""
        return self.outwards

    @property
    def hidden(self) -> list[nn.Parameter]:
        return [p for name, p in self.blocks.named_parameters() if p.ndim == 2]

    def forward(self, z: Tensor) -> Tensor:
        rows, columns = z.shape[2:]
        position: Tensor = self.position
        if position.shape[1:] != (rows, columns):  # another size than it was trained for
            position = F.interpolate(position[None], (rows, columns), mode="bilinear")[0]
        x = self.inwards(z.movedim(1, -1)) + position.movedim(0, -1)
        x = self.outwards(self.norm(self.blocks(x.flatten(1, 2))))
        return self._joined(x @ self.basis.T, rows, columns)

    def _joined(self, patches: Tensor, rows: int, columns: int) -> Tensor:
        """(b, rows * columns, side * side * 3) -> (b, 3, h, w): where patches overlap, their mean by `fading`."""
        size = (rows * self.step, columns * self.step)
        planes = patches.unflatten(2, (-1, 3)).permute(0, 3, 2, 1).flatten(1, 2)
        shape = {"kernel_size": self.side, "stride": self.step, "padding": self.margin}
        weight = self.window.expand(rows * columns, -1).T[None]
        return F.fold(planes, size, **shape) / F.fold(weight, size, **shape)


def fading(side: int, overlap: int) -> Tensor:
    """(side * side,): 1 inside; at each edge a ramp that makes 1 together with the neighbour's."""
    ramp = torch.sin(math.pi / 2 * (torch.arange(overlap) + 0.5) / overlap).square()
    line = torch.ones(side)
    line[:overlap] = ramp
    line[-overlap:] = ramp.flip(0)
    return torch.outer(line, line).flatten()
