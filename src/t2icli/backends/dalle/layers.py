"""What a DALL-E transformer is made of: attention masks, positions, token shift, and the two sublayers.

A sequence is <bos>, the text, then the image codes in raster order. "text" below counts <bos> in.
Every module takes either a sequence from its beginning or, given a `Memory` of what came before, the codes that follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2icli.backends.dalle.config import Config
from t2icli.nn.attention import attend
from t2icli.nn.transformer import FixedCache, KVCache, join_heads, pick, put, split_heads

CONV_WINDOW = 5
Streams = tuple[Tensor, Tensor]
Cache = KVCache | FixedCache
C = TypeVar("C", bound=Cache)
Place = int | Tensor
"""Where in the image the first of the given codes stands; a tensor, (1,), where steps are recorded and replayed."""


def visible(kind: str, text: int, grid: tuple[int, int]) -> Tensor:
    """Which key (column) each query (row) sees, (n, n): always causal, and every image code sees all text."""
    rows, columns = grid
    n = text + rows * columns
    causal = torch.ones(n, n, dtype=torch.bool).tril()
    if kind == "full":
        return causal
    place = torch.arange(rows * columns)
    down = (place // columns)[:, None] - (place // columns)[None]  # rows from the key down to the query
    right = (place % columns)[:, None] - (place % columns)[None]
    near = {
        "axial_row": down == 0,
        "axial_col": right == 0,
        # The window ends at the query in both directions: what is to the right in earlier rows is not seen.
        "conv_like": (down < CONV_WINDOW) & (right >= 0) & (right < CONV_WINDOW),
    }[kind]
    mask = torch.ones(n, n, dtype=torch.bool)
    mask[text:, text:] = near
    return mask & causal


def rotation(dim_head: int, text: int, grid: tuple[int, int]) -> Tensor:
    """What `rotate` multiplies with, (2, n, dim_head): a third of the angles each for text place, row and column."""
    third = dim_head // 3
    m = third // 2
    by_word = 10_000.0 ** (-2 * torch.arange(m) / third)
    by_pixel = torch.linspace(1, 5, m) * torch.pi
    rows, columns = (torch.linspace(-1, 1, size) for size in grid)
    images = grid[0] * grid[1]
    places = torch.cat([torch.arange(text), torch.full((images,), 8192)])  # far away from all text
    away = torch.full((text,), -10.0)  # far away from all pixels
    down = torch.cat([away, rows.repeat_interleave(grid[1])])
    across = torch.cat([away, columns.repeat(grid[0])])
    angles = torch.cat([places[:, None] * by_word, down[:, None] * by_pixel, across[:, None] * by_pixel], dim=1)
    rest = dim_head - 2 * angles.shape[1]  # features that stay as they are
    cosines = F.pad(angles.cos().repeat_interleave(2, dim=1), (0, rest), value=1.0)
    sines = F.pad(torch.stack([-angles.sin(), angles.sin()], dim=2).flatten(1), (0, rest))
    return torch.stack([cosines, sines])


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Turn neighbouring pairs (a, b) of features of (..., n, d): to (a cos - b sin, b cos + a sin)."""
    swapped = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return torch.addcmul(x * turn[0], swapped, turn[1])


@dataclass
class Memory(Generic[C]):
    """What one layer remembers of the sequence so far."""

    cache: C
    upper: Tensor
    """For token shift: the inputs of the attention at each code, after an image row of zeros, (b, places, d / 2)..."""
    lower: Tensor
    """...and of the feed-forward."""

    def select(self: Memory[KVCache], rows: Tensor) -> Memory[KVCache]:
        return Memory(self.cache.select(rows), self.upper[rows], self.lower[rows])

    def concatenated(self: Memory[KVCache], others: Sequence[Memory[KVCache]]) -> Memory[KVCache]:
        upper, lower = (torch.cat([getattr(each, name) for each in (self, *others)]) for name in ("upper", "lower"))
        return Memory(self.cache.concatenated([each.cache for each in others]), upper, lower)

    def fixed(self: Memory[KVCache]) -> Memory[FixedCache]:
        return Memory(self.cache.fixed(), self.upper, self.lower)


