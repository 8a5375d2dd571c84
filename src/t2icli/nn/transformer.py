"""Parts of causal transformers that several backends share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from t2icli.nn.attention import attend, look
from t2icli.nn.blocks import in_blocks
from t2icli.nn.devices import has_bf16
from t2icli.nn.int8 import Int8Linear

GROWTH = 32
"""Places by which a cache grows that did not reserve all of its room."""


class KVCache:
    """Keys and values of one attention layer: two of (b, heads, places, width), which grow when they are full."""

    def __init__(self, keys: Tensor, values: Tensor, room: int, length: int = 0) -> None:
        self.keys = keys
        self.values = values
        self.room = room
        """How many places there may be in the end."""
        self.length = length

    @property
    def filled(self) -> tuple[Tensor, Tensor]:
        """All keys and values there are so far."""
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add the newest (b, heads, n, width); returns all keys and values there are now."""
        end = self.length + keys.shape[2]
        if end > self.keys.shape[2]:
            self._grow(min(-(-end // GROWTH) * GROWTH, self.room))
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length = end
        return self.filled

    def _grow(self, places: int) -> None:
        b, heads, before, width = self.keys.shape
        more = self.keys.new_zeros(b, heads, places - before, width)
        self.keys, self.values = (torch.cat([each, more], dim=2) for each in (self.keys, self.values))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None = None) -> Tensor:
        """Append positions, (b, heads, n, width): what they gather from all up to themselves.

        `visible` narrows that down: to some places, (m,), for a single position; or to what is True, (n, m).
        """
        keys, values = self.append(k, v)
        own = q.to(keys.dtype)
        if visible is not None and visible.ndim == 1:
            keys, values, visible = keys[:, :, visible], values[:, :, visible], None
        elif q.shape[2] == 1 and _grows(keys):
            return in_blocks(partial(look, length=self.length), own, self.keys, self.values).to(q.dtype)
        return attend(own, keys, values, visible).to(q.dtype)

    def select(self, rows: Tensor) -> KVCache:
        """A copy whose row i is row `rows[i]` of this one."""
        return KVCache(self.keys[rows], self.values[rows], self.room, self.length)

    def fixed(self) -> FixedCache:
        if self.room > self.keys.shape[2]:
            self._grow(self.room)
        return FixedCache(self.keys, self.values, self.length)

    def concatenated(self, others: Sequence[KVCache]) -> KVCache:
        """The rows of this one, then those of others that are as long."""
        all_of_them = [self, *others]
        keys, values = (torch.cat([getattr(each, name) for each in all_of_them]) for name in ("keys", "values"))
        return KVCache(keys, values, self.room, self.length)


class FixedCache:
    """A cache whose every step is the same work on the same memory, as what is recorded and replayed has to be.

    Where the next position stands is a number in a tensor, (1,); all of the room is read, and what is not there yet
    is masked out.
    """

    def __init__(self, keys: Tensor, values: Tensor, length: int) -> None:
        values[:, :, length:] = 0  # nothing of it is taken, but nothing times what is not a number is not a number
        self.keys = keys
        self.values = values
        self.length = torch.full((1,), length, device=keys.device)
        self.places = torch.arange(keys.shape[2], device=keys.device)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None = None) -> Tensor:
        """Append one position, (b, heads, 1, width): what it gathers where `visible`, (1, n), is True, or from all."""
        self.keys.index_copy_(2, self.length, k)
        self.values.index_copy_(2, self.length, v)
        mask = self.places[None] <= self.length if visible is None else visible[:, : len(self.places)]
        self.length += 1
        return attend(q, self.keys, self.values, mask)


def pick(table: Tensor, dim: int, at: int | Tensor, n: int = 1) -> Tensor:
    """`n` entries from `at` on; which may be a tensor, (1,), for what is recorded and replayed."""
    if isinstance(at, int):
        return table.narrow(dim, at, n)
    return table.index_select(dim, at + torch.arange(n, device=at.device))


def put(table: Tensor, dim: int, at: int | Tensor, values: Tensor) -> None:
    """Overwrite entries from `at` on; see `pick`."""
    n = values.shape[dim]
    if isinstance(at, int):
        table.narrow(dim, at, n).copy_(values)
    else:
        table.index_copy_(dim, at + torch.arange(n, device=at.device), values)


def reserve(network: nn.Module, x: Tensor, heads: int, room: int, width: int) -> KVCache:
    """An empty cache for up to `room` positions of the rows of `x` in an attention layer of `network`.

    It has the format of `x`; but bf16 if the processor has it and layers compute in 8 bits, which lose more: reading
    the cache is much of the work.
    """
    is_halved = has_bf16(x.device) and any(isinstance(module, Int8Linear) for module in network.modules())
    like = x.new_empty(0, dtype=torch.bfloat16 if is_halved else x.dtype)
    keys, values = like.new_empty(2, len(x), heads, 0 if _grows(like) else room, width)
    return KVCache(keys, values, room)


def _grows(like: Tensor) -> bool:
    """Whether products read the whole cache, so that its room should be little more than what is there.

    In bf16 a CPU copies a part of each row's keys before it multiplies them, which takes longer than the product.
    """
    return like.dtype is torch.bfloat16 and like.device.type == "cpu"


def split_heads(x: Tensor, parts: int, heads: int) -> Tensor:
    """(b, n, parts * heads * d) -> (parts, b, heads, n, d): q, k and v from one projection."""
    split: Tensor = x.unflatten(-1, (parts, heads, -1))
    return split.permute(2, 0, 3, 1, 4)


def join_heads(x: Tensor) -> Tensor:
    """(b, heads, n, d) -> (b, n, heads * d)."""
    return x.transpose(1, 2).flatten(2)
