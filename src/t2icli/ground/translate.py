"""Messages in the user's language. English is the source; a package's `locale/zh.json` maps it to Chinese.

A message is written in English where it is raised, with its values in it: f"no {kind} called {name!r}". Translation
happens where it is shown: the finished text is matched against the catalogue's templates ("no {0} called {1}"), so
that nothing but what prints knows of languages, and English users pay nothing.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

HOLE = re.compile(r"\{(\d+)\}")
DEPTH = 3
"""Messages within messages: a value may be a message itself."""
QUOTES = ("'", '"')
AROUND = " \n;,"
"""What stands around a piece of a message."""
JOINTS = {"\n": "\n", "; ": "；"}
"""What joins messages; as in Chinese, the one language there is."""
COLON = ": "
"""Stands between what a message is about and the message."""
SHORT = 12
"""Characters of a template that may stand anywhere, such as "{0} needs {1}": it is not matched across a joint."""


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
        bare = text.strip(AROUND)
        if bare != text:
            return text.replace(bare, self.translate(bare, depth)) if bare else text
        for known in (text, _described(text)):
            if known in self.exact:
                return self.exact[known]
        if not depth or _is_quoted(text):
            return text
        for template in self.templates:
            if (values := template.values(text)) is not None:
                pairs = zip(values, template.quoted, strict=True)
                return template.filled([self._value(value, depth - 1, is_quoted) for value, is_quoted in pairs])
        return self._parts(text, depth - 1)

    def _value(self, text: str, depth: int, is_quoted: bool = False) -> str:
        """A value of one word or in quotes is a name; of several words it may be a message."""
        return text if is_quoted or " " not in text.strip(AROUND) else self.translate(text, depth)

    def _parts(self, text: str, depth: int) -> str:
        """Lines, messages in a row, and a message behind what it is about, each by itself."""
        about, colon, message = text.partition(COLON)
        if message not in self.exact:
            for joint, other in JOINTS.items():
                if joint in text:
                    return _joined(text, joint, other, [self._value(piece, depth) for piece in text.split(joint)])
        if not colon:
            return text
        return _joined(text, COLON, "：", [self._value(about, depth), self.translate(message, depth)])


def _described(sentence: str) -> str:
    """The description of a setting, which is a sentence where it is the help of a flag."""
    return sentence[:1].lower() + sentence[1:].removesuffix(".")


def _joined(text: str, joint: str, other: str, pieces: Sequence[str]) -> str:
    return text if joint.join(pieces) == text else other.join(pieces)


class Template:
    """An English message with holes for values, and its translation."""

    def __init__(self, english: str, other: str) -> None:
        self.other = other
        self.parts: Sequence[str] = HOLE.split(english)[::2]
        self.length = sum(map(len, self.parts))
        around = zip(self.parts, self.parts[1:], strict=False)
        self.quoted = [before.endswith(QUOTES) and after.startswith(QUOTES) for before, after in around]

    def values(self, text: str) -> Sequence[str] | None:
        """The values of the placeholders, if `text` was made from this template."""
        if not (text.startswith(self.parts[0]) and text.endswith(self.parts[-1])):
            return None
        if any(part not in text for part in self.parts):
            return None
        match = re.fullmatch("(.*?)".join(map(re.escape, self.parts)), text, re.DOTALL)
        if match is None or (self.length < SHORT and any(map(_is_several, match.groups()))):
            return None
        return match.groups()

    def filled(self, values: Sequence[str]) -> str:
        return HOLE.sub(lambda hole: values[int(hole[1])], self.other)


def _is_quoted(value: str) -> bool:
    return value[:1] in QUOTES and value.count(value[0]) == 2 and value.endswith(value[0])


def _is_several(value: str) -> bool:
    return not _is_quoted(value) and any(joint in value for joint in (*JOINTS, COLON))


@functools.cache
def catalogue(spoken: str) -> Catalogue:
    """The translations of t2icli and of every installed plugin that brings its own; where they differ, the first."""
    import json

    entries: dict[str, str] = {}
    for folder in packages():
        try:
            of_package = json.loads((folder / "locale" / f"{spoken}.json").read_text(encoding="utf-8"))
            entries = {**of_package, **entries}
        except (OSError, ValueError, TypeError):  # there is none, or it is no dictionary: English is shown
            continue
    return Catalogue(entries)


def packages() -> Iterable[Path]:
    """The folders of t2icli and of the plugins' packages, none of which is imported."""
    from importlib import util

    from t2icli.ground import distributions

    yield Path(__file__).parents[1]
    for point in distributions.points():
        spec = util.find_spec(point.module.partition(".")[0])
        if spec is not None and spec.submodule_search_locations:
            yield Path(spec.submodule_search_locations[0])
