"""What a prior reads of a text."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from t2i_dalle2.shapes import PriorShape
from t2icli.contract.kinds import Embedder, TokenEmbedder
from t2icli.ground.errors import T2IError


def read(embedder: Embedder, texts: Sequence[str], shape: PriorShape) -> tuple[Tensor, Tensor | None]:
    """Embeddings (b, width) and, for a prior that reads them, encodings (b, text_length or fewer, their width)."""
    if not shape.encodings:
        return embedder.embed_texts(texts), None
    encodings = tokens(embedder, texts, shape.text_length)
    if encodings.shape[-1] != shape.encodings:
        raise T2IError(f"the prior reads text encodings of {shape.encodings} numbers, not of {encodings.shape[-1]}")
    return embedder.embed_texts(texts), encodings


def tokens(embedder: Embedder, texts: Sequence[str], length: int) -> Tensor:
    if not isinstance(embedder, TokenEmbedder):
        raise T2IError(f"{type(embedder).__name__} gives no encodings of a text's tokens", "train with -o encodings=no")
    return embedder.embed_tokens(texts)[:, :length]
