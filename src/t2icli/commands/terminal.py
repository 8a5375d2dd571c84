"""Text on its way to a terminal.

File names, captions and the errors of plugins are untrusted text, and terminals obey control characters: every text
passes `visible` on its way out. rich is imported when there is a table or a bar to draw.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

from t2icli.ground.translate import translate

if TYPE_CHECKING:
    from rich.console import Console

COMMANDING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal obeys in place of showing it: control characters but tab and newline, and those that reverse the
direction of writing. Also halves of characters, which are bytes of a file's name that are no UTF-8."""


def visible(text: str) -> str:
    """`text` with what a terminal would obey written out, as in JSON: `\\u001b`."""
    return COMMANDING.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def write(stream: TextIO, text: str, label: str = "", colour: int = 0) -> None:
    """A line, behind a label in colour."""
    label, space = translate(label), "" if translate(label).endswith("：") else " "
    if label and stream.isatty() and not os.environ.get("NO_COLOR"):
        label = f"\x1b[{colour}m{label}\x1b[0m"
    stream.write(f"{label}{space}{visible(text)}\n" if label else f"{visible(text)}\n")


def console(stream: TextIO, width: int | None = None) -> Console:
    """A rich console of this width, else the terminal's; in a pipe it is as wide as it needs to be."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class VisibleConsole(Console):
        """Writes out what is in texts; the cursor is moved by segments of another kind."""

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else segment._replace(text=visible(segment.text))

    width = width or (None if stream.isatty() else 10_000)  # bars in a pipe are not drawn
    return VisibleConsole(file=stream, highlight=False, markup=False, emoji=False, width=width)
