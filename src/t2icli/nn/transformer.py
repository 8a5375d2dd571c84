"""Parts of causal transformers that several backends share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from t2icli.nn.blocks import ROWS, blocks_of, in_blocks, safe_size


class KVCache:
    """Keys and values of one attention layer, in memory reserved once: two of (b, heads, room, width)."""

    def __init__(self, keys: Tensor, values: Tensor, length: int = 0) -> None:
        self.keys = keys
        self.values = values
        self.length = length

    @property
    def filled(self) -> tuple[Tensor, Tensor]:
        """All keys and values there are so far."""
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add the newest (b, heads, n, width); returns all keys and values there are now."""
        end = self.length + keys.shape[2]
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length = end
        return self.filled

    def attend(self, q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None = None) -> Tensor:
        """Append positions, (b, heads, n, width): what they gather from the places `seen`, or from all so far."""
        keys, values = self.append(k, v)
        return attend(q, keys, values) if seen is None else attend(q, keys[:, :, seen], values[:, :, seen])

    def select(self, rows: Tensor) -> KVCache:
        """A copy whose row i is row `rows[i]` of this one."""
        return KVCache(self.keys[rows], self.values[rows], self.length)

    def fixed(self) -> FixedCache:
        return FixedCache(self.keys, self.values, self.length)

    def continued(self, rows: Tensor) -> SharedCache | KVCache:
        """Row i continues row `rows[i]` of this one; rows that continue the same one share it, if none suffers."""
        keys, values = (part.contiguous() for part in self.filled)
        if keys.device.type == "cpu" and not _may_share(keys, values):
            return self.select(rows)
        own = reserve(len(rows), keys.shape[1], self.keys.shape[2] - self.length, keys.shape[3], like=keys)
        return SharedCache(KVCache(keys, values, self.length), own, rows)

    def joined(self, others: Sequence[KVCache]) -> KVCache:
        """The rows of this one, then those of others that are as long."""
        all_of_them = [self, *others]
        keys, values = (torch.cat([getattr(each, name) for each in all_of_them]) for name in ("keys", "values"))
        return KVCache(keys, values, self.length)


class SharedCache:
    """A cache of rows that continue common beginnings.

    A beginning, mostly the one prompt of all rows, is kept once. All rows of a block are multiplied by each beginning
    that one of them continues, so that the product's shape does not depend on how many do.
    """

    def __init__(self, beginnings: KVCache, own: KVCache, rows: Tensor) -> None:
        self.beginnings, self.own, self.rows = beginnings, own, rows
        blocks = rows.split(blocks_of(own.keys))
        self.blocks = [[(i, block == i) for i in block.unique().tolist()] for block in blocks]
        """Of each block, which beginnings its rows continue, and which rows they are."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None = None) -> Tensor:
        """Append one position, (b, heads, 1, width): what it gathers from the places `seen`, or from all so far."""
        (first_keys, first_values), (keys, values) = self.beginnings.filled, self.own.append(k, v)
        if seen is not None:
            early, late = seen[seen < self.beginnings.length], seen[seen >= self.beginnings.length]
            first_keys, first_values = first_keys[:, :, early], first_values[:, :, early]
            late = late - self.beginnings.length
            keys, values = keys[:, :, late], values[:, :, late]
        q = q * q.shape[-1] ** -0.5
        size = blocks_of(q)
        parts = zip(self.blocks, *(x.split(size) for x in (q, keys, values)), strict=True)
        return torch.cat([_continue(block, first_keys, first_values, *part) for block, *part in parts])

    def continued(self, rows: Tensor) -> SharedCache:
        """A copy whose row i is row `rows[i]` of this one."""
        return SharedCache(self.beginnings, self.own.select(rows), self.rows[rows])

    def fixed(self) -> FixedCache:
        pairs = zip(self.beginnings.filled, (self.own.keys, self.own.values), strict=True)
        joined = [torch.cat([first[self.rows], own], dim=2) for first, own in pairs]
        return FixedCache(*joined, self.beginnings.length + self.own.length)


_shared: dict[tuple[object, ...], bool] = {}


def _may_share(keys: Tensor, values: Tensor) -> bool:
    """Whether a block's rows, multiplied by a beginning together, are the same in any place; tried once a shape."""
    kind = (keys.shape[1:], keys.dtype, torch.get_num_threads())
    if kind not in _shared:
        random = torch.Generator().manual_seed(0)
        whole = [(0, torch.ones(ROWS, dtype=torch.bool))]
        _shared[kind] = all(
            safe_size(
                lambda _, second=second: partial(_by_beginning, whole, beginnings=second),
                torch.randn(ROWS, second.shape[1], 1, second.shape[2], generator=random).to(second.dtype),
                ROWS,
            )
            == ROWS
            for second in (keys.transpose(2, 3), values)
        )
    return _shared[kind]


