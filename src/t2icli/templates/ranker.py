"""A ranker: the more contrast, the better, whatever the prompt says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from t2icli import Entry, Ranker, hookimpl

if TYPE_CHECKING:
    from PIL.Image import Image


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    weight: Annotated[float, Meta(description="what the contrast is multiplied with")] = 1.0


class Contrast:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def score(self, prompt: str, images: Sequence[Image]) -> list[float]:
        from PIL.ImageStat import Stat

        # A score may depend on the prompt and its own image, never on the others or their order.
        return [self.settings.weight * Stat(image.convert("L")).stddev[0] / 255 for image in images]


@hookimpl
def t2i_rankers() -> list[Entry[Ranker]]:
    return [Entry("sample", "how much contrast an image has", Settings, Contrast)]
