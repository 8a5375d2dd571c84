"""Parts of causal transformers that several backends share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class KVCache:
    """Keys and values of one attention layer, in memory reserved once: two of (b, heads, room, width)."""

    def __init__(self, keys: Tensor, values: Tensor, length: int = 0) -> None:
        self.keys = keys
        self.values = values
        self.length = length

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add the newest (b, heads, n, width); returns all keys and values there are now."""
        end = self.length + keys.shape[2]
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def select(self, rows: Tensor) -> KVCache:
        """A copy whose row i is row `rows[i]` of this one."""
        return KVCache(self.keys[rows], self.values[rows], self.length)


def reserve(b: int, heads: int, room: int, width: int, like: Tensor) -> KVCache:
    """An empty cache for up to `room` positions, where and in the format `like` is."""
    keys, values = like.new_zeros(2, b, heads, room, width)
    return KVCache(keys, values)


def split_heads(x: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """(b, n, parts * heads * d) -> `parts` of (b, heads, n, d): q, k and v from one projection."""
    return x.unflatten(-1, (parts, heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


def join_heads(x: Tensor) -> Tensor:
    """(b, heads, n, d) -> (b, n, heads * d)."""
    return x.transpose(1, 2).flatten(2)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention of queries (b, h, n, d) over keys (b, h, m, d); `mask` is True where seen.

    Without a mask the newest n queries see everything up to themselves.
    """
    if q.shape[2] > 1:
        return F.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None)
    # The fused kernel is slow on CPUs for a single query in bf16 (2.1 ms against 0.2 at 192 keys).
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ v
