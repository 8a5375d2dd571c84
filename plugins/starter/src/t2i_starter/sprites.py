"""Single ingredients: Fluent pictures cooked to taste, and those that no emoji has, drawn here."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable
from importlib.resources import files
from random import Random

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from t2i_starter.words import pictures

Colour = tuple[int, ...]
SIZE = 128
VARIANTS = 6
"""How many different drawings of a drawn ingredient are kept."""

# What cooking does to colour: multiplied in, then how far towards it, then saturation.
COOKED: dict[str, tuple[Colour, float, float]] = {
    "braised": ((176, 98, 52), 0.45, 1.0),
    "spicy": ((226, 92, 60), 0.30, 1.1),
    "fried": ((226, 160, 72), 0.45, 1.0),
    "grilled": ((150, 92, 52), 0.50, 0.9),
    "sweet": ((226, 110, 56), 0.35, 1.15),
    "curry": ((232, 176, 64), 0.40, 1.0),
    "creamy": ((255, 248, 230), 0.20, 0.8),
    "steamed": ((250, 246, 238), 0.10, 0.9),
    "stewed": ((236, 214, 170), 0.25, 0.9),
}


def picture(key: str, cooking: str, random: Random) -> Image.Image:
    """An ingredient on a clear ground, SIZE pixels square; do not change it, it is shared."""
    drawn = not _is_emoji(pictures()[key])
    return _cooked(pictures()[key], cooking, random.randrange(VARIANTS) if drawn else 0)


def drawn(name: str, variant: int = 0) -> Image.Image:
    """A drawing by its name: `bun`, `ball:252,250,246`."""
    return _cooked(name, "plain", variant % VARIANTS)


def emoji(character: str) -> Image.Image:
    """A Fluent picture as it is."""
    return _cooked(character, "plain", 0)


def _is_emoji(name: str) -> bool:
    return not name[0].isascii()


@functools.lru_cache(maxsize=4096)
def _cooked(name: str, cooking: str, variant: int) -> Image.Image:
    sprite = _icon(name) if _is_emoji(name) else _drawn(name, variant)
    if cooking not in COOKED:
        return sprite
    tint, share, saturation = COOKED[cooking]
    rgb = ImageEnhance.Color(sprite.convert("RGB")).enhance(saturation)
    brown = ImageChops.multiply(rgb, Image.new("RGB", rgb.size, tint))
    lifted = ImageEnhance.Brightness(brown).enhance(1.15)
    done = Image.blend(rgb, lifted, share)
    if cooking == "grilled":
        done = _charred(done)
    done.putalpha(sprite.getchannel("A"))
    return done


def _charred(rgb: Image.Image) -> Image.Image:
    marks = Image.new("L", rgb.size)
    draw = ImageDraw.Draw(marks)
    for x in range(-SIZE, SIZE, 26):
        draw.line((x, SIZE, x + SIZE, 0), fill=130, width=6)
    return Image.composite(Image.new("RGB", rgb.size, (52, 28, 16)), rgb, marks.filter(ImageFilter.GaussianBlur(1.5)))


def icon_name(character: str) -> str:
    """The file of a Fluent picture, as its package names them, without the variation selector."""
    return "-".join(f"{ord(c):04x}" for c in character if c != "\ufe0f")


@functools.lru_cache(maxsize=512)
def _icon(character: str) -> Image.Image:
    name = icon_name(character)
    folder = files("t2i_starter") / "icons"
    data = (folder / f"{name}.webp").read_bytes()
    icon = Image.open(io.BytesIO(data), formats=["WEBP"]).convert("RGBA")
    box = icon.getchannel("A").getbbox()
    icon = icon.crop(box)
    icon.thumbnail((SIZE, SIZE), Image.Resampling.LANCZOS)
    square = Image.new("RGBA", (SIZE, SIZE))
    square.alpha_composite(icon, ((SIZE - icon.width) // 2, (SIZE - icon.height) // 2))
    return square


def _drawn(name: str, variant: int) -> Image.Image:
    what, _, numbers = name.partition(":")
    colours = [int(n) for n in numbers.split(",")] if numbers else []
    return DRAWINGS[what](colours, Random(f"{name}{variant}"))


def puff(mask: Image.Image, colour: Image.Image | Colour, height: float = 10, gloss: float = 0.35) -> Image.Image:
    """Give a flat shape a rounded body, lit from the upper left."""
    flat = colour if isinstance(colour, Image.Image) else Image.new("RGB", mask.size, colour)
    body = np.asarray(mask.filter(ImageFilter.GaussianBlur(height)), dtype=np.float32) / 255
    down, right = np.gradient(body * height * 2.2)
    normal = np.stack([-right, -down, np.ones_like(body)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    light = np.array([-0.45, -0.55, 0.70])
    shade = 0.52 + 0.66 * (normal @ light).clip(0)
    half = np.array([-0.25, -0.31, 0.92])
    shine = (normal @ half).clip(0) ** 30 * gloss * (1 - body * 0.4)
    rgb = np.asarray(flat, dtype=np.float32) * shade[..., None] + 255 * shine[..., None] * 0.5
    done = Image.fromarray(rgb.clip(0, 255).astype(np.uint8), "RGB")
    done.putalpha(mask)
    return done


def _mask() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    mask = Image.new("L", (SIZE, SIZE))
    return mask, ImageDraw.Draw(mask)


def _loop(random: Random, rx: float, ry: float, wobble: float = 0.08) -> list[tuple[float, float]]:
    phases = [random.random() * math.tau for _ in range(3)]
    points = []
    for step in range(40):
        turn = math.tau * step / 40
        grow = 1 + wobble * sum(math.sin((k + 2) * turn + p) for k, p in enumerate(phases))
        points.append((SIZE / 2 + rx * grow * math.cos(turn), SIZE / 2 + ry * grow * math.sin(turn)))
    return points


def _slices(colours: list[int], random: Random) -> Image.Image:
    """A slice of meat: flesh with grain, a rind on one side."""
    flesh, rind = tuple(colours[:3]), tuple(colours[3:])
    mask, draw = _mask()
    draw.polygon(_loop(random, 58, 36), fill=255)
    colour = Image.new("RGB", mask.size, flesh)
    paint = ImageDraw.Draw(colour)
    for line in range(-4, 14):
        y = line * 11 + random.uniform(-3, 3)
        paler = tuple(min(255, c + 26) for c in flesh)
        paint.line((0, y, SIZE, y + random.uniform(4, 16)), fill=paler, width=random.randint(2, 4))
    paint.polygon([(0, 78), (SIZE, 84), (SIZE, SIZE), (0, SIZE)], fill=rind)
    return puff(mask, colour.filter(ImageFilter.GaussianBlur(1.2)), 7)


def _layers(colours: list[int], random: Random) -> Image.Image:
    """Pork belly: skin, fat and lean by turns."""
    mask, draw = _mask()
    draw.rounded_rectangle((14, 26, 114, 104), radius=14, fill=255)
    colour = Image.new("RGB", mask.size)
    paint = ImageDraw.Draw(colour)
    bands = [(148, 62, 34), (246, 222, 190), (190, 98, 66), (244, 216, 184), (172, 82, 56)]
    for at, band in enumerate(bands):
        top = 22 + at * 17 + random.uniform(-2, 2)
        paint.rectangle((0, top, SIZE, SIZE), fill=band)
    return puff(mask, colour.filter(ImageFilter.GaussianBlur(1.5)), 6)


def _ball(colours: list[int], random: Random) -> Image.Image:
    mask, draw = _mask()
    draw.polygon(_loop(random, 50, 50, 0.015), fill=255)
    return puff(mask, tuple(colours), 16, 0.6)


def _tofu(colours: list[int], random: Random) -> Image.Image:
    """A cube seen from a corner: top, left and right face."""
    sprite = Image.new("RGBA", (SIZE, SIZE))
    draw = ImageDraw.Draw(sprite)
    top, left, right = (tuple(int(c * f) for c in colours) for f in (1.0, 0.86, 0.72))
    draw.polygon([(64, 18), (112, 42), (64, 66), (16, 42)], fill=(*top, 255))
    draw.polygon([(16, 42), (64, 66), (64, 114), (16, 90)], fill=(*left, 255))
    draw.polygon([(112, 42), (64, 66), (64, 114), (112, 90)], fill=(*right, 255))
    draw.line([(16, 42), (64, 66), (112, 42)], fill=(255, 255, 255, 120), width=3)
    return sprite.filter(ImageFilter.GaussianBlur(0.8))


def _beans(colours: list[int], random: Random) -> Image.Image:
    sprite = Image.new("RGBA", (SIZE, SIZE))
    for _ in range(9):
        mask, draw = _mask()
        draw.ellipse((42, 48, 86, 80), fill=255)
        bean = puff(mask, tuple(colours), 7, 0.5).rotate(random.uniform(0, 360))
        sprite.alpha_composite(ImageChops.offset(bean, random.randint(-34, 34), random.randint(-34, 34)))
    return sprite


def _egg(colours: list[int], random: Random) -> Image.Image:
    """A boiled egg cut in half."""
    mask, draw = _mask()
    draw.polygon(_loop(random, 46, 56, 0.01), fill=255)
    colour = Image.new("RGB", mask.size, (250, 246, 238))
    ImageDraw.Draw(colour).ellipse((38, 40, 90, 92), fill=(244, 162, 36))
    white = puff(mask, colour.filter(ImageFilter.GaussianBlur(1.0)), 6, 0.3)
    yolk, draw = _mask()
    draw.ellipse((40, 42, 88, 90), fill=255)
    white.alpha_composite(puff(yolk, (250, 172, 44), 9, 0.5))
    return white


def _slug(colours: list[int], random: Random) -> Image.Image:
    """A sea cucumber: a dark body with soft thorns."""
    mask, draw = _mask()
    draw.rounded_rectangle((10, 42, 118, 88), radius=23, fill=255)
    for x in range(20, 116, 16):
        for y in (38, 92):
            draw.ellipse((x - 6, y - 7, x + 6, y + 7), fill=255)
    return puff(mask, (74, 62, 44), 8, 0.7)


def _ear(colours: list[int], random: Random) -> Image.Image:
    """Wood ear: a ruffled dark leaf."""
    mask, draw = _mask()
    draw.polygon(_loop(random, 50, 42, 0.12), fill=255)
    colour = Image.new("RGB", mask.size, (58, 42, 38))
    paint = ImageDraw.Draw(colour)
    for r in (40, 28, 16):
        paint.ellipse((64 - r, 64 - r * 0.8, 64 + r, 64 + r * 0.8), outline=(98, 72, 60), width=4)
    return puff(mask, colour.filter(ImageFilter.GaussianBlur(2)), 6, 0.6)


def _wedge(colours: list[int], random: Random) -> Image.Image:
    mask, draw = _mask()
    draw.polygon([(12, 96), (30, 40), (104, 20), (118, 44), (80, 104)], fill=255)
    colour = Image.new("RGB", mask.size, tuple(colours))
    paint = ImageDraw.Draw(colour)
    for at in range(4):
        dark = tuple(int(c * 0.86) for c in colours)
        paint.line((20 + at * 18, 100, 62 + at * 16, 24), fill=dark, width=3)
    rounded = mask.filter(ImageFilter.GaussianBlur(4)).point(lambda v: 255 if v > 120 else 0)
    return puff(rounded, colour.filter(ImageFilter.GaussianBlur(1)), 8, 0.4)


def _lotus(colours: list[int], random: Random) -> Image.Image:
    """A slice of lotus root: a disc with a wreath of holes."""
    mask, draw = _mask()
    draw.ellipse((14, 14, 114, 114), fill=255)
    for hole in range(7):
        turn = math.tau * hole / 7
        cx, cy = 64 + 30 * math.cos(turn), 64 + 30 * math.sin(turn)
        draw.ellipse((cx - 9, cy - 9, cx + 9, cy + 9), fill=0)
    draw.ellipse((57, 57, 71, 71), fill=0)
    return puff(mask, (242, 226, 200), 4, 0.3)


def _strips(colours: list[int], random: Random) -> Image.Image:
    sprite = Image.new("RGBA", (SIZE, SIZE))
    for _ in range(7):
        mask, draw = _mask()
        y, sway = random.uniform(34, 94), random.uniform(-26, 26)
        line = [(8 + k * 14, y + sway * math.sin(k / 2.4)) for k in range(9)]
        draw.line(line, fill=255, width=11, joint="curve")
        sprite.alpha_composite(puff(mask, tuple(colours), 4, 0.4).rotate(random.uniform(-30, 30)))
    return sprite


def _fish(colours: list[int], random: Random) -> Image.Image:
    """The fish of the Fluent set, silver rather than sky blue."""
    blue = _icon("🐟")
    silver = ImageOps.colorize(blue.convert("L"), (58, 62, 70), (250, 246, 236), (168, 168, 166))
    silver.putalpha(blue.getchannel("A"))
    return silver


def _cap(colours: list[int], random: Random) -> Image.Image:
    """A shiitake: a brown dome with a star cut into it."""
    mask, draw = _mask()
    draw.polygon(_loop(random, 52, 48, 0.02), fill=255)
    colour = Image.new("RGB", mask.size, tuple(colours))
    paint = ImageDraw.Draw(colour)
    for ray in range(3):
        turn = math.pi * ray / 3 + random.uniform(-0.1, 0.1)
        dx, dy = 30 * math.cos(turn), 28 * math.sin(turn)
        paint.line((64 - dx, 60 - dy, 64 + dx, 60 + dy), fill=(236, 214, 178), width=8)
    return puff(mask, colour.filter(ImageFilter.GaussianBlur(1.5)), 16, 0.5)


def _bun(colours: list[int], random: Random) -> Image.Image:
    """A steamed bun with its pleats."""
    mask, draw = _mask()
    draw.ellipse((12, 12, 116, 116), fill=255)
    colour = Image.new("RGB", mask.size, (250, 244, 232))
    paint = ImageDraw.Draw(colour)
    for pleat in range(12):
        turn = math.tau * pleat / 12 + 0.2
        end = (64 + 34 * math.cos(turn + 0.5), 64 + 34 * math.sin(turn + 0.5))
        paint.line((64 + 7 * math.cos(turn), 64 + 7 * math.sin(turn), *end), fill=(206, 190, 164), width=4)
    return puff(mask, colour.filter(ImageFilter.GaussianBlur(1.4)), 18, 0.3)


DRAWINGS: dict[str, Callable[[list[int], Random], Image.Image]] = {
    "slices": _slices,
    "layers": _layers,
    "ball": _ball,
    "tofu": _tofu,
    "beans": _beans,
    "egg": _egg,
    "slug": _slug,
    "ear": _ear,
    "wedge": _wedge,
    "lotus": _lotus,
    "strips": _strips,
    "bun": _bun,
    "cap": _cap,
    "fish": _fish,
}