Shared = list[tuple[int, Tensor]]


def _continue(
    block: Shared, first_keys: Tensor, first_values: Tensor, q: Tensor, keys: Tensor, values: Tensor
) -> Tensor:
    """What the queries (b, heads, 1, d) of one block gather from the beginnings they continue and from their own."""
    scores = _by_beginning(block, q, first_keys.transpose(2, 3)), q @ keys.transpose(2, 3)
    sizes = [part.shape[-1] for part in scores]
    first, own = torch.cat(scores, dim=-1).softmax(dim=-1).split(sizes, dim=-1)
    return _by_beginning(block, first, first_values) + own @ values


def _by_beginning(block: Shared, x: Tensor, beginnings: Tensor) -> Tensor:
    """(b, heads, 1, n) by the matrix (heads, n, m) of the beginning that each row continues: (b, heads, 1, m)."""
    rows = x[:, :, 0].transpose(0, 1)  # (heads, b, n): a product for each head
    product = rows @ beginnings[block[0][0]]
    for i, is_its in block[1:]:
        product = torch.where(is_its[:, None], rows @ beginnings[i], product)
    return product.transpose(0, 1)[:, :, None]


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

    def attend(self, q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None = None) -> Tensor:
        """Append one position, (b, heads, 1, width): what it gathers where `seen`, (1, n), is True, or from all."""
        self.keys.index_copy_(2, self.length, k)
        self.values.index_copy_(2, self.length, v)
        mask = self.places[None] <= self.length if seen is None else seen[:, : len(self.places)]
        self.length += 1
        return attend(q, self.keys, self.values, mask)


def pick(table: Tensor, dim: int, at: int | Tensor, n: int = 1) -> Tensor:
    """`n` entries from `at` on; which may be a tensor, (1,), for what is recorded and replayed."""
    if isinstance(at, int):
        return table.narrow(dim, at, n)
    return table.index_select(dim, at + torch.arange(n, device=at.device))


def reserve(b: int, heads: int, room: int, width: int, like: Tensor) -> KVCache:
    """An empty cache for up to `room` positions, where and in the format `like` is."""
    keys, values = like.new_empty(2, b, heads, room, width)
    return KVCache(keys, values)


def split_heads(x: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """(b, n, parts * heads * d) -> `parts` of (b, heads, n, d): q, k and v from one projection."""
    return x.unflatten(-1, (parts, heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


def join_heads(x: Tensor) -> Tensor:
    """(b, heads, n, d) -> (b, n, heads * d)."""
    return x.transpose(1, 2).flatten(2)


PLAIN = 512
"""Up to so many keys a CPU trains faster by plain products, whose scores are kept for the way back."""


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention of queries (b, h, n, d) over keys (b, h, m, d); `mask` is True where seen.

    Without a mask the newest n queries see everything up to themselves.
    """
    # The fused kernel is slow on CPUs for a single query in bf16 (2.1 ms against 0.2 at 192 keys), and in training:
    # three times the time of plain products at 117 places, most of it on the way back.
    learns = q.requires_grad and q.device.type == "cpu" and k.shape[2] <= PLAIN
    if q.shape[2] > 1 and not learns:
        return F.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None)
    if mask is None and q.shape[2] > 1:
        mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril(k.shape[2] - q.shape[2])
    return _gather(q, k, v, mask) if learns else in_blocks(partial(_gather, mask=mask), q, k, v)


def _gather(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ v
