"""Any embedder as a ranker."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from t2icli.contract.kinds import Embedder

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


class CosineRanker:
    """Scores an image by the cosine of its embedding and the prompt's, or that of `target` whatever the prompt."""

    def __init__(self, embedder: Embedder, target: Tensor | None = None) -> None:
        self.embedder, self.target = embedder, target
        # `generate --rerank` scores a prompt's candidates batch by batch: the prompt itself is encoded once.
        self._text = lru_cache(maxsize=16)(self._embed_text)

    def score(self, prompt: str, images: Sequence[Image]) -> list[float]:
        if not images:
            return []
        # Summed exactly: a product of matrices rounds by how many images there are.
        products = (self.embedder.embed_images(images) * self._text(prompt)).tolist()
        return [math.fsum(row) for row in products]

    def score_captions(self, captions: Sequence[Sequence[str]], images: Sequence[Image]) -> list[list[float]]:
        """The score of each image for each of its own captions."""
        texts = list(dict.fromkeys(caption for some in captions for caption in some))
        if not texts:
            return [[] for _ in images]
        vectors = dict(zip(texts, self.embedder.embed_texts(texts), strict=True))
        pictures = zip(self.embedder.embed_images(images), captions, strict=True)
        return [[math.fsum((image * vectors[text]).tolist()) for text in some] for image, some in pictures]

    def _embed_text(self, prompt: str) -> Tensor:
        return self.embedder.embed_texts([prompt])[0] if self.target is None else self.target
