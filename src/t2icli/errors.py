"""The one error a user is meant to see."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class T2IError(Exception):
    """Something the user can understand and mostly put right: what was wrong, then what to do.

    `code` is the exit code: 2 when the words typed or the files given are at fault, 1 when the
    operation itself failed, 3 when it was done in part.
    """

    def __init__(self, message: str, hint: str | None = None, code: int = 2) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A hint naming the nearest known word, or listing them all when none is near."""
    words = sorted(set(known))
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(words)}" if words else None
