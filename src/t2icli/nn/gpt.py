"""A plain pre-norm decoder over vectors: what CLIP-GEN's prior and GPT-2 have in common.

The caller owns the embeddings and the output layer; here are the blocks, and the cache that lets a
further position be computed without computing the earlier ones again.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    width: int
    layers: int
    heads: int
    tanh: bool = False
    """GELU by the tanh formula, as GPT-2 has it; else the exact one."""
    dropout: float = 0.0
    hidden_dropout: float = 0.0
    """Between the two layers of the MLP."""


@dataclass
class Cache:
    """Keys and values of every layer, (layers, b, heads, positions, d), allocated once; a state for `nn.decode`."""

    keys: Tensor
    values: Tensor
    filled: int = 0

    @classmethod
    def empty(cls, shape: Shape, rows: int, positions: int, like: Tensor) -> Cache:
        size = (shape.layers, rows, shape.heads, positions, shape.width // shape.heads)
        return cls(like.new_zeros(size), like.new_zeros(size))

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store (b, heads, n, d) behind what is there; all so far comes back."""
        end = self.filled + keys.shape[2]
        self.keys[layer, :, :, self.filled : end] = keys
        self.values[layer, :, :, self.filled : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def select(self, rows: Tensor) -> Cache:
        """A copy whose row i is this one's row `rows[i]`: repeats a condition, or reorders beams."""
        return Cache(self.keys[:, rows], self.values[:, rows], self.filled)


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.heads = shape.heads
        self.attention_dropout = shape.dropout
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.act = nn.GELU("tanh" if shape.tanh else "none")
        self.hidden_dropout = nn.Dropout(shape.hidden_dropout)
        self.down = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, x: Tensor, layer: int, cache: Cache | None, mask: Tensor | None) -> Tensor:
        x = x + self.dropout(self.out(self.attend(self.norm1(x), layer, cache, mask)))
        hidden = self.act(self.up(self.norm2(x)))
        return x + self.dropout(self.down(self.hidden_dropout(hidden)))

    def attend(self, x: Tensor, layer: int, cache: Cache | None, mask: Tensor | None) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)  # (b, heads, n, d)
        if cache is not None:
            k, v = cache.extend(layer, k, v)
        dropout = self.attention_dropout if self.training else 0.0
        # A single new position may see everything; several new ones come with an empty cache.
        causal = mask is None and n > 1
        seen = F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=causal)
        return seen.transpose(1, 2).reshape(b, n, d)


class Decoder(nn.Module):
    """(b, n, width) to (b, n, width), each position seeing itself and those before it."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)

    def forward(self, x: Tensor, cache: Cache | None = None, mask: Tensor | None = None) -> Tensor:
        """`mask` (b, n), for whole sequences only, is False at positions that nothing may look at."""
        if mask is not None:
            mask = mask[:, None, None] & mask.new_ones(x.shape[1], x.shape[1]).tril()
        for layer, block in enumerate(self.blocks):
            x = block(x, layer, cache, mask)
        if cache is not None:
            cache.filled += x.shape[1]
        return self.norm(x)
