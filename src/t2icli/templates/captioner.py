"""A captioner: says how bright an image is and which way it lies."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from t2icli import Captioner, Entry, hookimpl

if TYPE_CHECKING:
    from PIL.Image import Image

SENTENCES = ("a {tone} {shape} picture", "a {shape} picture, rather {tone}", "this picture is {tone} and {shape}")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bright: Annotated[float, Meta(description="from which mean value on an image is bright", ge=0, le=1)] = 0.5


class Plain:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def caption(self, images: Sequence[Image], n: int, *, seed: int) -> list[list[str]]:
        chances = [random.Random(seed + i) for i in range(len(images))]
        return [[self._say(image, chance) for _ in range(n)] for image, chance in zip(images, chances, strict=True)]

    def _say(self, image: Image, chance: random.Random) -> str:
        from PIL.ImageStat import Stat

        tone = "bright" if Stat(image.convert("L")).mean[0] / 255 >= self.settings.bright else "dark"
        shape = "wide" if image.width > image.height else "tall" if image.width < image.height else "square"
        return chance.choice(SENTENCES).format(tone=tone, shape=shape)


@hookimpl
def t2i_captioners() -> list[Entry[Captioner]]:
    return [Entry("sample", "brightness and shape in a sentence", Settings, Plain)]
