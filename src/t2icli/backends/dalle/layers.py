"""What a DALL-E transformer is made of: who sees whom, positions, token shift, and the two sublayers.

A sequence is <bos>, the text, then the image codes in raster order. "text" below counts <bos> in.
Everything comes in two forms: `forward` for a whole sequence, `step` for its next image code alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2icli.backends.dalle.config import Config
from t2icli.nn.transformer import FixedCache, KVCache, SharedCache, attend, join_heads, pick, split_heads

CONV_WINDOW = 5
Streams = tuple[Tensor, Tensor]
StepCache = KVCache | SharedCache | FixedCache


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
    seen = torch.ones(n, n, dtype=torch.bool)
    seen[text:, text:] = near
    return seen & causal


def rotation(dim_head: int, text: int, grid: tuple[int, int]) -> Tensor:
    """Cosines and sines of the rotary angles, (2, n, pairs): a third each for text place, row and column."""
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
    return torch.stack([angles.cos(), angles.sin()])


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Turn neighbouring pairs of features of (..., n, d) by (2, n, pairs); features beyond the pairs stay."""
    cos, sin = turn
    pairs, rest = x.split([2 * cos.shape[-1], x.shape[-1] - 2 * cos.shape[-1]], dim=-1)
    a, b = pairs.unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).flatten(-2)
    return torch.cat([turned, rest], dim=-1)


@dataclass
class Memory:
    """What one layer remembers while codes are drawn."""

    cache: StepCache
    upper: Tensor
    """For token shift: the newest input of the attention in each image column, (b, columns, d / 2)..."""
    lower: Tensor
    """...and of the feed-forward."""

    def select(self, rows: Tensor) -> Memory:
        return Memory(self.cache.continued(rows), self.upper[rows], self.lower[rows])

    def joined(self, others: Sequence[Memory]) -> Memory:
        upper, lower = (torch.cat([getattr(each, name) for each in (self, *others)]) for name in ("upper", "lower"))
        return Memory(self.cache.joined([each.cache for each in others]), upper, lower)

    def fixed(self) -> Memory:
        return Memory(self.cache.fixed(), self.upper, self.lower)


