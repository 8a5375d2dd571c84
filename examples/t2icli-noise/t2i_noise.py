"""A whole generator in one file: clouds of colour, the same for the same prompt and seed on any machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from t2icli import Entry, Generator, hookimpl

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    size: Annotated[int, Meta(description="width and height in pixels", ge=8, le=4096)] = 256
    colours: Annotated[int, Meta(description="how many colours run into each other", ge=2, le=16)] = 4
    detail: Annotated[int, Meta(description="octaves of noise: 1 is fog, 8 is marble", ge=1, le=10)] = 5


@hookimpl
def t2i_generators() -> list[Entry[Generator]]:
    return [Entry("noise", "clouds of colour that know nothing of the prompt", Settings, Noise)]


class Noise:
    """Draws fractal noise, bends it by more of itself, and paints it with a few colours of its own."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def generate(self, prompt: str, n: int, *, seed: int) -> Iterator[Image]:
        from PIL.Image import fromarray

        for i in range(n):
            yield fromarray(self._paint(_random(prompt, seed + i)))

    def _paint(self, random: np.random.Generator) -> np.ndarray:
        import numpy as np

        size, detail = self.settings.size, self.settings.detail
        bend_x, bend_y, cloud = (_clouds(random, size, detail) for _ in range(3))
        rows, columns = np.mgrid[:size, :size]
        reach = size / 3
        bent = cloud[(rows + reach * bend_y).astype(int) % size, (columns + reach * bend_x).astype(int) % size]
        palette = _palette(random, self.settings.colours)
        place = (bent - bent.min()) / (np.ptp(bent) + 1e-9) * (len(palette) - 1)
        painted = [np.interp(place, np.arange(len(palette)), palette[:, channel]) for channel in range(3)]
        pixels: np.ndarray = (np.stack(painted, axis=-1) * 255).round().astype(np.uint8)
        return pixels


def _random(prompt: str, seed: int) -> np.random.Generator:
    """Random numbers that are a function of prompt and seed alone; `hash()` differs from run to run."""
    import numpy as np

    digest = hashlib.sha256(f"{seed}\n{prompt}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))


def _clouds(random: np.random.Generator, size: int, octaves: int) -> np.ndarray:
    """Smooth noise of ever finer grain, each octave half as strong as the last; it tiles."""
    import numpy as np

    total = np.zeros((size, size))
    for octave in range(octaves):
        cells = 2 ** (octave + 1)
        grid = random.random((cells, cells)) * 2 - 1
        at = np.arange(size) * cells / size
        low, along = at.astype(int) % cells, at % 1
        ease = along * along * (3 - 2 * along)
        high = (low + 1) % cells
        rows = grid[low] * (1 - ease)[:, None] + grid[high] * ease[:, None]
        total += (rows[:, low] * (1 - ease) + rows[:, high] * ease) / 2**octave
    return total


def _palette(random: np.random.Generator, colours: int) -> np.ndarray:
    """Neighbouring hues from dark to light, so that any two runs of colours look well together."""
    import colorsys

    import numpy as np

    hue, spread = random.random(), 0.15 + 0.35 * random.random()
    steps = np.linspace(0, 1, colours)
    return np.array([colorsys.hsv_to_rgb((hue + spread * t) % 1, 0.85 - 0.55 * t, 0.2 + 0.78 * t) for t in steps])
