"""Packages that only some commands need: the optional dependencies of this distribution."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import requires

EXTRA = re.compile(r"""^([\w.-]+).*;.*\bextra == ["']([\w.-]+)["']""")


def with_module(module: str | None) -> str | None:
    """The extra that brings a module, which is called like its package; None where none does."""
    return _extras().get((module or "").partition(".")[0])


@cache
def _extras() -> dict[str, str]:
    found: dict[str, str] = {}
    for requirement in requires("t2icli") or ():
        if match := EXTRA.match(requirement):
            found.setdefault(match[1].replace("-", "_"), match[2])
    return found
