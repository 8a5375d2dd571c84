"""t2i: sentences to pictures, sorted, captioned and trained, from parts that anyone can write.

Imports next to nothing: the program `t2i` passes here before it can answer Ctrl-C.
"""

from __future__ import annotations

from t2icli.errors import T2IError

TYPE_CHECKING = False  # type checkers know this name; typing itself takes 20 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = ["T2IError", "load"]


def load(kind: str, name: str, **options: Any) -> Any:
    """The thing itself: `load("generator", "dalle", model="runs/noodles/model", top_p=0.9)`."""
    from t2icli import plugins

    return plugins.load(kind, name, **options)
