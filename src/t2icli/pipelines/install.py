"""The work behind `t2i install` and `t2i uninstall`: pip, or uv where there is no pip, in this very environment."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from t2icli.ground.errors import T2IError, did_you_mean
from t2icli.registry import discovery
from t2icli.registry.discovery import GROUP, plugins_of


class Change(msgspec.Struct, frozen=True):
    """A distribution that would be installed."""

    name: str
    version: str
    before: str | None
    """The version that is here now."""


def expand(words: Sequence[str]) -> list[str]:
    """The words with `t2icli[data]` replaced by what that extra requires: t2icli itself is here."""
    return [each for word in words for each in _expanded(word)]


def _expanded(word: str) -> list[str]:
    named = re.fullmatch(r"t2icli\[([\w., -]+)\]", word)
    if not named:
        return [word]
    extras = [extra.strip() for extra in named[1].split(",")]
    known = importlib.metadata.metadata("t2icli").get_all("Provides-Extra") or []
    if unknown := [extra for extra in extras if extra not in known]:
        raise T2IError(f"t2icli has no extra {unknown[0]!r}", did_you_mean(unknown[0], known))
    return [each for extra in extras for requirement in requirements(extra) for each in _expanded(requirement)]


def requirements(extra: str = "") -> list[str]:
    """What t2icli requires on this machine: by itself, or for one of its extras."""
    from packaging.requirements import Requirement

    chosen = []
    for one in map(Requirement, importlib.metadata.requires("t2icli") or []):
        of_extra = one.marker is not None and "extra ==" in str(one.marker)
        if of_extra == bool(extra) and (one.marker is None or one.marker.evaluate({"extra": extra})):
            extras = f"[{','.join(sorted(one.extras))}]" if one.extras else ""
            chosen.append(f"{one.name}{extras}{one.specifier}")
    return chosen


def plan(words: Sequence[str]) -> list[Change]:
    """What installing would bring, dependencies included. Nothing is installed, nothing imported."""
    planned = _plan_of_pip(words) if _has_pip() else _plan_of_uv(words)
    return [Change(name, version, _version(name)) for name, version in planned]


def install(words: Sequence[str]) -> None:
    """Install for good; `words` are names, folders, addresses and flags of pip."""
    _run([*_installer(), "install", *_flags(), *words], watched=sys.stderr.isatty())
    importlib.invalidate_caches()
    discovery.installed.cache_clear()


def owner(name: str) -> str:
    """The distribution meant by its own name or by that of one of its plugins."""
    points = importlib.metadata.entry_points(group=GROUP)
    by_plugin = {point.name: point.dist.name for point in points if point.dist}
    known = {_normal(distribution): distribution for distribution in by_plugin.values()}
    if _version(name) is not None:
        return known.get(_normal(name), name)
    if name in by_plugin:
        return by_plugin[name]
    raise T2IError(f"no distribution called {name!r} is installed", did_you_mean(name, [*by_plugin, *known.values()]))


def uninstall(distribution: str, *, force: bool = False) -> None:
    """Remove a distribution that holds plugins. None of them is imported."""
    if _normal(distribution) == "t2icli" and not force:
        raise T2IError("t2icli is the tool itself", "add --force to remove it anyway")
    if not plugins_of(distribution) and not force:
        raise T2IError(f"{distribution!r} is not a t2i plugin", "add --force to remove it anyway")
    _run([*_installer(), "uninstall", *(["--yes"] if _has_pip() else []), distribution])
    importlib.invalidate_caches()


def _has_pip() -> bool:
    return importlib.util.find_spec("pip") is not None


def _installer() -> list[str]:
    if _has_pip():
        return [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    uv = shutil.which("uv")
    if uv is None:
        raise T2IError("neither pip nor uv is available", f"run: {sys.executable} -m ensurepip", code=1)
    return [uv, "pip"]


def _flags() -> list[str]:
    """Offline, a folder can still be installed: with what is here already, also to build it."""
    own = [] if _has_pip() else ["--python", sys.executable]
    offline = ["--no-index", "--no-build-isolation"] if os.environ.get("T2I_OFFLINE") else []
    return own + offline


def _plan_of_pip(words: Sequence[str]) -> list[tuple[str, str]]:
    out = _run([*_installer(), "install", "--dry-run", "--quiet", "--report", "-", *_flags(), *words]).stdout
    report = json.loads(out[out.index("{") :])
    return [(item["metadata"]["name"], item["metadata"]["version"]) for item in report["install"]]


def _plan_of_uv(words: Sequence[str]) -> list[tuple[str, str]]:
    output = _run([*_installer(), "install", "--dry-run", *_flags(), *words]).stderr
    return re.findall(r"^ \+ ([^\s=@]+)(?:==| @ )(\S+)", output, re.MULTILINE)


def _run(command: list[str], *, watched: bool = False) -> subprocess.CompletedProcess[str]:
    """Run the installer; on a terminal its progress is shown on stderr."""
    streams: dict[str, Any] = {"stdout": sys.stderr} if watched else {"capture_output": True}
    ended = subprocess.run(command, **streams, text=True, errors="replace", check=False)
    if ended.returncode:
        lines = [line for line in (ended.stderr or ended.stdout or "").splitlines() if line.strip()]
        tool, verb = "pip" if _has_pip() else "uv", "uninstall" if "uninstall" in command else "install"
        raise T2IError(f"{tool} could not {verb}", "\n  ".join([*lines[-12:], *_advice(command)]) or None, code=1)
    return ended


def _advice(command: Sequence[str]) -> list[str]:
    """A line for those who took one of our distributions for a name on the index."""
    ours = [word for word in command if word in discovery.OURS]
    return [f"it is on no index; run: {discovery.where_to_get(ours[0])}"] if ours else []


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
