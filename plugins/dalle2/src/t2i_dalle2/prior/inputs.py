"""What a prior and a decoder read of a text."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from t2icli.contract.kinds import Embedder, TokenEmbedder
from t2icli.ground.errors import T2IError


def encoded(embedder: Embedder, texts: Sequence[str], width: int, length: int, who: str) -> Tensor | None:
    """Encodings (b, length, width), zeros being none; None for a network that reads none."""
    if not width:
        return None
    encodings = padded(tokens(embedder, texts, length), length)
    if encodings.shape[-1] != width:
        raise T2IError(f"the {who} reads text encodings of {width} numbers, not of {encodings.shape[-1]}")
    return encodings


def padded(encodings: Tensor, length: int) -> Tensor:
    """(b, any length, width) -> (b, length, width), zeros being none."""
    return F.pad(encodings[:, :length], (0, 0, 0, max(0, length - encodings.shape[1])))


def tokens(embedder: Embedder, texts: Sequence[str], length: int) -> Tensor:
    if not isinstance(embedder, TokenEmbedder):
        raise T2IError(f"{type(embedder).__name__} gives no encodings of a text's tokens", "train with -o encodings=no")
    return embedder.embed_tokens(texts)[:, :length]