class TokenShift(nn.Module):
    """Half a word's features come from the word before; a quarter of a code's from above, a quarter from the left."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.text = config.text_length + 1
        self.columns = config.grid[1]
        self.quarter = -(-config.dim // 4)

    def forward(self, x: Tensor, row: Tensor | None = None) -> Tensor:
        text, image = x[:, : self.text], x[:, self.text :]
        before, same = text.chunk(2, dim=-1)
        above, left, rest = self._parts(image)
        if row is not None:
            self._remember(image, row)
        text = torch.cat([_later(before, 1), same], dim=-1)
        first_column = torch.arange(image.shape[1], device=x.device) % self.columns == 0
        left = _later(left, 1).masked_fill(first_column[:, None], 0)
        image = torch.cat([_later(above, self.columns), left, rest], dim=-1)
        return torch.cat([text, image], dim=1)

    def step(self, x: Tensor, place: int | Tensor, row: Tensor) -> Tensor:
        """Shift image code number `place`, (b, 1, d); `row` starts as zeros, which is what the first row sees above."""
        column = place % self.columns
        above = pick(row, 1, column)[..., : self.quarter]
        left = pick(row, 1, (column - 1) % self.columns)[..., self.quarter :] * (column > 0)
        shifted = torch.cat([above, left, x[..., 2 * self.quarter :]], dim=-1)
        if isinstance(column, int):
            row[:, column] = x[:, 0, : 2 * self.quarter]
        else:
            row.index_copy_(1, column, x[..., : 2 * self.quarter])
        return shifted

    def _parts(self, image: Tensor) -> tuple[Tensor, ...]:
        return image.split([self.quarter, self.quarter, image.shape[-1] - 2 * self.quarter], dim=-1)

    def _remember(self, image: Tensor, row: Tensor) -> None:
        newest = torch.arange(max(0, image.shape[1] - self.columns), image.shape[1], device=image.device)
        row[:, newest % self.columns] = image[:, newest, : 2 * self.quarter]


def _later(x: Tensor, steps: int) -> Tensor:
    """Each position of (b, n, d) gets what was `steps` before it, the first ones zeros."""
    return F.pad(x, (0, 0, steps, 0))[:, : x.shape[1]]


class Attention(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        inner = config.heads * config.dim_head
        self.heads = config.heads
        self.qkv = nn.Linear(config.dim, 3 * inner, bias=False)
        self.out = nn.Linear(inner, config.dim)
        self.dropout = nn.Dropout(config.attention_dropout)

    def forward(self, x: Tensor, turn: Tensor | None, seen: Tensor | None, cache: KVCache | None = None) -> Tensor:
        q, k, v = self._project(x, turn)
        if cache is not None:
            cache.append(k, v)
        return self.dropout(self.out(join_heads(attend(q, k, v, seen))))

    def step(self, x: Tensor, turn: Tensor | None, seen: Tensor | None, cache: StepCache) -> Tensor:
        """One more position; `seen` are the places it looks at, None for all so far."""
        return self.out(join_heads(cache.attend(*self._project(x, turn), seen)))

    def _project(self, x: Tensor, turn: Tensor | None) -> tuple[Tensor, ...]:
        qkv = split_heads(self.qkv(x), 3, self.heads)
        return qkv if turn is None else tuple(rotate(part, turn) for part in qkv)  # values are turned as well


class FeedForward(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.widen = nn.Linear(config.dim, 8 * config.dim)
        self.narrow = nn.Linear(4 * config.dim, config.dim)
        self.dropout = nn.Dropout(config.feed_forward_dropout)

    def forward(self, x: Tensor) -> Tensor:
        x, gate = self.widen(x).chunk(2, dim=-1)
        return self.narrow(self.dropout(x * F.gelu(gate)))

    step = forward


class Sublayer(nn.Module):
    """What is added to the residual stream: scale * norm_out(inner(shift(norm(x))))."""

    def __init__(self, inner: Attention | FeedForward, config: Config, number: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.dim)
        self.shift = TokenShift(config) if config.shift_tokens else None
        self.inner = inner
        self.norm_out = nn.LayerNorm(config.dim) if config.sandwich_norm else nn.Identity()
        self.scale = nn.Parameter(torch.full((config.dim,), 0.1 if number <= 18 else 1e-5 if number <= 24 else 1e-6))

    def forward(self, x: Tensor, row: Tensor | None, *context: object) -> Tensor:
        x = self.norm(x)
        x = x if self.shift is None else self.shift(x, row)
        return self.norm_out(self.inner(x, *context)) * self.scale

    def step(self, x: Tensor, place: int | Tensor, row: Tensor, *context: object) -> Tensor:
        x = self.norm(x)
        x = x if self.shift is None else self.shift.step(x, place, row)
        return self.norm_out(self.inner.step(x, *context)) * self.scale


class Layer(nn.Module):
    """Attention and feed-forward around two residual streams, which are one and the same unless reversible."""

    def __init__(self, attention: Attention, feed_forward: FeedForward, config: Config, number: int) -> None:
        super().__init__()
        self.kind = config.attention[(number - 1) % len(config.attention)]
        self.reversible = config.reversible
        self.attention = Sublayer(attention, config, number)
        self.feed_forward = Sublayer(feed_forward, config, number)

    def forward(self, a: Tensor, b: Tensor, turn: Tensor | None, seen: Tensor | None, memory: Memory | None) -> Streams:
        cache, upper, lower = (memory.cache, memory.upper, memory.lower) if memory else (None, None, None)
        a = a + self.attention(b, upper, turn, seen, cache)
        return self._second(a, b, self.feed_forward(a, lower))

    def step(
        self, a: Tensor, b: Tensor, place: int | Tensor, turn: Tensor | None, seen: Tensor | None, memory: Memory
    ) -> Streams:
        a = a + self.attention.step(b, place, memory.upper, turn, seen, memory.cache)
        return self._second(a, b, self.feed_forward.step(a, place, memory.lower))

    def _second(self, a: Tensor, b: Tensor, added: Tensor) -> Streams:
        if self.reversible:
            return a, b + added
        return (a + added,) * 2
