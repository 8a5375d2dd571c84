"""Tables: columns of plain text, or what rich draws on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from t2icli.commands import terminal
from t2icli.ground.translate import translate

NARROW = 20
"""Columns that are left for each of the others where paths take more than the terminal has."""
IN_WORDS = {
    "about",
    "Chinese",
    "licence",
    "meaning",
    "trains",
    "why",
    "what",
    "what to do",
    "state",
    "direction",
    "default",
    "now",
    "",
}
"""Headings of columns whose cells are messages; other cells are names, captions and numbers."""


class Percent(float):
    """A share of a hundred, shown as 86.7 %."""


def fits(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> bool:
    """Whether a terminal has room for all columns and a few words of the last."""
    widths = [max(map(width_of, column)) for column in zip(headings, *cells, strict=True)]
    return sum(widths[:-1]) + 3 * len(widths) + NARROW <= terminal.console(sys.stdout).width


def paragraphs(headings: Sequence[str], cells: Iterable[Sequence[str]]) -> None:
    """A name, and under it what there is to say of it."""
    from rich.padding import Padding
    from rich.text import Text

    out = terminal.console(sys.stdout)
    for name, *facts, about in cells:
        out.print(Text(name, "bold"))
        known = [f"{heading} {fact}".strip() for heading, fact in zip(headings[1:], facts, strict=False) if fact]
        for text in filter(None, (", ".join(known), about)):
            out.print(Padding(Text(text), (0, 0, 0, 4)))


def aligned(rows: Sequence[Sequence[str]], right: Collection[int]) -> list[str]:
    """Rows of cells in columns; a Chinese character is as wide as two others."""
    flat = [[cell.replace("\n", " ") for cell in row] for row in rows]
    widths = [max(map(width_of, column)) for column in zip(*flat, strict=True)]
    padded = ([(" " * (width - width_of(cell)), cell) for cell, width in zip(row, widths, strict=True)] for row in flat)
    joined = ((s + c if index in right else c + s for index, (s, c) in enumerate(row)) for row in padded)
    return ["  ".join(row).rstrip() for row in joined]


def width_of(text: str) -> int:
    from unicodedata import combining, east_asian_width

    if text.isascii():
        return len(text)
    return sum(0 if combining(c) else 1 + (east_asian_width(c) in "WF") for c in text)


def rich_table(
    headings: Sequence[str], cells: Iterable[Sequence[str]], right: Sequence[bool], paths: Sequence[int | None]
) -> None:
    """`paths` holds the width of each column of paths: where they need more than the terminal has, the table does."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, to_the_right, width in zip(headings, right, paths, strict=True):
        justify: Literal["right", "left"] = "right" if to_the_right else "left"
        shown.add_column(Text(heading), justify=justify, overflow="fold", min_width=width)
    for row in cells:
        shown.add_row(*map(Text, row))
    out = terminal.console(sys.stdout)
    if wide := [width for width in paths if width]:
        out = terminal.console(sys.stdout, max(out.width, sum(wide) + NARROW * (len(paths) - len(wide))))
    out.print(shown)


def width_of_paths(cells: Iterable[Any]) -> int:
    from rich.cells import cell_len

    return max((cell_len(str(cell)) for cell in cells if isinstance(cell, Path)), default=0)


def cell(value: Any, heading: str) -> str:
    if value is None:
        return ""
    if isinstance(value, Percent):
        return f"{value:.1f} %"
    if isinstance(value, float):
        return f"{value:.4f}"
    return terminal.visible(translate(value) if isinstance(value, str) and heading in IN_WORDS else str(value))
