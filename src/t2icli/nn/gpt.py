"""A plain pre-norm decoder over vectors: what CLIP-GEN's prior and GPT-2 have in common.

The caller owns the embeddings and the output layer; here are the blocks, and the cache that lets a
further position be computed without computing the earlier ones again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor, nn
from torch.nn import functional as F

from t2icli.nn.attention import attend
from t2icli.nn.transformer import FixedCache, KVCache, join_heads, reserve, split_heads

Layer = TypeVar("Layer", bound="KVCache | FixedCache")


@dataclass(frozen=True)
class GptShape:
    width: int
    layers: int
    heads: int
    tanh: bool = False
    """GELU by the tanh formula, as GPT-2 has it; else the exact one."""
    dropout: float = 0.0
    hidden_dropout: float = 0.0
    """Between the two layers of the MLP."""


class Cache(Generic[Layer]):
    """What every layer remembers of the positions so far; a state for `nn.decode`."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = layers

    @property
    def filled(self) -> int | Tensor:
        return self.layers[0].length

    def select(self: Cache[KVCache], rows: Tensor) -> Cache[KVCache]:
        """A copy whose row i is this one's row `rows[i]`: repeats a condition, or reorders beams."""
        return Cache([layer.select(rows) for layer in self.layers])

    def concatenated(self: Cache[KVCache], others: Sequence[Cache[KVCache]]) -> Cache[KVCache]:
        layers = [[each.layers[i] for each in others] for i in range(len(self.layers))]
        return Cache([layer.concatenated(rest) for layer, rest in zip(self.layers, layers, strict=True)])

    def fixed(self: Cache[KVCache]) -> Cache[FixedCache]:
        return Cache([layer.fixed() for layer in self.layers])


AnyCache = Cache[KVCache] | Cache[FixedCache]


class Block(nn.Module):
    def __init__(self, shape: GptShape) -> None:
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

    def forward(self, x: Tensor, cache: KVCache | FixedCache | None, mask: Tensor | None) -> Tensor:
        x = x + self.dropout(self.out(self.attend(self.norm1(x), cache, mask)))
        hidden = self.act(self.up(self.norm2(x)))
        return x + self.dropout(self.down(self.hidden_dropout(hidden)))

    def attend(self, x: Tensor, cache: KVCache | FixedCache | None, mask: Tensor | None) -> Tensor:
        q, k, v = split_heads(self.qkv(x), 3, self.heads)
        if cache is not None:  # either one new position, or the first ones
            return join_heads(cache.attend(q, k, v))
        dropout = self.attention_dropout if self.training else 0.0
        if not dropout:
            return join_heads(attend(q, k, v, mask))
        return join_heads(F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=mask is None))


class Decoder(nn.Module):
    """(b, n, width) to (b, n, width), each position seeing itself and those before it."""

    def __init__(self, shape: GptShape) -> None:
        super().__init__()
        self.shape = shape
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)

    def reserve(self, x: Tensor, room: int) -> Cache[KVCache]:
        """An empty cache for up to `room` positions of the rows of `x`."""
        heads, width = self.shape.heads, self.shape.width // self.shape.heads
        return Cache([reserve(self, x, heads, room, width) for _ in self.blocks])

    def forward(self, x: Tensor, cache: AnyCache | None = None, mask: Tensor | None = None) -> Tensor:
        """`mask` (b, n), for whole sequences only, is False at positions that nothing may look at."""
        if mask is not None:
            mask = mask[:, None, None] & mask.new_ones(x.shape[1], x.shape[1]).tril()
        layers = cache.layers if cache is not None else [None] * len(self.blocks)
        for block, layer in zip(self.blocks, layers, strict=True):
            x = block(x, layer, mask)
        return self.norm(x)
