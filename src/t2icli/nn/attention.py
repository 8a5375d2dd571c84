"""Scaled dot-product attention, each time in the order that is fastest."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from t2icli.nn.blocks import in_blocks

PLAIN = 512
"""Up to so many keys a CPU trains faster by plain products, whose scores are kept for the backward pass."""
QUERIES, SCORES = 80, 1 << 19
"""How many queries, and how many scores, are computed together in training: what comes too late to be seen is left out,
and the rest stays in the processor's cache."""


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention of queries (b, h, n, d) over keys (b, h, m, d); `mask` is True where seen.

    Without a mask the newest n queries see everything up to themselves.
    """
    if _learns(q, k):
        return _learned(q, k, v, causal=True) if mask is None else _gather(q, k, v, mask)
    # The fused kernel is slow on CPUs for a single query in bf16: 2.1 ms against 0.2 at 192 keys.
    if q.shape[2] > 1:
        return F.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None)
    if mask is None and q.device.type == "cpu":
        return in_blocks(look, q, k, v)
    return in_blocks(partial(_gather, mask=mask), q, k, v)


def attend_all(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same where every query sees every key."""
    return _learned(q, k, v, causal=False) if _learns(q, k) else F.scaled_dot_product_attention(q, k, v)


def look(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """What single queries (b, h, 1, d) gather, in the order that is fastest on a CPU."""
    scores: Tensor = (k @ (q * q.shape[-1] ** -0.5).transpose(2, 3)).transpose(2, 3)
    return scores.softmax(dim=-1) @ v


def look_at(q: Tensor, v: Tensor, *pieces: Tensor, length: int) -> Tensor:
    """The same from the first `length` keys, which come transposed and in pieces, each (b, h, d, places)."""
    q = q * q.shape[-1] ** -0.5
    of_pieces = [q @ piece for piece in pieces]
    scores = of_pieces[0] if len(pieces) == 1 else torch.cat(of_pieces, dim=-1)
    if length < scores.shape[-1]:
        scores[..., length:] = -torch.inf
    return scores.softmax(dim=-1) @ v


def _gather(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    scores: Tensor = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ v


def _learns(q: Tensor, k: Tensor) -> bool:
    """Whether a CPU trains: the fused kernel takes three times as long there, most of it in the backward pass."""
    return q.requires_grad and q.device.type == "cpu" and k.shape[2] <= PLAIN


def _learned(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
    if torch.compiler.is_compiling():  # joins the plain operations itself
        n, m = q.shape[2], k.shape[2]
        seen = torch.ones(n, m, dtype=torch.bool, device=q.device).tril(m - n) if causal else None
        return _gather(q, k, v, seen)
    if torch.is_autocast_enabled("cpu"):
        q, k, v = (each.to(torch.get_autocast_dtype("cpu")) for each in (q, k, v))
    gathered: Tensor = _Learned.apply(q, k, v, causal)
    return gathered


class _Learned(torch.autograd.Function):
    """Products and softmax with a backward pass of their own, for which only the probabilities are kept."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
        ctx.causal = causal
        gathered = q.new_empty(q.shape[:-1] + v.shape[-1:])
        q, k, v = q.flatten(0, 1) * q.shape[-1] ** -0.5, k.flatten(0, 1), v.flatten(0, 1)
        out, probabilities = gathered.flatten(0, 1), []
        with torch.autocast("cpu", enabled=False):
            for rows, queries, keys in _pieces(q, k, causal):
                scores = q[rows, queries] @ k[rows, keys].transpose(1, 2)
                if causal:
                    _hide(scores)
                probabilities.append(scores.softmax(dim=-1))
                out[rows, queries] = probabilities[-1] @ v[rows, keys]
        ctx.save_for_backward(q, k, v, *probabilities)
        return gathered

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, *probabilities = ctx.saved_tensors
        heads = gradient.shape[:2]
        gradient = gradient.flatten(0, 1)
        of_q, of_k, of_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        with torch.autocast("cpu", enabled=False):
            for seen, (rows, queries, keys) in zip(probabilities, _pieces(q, k, ctx.causal), strict=True):
                g = gradient[rows, queries]
                of_v[rows, keys] += seen.transpose(1, 2) @ g
                of_scores = torch._softmax_backward_data(g @ v[rows, keys].transpose(1, 2), seen, -1, seen.dtype)
                of_q[rows, queries] = of_scores @ k[rows, keys]
                of_k[rows, keys] += of_scores.transpose(1, 2) @ q[rows, queries]
        of_q *= q.shape[-1] ** -0.5
        return *(each.unflatten(0, heads) for each in (of_q, of_k, of_v)), None


def _pieces(q: Tensor, k: Tensor, causal: bool) -> Iterator[tuple[slice, slice, slice]]:
    """Rows, queries, and the keys that these see."""
    n, m = q.shape[1], k.shape[1]
    together = min(QUERIES, n) if causal else n
    some = max(1, SCORES // (together * m))
    for row in range(0, len(q), some):
        for first in range(0, n, together):
            last = min(first + together, n)
            yield slice(row, row + some), slice(first, last), slice(0, m - n + last if causal else m)


def _hide(scores: Tensor) -> None:
    """Of the newest queries and all keys up to the last of them: what comes after each."""
    n, m = scores.shape[1:]
    later = torch.ones(n, n, dtype=torch.bool).triu(1)
    scores[..., m - n :].masked_fill_(later, -torch.inf)
