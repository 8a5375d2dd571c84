"""Packages that only some commands need: the optional dependencies of this distribution."""

from __future__ import annotations

import re
from functools import cache

EXTRA = re.compile(r"""^([\w.-]+).*;.*\bextra == ["']([\w.-]+)["']""")


def with_module(module: str | None) -> str | None:
    """The extra that brings a module, which is called like its package; None where none does."""
    return _extras().get((module or "").partition(".")[0])


@cache
def _extras() -> dict[str, str]:
    """The smallest extra with each package: an extra may include others, as `all` does."""
    from importlib.metadata import requires  # slow to import, and most commands go well

    packages: dict[str, list[str]] = {}
    for requirement in requires("t2icli") or ():
        if match := EXTRA.match(requirement):
            packages.setdefault(match[2], []).append(match[1].replace("-", "_"))
    extras: dict[str, str] = {}
    for extra in sorted(packages, key=lambda extra: len(packages[extra])):
        for package in packages[extra]:
            extras.setdefault(package, extra)
    return extras
