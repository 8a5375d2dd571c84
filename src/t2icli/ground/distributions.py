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

GROUP = "t2icli"
"""The entry point group by which a distribution names its plugins."""
INFO = (".dist-info", ".egg-info")


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


def _infos() -> Iterator[str]:
    """The folder of metadata of each distribution."""
    seen: set[str] = set()
    for folder in dict.fromkeys(sys.path):
        try:
            names = [name for name in os.listdir(folder or ".") if name.endswith(INFO)]
        except OSError:
            continue
        for name in sorted(names):
            own = re.sub(r"[-_.]+", "-", name[:-10].partition("-")[0]).lower()
            if own not in seen:  # of two distributions of one name the first on the path counts
                seen.add(own)
                yield os.path.join(folder, name)


def _of(info: str) -> Iterator[Point]:
    text = _read(info, "entry_points.txt")
    if f"[{GROUP}]" in text:
        yield from parsed(text, lambda: title(info))


def parsed(text: str, titled: Callable[[], str]) -> Iterator[Point]:
    """The points of our group in an `entry_points.txt`."""
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            section = line.strip("[]")
        elif section == GROUP and "=" in line and not line.startswith(("#", ";")):
            name, _, place = line.partition("=")
            module, _, attribute = place.partition("[")[0].partition(":")  # what follows a bracket are extras
            yield Point(name.strip(), module.strip(), attribute.strip(), titled())


def _read(info: str, name: str) -> str:
    try:
        with open(os.path.join(info, name), encoding="utf-8") as stream:
            return stream.read()
    except (OSError, UnicodeDecodeError):
        return ""


def title(info: str) -> str:
    """Name and version of the distribution in this folder."""
    text = _read(info, "METADATA") or _read(info, "PKG-INFO")
    head = dict(line.split(": ", 1) for line in text.partition("\n\n")[0].splitlines() if ": " in line)
    return f"{head.get('Name', '?')} {head.get('Version', '?')}"


def own_title() -> str:
    """Of t2icli itself."""
    for info in _infos():
        if os.path.basename(info).startswith("t2icli-"):
            return title(info)
    return "t2icli"


def _by_metadata() -> Iterator[Point]:
    import importlib.metadata

    for point in importlib.metadata.entry_points(group=GROUP):
        titled = f"{point.dist.name} {point.dist.version}" if point.dist else "?"
        yield Point(point.name, point.module, point.attr or "", titled)
