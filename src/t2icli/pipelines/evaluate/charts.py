"""Small charts as PNGs, drawn with Pillow: bars side by side, and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2icli.ground import files

if TYPE_CHECKING:
    from PIL.Image import Image

COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#a463f2")
WIDTH, HEIGHT = 960, 480
LEFT, RIGHT, TOP, BOTTOM = 70, 30, 70, 60
GREY, INK = "#d9d9d9", "#222222"


class Chart:
    """An empty chart with a title, a scale to the left, and the names of its series."""

    def __init__(self, title: str, series: Sequence[str], low: float, high: float) -> None:
        from PIL import Image, ImageDraw

        self.low, self.high = low, high if high > low else low + 1
        self.image: Image.Image = Image.new("RGB", (WIDTH, HEIGHT), "white")
        self.pen: Any = ImageDraw.Draw(self.image)
        self.text((LEFT, 14), title, 20)
        self._scale()
        x = LEFT
        for i, name in enumerate(series):
            self.pen.rectangle((x, 47, x + 12, 59), fill=colour(i))
            self.text((x + 18, 45), name, 14)
            x += 40 + int(self.pen.textlength(name, font=font(14)))

    def _scale(self) -> None:
        for i in range(6):
            value = self.low + (self.high - self.low) * i / 5
            self.pen.line((LEFT, self.y(value), WIDTH - RIGHT, self.y(value)), fill=GREY)
            self.text((LEFT - 8, self.y(value)), f"{value:.3g}", 13, anchor="rm")

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - self.low) / (self.high - self.low)

    def text(self, place: tuple[float, float], words: str, size: int, anchor: str = "la") -> None:
        self.pen.text(place, words, fill=INK, font=font(size), anchor=anchor)


def bars(title: str, groups: Sequence[str], series: Mapping[str, Sequence[float]], high: float = 100.0) -> Image:
    """For every group one bar of each series, with its figure on top."""
    chart = Chart(title, list(series), 0.0, high)
    slot = (WIDTH - LEFT - RIGHT) / len(groups)
    wide = slot * 0.8 / max(1, len(series))
    for g, group in enumerate(groups):
        left = LEFT + g * slot + slot * 0.1
        for i, values in enumerate(series.values()):
            x = left + i * wide
            chart.pen.rectangle((x + 1, chart.y(values[g]), x + wide - 1, chart.y(0)), fill=colour(i))
            chart.text((x + wide / 2, chart.y(values[g]) - 3), f"{values[g]:.1f}", 12, anchor="mb")
        chart.text((LEFT + (g + 0.5) * slot, HEIGHT - BOTTOM + 12), group, 14, anchor="ma")
    return chart.image


def curves(title: str, x: Sequence[float], series: Mapping[str, Sequence[float]], about_x: str) -> Image:
    """One line for each series over the values of x, which stand at equal distances."""
    every = [value for values in series.values() for value in values]
    margin = 0.1 * (max(every) - min(every)) or 0.1
    chart = Chart(title, list(series), min(every) - margin, max(every) + margin)
    step = (WIDTH - LEFT - RIGHT) / max(1, len(x))
    places = [LEFT + (i + 0.5) * step for i in range(len(x))]
    for i, values in enumerate(series.values()):
        points = [(place, chart.y(value)) for place, value in zip(places, values, strict=True)]
        chart.pen.line(points, fill=colour(i), width=3, joint="curve")
        for px, py in points:
            chart.pen.ellipse((px - 4, py - 4, px + 4, py + 4), fill=colour(i))
    for place, value in zip(places, x, strict=True):
        chart.text((place, HEIGHT - BOTTOM + 12), f"{value:g}", 14, anchor="ma")
    chart.text((WIDTH / 2, HEIGHT - 22), about_x, 14, anchor="ma")
    return chart.image


def save(image: Image, path: Path) -> Path:
    with files.whole(path) as draft:
        image.save(draft, format="PNG")
    return path


def colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)