class TokenShift(nn.Module):
    """Half a word's features come from the word before; a quarter of a code's from above, a quarter from the left."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.columns = config.grid[1]
        self.quarter = -(-config.dim // 4)

    def forward(self, x: Tensor, text: int, place: Place, past: Tensor | None) -> Tensor:
        """The first `text` positions are words; `past` holds the inputs of earlier codes and takes in these."""
        words, codes = x[:, :text], x[:, text:]
        n = codes.shape[1]
        shifted, own = codes.split([2 * self.quarter, codes.shape[-1] - 2 * self.quarter], dim=-1)
        if past is None:
            past = F.pad(shifted, (0, 0, self.columns, 0))
        else:
            put(past, 1, self.columns + place, shifted)
        above = pick(past, 1, place, n)[..., : self.quarter]
        left = pick(past, 1, self.columns - 1 + place, n)[..., self.quarter :]
        if n == 1 and isinstance(place, int):
            left = left if place % self.columns else torch.zeros_like(left)
        else:
            columns = (place + torch.arange(n, device=x.device)) % self.columns
            left = left * (columns > 0)[:, None]
        codes = torch.cat([above, left, own], dim=-1)
        if not text:
            return codes
        before, same = words.chunk(2, dim=-1)
        words = torch.cat([F.pad(before, (0, 0, 1, 0))[:, :text], same], dim=-1)
        return torch.cat([words, codes], dim=1)


class Attention(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        inner = config.heads * config.dim_head
        self.heads = config.heads
        self.qkv = nn.Linear(config.dim, 3 * inner, bias=False)
        self.out = nn.Linear(inner, config.dim)
        self.dropout = nn.Dropout(config.attention_dropout)

    def forward(self, x: Tensor, turn: Tensor | None, visible: Tensor | None, cache: Cache | None) -> Tensor:
        """`visible` says which places are looked at, see `KVCache.attend`; None for all up to each position itself."""
        qkv = split_heads(self.qkv(x), 3, self.heads)
        q, k, v = qkv if turn is None else rotate(qkv, turn)  # values are turned as well
        gathered = attend(q, k, v, visible) if cache is None else cache.attend(q, k, v, visible)
        return self.dropout(self.out(join_heads(gathered)))


class FeedForward(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.widen = nn.Linear(config.dim, 8 * config.dim)
        self.narrow = nn.Linear(4 * config.dim, config.dim)
        self.dropout = nn.Dropout(config.feed_forward_dropout)

    def forward(self, x: Tensor) -> Tensor:
        x, gate = self.widen(x).chunk(2, dim=-1)
        return self.narrow(self.dropout(x * F.gelu(gate)))


class Sublayer(nn.Module):
    """Adds scale * norm_out(inner(shift(norm(x)))) to a residual stream."""

    def __init__(self, inner: Attention | FeedForward, config: Config, number: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.dim)
        self.shift = TokenShift(config) if config.shift_tokens else None
        self.inner = inner
        self.norm_out = nn.LayerNorm(config.dim) if config.sandwich_norm else nn.Identity()
        self.scale = nn.Parameter(torch.full((config.dim,), 0.1 if number <= 18 else 1e-5 if number <= 24 else 1e-6))

    def forward(
        self,
        stream: Tensor,
        x: Tensor,
        text: int,
        place: Place,
        past: Tensor | None,
        turn: Tensor | None = None,
        visible: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        x = self.norm(x)
        x = x if self.shift is None else self.shift(x, text, place, past)
        x = self.inner(x, turn, visible, cache) if isinstance(self.inner, Attention) else self.inner(x)
        return torch.addcmul(stream, self.norm_out(x), self.scale)


class Layer(nn.Module):
    """Attention and feed-forward around two residual streams, which are one and the same unless reversible."""

    def __init__(self, attention: Attention, feed_forward: FeedForward, config: Config, number: int) -> None:
        super().__init__()
        self.reversible = config.reversible
        self.attention = Sublayer(attention, config, number)
        self.feed_forward = Sublayer(feed_forward, config, number)

    def forward(
        self,
        a: Tensor,
        b: Tensor,
        text: int,
        place: Place,
        turn: Tensor | None,
        visible: Tensor | None,
        memory: Memory[KVCache] | Memory[FixedCache] | None,
    ) -> Streams:
        cache, upper, lower = (memory.cache, memory.upper, memory.lower) if memory else (None, None, None)
        a = self.attention(a, b, text, place, upper, turn, visible, cache)
        b = self.feed_forward(b if self.reversible else a, a, text, place, lower)
        return (a, b) if self.reversible else (b, b)
