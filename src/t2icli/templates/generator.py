"""A generator: rings of colour that depend on the prompt and the seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from t2icli import Entry, Generator, hookimpl

if TYPE_CHECKING:
    from PIL.Image import Image


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    size: Annotated[int, Meta(description="width and height in pixels", ge=8)] = 256
    rings: Annotated[int, Meta(description="how many rings", ge=1)] = 8


class Rings:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image]:
        # Image i depends on the prompt, the settings and seed + i alone: so it can be drawn again by itself.
        for i in range(n):
            yield self._draw(random.Random(f"{seed + i} {prompt}"))

    def _draw(self, chance: random.Random) -> Image:
        from PIL import Image, ImageDraw

        size, rings = self.settings.size, self.settings.rings
        image = Image.new("RGB", (size, size), _colour(chance))
        for ring in range(rings, 0, -1):
            reach = size * ring / (2 * rings)
            box = (size / 2 - reach, size / 2 - reach, size / 2 + reach, size / 2 + reach)
            ImageDraw.Draw(image).ellipse(box, fill=_colour(chance))
        return image


def _colour(chance: random.Random) -> tuple[int, int, int]:
    return chance.randrange(256), chance.randrange(256), chance.randrange(256)


@hookimpl
def t2i_generators() -> list[Entry[Generator]]:
    return [Entry("sample", "rings of colour", Settings, Rings)]
