"""An embedder: texts and images as directions in one space. It is offered as a ranker too, for free."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from t2icli import Embedder, Entry, hookimpl

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    side: Annotated[int, Meta(description="an image is seen as side x side pixels", ge=1, le=64)] = 8


class Thumbnails:
    def __init__(self, settings: Settings) -> None:
        self.side = settings.side
        self.width = 3 * settings.side**2

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return _directions([list(hashlib.shake_256(text.encode()).digest(self.width)) for text in texts])

    def embed_images(self, images: Sequence[Image]) -> Tensor:
        small = (image.convert("RGB").resize((self.side, self.side)) for image in images)
        return _directions([list(image.tobytes()) for image in small])


def _directions(rows: list[list[int]]) -> Tensor:
    import torch  # here, not at the top: `t2i --help` imports this module

    return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float32) - 127.5, dim=1)


@hookimpl
def t2i_embedders() -> list[Entry[Embedder]]:
    return [Entry("sample", "thumbnails and hashes as directions", Settings, Thumbnails)]
