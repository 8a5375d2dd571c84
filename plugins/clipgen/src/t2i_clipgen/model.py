"""CLIP-GEN's prior: one CLIP embedding in front, then image codes one after another."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import torch
from torch import Tensor, nn

from t2icli.nn import gpt
from t2icli.nn.loss import cross_entropy
from t2icli.nn.transformer import pick

FLOOR = 0.02
"""Added to each direction's deviation, as a fraction of the largest one: what varies less is mostly noise."""
MEASURED = 20_000
"""At most so many embeddings tell how a space is spread."""


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
    whitened: bool = False
    """Whether the embedding is whitened first."""


class Prior(nn.Module):
    """Predicts image codes one after another, given one embedding."""

    def __init__(self, shape: PriorShape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.whitening = Whitening(shape.condition) if shape.whitened else None
        self.cond_proj = nn.Linear(shape.condition, shape.width)
        self.tok_emb = nn.Embedding(shape.codes, shape.width)
        self.pos_emb = nn.Parameter(torch.zeros(1, shape.length, shape.width))
        self.dropout = nn.Dropout(dropout)
        self.decoder = gpt.Decoder(gpt.GptShape(shape.width, shape.layers, shape.heads, False, dropout, dropout))
        self.head = nn.Linear(shape.width, shape.codes)

    def forward(self, embedding: Tensor, codes: Tensor) -> Tensor:
        """Logits of each code and the one after the last given: (b, condition), (b, n) -> (b, 1 + n, codes)."""
        start = self.start(embedding)  # (b, 1, width)
        x = torch.cat([start, self.tok_emb(codes)], dim=1)  # (b, 1 + n, width)
        x = self.dropout(x + self.pos_emb[:, : x.shape[1]])
        return self.head(self.decoder(x))

    def whiten(self) -> PriorShape:
        """Whiten embeddings from now on, once they are measured."""
        self.whitening = Whitening(self.shape.condition)
        self.shape = msgspec.structs.replace(self.shape, whitened=True)
        return self.shape

    def start(self, embedding: Tensor) -> Tensor:
        """Position 0; an embedding of zeros is none."""
        given = embedding.to(self.pos_emb.device)
        if self.whitening is not None:
            given = self.whitening(given) * given.any(-1, keepdim=True)
        return self.cond_proj(given.to(self.pos_emb))[:, None]

    def prefill(self, embedding: Tensor, length: int) -> tuple[Tensor, gpt.AnyCache]:
        """The logits of the first code, (b, codes), and the state `step` continues from."""
        start = self.start(embedding)
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


class Whitening(nn.Module):
    """Centres embeddings (..., width) and scales their principal axes; it changes nothing until `measure`.

    In most embedding spaces a few directions have nearly all the variance. What tells two similar pictures apart lies
    in the others, too small for a linear layer to learn from in reasonable time.
    """

    mean: Tensor
    axes: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("axes", torch.eye(width))

    def forward(self, x: Tensor) -> Tensor:
        return (x.float() - self.mean.float()) @ self.axes.float().T

    def measure(self, embeddings: Iterable[Tensor], then: nn.Linear | None = None) -> None:
        """Take the axes from sets of `embeddings` (n, width); `then`, what follows, is adapted to compute the same."""
        x = torch.cat([evenly(each).double() for each in embeddings])
        mean = x.mean(0)
        variance, axes = torch.linalg.eigh(torch.cov(x.T))
        deviation = variance.clamp(min=0).sqrt()
        deviation = (deviation + FLOOR * deviation.max()).clamp(min=1e-6)
        if then is not None:
            with torch.no_grad():
                weight = then.weight.double()
                then.bias.add_(weight @ mean.to(weight.device))
                then.weight.copy_(weight @ (axes * deviation).to(weight.device))
        self.mean.copy_(mean)
        self.axes.copy_((axes / deviation).T)


def evenly(embeddings: Tensor) -> Tensor:
    """At most `MEASURED` rows from all over (n, width)."""
    return embeddings[:: max(1, -(-len(embeddings) // MEASURED))]
