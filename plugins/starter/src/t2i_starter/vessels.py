"""Tables and tableware seen from above: round things turned on a lathe and lit from the upper left."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
LIGHT = np.array([-0.45, -0.55, 0.70]) / np.linalg.norm([-0.45, -0.55, 0.70])

PORCELAIN: Colour = (247, 245, 240)
RED: Colour = (186, 34, 34)
BLUE: Colour = (38, 74, 146)
CELADON: Colour = (126, 168, 142)
GOLD: Colour = (196, 150, 62)


@dataclass(frozen=True)
class Vessel:
    """A profile from the middle (0) to the edge (1), its glaze, and how far the food reaches."""

    radius: float
    """Of the picture's width."""
    profile: tuple[tuple[float, float], ...]
    """(distance from the middle, height) pairs."""
    colour: Colour
    room: float
    """Radius of the food, of the vessel's."""
    bands: tuple[tuple[float, float], ...] = ()
    """Rings painted in the accent colour."""
    dashes: int = 0
    """How often a band is broken up into a pattern; 0 leaves it whole."""
    gloss: float = 0.5
    handles: bool = False
    slats: bool = False
    """Woven like a bamboo steamer."""


FLAT = ((0.0, 0.0), (0.56, 0.0), (0.64, 0.05), (0.94, 0.13), (0.98, 0.13), (1.0, 0.09))
DEEP = ((0.0, -0.50), (0.4, -0.47), (0.74, -0.24), (0.88, 0.0), (0.93, 0.05), (0.97, 0.05), (1.0, 0.0))
POT = ((0.0, -0.4), (0.6, -0.38), (0.80, -0.1), (0.86, 0.06), (0.95, 0.07), (1.0, 0.0))
PAN = ((0.0, 0.0), (0.78, 0.0), (0.86, 0.10), (0.95, 0.12), (1.0, 0.06))

VESSELS = {
    "plate": Vessel(0.455, FLAT, PORCELAIN, 0.60, ((0.93, 0.965),)),
    "dish": Vessel(0.44, FLAT, (236, 240, 236), 0.62, ((0.66, 0.69), (0.90, 0.96)), dashes=40),
    "bowl": Vessel(0.45, DEEP, PORCELAIN, 0.83, ((0.885, 0.975),)),
    "soup": Vessel(0.44, DEEP, (243, 244, 242), 0.83, ((0.90, 0.96),), dashes=36),
    "small": Vessel(0.39, DEEP, PORCELAIN, 0.83, ((0.90, 0.94),)),
    "pot": Vessel(0.43, POT, (104, 66, 44), 0.83, gloss=0.35, handles=True),
    "iron": Vessel(0.43, PAN, (58, 58, 64), 0.78, gloss=0.3, handles=True),
    "glass": Vessel(0.43, DEEP, (214, 230, 234), 0.83, gloss=0.9),
    "steamer": Vessel(0.455, PAN, (214, 174, 112), 0.76, gloss=0.1, slats=True),
    "board": Vessel(0.46, ((0.0, 0.0), (0.97, 0.0), (1.0, -0.05)), (190, 138, 88), 0.72, gloss=0.1),
}
ACCENTS: dict[str, tuple[Colour, ...]] = {
    "plate": (PORCELAIN, BLUE, GOLD, CELADON),
    "dish": (BLUE, CELADON),
    "bowl": (RED, RED, RED, BLUE),
    "soup": (BLUE, BLUE, CELADON, RED),
    "small": (RED, BLUE, CELADON),
}


def draw_vessel(name: str, accent: int, size: int) -> Image.Image:
    """A vessel with its shadow on a clear ground; do not change it, it is shared."""
    choices = ACCENTS.get(name, (PORCELAIN,))
    return _vessel(name, choices[accent % len(choices)], size)


@functools.lru_cache(maxsize=128)
def _vessel(name: str, accent: Colour, size: int) -> Image.Image:
    vessel = VESSELS[name]
    scale = size / 2
    y, x = (np.mgrid[0:size, 0:size] + 0.5 - scale) / (vessel.radius * size)
    distance = np.hypot(x, y)
    angle = np.arctan2(y, x)
    albedo = np.broadcast_to(np.array(vessel.colour, dtype=np.float64), (size, size, 3)).copy()
    for inner, outer in vessel.bands:
        ring = _between(distance, inner, outer, 1.2 / scale)
        if vessel.dashes:
            ring = ring * (0.35 + 0.65 * (np.sin(angle * vessel.dashes) > -0.2))
        albedo += ring[..., None] * (np.array(accent) - albedo)
    if vessel.slats:
        woven = np.where(distance < 0.8, np.sin(x * 60) * 9, np.sin(angle * 90) * 8)
        albedo += woven[..., None]
    lit = _lit(albedo, distance, x, y, vessel)
    alpha = _between(distance, -1, 1, 1.5 / scale) * 255
    picture = Image.fromarray(np.dstack([lit, alpha]).clip(0, 255).astype(np.uint8), "RGBA")
    return _with_shadow(picture, vessel, size)


