"""Every message of the program, as the English template that its translation is filed under.

`python docs/messages.py` lists what each catalogue (`locale/zh.json` of a package) lacks, and what is no longer used.

A message is a text that stands where messages go (the hint of an error, the help of a flag, a heading), or any other
text of several words: they are raised in one module, put together in another and shown in a third.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

AROUND = " \n;,"
"""Not part of a message; as in t2icli.ground.translate."""
ROOT = Path(__file__).parents[1]
PACKAGES = [ROOT / "src/t2icli", *sorted(ROOT.glob("plugins/*/src/t2i_*"))]

SINKS = {"T2IError": 2, "translate": 1, "text": 1, "warn": 1, "note": 1, "confirm": 1, "counting": 1, "progress": 1}
"""Functions that take messages, and how many of their first arguments are messages."""
KEYWORDS = {"hint", "help", "description", "rich_help_panel", "title", "message"}
"""Arguments that are messages whatever they are given to."""
HEADINGS = {"columns", "PANELS", "HOW_LONG", "WRITING", "WHERE"}
"""Names of constants whose texts are headings."""
SEVERAL_WORDS = re.compile(r"[a-z]{2,}[,;:]? (\S+ )*\S*[a-z]{2,}|\} [a-z]{4,}|[a-z]{4,}:? \{", re.IGNORECASE)
MARKUP = re.compile(r"</?\w+|\\[wds.]|^--\S+ [A-Z]+$|^[\w ]*_[\w ]*$|\|")
"""HTML, patterns, lists of names and types."""
FILES_ONLY = {
    *("testing", "templates", "gallery.py", "page.py", "schema.py", "metrics.py", "vocabulary.py", "machine.py"),
    *("questions.py", "__main__.py"),
}
"""Folders and files whose texts are code, data, test reports for authors of plugins, or contents of files."""
NOT_SHOWN = {
    "import sys; sys.path[:] = sys.argv[1:]; from t2icli.engine.query import main; main()",
    *("a picture of", "heard in {0}", "a photo of", "a {0} of {1}", "learnt without words", ": Value error"),
    *("t2icli (prepares image-text data)", "Bearer {0}", "--revision {0}"),
    *("event: error\ndata: {0}", "event: {0}.{1}\ndata: {2}", "Value error", "Pictures of prompts, ranked."),
    *("private, max-age=31536000, immutable", "text/plain; version=0.0.4", "The last album of the page before."),
}
"""Words of prompts, of files and of what is replaced."""
CHINESE = re.compile("[\u4e00-\u9fff]")
WORDS = {
    *("error:", "warning:", "interrupted", "ok", "note", "broken", "whole", "new", "step", "train"),
    *("evaluate", "packages", "device", "cores", "plugins", "models"),
    *("home", "network", "installer", "source", "licence", "shards", "answers", "silent"),
    *("row {0}", "{0}, or {1}", "version of {0}", "setting {0}", "setting {0} of {1}"),
    *("samples", "memory", "run", "val", "test", "stand-in", "(required)", "none"),
    *("yes", "no", "needs {0}", "1 file"),
}
"""Words that are shown alone, or between values: they stand in tables and bars, where no rule tells them from names."""
OF_OTHERS = {
    *("Usage:", "Arguments", "Options", "Commands", "(deprecated)", "[default: {}]", "[env var: {}]", "[required]"),
    "Show this message and exit.",
    "Install completion for the current shell.",
    "Show completion for the current shell, to copy it or customize the installation.",
    *("no such option: {0}", "no such option: {0} (Possible options: {1})", "did you mean {0}?", "missing command"),
    *("no such command {0}", "missing argument {0}", "missing option {0}", "missing parameter {0}"),
    *("got unexpected extra argument(s) ({0})", "got unexpected extra argument ({0})"),
    *("invalid value: {0}", "invalid value for {0}: {1}", "option {0} requires an argument"),
    *("option {0} does not take a value", "{0} is not one of {1}", "Value {0} is not a valid {1}"),
    "Input should be a valid integer, unable to parse string as an integer",
    "Input should be a valid number, unable to parse string as a number",
    "Input should be greater than or equal to {0}",
    "Input should be less than or equal to {0}",
    *(
        "expected {0}, got {1}",
        "expected {0} >= {1}",
        "expected {0} <= {1}",
        "expected {0} > {1}",
        "expected {0} < {1}",
    ),
    *("expected {0}", "Expected {0}, got {1}", "Input data was truncated", "JSON is malformed: {0}"),
    *("Object missing required field {0}", "object missing required field {0}", "invalid enum value {0}"),
    *("Object contains unknown field {0}", "object contains unknown field {0}"),
    *("{0} is not a valid integer", "{0} is not a valid float", "{0} is not in the range {1}"),
}
"""What Typer, the click or pydantic in it, and msgspec say in help and errors."""
OF_THE_SYSTEM = {
    *("no such file or directory '{0}'", "permission denied '{0}'", "is a directory '{0}'", "not a directory '{0}'"),
    *("no space left on device '{0}'", "no space left on device", "file exists '{0}'", "No such file or directory"),
    *("Permission denied", "No space left on device", "Is a directory", "Not a directory", "Read-only file system"),
    *("file name too long '{0}'", "File name too long"),
}


def messages(package: Path) -> set[str]:
    """The templates of all messages in a package; for t2icli also those of Typer and of the system."""
    found: set[str] = WORDS | OF_OTHERS | OF_THE_SYSTEM if package == PACKAGES[0] else set()
    for path in package.rglob("*.py"):
        if not FILES_ONLY & set(path.relative_to(package).parts):
            found |= set(_in_file(ast.parse(path.read_text(encoding="utf-8"))))
    for path in package.rglob("catalogue.json"):
        found |= {model["about"] for model in json.loads(path.read_text(encoding="utf-8"))["models"].values()}
    return {text for text in found if re.search("[A-Za-z]{2}", text) and text not in NOT_SHOWN}


def _in_file(tree: ast.Module) -> Iterator[str]:
    apart = set(_documentation(tree)) | set(_pieces(tree))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Constant, ast.JoinedStr)) and node not in apart:
            yield from (text for text in templates(node) if _has_several_words(text))
        if isinstance(node, ast.Call):
            yield from (text for argument in _arguments(node) for text in templates(argument))
        if isinstance(node, ast.FunctionDef) and _is_command(node):
            yield from (ast.get_docstring(node) or "").split("\n\n")
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and _name(node) in HEADINGS and node.value:
            yield from (text for part in _headings(node.value) for text in templates(part))


def _has_several_words(text: str) -> bool:
    bare = text.strip()
    return bool(SEVERAL_WORDS.search(bare)) and not MARKUP.search(bare) and not CHINESE.search(bare)


def _documentation(tree: ast.Module) -> Iterator[ast.expr]:
    """Docstrings, those of attributes included."""
    return (node.value for node in ast.walk(tree) if isinstance(node, ast.Expr))


def _pieces(tree: ast.Module) -> Iterator[ast.AST]:
    """The constants that f-strings are made of, and format specifications."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield from (part for part in node.values if isinstance(part, ast.Constant))
            for part in node.values:
                if isinstance(part, ast.FormattedValue) and part.format_spec is not None:
                    yield from ast.walk(part.format_spec)


