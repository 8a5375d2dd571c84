"""Messages in the user's language. English is the source; a package's `locale/zh.json` maps it to Chinese.

A message is written in English where it is raised, with its values in it: f"no {kind} called {name!r}". Translation
happens where it is shown: the finished text is matched against the catalogue's templates ("no {0} called {1}"), so
that nothing but what prints knows of languages, and English users pay nothing.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata, util
from pathlib import Path

HOLE = re.compile(r"\{(\d+)\}")
DEPTH = 3
"""Messages within messages: a value may be a message itself."""
QUOTES = ("'", '"')


def language() -> str:
    """`zh` or `en`: what T2I_LANG says, else the system's language."""
    for name in ("T2I_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(name):
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"


def translate(text: str) -> str:
    """A message as it should be shown; unchanged where there is no translation."""
    spoken = language()
    return text if spoken == "en" else catalogue(spoken).translate(text)


class Catalogue:
    """Translations by their English templates."""

    def __init__(self, entries: Mapping[str, str]) -> None:
        self.exact = {english: other for english, other in entries.items() if not HOLE.search(english)}
        templates = (Template(english, other) for english, other in entries.items() if HOLE.search(english))
        # The one with the most words of its own fits best: "{0}" would fit everything.
        self.templates = sorted(templates, key=lambda template: -template.length)

    def translate(self, text: str, depth: int = DEPTH) -> str:
        bare = text.strip()
        if bare != text:
            return text.replace(bare, self.translate(bare, depth)) if bare else text
        if text in self.exact:
            return self.exact[text]
        if not depth or text[:1] in QUOTES:  # what users typed stays as it is
            return text
        for template in self.templates:
            if (values := template.values(text)) is not None:
                return template.filled([self.translate(value, depth - 1) for value in values])
        return "\n".join(self.translate(line, depth - 1) for line in text.split("\n")) if "\n" in text else text


class Template:
    """An English message with holes for values, and its translation."""

    def __init__(self, english: str, other: str) -> None:
        self.other = other
        self.parts: Sequence[str] = HOLE.split(english)[::2]
        self.length = sum(map(len, self.parts))

    def values(self, text: str) -> Sequence[str] | None:
        """What stands in the holes, if `text` was made from this template."""
        if not (text.startswith(self.parts[0]) and text.endswith(self.parts[-1])):
            return None
        if any(part not in text for part in self.parts):
            return None
        found = re.fullmatch("(.*?)".join(map(re.escape, self.parts)), text, re.DOTALL)
        return found.groups() if found else None

    def filled(self, values: Sequence[str]) -> str:
        return HOLE.sub(lambda hole: values[int(hole[1])], self.other)


@functools.cache
def catalogue(spoken: str) -> Catalogue:
    """The translations of t2icli and of every installed plugin that brings its own."""
    entries: dict[str, str] = {}
    for folder in packages():
        path = folder / "locale" / f"{spoken}.json"
        if path.is_file():
            entries |= json.loads(path.read_text(encoding="utf-8"))
    return Catalogue(entries)


def packages() -> Iterable[Path]:
    """The folders of t2icli and of the plugins' packages, none of which is imported."""
    yield Path(__file__).parents[1]
    for point in metadata.entry_points(group="t2icli"):
        spec = util.find_spec(point.module.partition(".")[0])
        if spec is not None and spec.origin is not None:
            yield Path(spec.origin).parent
