"""The one error a user is meant to see."""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers know this name; the program imports next to nothing before it answers Ctrl-C
if TYPE_CHECKING:
    from collections.abc import Iterable

LISTED = 20
"""How many known words a hint lists at most."""


class T2IError(Exception):
    """Something the user can understand and usually fix: what was wrong, then what to do.

    `code` is the exit code: 2 when the words typed or the files given are at fault, 1 when the
    operation itself failed, 3 when it was done in part.
    """

    def __init__(self, message: str, hint: str | None = None, code: int = 2) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code


class Unreachable(Exception):
    """Data that cannot be read now, such as a store that is away.

    It is shown as a `T2IError` is, but whoever catches those to leave out single rows lets it pass: no row is at fault.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = 1


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A hint naming the nearest known word, or listing them all when none is near."""
    import difflib  # slow to import, and most commands go well

    words = sorted(set(known))
    by_letters = {_letters(each): each for each in words}
    near = difflib.get_close_matches(_letters(word), by_letters, n=1, cutoff=0.5)
    if near:
        return f"did you mean {by_letters[near[0]]!r}?"
    if len(words) > LISTED:
        return f"known: {', '.join(words[:LISTED])}, ... and {len(words) - LISTED} more"
    return f"known: {', '.join(words)}" if words else None


def _letters(word: str) -> str:
    return word.lower().replace("-", "_")
