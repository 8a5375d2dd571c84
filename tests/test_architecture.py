"""The rules of docs/architecture.md that a machine can hold: who may import whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
PLUGINS = sorted((ROOT / "plugins").glob("*/src"))

# What each room must not import. A room is everything below its name.
FORBIDDEN = {
    "t2icli.errors": ("t2icli.",),
    "t2icli.kinds": ("t2icli.commands", "t2icli.pipelines", "t2icli.plugins", "t2icli.backends", "t2icli.models"),
    "t2icli.settings": ("t2icli.commands", "t2icli.pipelines", "t2icli.backends", "t2icli.training"),
    "t2icli.models": ("t2icli.commands", "t2icli.pipelines", "t2icli.backends", "t2icli.training", "torch"),
    "t2icli.nn": ("t2icli.commands", "t2icli.pipelines", "t2icli.backends", "t2icli.training"),
    "t2icli.training": ("t2icli.commands", "t2icli.pipelines", "t2icli.backends"),
    "t2icli.backends": ("t2icli.commands", "t2icli.pipelines", "t2icli.training.loop"),
    "t2icli.prepare": ("t2icli.commands", "t2icli.pipelines", "t2icli.backends", "torch", "typer", "rich"),
    "t2icli.pipelines": ("t2icli.commands", "typer", "rich"),
}


def imports(path: Path) -> Iterator[str]:
    """Every module a file names in an import, at any depth, outside `if TYPE_CHECKING`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_name(path: Path, source: Path) -> str:
    parts = path.relative_to(source).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def below(name: str, room: str) -> bool:
    return name == room or name.startswith(room if room.endswith(".") else room + ".")


@pytest.mark.parametrize("room", sorted(FORBIDDEN))
def test_a_room_imports_only_what_lies_below_it(room: str) -> None:
    files = [path for path in SOURCE.rglob("*.py") if below(module_name(path, SOURCE), room)]
    assert files, f"no such room: {room}"
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files
        for name in imports(path)
        if any(below(name, banned) for banned in FORBIDDEN[room])
    ]
    assert not wrong


def test_no_backend_imports_another() -> None:
    wrong = []
    for path in (SOURCE / "t2icli/backends").rglob("*.py"):
        own = ".".join(module_name(path, SOURCE).split(".")[:3])
        for name in imports(path):
            if name.startswith("t2icli.backends.") and not below(name, own):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_our_plugins_use_nothing_that_a_stranger_could_not() -> None:
    private = ("t2icli.commands", "t2icli.pipelines", "t2icli.backends", "t2icli.training.loop", "t2icli.cli")
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for source in PLUGINS
        for path in source.rglob("*.py")
        for name in imports(path)
        if any(below(name, room) for room in private)
    ]
    assert not wrong


def test_only_show_prints() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCE.rglob("*.py")
        if path.name != "show.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not wrong
