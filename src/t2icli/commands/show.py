"""What users see: results on stdout, everything else on stderr. Nothing else prints.

Messages are translated here; paths, captions and what programs read are not.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json as _json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from t2icli.commands import progress, tables, terminal
from t2icli.ground import extras
from t2icli.ground.errors import T2IError, Unreachable
from t2icli.ground.translate import translate
from t2icli.ground.watch import Watch, unwatched

quiet = False
"""Set by `--quiet`: no progress and no warnings."""
YES = ("y", "yes", "是")


def line(text: str) -> None:
    """A result of one line, such as a path."""
    terminal.write(sys.stdout, text)


def text(message: str) -> None:
    """A result in words."""
    terminal.write(sys.stdout, translate(message))


def lines(results: Iterable[object]) -> None:
    """Results of a line each, for programs to read: paths with what line ends they have replaced by spaces."""
    for each in results:
        line(str(each).replace("\n", " "))


def json(document: Any) -> None:
    """The one document of `--json`."""
    line(_json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False, default=str))


def is_plain(wanted: bool) -> bool:
    """Whether results are read by a program: `--plain`, or an output that is no terminal."""
    return wanted or not sys.stdout.isatty()


def table(
    rows: Iterable[Sequence[Any]], columns: Sequence[str], title: str | None = None, *, named: bool = False
) -> None:
    """Rows under headings; numbers stand to the right, and an empty column is left out.

    A path is never broken: where it is wider than the terminal, so is the table. Nor is a name, in the first column of
    `named` rows: on a narrow terminal each is a paragraph.
    """
    listed = [list(row) for row in rows]
    used = [index for index in range(len(columns)) if any(row[index] not in (None, "") for row in listed)]
    right = {index for index in used if all(isinstance(row[index], (int, float)) for row in listed)}
    headings = [terminal.visible(translate(columns[index])) for index in used]
    cells = [[tables.cell(row[index], columns[index]) for index in used] for row in listed]
    if title:
        line(translate(title))
    if not sys.stdout.isatty():  # as wide as it needs to be
        lines_of = tables.aligned([headings, *cells], {used.index(index) for index in right})
        lines([*lines_of[:1], "-" * max(map(len, lines_of)), *lines_of[1:], ""])
        return
    if named and not tables.fits(headings, cells):
        tables.paragraphs(headings, cells)
        return
    paths = {index: width for index in used if (width := tables.width_of_paths(row[index] for row in listed))}
    tables.rich_table(headings, cells, [index in right for index in used], [paths.get(index) for index in used])


def note(text: str) -> None:
    """Something good to know that is no result: on stderr."""
    if not quiet:
        terminal.write(sys.stderr, translate(text))


def notes(texts: Iterable[str]) -> None:
    """Several of them, a line each."""
    for text in texts:
        note(text)


def warn(text: str) -> None:
    """A warning of one line."""
    if not quiet:
        terminal.write(sys.stderr, " ".join(translate(str(text)).split()), "warning:", 33)


def skipped(reasons: Iterable[str]) -> None:
    """What could not be opened, a line each."""
    for reason in reasons:
        warn(f"skipped: {reason}")


def warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """What `warnings.showwarning` is while a command runs."""
    warn(str(message))


@contextlib.contextmanager
def watching(*, plain: bool = False) -> Iterator[Watch]:
    """A watch to hand to a job: bars on a terminal, lines now and then elsewhere and with `--plain`."""
    if quiet:
        yield unwatched
    elif plain or not sys.stderr.isatty():
        lines_of_jobs = progress.LineWatch()
        yield lines_of_jobs
        lines_of_jobs.end()
    else:
        with progress.bars() as bars:
            yield (drawn := progress.Bars(bars))
        drawn.end()


def check_pictures() -> None:
    """Whether this terminal program can show pictures, before any work is done for them."""
    if importlib.util.find_spec("textual_image") is None:
        raise T2IError("--show needs the package textual-image", "run: t2i install 't2icli[show]'")


def pictures(paths: Sequence[Path]) -> None:
    """Pictures in the terminal itself, as large as it allows; blocks of colour where it knows no pictures."""
    if not sys.stdout.isatty():
        warn("--show needs a terminal, but the output is redirected")
        return
    if 0 in os.get_terminal_size(sys.stdout.fileno()):
        warn("--show needs to know how large the terminal is; try: stty cols 80 rows 24")
        return
    try:
        _paint(paths)
    except Exception as error:  # a terminal that does not know its own size, say: the pictures are on disk all the same
        warn(f"cannot show pictures in this terminal: {error}")


def _paint(paths: Sequence[Path]) -> None:
    from textual_image.renderable import Image

    out = terminal.console(sys.stdout)
    for path in paths:
        out.print(path.name)
        out.print(Image(path, width=min(60, out.width), height="auto"))


def page(path: Path) -> None:
    """A page in the user's browser; where there is none, where it lies."""
    import webbrowser

    if not webbrowser.open(path.absolute().as_uri()):
        warn(f"there is no browser to open '{path}' with")


