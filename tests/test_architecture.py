"""The rules of docs/architecture.md that a machine can hold: who may import whom, and who prints."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
STRANGERS = [*ROOT.glob("plugins/*/src"), *ROOT.glob("examples/*")]
ROOMS = (
    "ground",
    "engine",
    "store",
    "contract",
    "registry",
    "pictures",
    "sounds",
    "data",
    "nn",
    "prepare",
    "training",
    "backends",
    "pipelines",
    "config",
    "commands",
    "cli",
    "testing",
    "templates",
)
"""Every room of t2icli, lowest first: a room imports those before it. Plugins stand where the backends do."""
COMMANDS = (ROOT / "plugins/serve",)
"""Plugins that are commands, and stand where those do."""
CLOSED = ("t2icli.backends", "t2icli.training.loop")
"""What plugins and backends must not import either: other backends, and the loop that drives them."""


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[str]:
    """Every module a file names in an import, at any depth, outside `if TYPE_CHECKING`."""
    tree = parsed(path)
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
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif place := lazy(node):
            yield place.replace(":", ".")


def lazy(node: ast.AST) -> str | None:
    """The place that `lazily("module:name")` will import, where it is written out."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "lazily" and isinstance(node.args[0], ast.Constant):
        return str(node.args[0].value)
    return None


def modules(source: Path) -> dict[str, Path]:
    """The files below `source`, by the names they are imported by."""
    named = {}
    for path in source.rglob("*.py"):
        parts = path.relative_to(source).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


def known(name: str, files: dict[str, Path]) -> str | None:
    """The module that an imported name is, or is taken from."""
    while name not in files and "." in name:
        name = name.rpartition(".")[0]
    return name if name in files else None


OURS = modules(SOURCE)
GRAPH = {name: {found for each in imports(path) if (found := known(each, OURS))} for name, path in OURS.items()}
WHOLE = ("t2icli.backends", "t2icli.testing", "t2icli.templates")
"""Packages whose `__init__` loads their own modules when they are needed: each is one thing, a backend each."""


def place(module: str) -> int | None:
    """Where a module's room stands in the list; None for the front door, `t2icli` itself and `t2icli.__main__`."""
    room = module.split(".")[1] if "." in module else "__main__"
    return None if room == "__main__" else ROOMS.index(room)


def thing(module: str) -> str:
    """The module itself, or the package it is a part of."""
    if not module.startswith(WHOLE):
        return module
    return ".".join(module.split(".")[: 3 if module.startswith(WHOLE[0]) else 2])


def test_every_import_descends() -> None:
    wrong = []
    for module, found in GRAPH.items():
        own = place(module)
        wrong += [f"{module} imports {each}" for each in found if own is not None and (place(each) or 0) > own]
    assert not wrong


def test_no_imports_run_in_a_circle() -> None:
    rest: dict[str, set[str]] = {}
    for module, found in GRAPH.items():
        if place(module) is not None:
            rest.setdefault(thing(module), set()).update(set(map(thing, found)) - {thing(module), "t2icli"})
    while leaves := {module for module, found in rest.items() if not found & rest.keys()}:
        rest = {module: found for module, found in rest.items() if module not in leaves}
    assert not rest, f"these import each other: {sorted(rest)}"


def test_plugins_and_backends_stand_on_what_lies_below_them_alone() -> None:
    backends, commands = ROOMS.index("backends"), ROOMS.index("commands")
    files = {
        path: "" for source in STRANGERS for path in source.rglob("*.py") if "test" not in str(path.relative_to(source))
    }
    files |= {path: ".".join(name.split(".")[:3]) for name, path in OURS.items() if name.startswith(CLOSED[0] + ".")}
    wrong = []
    for path, own in files.items():
        level = commands if any(plugin in path.parents for plugin in COMMANDS) else backends
        for name in imports(path):
            found = known(name, OURS)
            if not found or found == "t2icli" or (own and (found + ".").startswith(own + ".")):
                continue
            if (place(found) or 0) > level or found.startswith(CLOSED):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_what_is_to_be_imported_lazily_exists() -> None:
    files = {name: path for source in (SOURCE, *STRANGERS) for name, path in modules(source).items()}
    places = {place for path in files.values() for node in ast.walk(parsed(path)) if (place := lazy(node))}
    assert len(places) > 30
    wrong = []
    for place in places:
        module, _, name = place.partition(":")
        body = parsed(files[module]).body if module in files else []
        if not any(getattr(each, "name", None) == name for each in body):
            wrong.append(place)
    assert not wrong


def test_only_show_prints() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCE.rglob("*.py")
        if path.name not in ("show.py", "__main__.py") and path.parent.name != "testing"
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.stdout.write", "sys.stderr.write")
    ]
    assert not wrong
