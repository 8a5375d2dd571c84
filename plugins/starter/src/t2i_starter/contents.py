"""What fills a vessel under the ingredients: broth, noodles, rice, congee, sauce, leaves; and steam above."""

from __future__ import annotations

import math
from random import Random

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

Colour = tuple[int, int, int]

BROTHS: dict[str, Colour] = {
    "clear": (226, 178, 96),
    "pale": (240, 226, 188),
    "red": (188, 62, 26),
    "brown": (142, 82, 40),
    "green": (158, 170, 92),
    "cream": (246, 236, 214),
    "purple": (140, 88, 120),
    "black": (66, 44, 40),
}


def broth(size: int, radius: float, colour: Colour, random: Random, oily: bool = True) -> Image.Image:
    """A disc of liquid, darker towards the wall, with a glint and drops of oil."""
    y, x = (np.mgrid[0:size, 0:size] + 0.5) / size - 0.5
    distance = np.hypot(x, y) / radius
    depth = 1.05 - 0.30 * distance**3
    glint = np.exp(-(((x + radius * 0.42) / 0.10) ** 2 + ((y + radius * 0.52) / 0.05) ** 2)) * 46
    rgb = np.array(colour)[None, None] * depth[..., None] + glint[..., None]
    alpha = np.clip((1 - distance) * radius * size / 1.5, 0, 1) * 255
    layer = Image.fromarray(np.dstack([rgb, alpha]).clip(0, 255).astype(np.uint8), "RGBA")
    if oily:
        drops = Image.new("RGBA", layer.size)
        draw = ImageDraw.Draw(drops)
        light = tuple(min(255, int(c * 1.18 + 14)) for c in colour)
        for _ in range(26):
            turn, out = random.random() * math.tau, radius * math.sqrt(random.random()) * 0.95
            cx, cy = size * (0.5 + out * math.cos(turn)), size * (0.5 + out * math.sin(turn))
            r = size * random.uniform(0.005, 0.016)
            draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=(*light, 110), outline=(*light, 190))
        layer.alpha_composite(drops)
    return layer


