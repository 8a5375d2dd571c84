"""What counts as a prompt, and the folder name made from one.

A prompt is Unicode in composed form (NFC). Every run of white space, line breaks included, counts as one space.
Control characters are refused; emoji, rare characters and right-to-left text pass as they are. There is no limit of
length here: a backend that can read only so much says what it cut.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from t2icli.ground import files
from t2icli.ground.errors import T2IError


def clean(prompt: str, where: str = "the prompt") -> str:
    """A prompt as every backend will see it."""
    for position, character in enumerate(prompt, start=1):
        kind = unicodedata.category(character)
        if kind == "Cs":
            raise T2IError(f"{where} is not valid UTF-8 at character {position}")
        if kind == "Cc" and character not in "\t\n\v\f\r\x85":
            raise T2IError(f"{where} has the control character U+{ord(character):04X} at character {position}")
    words = unicodedata.normalize("NFC", prompt).split()
    if not words:
        raise T2IError(f"{where} is empty", 'say what to draw: t2i generate "a red bowl"')
    return " ".join(words)


def read(path: Path) -> list[str]:
    """The prompts in a text file, one a line; empty lines are skipped."""
    return list(stream(path))


def stream(path: Path) -> Iterator[str]:
    """The same, as they are needed."""
    return _cleaned(files.lines(path), f"'{path}'")


def from_lines(lines: Iterable[str], where: str) -> list[str]:
    """Each line that holds anything, cleaned; an error names the line."""
    return list(_cleaned(lines, where))


def _cleaned(lines: Iterable[str], where: str) -> Iterator[str]:
    empty = True
    for number, line in enumerate(lines, start=1):
        if line.strip():
            empty = False
            yield clean(line, f"line {number} of {where}")
    if empty:
        raise T2IError(f"there is no prompt in {where}")


def short(prompt: str, longest: int = 60) -> str:
    """A prompt cut for a title or a table."""
    return prompt if len(prompt) <= longest else f"{prompt[: longest - 1]}…"


LONGEST = 40
"""Characters of a prompt that go into a folder's name; four bytes each at most, and 255 bytes are the usual limit."""
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}


def heard_in(sound: str) -> str:
    """What stands where a prompt would, for pictures that go by a sound of this name."""
    return f"heard in {sound}"


def slug(prompt: str) -> str:
    """Letters and digits of a prompt, of any script, joined by hyphens: safe as a folder's name, maybe empty."""
    words = "".join(c if c.isalnum() else " " for c in unicodedata.normalize("NFKC", prompt).lower()).split()
    name = "-".join(words)[:LONGEST].strip("-")
    return f"{name}-" if name in RESERVED else name
