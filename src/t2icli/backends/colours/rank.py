"""How much of a picture has the colours that a prompt names.

This is all it does: "a red car" and "a red house" are the same to it, and 红烧肉 asks for red because the word 红
is in it. It is here so that ranking can be tried without a download, and as a baseline for real rankers.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

    from t2icli.backends.colours import Settings

# What each colour is called, and a typical one of its kind.
COLOURS = {
    "red": ("红 赤 朱 red crimson scarlet", (204, 32, 36)),
    "orange": ("橙 橘 orange", (242, 133, 0)),
    "yellow": ("黄 yellow golden gold 金", (250, 208, 44)),
    "green": ("绿 翠 green", (52, 145, 60)),
    "cyan": ("青 cyan teal turquoise", (32, 170, 170)),
    "blue": ("蓝 blue navy", (36, 84, 190)),
    "purple": ("紫 purple violet", (120, 50, 150)),
    "pink": ("粉 pink", (245, 150, 175)),
    "brown": ("棕 褐 brown", (115, 70, 35)),
    "black": ("黑 black", (18, 18, 18)),
    "grey": ("灰 grey gray", (128, 128, 128)),
    "white": ("白 white", (245, 245, 245)),
}


def named(prompt: str) -> list[str]:
    """The colours a prompt names: English ones as whole words, Chinese ones wherever the character occurs."""
    words = set(re.findall(r"[a-z]+", prompt.lower()))
    return [
        colour
        for colour, (names, _) in COLOURS.items()
        if any(name in words if name.isascii() else name in prompt for name in names.split())
    ]


class Colours:
    """Scores from 0 to 1: the mean, over the colours named, of the share of pixels that come close to each."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def score(self, prompt: str, images: Sequence[Image]) -> list[float]:
        wanted = named(prompt)
        if not wanted:
            warnings.warn(
                "the prompt names no colour, so the ranker 'colours' scores every picture alike", stacklevel=2
            )
            return [0.0] * len(images)
        targets = oklab(np.array([COLOURS[colour][1] for colour in wanted], dtype=np.float64))
        return [self._closeness(image, targets) for image in images]

    def _closeness(self, image: Image, targets: np.ndarray) -> float:
        small = image.convert("RGB").resize((self.settings.size, self.settings.size))
        pixels = oklab(np.asarray(small, dtype=np.float64).reshape(-1, 3))
        distance = np.linalg.norm(pixels[:, None] - targets, axis=-1)  # (pixels, colours)
        return float(np.exp(-0.5 * (distance / self.settings.width) ** 2).mean())


def oklab(srgb: np.ndarray) -> np.ndarray:
    """sRGB from 0 to 255 in a space where distances are about as large as they look (Ottosson, 2020)."""
    share = srgb / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    cones = np.cbrt(linear @ TO_CONES.T)
    lab: np.ndarray = cones @ TO_LAB.T
    return lab


TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