def noodles(size: int, radius: float, colour: Colour, random: Random) -> Image.Image:
    """Strands laid in arcs, each with a shaded edge and a lit middle, piled in a heap."""
    layer = Image.new("RGBA", (size, size))
    draw = ImageDraw.Draw(layer)
    dark, light = (tuple(int(c * f) for c in colour) for f in (0.66, 1.0))
    shine = tuple(min(255, int(c * 1.10 + 16)) for c in colour)
    width = max(2, round(size * 0.020))
    for layer_of_strands in range(3):
        spread = 1.1 - 0.17 * layer_of_strands
        lean = random.random() * math.tau
        for _ in range(20):
            turn = lean + random.gauss(0, 0.9)
            r = size * radius * random.uniform(0.35, 0.8)
            out = size * radius * spread * random.uniform(0.0, 0.55)
            cx = size / 2 + math.cos(turn) * out
            cy = size / 2 + math.sin(turn) * out
            start = math.degrees(turn) + random.uniform(60, 240)
            box = (cx - r * 0.8, cy - r * 0.62, cx + r * 0.8, cy + r * 0.62)
            span = random.uniform(70, 190)
            draw.arc(box, start, start + span, fill=(*dark, 255), width=width + 2)
            draw.arc(box, start, start + span, fill=(*light, 255), width=width)
            inner = (box[0] + width * 0.4, box[1] + width * 0.4, box[2] - width * 0.4, box[3] - width * 0.4)
            draw.arc(inner, start, start + span, fill=(*shine, 255), width=max(1, width // 3))
    return _within(layer, radius)


def grains(size: int, radius: float, random: Random, colour: Colour = (252, 250, 243)) -> Image.Image:
    """A heap of rice."""
    red, green, blue = (int(c * 0.92) for c in colour)
    layer = broth(size, radius, (red, green, blue), random, oily=False)
    draw = ImageDraw.Draw(layer)
    for _ in range(360):
        turn, out = random.random() * math.tau, radius * math.sqrt(random.random())
        cx, cy = size * (0.5 + out * math.cos(turn)), size * (0.5 + out * math.sin(turn))
        dx, dy = size * 0.014 * math.cos(turn * 7), size * 0.014 * math.sin(turn * 7)
        wide = max(2, round(size * 0.011))
        shadow = tuple(int(c * random.uniform(0.82, 0.93)) for c in colour)
        draw.line((cx - dx, cy - dy + 1, cx + dx, cy + dy + 1), fill=(*shadow, 255), width=wide)
        draw.line((cx - dx, cy - dy, cx + dx, cy + dy), fill=(*colour, 255), width=max(1, wide - 1))
    return _within(layer, radius)


def sauce(size: int, radius: float, colour: Colour, random: Random) -> Image.Image:
    """A pool with an uneven shore and a gloss."""
    phases = [random.random() * math.tau for _ in range(4)]
    points = []
    for step in range(72):
        turn = math.tau * step / 72
        wave = sum(math.sin((k + 2) * turn + phase) / (k + 2) for k, phase in enumerate(phases))
        r = size * radius * (0.86 + 0.13 * wave)
        points.append((size / 2 + r * math.cos(turn), size / 2 + r * math.sin(turn)))
    mask = Image.new("L", (size, size))
    ImageDraw.Draw(mask).polygon(points, fill=235)
    layer = broth(size, radius * 1.1, colour, random, oily=True)
    layer.putalpha(ImageChops.multiply(layer.getchannel("A"), mask.filter(ImageFilter.GaussianBlur(size * 0.006))))
    return layer


def leaves(size: int, radius: float, random: Random) -> Image.Image:
    """Torn salad."""
    layer = Image.new("RGBA", (size, size))
    draw = ImageDraw.Draw(layer)
    for _ in range(46):
        turn, out = random.random() * math.tau, radius * math.sqrt(random.random()) * 0.92
        cx, cy = size * (0.5 + out * math.cos(turn)), size * (0.5 + out * math.sin(turn))
        r = size * random.uniform(0.035, 0.07)
        green = (random.randint(96, 150), random.randint(160, 196), random.randint(60, 92))
        shape = [
            (cx + r * (1 + 0.25 * math.sin(5 * a + turn)) * math.cos(a), cy + r * 0.7 * math.sin(a + 0.3))
            for a in (math.tau * k / 14 for k in range(14))
        ]
        draw.polygon([(px + 1, py + 2) for px, py in shape], fill=(52, 96, 40, 130))
        draw.polygon(shape, fill=(*green, 255))
        draw.line((cx - r * 0.7, cy, cx + r * 0.7, cy), fill=(206, 226, 160, 200), width=max(1, size // 160))
    return _within(layer, radius)


def scallions(size: int, radius: float, random: Random, count: int = 12) -> Image.Image:
    """Green rings strewn on top."""
    layer = Image.new("RGBA", (size, size))
    draw = ImageDraw.Draw(layer)
    for _ in range(count):
        turn, out = random.random() * math.tau, radius * math.sqrt(random.random()) * 0.9
        cx, cy = size * (0.5 + out * math.cos(turn)), size * (0.5 + out * math.sin(turn))
        r = size * random.uniform(0.010, 0.017)
        draw.ellipse((cx - r, cy - r + 1, cx + r, cy + r + 2), fill=(40, 60, 20, 120))
        draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=(96, 168, 62, 255))
        draw.ellipse((cx - r / 2, cy - r / 2, cx + r / 2, cy + r / 2), fill=(206, 230, 150, 255))
    return layer


def steam(size: int, random: Random) -> Image.Image:
    """Two or three faint wisps."""
    veil = Image.new("L", (size, size))
    draw = ImageDraw.Draw(veil)
    for _ in range(random.randint(2, 3)):
        x, sway = size * random.uniform(0.3, 0.7), size * random.uniform(0.03, 0.06)
        line = [(x + sway * math.sin(k / 3), size * (0.52 - k * 0.022)) for k in range(18)]
        draw.line(line, fill=120, width=max(2, size // 26), joint="curve")
    layer = Image.new("RGBA", (size, size), (255, 255, 255, 0))
    layer.putalpha(veil.filter(ImageFilter.GaussianBlur(size * 0.025)))
    return layer


def _within(layer: Image.Image, radius: float) -> Image.Image:
    size = layer.width
    mask = Image.new("L", layer.size)
    r = size * radius
    ImageDraw.Draw(mask).ellipse((size / 2 - r, size / 2 - r, size / 2 + r, size / 2 + r), fill=255)
    layer.putalpha(ImageChops.multiply(layer.getchannel("A"), mask))
    return layer
