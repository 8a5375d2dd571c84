"""`t2i generate` through the front door, with a generator of flat colours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta
from PIL import Image

from t2icli.hookspecs import hookimpl
from t2icli.kinds import Entry, Generator
from t2icli.testing import Runner


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    size: Annotated[int, Meta(description="width and height", ge=1)] = 8
    batch: Annotated[int, Meta(description="how many at once", ge=1)] = 4


class Flat:
    def __init__(self, settings: Settings) -> None:
        self.size = settings.size

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image.Image]:
        for i in range(n):
            yield Image.new("RGB", (self.size, self.size), ((seed + i) % 256, len(prompt) % 256, 0))


class Plugin:
    @hookimpl
    def t2i_generators(self) -> list[Entry[Generator]]:
        return [Entry("flat", "one colour", Settings, Flat)]


def test_pictures_are_numbered_and_use_seed_plus_i(t2i: Runner) -> None:
    t2i.use(Plugin())
    done = t2i.ok("generate", "红烧牛肉面", "-n", 3, "--seed", 7, "--output", "out", "--json").json()
    assert [(row["file"], row["seed"]) for row in done["results"]] == [("000.png", 7), ("001.png", 8), ("002.png", 9)]