def _lit(albedo: np.ndarray, distance: np.ndarray, x: np.ndarray, y: np.ndarray, vessel: Vessel) -> np.ndarray:
    at, height = np.array(vessel.profile).T
    step = 0.015
    fine = np.interp(np.linspace(0, 1.05, 512), at, height)
    fine = np.convolve(np.pad(fine, 8, mode="edge"), np.ones(17) / 17, mode="valid")
    slope = np.interp(distance, np.linspace(0, 1.05, 512), np.gradient(fine, 1.05 / 511)) + step * 0
    safe = np.maximum(distance, 1e-6)
    normal = np.stack([-slope * x / safe, -slope * y / safe, np.ones_like(x)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    facing = normal @ LIGHT
    shade = 0.55 + 0.62 * facing.clip(0)
    half = LIGHT + np.array([0, 0, 1.0])
    shine = (normal @ (half / np.linalg.norm(half))).clip(0) ** 40 * vessel.gloss * 0.35
    # The middle of a flat vessel faces the eye everywhere; without this its whole floor would shine.
    shine *= np.abs(slope) > 0.05
    lit: np.ndarray = albedo * shade[..., None] + 255 * shine[..., None]
    return lit


def _between(value: np.ndarray, low: float, high: float, soft: float) -> np.ndarray:
    return np.clip((value - low) / soft, 0, 1) * np.clip((high - value) / soft, 0, 1)


def _with_shadow(picture: Image.Image, vessel: Vessel, size: int) -> Image.Image:
    outline = picture.getchannel("A")
    if vessel.handles:
        below = Image.new("RGBA", picture.size)
        ears = ImageDraw.Draw(below)
        reach, width = vessel.radius * size, size * 0.045
        for side in (-1, 1):
            middle = size / 2 + side * reach * 1.0
            box = (middle - width * 1.2, size / 2 - width * 2, middle + width * 1.2, size / 2 + width * 2)
            shade = tuple(int(c * 0.8) for c in vessel.colour)
            ears.rounded_rectangle(box, radius=width, fill=(*shade, 255))
        below.alpha_composite(picture)
        picture, outline = below, below.getchannel("A")
    shadow = Image.new("L", picture.size)
    shadow.paste(outline.point(lambda a: int(a * 0.42)), (round(size * 0.014), round(size * 0.026)))
    dark = Image.new("RGBA", picture.size, (44, 30, 20, 0))
    dark.putalpha(shadow.filter(ImageFilter.GaussianBlur(size * 0.022)))
    dark.alpha_composite(picture)
    return dark


TABLES: Sequence[tuple[str, Colour]] = (
    ("cloth", (250, 243, 230)),
    ("cloth", (232, 239, 245)),
    ("cloth", (233, 239, 226)),
    ("cloth", (247, 231, 224)),
    ("wood", (214, 176, 132)),
    ("wood", (172, 124, 86)),
    ("stone", (222, 222, 220)),
)


@functools.lru_cache(maxsize=32)
def draw_table(which: int, size: int) -> Image.Image:
    """What the vessel stands on; soft enough not to matter, real enough not to float."""
    kind, colour = TABLES[which % len(TABLES)]
    y, x = np.mgrid[0:size, 0:size] / size
    ground = np.broadcast_to(np.array(colour, dtype=np.float64), (size, size, 3)).copy()
    if kind == "wood":
        grain = np.sin((y * 5 + 0.25 * np.sin(x * 4)) * 2 * np.pi * 3) * 4
        seams = (np.abs((y * 3) % 1 - 0.5) > 0.49) * -26.0
        ground += (grain + seams)[..., None] * np.array([1.0, 0.8, 0.6])
    if kind == "stone":
        ground += (np.sin(x * 9 + np.sin(y * 7) * 2) * np.sin(y * 11 + np.sin(x * 5)) * 4)[..., None]
    light = 1.03 - 0.10 * (x + y) / 2
    return Image.fromarray((ground * light[..., None]).clip(0, 255).astype(np.uint8), "RGB")
