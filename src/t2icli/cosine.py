"""Any embedder as a ranker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from t2icli.kinds import Embedder

if TYPE_CHECKING:
    from PIL.Image import Image


class CosineRanker:
    """Scores an image by the cosine of its embedding and the prompt's."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder

    def score(self, prompt: str, images: Sequence[Image]) -> list[float]:
        if not images:
            return []
        text = self.embedder.embed_texts([prompt])
        scores: list[float] = (self.embedder.embed_images(images) @ text[0]).tolist()
        return scores