def _is_command(function: ast.FunctionDef) -> bool:
    """Whether its docstring is shown as help."""
    decorators = " ".join(map(ast.unparse, function.decorator_list))
    return (
        ".command(" in decorators
        or ".callback(" in decorators
        or bool(re.search("typer.(Option|Argument)", ast.unparse(function.args)))
    )


def _name(node: ast.Assign | ast.AnnAssign) -> str:
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    return target.id if isinstance(target, ast.Name) else ""


def _headings(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.Dict):
        yield from filter(None, node.keys)
    elif isinstance(node, (ast.List, ast.Tuple)):
        yield from node.elts
    else:
        yield node


def _arguments(node: ast.Call) -> Iterator[ast.expr]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    yield from node.args[: SINKS.get(name, 0)]
    if name in ("Entry", "Command"):
        yield from (*node.args[1:2], *node.args[3:4])
    if name == "Finding":
        yield from node.args[2:]
    if name == "table":
        yield from (part for argument in node.args[1:2] for part in _headings(argument))
        yield from node.args[2:]
    yield from (keyword.value for keyword in node.keywords if keyword.arg in KEYWORDS)


def templates(node: ast.expr) -> Iterator[str]:
    """What an expression may say, with holes for values."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value.strip(AROUND)
    elif isinstance(node, ast.JoinedStr):
        holes = iter(range(len(node.values)))
        yield "".join(v.value if isinstance(v, ast.Constant) else f"{{{next(holes)}}}" for v in node.values).strip(
            AROUND
        )
    elif isinstance(node, ast.IfExp):
        yield from (*templates(node.body), *templates(node.orelse))
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from templates(value)


def catalogue(package: Path, language: str = "zh") -> dict[str, str]:
    """The translations that a package brings."""
    path = package / "locale" / f"{language}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def main() -> None:
    for package in PACKAGES:
        used, known = messages(package), catalogue(package)
        print(f"{package.name}: {len(used)} messages, {len(used - known.keys())} without a translation")
        print(*sorted(used - known.keys()), sep="\n")
        print("\nno longer used:", *sorted(known.keys() - used), sep="\n  ")


if __name__ == "__main__":
    main()
