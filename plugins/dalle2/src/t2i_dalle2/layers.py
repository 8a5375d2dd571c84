"""What the prior's transformer and the decoder's unets share."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Waves(nn.Module):
    """A timestep as sines and cosines of growing length, (b,) -> (b, width)."""

    rates: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        rates = torch.exp(torch.arange(half) * (-math.log(10000) / (half - 1)))
        self.register_buffer("rates", rates, persistent=False)

    def forward(self, times: Tensor) -> Tensor:
        angles = times.float()[:, None] * self.rates
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class Attention(nn.Module):
    """Attention of many queries to one key and value each place, and to a learned one that stands before all."""

    def __init__(self, width: int, heads: int, head_width: int, *, cosine: bool = False) -> None:
        super().__init__()
        self.heads, self.cosine = heads, cosine
        # As upstream has it: cosine similarity times 16, or else scaled by the root of the width twice.
        self.scale = 16.0 if cosine else 1 / head_width
        self.norm = nn.LayerNorm(width, bias=False)
        self.null_kv = nn.Parameter(torch.randn(2, head_width))
        self.to_q = nn.Linear(width, heads * head_width, bias=False)
        self.to_kv = nn.Linear(width, 2 * head_width, bias=False)
        self.out = nn.Linear(heads * head_width, width, bias=False)
        self.out_norm = nn.LayerNorm(width, bias=False)

    def forward(self, x: Tensor, bias: Tensor | None = None, turns: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """(b, n, width); `bias` is added to the similarities, `turns` rotate queries and keys by their place."""
        x = self.norm(x)
        q = self.to_q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (b, h, n, d)
        k, v = self.to_kv(x)[:, None].chunk(2, dim=-1)  # (b, 1, n, d)
        if turns is not None:
            q, k = rotated(q, *turns), rotated(k, *turns)
        null = self.null_kv[:, None, None, None].expand(2, len(x), 1, 1, -1).to(k.dtype)
        k, v = torch.cat([null[0], k.to(v.dtype)], dim=2), torch.cat([null[1], v], dim=2)
        if self.cosine:
            q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        shape = (-1, self.heads, -1, -1)
        gathered = F.scaled_dot_product_attention(
            q.to(v.dtype), k.to(v.dtype).expand(shape), v.expand(shape), bias, scale=self.scale
        )
        return self.out_norm(self.out(gathered.transpose(1, 2).flatten(2)))


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Neighbouring numbers turned as pairs; those past the angles stay."""
    d = cos.shape[-1]
    turned, rest = x[..., :d], x[..., d:]
    across = torch.stack([-turned[..., 1::2], turned[..., ::2]], dim=-1).flatten(-2)
    return torch.cat([turned * cos + across * sin, rest], dim=-1)


def or_null(keep: Tensor | None, x: Tensor, null: Tensor) -> Tensor:
    """Rows of x, or `null` where `keep` (b,) is false."""
    if keep is None:
        return x
    return torch.where(keep.reshape(-1, *(1,) * (x.ndim - 1)), x, null.to(x.dtype))


def matrices(layers: Iterable[nn.Module]) -> list[nn.Parameter]:
    """The weights of all linear layers and convolutions in these."""
    inside = (module for layer in layers for module in layer.modules())
    return [module.get_parameter("weight") for module in inside if isinstance(module, (nn.Linear, nn.Conv2d))]