def confirm(question: str, yes: bool) -> None:
    """Continue only if the user agrees; without a terminal, `-y` is needed."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise T2IError(f"no terminal to ask: {question}", "add --yes")
    sys.stderr.write(f"{terminal.visible(translate(question))} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in YES:
        raise T2IError("cancelled", code=1)


def error(problem: Exception, *, as_json: bool = False) -> int:
    """Say what went wrong and what to do about it; returns the exit code."""
    message, hint, code = _explained(problem)
    if as_json:
        json({"error": {"type": type(problem).__name__, "message": message, "hint": hint}})
        return code
    if not message:  # a group of commands without a command has shown its help already
        return code
    message = translate(message).replace("\n", "\n  ")  # no line of it looks like another message
    terminal.write(sys.stderr, message, "error:", 31)
    if hint:
        terminal.write(sys.stderr, f"  {translate(hint)}")
    return code


def _explained(problem: Exception) -> tuple[str, str | None, int]:
    if isinstance(problem, (T2IError, Unreachable)):
        return problem.message, problem.hint, problem.code
    if hasattr(problem, "format_message"):  # wrong flags: Typer's own errors, of whichever click it stands on
        return _lowered(problem.format_message()), _where_it_stands(problem), 2
    if isinstance(problem, OSError) and problem.strerror:
        where = f" '{problem.filename}'" if problem.filename else ""
        return f"{problem.strerror[0].lower()}{problem.strerror[1:]}{where}", None, 1
    if isinstance(problem, OSError) and problem.args and isinstance(problem.args[0], list):  # of shutil.copytree
        source, _, reason = problem.args[0][0]
        return f"cannot copy '{source}': {reason}", None, 1
    if isinstance(problem, ModuleNotFoundError) and (extra := extras.with_module(problem.name)):
        return f"the package {problem.name!r} is not installed", f"run: t2i install 't2icli[{extra}]'", 2
    if type(problem).__name__ == "OutOfMemoryError" or isinstance(problem, MemoryError):
        return "out of memory", "a smaller --batch-size needs less", 1
    return f"{type(problem).__name__}: {problem}", f"this is a bug{_of_plugin(problem)}; add --debug to see where", 1


def _of_plugin(problem: Exception) -> str:
    """The plugin whose code an error came out of last; nothing where it was our own."""
    from t2icli.registry import discovery

    offers = discovery.installed().offers.values() if discovery.installed.cache_info().currsize else ()
    owners = {_package(each.entry.load): each for of_kind in offers for each in of_kind.values()}
    owners.pop("t2icli", None)
    culprit, step = "", problem.__traceback__
    while step is not None:
        package = str(step.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        if package in owners:
            culprit = f" of plugin {owners[package].plugin!r} ({owners[package].distribution})"
        elif package == "t2icli":
            culprit = ""
        step = step.tb_next
    return culprit


def _package(function: object) -> str:
    return str(getattr(function, "__module__", "t2icli")).partition(".")[0]


def _where_it_stands(problem: Any) -> str | None:
    """Where a wrong value came from, when it was not typed; else where the right ones are listed."""
    context, parameter = getattr(problem, "ctx", None), getattr(problem, "param", None)
    if context is None:
        return None
    if parameter is not None and (source := context.get_parameter_source(parameter.name)) is not None:
        if source.name == "DEFAULT_MAP":
            return f"it is set in the file of --config: {context.params.get('config_file')}"
        if source.name == "ENVIRONMENT":
            return f"it comes from the variable {parameter.envvar}"
    return f"see: {context.command_path} --help"


def _lowered(sentence: str) -> str:
    sentence = sentence.replace(": Value error, ", ": ")  # pydantic's word, which Typer passes on
    return sentence[:1].lower() + sentence[1:].rstrip(".")


def traceback(problem: Exception) -> None:
    """Where an error came from: `--debug`."""
    import traceback as tracebacks

    shown = "".join(tracebacks.format_exception(type(problem), problem, problem.__traceback__))
    terminal.write(sys.stderr, shown.rstrip("\n"))


def interrupted() -> int:
    """Say so; returns the exit code of Ctrl-C."""
    terminal.write(sys.stderr, translate("interrupted"))
    return 130
