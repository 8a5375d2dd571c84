"""CLIP-GEN's prior: one CLIP embedding in front, then image codes one after another."""

from __future__ import annotations

import msgspec
import torch
from torch import Tensor, nn

from t2icli.nn import gpt
from t2icli.nn.loss import cross_entropy
from t2icli.nn.transformer import pick


class PriorShape(msgspec.Struct, frozen=True):
    """The network's sizes, as stored in a model's card. These are CLIP-GEN's `gpt2_medium`."""

    codes: int = 16384
    length: int = 256
    """Codes per image."""
    condition: int = 512
    """Numbers in the embedding it is conditioned on."""
    width: int = 1024
    layers: int = 24
    heads: int = 16


class Prior(nn.Module):
    """Predicts image codes one after another, given one embedding."""

    def __init__(self, shape: PriorShape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.cond_proj = nn.Linear(shape.condition, shape.width)
        self.tok_emb = nn.Embedding(shape.codes, shape.width)
        self.pos_emb = nn.Parameter(torch.zeros(1, shape.length, shape.width))
        self.dropout = nn.Dropout(dropout)
        self.decoder = gpt.Decoder(gpt.GptShape(shape.width, shape.layers, shape.heads, False, dropout, dropout))
        self.head = nn.Linear(shape.width, shape.codes)

    def forward(self, embedding: Tensor, codes: Tensor) -> Tensor:
        """Logits of each code and the one after the last given: (b, condition), (b, n) -> (b, 1 + n, codes)."""
        start = self.cond_proj(embedding)[:, None]  # (b, 1, width)
        x = torch.cat([start, self.tok_emb(codes)], dim=1)  # (b, 1 + n, width)
        x = self.dropout(x + self.pos_emb[:, : x.shape[1]])
        return self.head(self.decoder(x))

    def prefill(self, embedding: Tensor, length: int) -> tuple[Tensor, gpt.AnyCache]:
        """The logits of the first code, (b, codes), and the state `step` continues from."""
        start = self.cond_proj(embedding.to(self.pos_emb))[:, None]
        cache = self.decoder.reserve(start, length)
        return self.next(start, cache), cache

    def step(self, codes: Tensor, cache: gpt.AnyCache) -> Tensor:
        return self.next(self.tok_emb(codes)[:, None], cache)

    def next(self, x: Tensor, cache: gpt.AnyCache) -> Tensor:
        """(b, 1, width) at the first free position -> (b, codes)."""
        x = x + pick(self.pos_emb, 1, cache.filled)
        return self.head(self.decoder(x, cache)[:, -1])

    def loss(self, embedding: Tensor, codes: Tensor) -> Tensor:
        """Cross-entropy of whole images: (b, condition), (b, length)."""
        return mean_loss(self(embedding, codes[:, :-1]), codes)


def mean_loss(logits: Tensor, codes: Tensor) -> Tensor:
    """Cross-entropy of (b, n, codes) and (b, n)."""
    return cross_entropy(logits.flatten(0, 1), codes.flatten()).mean()
