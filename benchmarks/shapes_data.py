"""Drawn coloured shapes with English and Chinese captions, and a judge that reads shape and colour off the pixels.

    python benchmarks/shapes_data.py FOLDER [--n 2000] [--pixels 32] [--seed 0]

writes 00000.png with 00000.txt (one caption a line) and so on. A fifth of all scenes is held out: no picture
of them is written, so their captions are prompts that a model has never met.
"""

from __future__ import annotations

import argparse
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SHAPES = {"circle": "圆形", "square": "方形", "triangle": "三角形", "cross": "十字"}
COLOURS = {
    "red": ("红色", (220, 40, 40)),
    "green": ("绿色", (40, 170, 60)),
    "blue": ("蓝色", (40, 70, 220)),
    "yellow": ("黄色", (240, 210, 30)),
    "purple": ("紫色", (150, 50, 190)),
    "black": ("黑色", (20, 20, 20)),
}
SIZES = {"small": ("小", 0.36), "large": ("大", 0.56)}
PLACES = {
    "on the left": ("左边", (-1, 0)),
    "on the right": ("右边", (1, 0)),
    "at the top": ("上边", (0, -1)),
    "at the bottom": ("下边", (0, 1)),
    "in the middle": ("中间", (0, 0)),
}
BACKGROUND = (245, 245, 245)


@dataclass(frozen=True)
class Scene:
    """What one picture shows, in words of the tables above."""

    shape: str
    colour: str
    size: str
    place: str

    @property
    def captions(self) -> tuple[str, str]:
        """The scene in English and in Chinese."""
        chinese = f"{PLACES[self.place][0]}一个{SIZES[self.size][0]}的{COLOURS[self.colour][0]}{SHAPES[self.shape]}"
        return f"a {self.size} {self.colour} {self.shape} {self.place}", chinese


def scenes(*, held_out: bool) -> list[Scene]:
    """The scenes to train on, or the fifth that is kept for judging; always the same ones."""
    every = [Scene(*words) for words in itertools.product(SHAPES, COLOURS, SIZES, PLACES)]
    random.Random(0).shuffle(every)
    fifth = len(every) // 5
    return every[:fifth] if held_out else every[fifth:]


def draw(scene: Scene, pixels: int, jitter: tuple[float, float] = (0.0, 0.0)) -> Image.Image:
    """The scene as a picture, moved by `jitter` (parts of the picture's side)."""
    side = pixels * 4  # drawn large and shrunk, for smooth edges
    width = SIZES[scene.size][1]
    reach = (0.96 - width) / 2
    right, down = PLACES[scene.place][1]
    x = (0.5 + right * reach + jitter[0]) * side
    y = (0.5 + down * reach + jitter[1]) * side
    picture = Image.new("RGB", (side, side), BACKGROUND)
    _paint(ImageDraw.Draw(picture), scene.shape, COLOURS[scene.colour][1], (x, y), width * side / 2)
    return picture.resize((pixels, pixels), Image.Resampling.BOX)


def _paint(
    pen: ImageDraw.ImageDraw, shape: str, colour: tuple[int, int, int], middle: tuple[float, float], r: float
) -> None:
    x, y = middle
    if shape == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    elif shape == "square":
        pen.rectangle((x - r, y - r, x + r, y + r), fill=colour)
    elif shape == "triangle":
        pen.polygon(((x, y - r), (x + r, y + r), (x - r, y + r)), fill=colour)
    else:
        arm = r * 0.36
        pen.rectangle((x - r, y - arm, x + r, y + arm), fill=colour)
        pen.rectangle((x - arm, y - r, x + arm, y + r), fill=colour)


def partly(scene: Scene, choice: random.Random) -> str:
    """The scene in English, each of its words left out half the time: "a red thing on the left"."""
    size, colour, shape, place = (
        word if choice.random() < 0.5 else "" for word in (scene.size, scene.colour, scene.shape, scene.place)
    )
    return " ".join(word for word in ("a", size, colour, shape or "thing", place) if word)


def write(
    folder: Path,
    n: int,
    *,
    pixels: int = 32,
    seed: int = 0,
    captions: Sequence[int] = (0, 1),
    partial: bool = False,
) -> list[Scene]:
    """Write n pictures of scenes to train on; returns what they show.

    Each gets its captions (0 English, 1 Chinese), and if wanted an English one that leaves parts out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    choice, gaps = random.Random(seed), random.Random(seed)
    known = scenes(held_out=False)
    shown = []
    for i in range(n):
        scene = known[i % len(known)]
        jitter = (choice.uniform(-0.02, 0.02), choice.uniform(-0.02, 0.02))
        draw(scene, pixels, jitter).save(folder / f"{i:05d}.png")
        texts = [scene.captions[which] for which in captions] + ([partly(scene, gaps)] if partial else [])
        (folder / f"{i:05d}.txt").write_text("".join(text + "\n" for text in texts), encoding="utf-8")
        shown.append(scene)
    return shown


def judge(image: Image.Image) -> tuple[str, str] | None:
    """The shape and the colour in a picture, or None when nothing stands out from the background."""
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    inside = np.abs(pixels - np.array(BACKGROUND, np.float32)).max(-1) > 70
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if inside.sum() < 12 or len(rows) < 3 or len(columns) < 3:
        return None
    seen = np.median(pixels[inside], 0)
    colour = min(COLOURS, key=lambda name: float(np.abs(seen - np.array(COLOURS[name][1])).sum()))
    box = inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return max(SHAPES, key=lambda name: _overlap(box, name)), colour


def _overlap(mask: np.ndarray, shape: str) -> float:
    """Intersection over union of a cut-out mask and a shape drawn to fill the same box."""
    side = 64
    ideal = Image.new("RGB", (side, side), BACKGROUND)
    _paint(ImageDraw.Draw(ideal), shape, (0, 0, 0), (side / 2, side / 2), side / 2)
    whole = np.asarray(ideal)[..., 0] < 128
    seen = np.asarray(Image.fromarray(mask).resize((side, side), Image.Resampling.NEAREST))
    return float((whole & seen).sum() / (whole | seen).sum())


if __name__ == "__main__":
    words = argparse.ArgumentParser(description="Write a folder of drawn shapes with captions.")
    words.add_argument("folder", type=Path)
    words.add_argument("--n", type=int, default=2000)
    words.add_argument("--pixels", type=int, default=32)
    words.add_argument("--seed", type=int, default=0)
    chosen = words.parse_args()
    write(chosen.folder, chosen.n, pixels=chosen.pixels, seed=chosen.seed)
