"""Parts of causal transformers that several backends share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from t2icli.nn.attention import attend, look_at
from t2icli.nn.blocks import in_blocks
from t2icli.nn.devices import has_bf16
from t2icli.nn.int8 import Int8Linear

GROWTH, PIECE = 32, 160
"""Places by which a growing cache grows, and places of a piece of its keys: of longer ones products are slower."""


class KVCache:
    """Keys and values of one attention layer, two of (b, heads, places, width) with room for all that will come."""

    def __init__(self, keys: Sequence[Tensor], values: Tensor, length: int = 0) -> None:
        self.keys = list(keys)
        """One tensor; a growing cache has several."""
        self.values = values
        self.length = length

    def attend(self, q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None = None) -> Tensor:
        """Append positions, (b, heads, n, width): what they gather from all up to themselves.

        `visible` narrows that down: to some places, (m,), for a single position; or to what is True, (n, m).
        """
        first, self.length = self.length, self.length + k.shape[2]
        gathered = []
        for kept, new in zip((self.keys[0], self.values), (k, v), strict=True):
            kept[:, :, first : self.length] = new
            gathered.append(kept[:, :, : self.length])
        keys, values = gathered
        if visible is not None and visible.ndim == 1:
            keys, values, visible = keys[:, :, visible], values[:, :, visible], None
        return attend(q.to(keys.dtype), keys, values, visible).to(q.dtype)

    def select(self, rows: Tensor) -> KVCache:
        """A copy whose row i is row `rows[i]` of this one."""
        return type(self)([each[rows] for each in self.keys], self.values[rows], self.length)

    def concatenated(self, others: Sequence[KVCache]) -> KVCache:
        """The rows of this one, then those of others that are as long."""
        all_of_them = [self, *others]
        keys = map(torch.cat, zip(*(each.keys for each in all_of_them), strict=True))
        return type(self)(list(keys), torch.cat([each.values for each in all_of_them]), self.length)

    def fixed(self) -> FixedCache:
        return FixedCache(self.keys[0], self.values, self.length)


class GrowingCache(KVCache):
    """The same with little more room than is used, for products that read all of it: see `grows`.

    Keys are transposed, pieces of (b, heads, width, places), which are read faster.
    """

    def attend(self, q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None = None) -> Tensor:
        """Append the first positions, which `visible`, (n, n), may narrow down, or a single one."""
        if self.length and q.shape[2] > 1:
            raise ValueError("several positions can only come first")
        own, k, v = (each.to(self.values.dtype) for each in (q, k, v))
        for i in range(0, k.shape[2], GROWTH):
            self._append(k[:, :, i : i + GROWTH], v[:, :, i : i + GROWTH])
        if q.shape[2] > 1:
            return attend(own, k, v, visible).to(q.dtype)
        return in_blocks(partial(look_at, length=self.length), own, self.values, *self.keys).to(q.dtype)

    def _append(self, k: Tensor, v: Tensor) -> None:
        """No more than a growth at once."""
        place = self.length % PIECE
        if self.length % GROWTH == 0:
            more = self.values.new_zeros(*k.shape[:2], GROWTH, k.shape[3])
            self.values = torch.cat([self.values, more], dim=2)
            if place == 0:
                self.keys.append(more.transpose(2, 3).contiguous())
            else:
                self.keys[-1] = torch.cat([self.keys[-1], more.transpose(2, 3)], dim=3)
        self.keys[-1][..., place : place + k.shape[2]] = k.transpose(2, 3)
        self.values[:, :, self.length : self.length + k.shape[2]] = v
        self.length += k.shape[2]


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


def reserve(network: nn.Module, x: Tensor, heads: int, room: int, width: int, *, narrowed: bool = False) -> KVCache:
    """An empty cache for up to `room` positions of the rows of `x` in an attention layer of `network`.

    It has the format of `x`; but bf16 if the processor has it and layers compute in 8 bits, which lose more: reading
    the cache is much of the work. `narrowed` if single positions look at some of the places, which are copied anyway.
    """
    is_halved = has_bf16(x.device) and any(isinstance(module, Int8Linear) for module in network.modules())
    like = x.new_empty(0, dtype=torch.bfloat16 if is_halved else x.dtype)
    if grows(like) and not narrowed:
        return GrowingCache([], like.new_empty(len(x), heads, 0, width))
    keys, values = like.new_empty(2, len(x), heads, room, width)
    return KVCache([keys], values)


def grows(like: Tensor) -> bool:
    """Whether products copy whatever is a part of a tensor, which takes longer than the product."""
    return like.dtype is torch.bfloat16 and like.device.type == "cpu"


def split_heads(x: Tensor, parts: int, heads: int) -> Tensor:
    """(b, n, parts * heads * d) -> (parts, b, heads, n, d): q, k and v from one projection."""
    split: Tensor = x.unflatten(-1, (parts, heads, -1))
    return split.permute(2, 0, 3, 1, 4)


def join_heads(x: Tensor) -> Tensor:
    """(b, heads, n, d) -> (b, n, heads * d)."""
    return x.transpose(1, 2).flatten(2)
