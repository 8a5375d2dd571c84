"""Every message of the program as the template that translations are keyed by.

`python docs/messages.py` lists what each catalogue (`locale/zh.json` of a package) lacks, and its stale entries.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = [ROOT / "src/t2icli", *sorted(ROOT.glob("plugins/*/src/t2i_*"))]
MESSAGES = {
    "T2IError": 2,
    "warn": 1,
    "note": 1,
    "warning": 1,
    "confirm": 1,
    "bar": 1,
    "bar_with_steps": 1,
    "progress": 1,
}
"""Functions that take messages, and how many of their first arguments are messages."""
KEYWORDS = {"hint", "help", "description", "rich_help_panel", "title", "message"}
"""Arguments that are messages whatever they are given to."""
SPEAKING = {"did_you_mean", "what_to_install"}
"""Functions that return messages."""


def messages(package: Path) -> set[str]:
    """The templates of all messages in a package."""
    found: set[str] = set()
    for path in package.rglob("*.py"):
        if "templates" not in path.relative_to(package).parts:
            found |= set(_in_file(ast.parse(path.read_text(encoding="utf-8")), path))
    return {text for text in found if any(letter.isalpha() for letter in text.replace("{", ""))}


def _in_file(tree: ast.Module, path: Path) -> Iterator[str]:
    for function in ast.walk(tree):
        if isinstance(function, (ast.FunctionDef, ast.Module)):
            yield from _in_function(function, path)


def _in_function(function: ast.FunctionDef | ast.Module, path: Path) -> Iterator[str]:
    nodes = list(_own(function))
    values: dict[str, list[ast.expr]] = {}
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            values.setdefault(node.targets[0].id, []).append(node.value)
    for node in nodes:
        for argument in _arguments(node):
            for known in values.get(argument.id, []) if isinstance(argument, ast.Name) else [argument]:
                yield from templates(known)
        if isinstance(node, ast.Return) and node.value and getattr(function, "name", "") in SPEAKING:
            yield from templates(node.value)
    if path.parent.name == "commands" and isinstance(function, ast.FunctionDef) and not function.name.startswith("_"):
        if (about := ast.get_docstring(function)) and any(
            isinstance(a.annotation, ast.expr) for a in function.args.args
        ):
            yield from about.split("\n\n")


def _own(function: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function without those of the functions within it."""
    for child in ast.iter_child_nodes(function):
        yield child
        if not isinstance(child, (ast.FunctionDef, ast.ClassDef)) or isinstance(function, ast.ClassDef):
            yield from _own(child)
        elif isinstance(child, ast.ClassDef):
            yield from (node for node in _own(child) if not isinstance(node, ast.FunctionDef))
        else:
            yield from _own(child.args)


def _arguments(node: ast.AST) -> Iterator[ast.expr]:
    if not isinstance(node, ast.Call):
        return
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    yield from node.args[: MESSAGES.get(name, 0)]
    if name == "Entry":
        yield from node.args[1:2]
    if name == "table" and len(node.args) > 1 and isinstance(node.args[1], (ast.List, ast.Tuple)):
        yield from node.args[1].elts
    yield from (keyword.value for keyword in node.keywords if keyword.arg in KEYWORDS)


def templates(node: ast.expr) -> Iterator[str]:
    """What an expression may say, with holes for values."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        holes = iter(range(len(node.values)))
        yield "".join(v.value if isinstance(v, ast.Constant) else f"{{{next(holes)}}}" for v in node.values)
    elif isinstance(node, ast.IfExp):
        yield from (*templates(node.body), *templates(node.orelse))
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from templates(value)


def catalogue(package: Path, language: str = "zh") -> dict[str, str]:
    path = package / "locale" / f"{language}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def main() -> None:
    for package in PACKAGES:
        said, known = messages(package), catalogue(package)
        print(f"{package.name}: {len(said)} messages, {len(said - known.keys())} without a translation")
        json.dump(dict.fromkeys(sorted(said - known.keys()), ""), sys.stdout, ensure_ascii=False, indent=1)
        print("\nno longer said:", *sorted(known.keys() - said), sep="\n  ")


if __name__ == "__main__":
    main()
