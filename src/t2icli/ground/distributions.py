"""Which installed distributions announce plugins, read from the folders of `sys.path`.

`importlib.metadata` answers the same question, but importing it takes as long as everything else that `t2i --help`
does before it draws. It is asked where a folder of files is not all there is: zip files and finders of other packages.
"""

from __future__ import annotations

import os
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

GROUP = "t2icli"
"""The entry point group by which a distribution names its plugins."""
INFO = re.compile(r"(?P<name>.+?)(?:-.*)?\.(?:dist|egg)-info", re.IGNORECASE)
SECTION = re.compile(r"\[\s*(.+?)\s*\]")


@dataclass(frozen=True)
class Point:
    """An entry point of a distribution."""

    name: str
    module: str
    attribute: str
    distribution: str
    """Name and version."""

    def load(self) -> object:
        return pkgutil.resolve_name(f"{self.module}:{self.attribute}")


def points() -> list[Point]:
    """The entry points in `GROUP` of everything installed, by name."""
    return sorted(_in_folders() if _only_folders() else _by_metadata(), key=lambda point: point.name)


def _only_folders() -> bool:
    finders = (finder for finder in sys.meta_path if finder is not PathFinder)
    return not (any(hasattr(finder, "find_distributions") for finder in finders) or any(map(os.path.isfile, sys.path)))


def _in_folders() -> Iterator[Point]:
    return (point for info in _infos() for point in _of(info))


def _infos() -> Iterator[Path]:
    """The folder of metadata of each distribution."""
    seen: set[str] = set()
    for folder in dict.fromkeys(sys.path):
        try:
            names = sorted(os.listdir(folder or "."))
        except OSError:
            continue
        for name in names:
            if (found := INFO.fullmatch(name)) and (own := _normal(found["name"])) not in seen:
                seen.add(own)  # of two distributions of one name the first on the path counts
                yield Path(folder, name)


def _of(info: Path) -> Iterator[Point]:
    try:
        text = (info / "entry_points.txt").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return
    if f"[{GROUP}]" in text.replace(" ", ""):
        yield from parsed(text, lambda: title(info))


def parsed(text: str, titled: Callable[[], str]) -> Iterator[Point]:
    """The points of our group in an `entry_points.txt`."""
    section = ""
    for line in map(str.strip, text.splitlines()):
        if heading := SECTION.fullmatch(line):
            section = heading[1]
        elif section == GROUP and "=" in line and not line.startswith(("#", ";")):
            name, _, place = line.partition("=")
            module, _, attribute = place.partition("[")[0].partition(":")  # what follows a bracket are extras
            yield Point(name.strip(), module.strip(), attribute.strip(), titled())


def title(info: Path) -> str:
    """Name and version of the distribution in this folder."""
    for name in ("METADATA", "PKG-INFO"):
        try:
            text = (info / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        head = dict(line.split(": ", 1) for line in text.partition("\n\n")[0].splitlines() if ": " in line)
        return f"{head.get('Name', '?')} {head.get('Version', '?')}"
    return "? ?"


def own_title() -> str:
    """Of t2icli itself."""
    for info in _infos():
        if info.name.startswith("t2icli-"):
            return title(info)
    return "t2icli"


def _by_metadata() -> Iterator[Point]:
    import importlib.metadata

    for point in importlib.metadata.entry_points(group=GROUP):
        titled = f"{point.dist.name} {point.dist.version}" if point.dist else "?"
        yield Point(point.name, point.module, point.attr or "", titled)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
