"""What users see: results on stdout, everything else on stderr. The only module that prints.

File names, captions and the errors of plugins are untrusted text, and terminals obey control characters: every text
passes `visible` on its way out. rich is imported when there is a table or a bar to draw.

Messages are translated here; paths, captions and what programs read are not.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json as _json
import os
import re
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from t2icli.ground import extras
from t2icli.ground.errors import T2IError, Unreachable
from t2icli.ground.translate import translate
from t2icli.ground.watch import NO_FIGURES, Watch, unwatched

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID, TextColumn

quiet = False
"""Set by `--quiet`: no progress and no warnings."""
NARROW = 20
"""Columns that are left for each of the others where paths take more than the terminal has."""
IN_WORDS = {
    "about",
    "Chinese",
    "licence",
    "meaning",
    "trains",
    "why",
    "what",
    "what to do",
    "state",
    "direction",
    "default",
    "now",
    "",
}
"""Headings of columns whose cells are messages; other cells are names, captions and numbers."""
SECONDS = 5.0
"""Between plain lines of one job."""
YES = ("y", "yes", "是")
COMMANDING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal obeys in place of showing it: control characters but tab and newline, and those that reverse the
direction of writing. Also halves of characters, which are bytes of a file's name that are no UTF-8."""


def visible(text: str) -> str:
    """`text` with what a terminal would obey written out, as in JSON: `\\u001b`."""
    return COMMANDING.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _write(stream: TextIO, text: str, label: str = "", colour: int = 0) -> None:
    """A line, behind a label in colour."""
    label, space = translate(label), "" if translate(label).endswith("：") else " "
    if label and stream.isatty() and not os.environ.get("NO_COLOR"):
        label = f"\x1b[{colour}m{label}\x1b[0m"
    stream.write(f"{label}{space}{visible(text)}\n" if label else f"{visible(text)}\n")


def line(text: str) -> None:
    """A result of one line, such as a path."""
    _write(sys.stdout, text)


def text(message: str) -> None:
    """A result in words."""
    _write(sys.stdout, translate(message))


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


class Percent(float):
    """A share of a hundred, shown as 86.7 %."""


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
    headings = [visible(translate(columns[index])) for index in used]
    cells = [[_cell(row[index], columns[index]) for index in used] for row in listed]
    if title:
        line(translate(title))
    if not sys.stdout.isatty():  # as wide as it needs to be
        lines_of = _aligned([headings, *cells], {used.index(index) for index in right})
        lines([*lines_of[:1], "-" * max(map(len, lines_of)), *lines_of[1:], ""])
        return
    if named and not _fits(headings, cells):
        _paragraphs(headings, cells)
        return
    paths = {index: width for index in used if (width := _width_of_paths(row[index] for row in listed))}
    _rich_table(headings, cells, [index in right for index in used], [paths.get(index) for index in used])


def _fits(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> bool:
    """Whether a terminal has room for all columns and a few words of the last."""
    widths = [max(map(_width, column)) for column in zip(headings, *cells, strict=True)]
    return sum(widths[:-1]) + 3 * len(widths) + NARROW <= console(sys.stdout).width


def _paragraphs(headings: Sequence[str], cells: Iterable[Sequence[str]]) -> None:
    """A name, and under it what there is to say of it."""
    from rich.padding import Padding
    from rich.text import Text

    out = console(sys.stdout)
    for name, *facts, about in cells:
        out.print(Text(name, "bold"))
        known = [f"{heading} {fact}".strip() for heading, fact in zip(headings[1:], facts, strict=False) if fact]
        for text in filter(None, (", ".join(known), about)):
            out.print(Padding(Text(text), (0, 0, 0, 4)))


def _aligned(rows: Sequence[Sequence[str]], right: Collection[int]) -> list[str]:
    """Rows of cells in columns; a Chinese character is as wide as two others."""
    flat = [[cell.replace("\n", " ") for cell in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(*flat, strict=True)]
    padded = ([(" " * (width - _width(cell)), cell) for cell, width in zip(row, widths, strict=True)] for row in flat)
    joined = ((s + c if index in right else c + s for index, (s, c) in enumerate(row)) for row in padded)
    return ["  ".join(row).rstrip() for row in joined]


def _width(text: str) -> int:
    from unicodedata import combining, east_asian_width

    if text.isascii():
        return len(text)
    return sum(0 if combining(c) else 1 + (east_asian_width(c) in "WF") for c in text)


def _rich_table(
    headings: Sequence[str], cells: Iterable[Sequence[str]], right: Sequence[bool], paths: Sequence[int | None]
) -> None:
    """`paths` holds the width of each column of paths: where they need more than the terminal has, the table does."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, to_the_right, width in zip(headings, right, paths, strict=True):
        justify: Literal["right", "left"] = "right" if to_the_right else "left"
        shown.add_column(Text(heading), justify=justify, overflow="fold", min_width=width)
    for row in cells:
        shown.add_row(*map(Text, row))
    out = console(sys.stdout)
    if wide := [width for width in paths if width]:
        out = console(sys.stdout, max(out.width, sum(wide) + NARROW * (len(paths) - len(wide))))
    out.print(shown)


def _width_of_paths(cells: Iterable[Any]) -> int:
    from rich.cells import cell_len

    return max((cell_len(str(cell)) for cell in cells if isinstance(cell, Path)), default=0)


def _cell(value: Any, heading: str) -> str:
    if value is None:
        return ""
    if isinstance(value, Percent):
        return f"{value:.1f} %"
    if isinstance(value, float):
        return f"{value:.4f}"
    return visible(translate(value) if isinstance(value, str) and heading in IN_WORDS else str(value))


def note(text: str) -> None:
    """Something good to know that is no result: on stderr."""
    if not quiet:
        _write(sys.stderr, translate(text))


def notes(texts: Iterable[str]) -> None:
    """Several of them, a line each."""
    for text in texts:
        note(text)


def warn(text: str) -> None:
    """A warning of one line."""
    if not quiet:
        _write(sys.stderr, " ".join(translate(str(text)).split()), "warning:", 33)


def warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """What `warnings.showwarning` is while a command runs."""
    warn(str(message))


@contextlib.contextmanager
def watching(*, plain: bool = False) -> Iterator[Watch]:
    """A watch to hand to a job: bars on a terminal, lines now and then elsewhere and with `--plain`."""
    if quiet:
        yield unwatched
    elif plain or not sys.stderr.isatty():
        lines_of_jobs = LineWatch()
        yield lines_of_jobs
        lines_of_jobs.end()
    else:
        with _bars() as bars:
            yield (drawn := Bars(bars))
        drawn.end()


class JobLine:
    """One job of a watch, in words that are the same in a bar and in a line."""

    def __init__(self, name: str, done: int) -> None:
        self.name, self.done, self.unit, self.steps = name, done, "", ""
        self.of: int | None = None
        self.figures: Mapping[str, float] = {}
        self.began, self.first, self.shown = time.monotonic(), done, 0.0

    @property
    def is_over(self) -> bool:
        return self.of is not None and self.done >= self.of

    def is_due(self, seconds: float) -> bool:
        """Whether it was last shown, or else began, so long ago; it is then taken to be shown."""
        now = time.monotonic()
        if now - (self.shown or self.began) < seconds:
            return False
        self.shown = now
        return True

    def words(self, seconds: float | None = None) -> str:
        """`20/500  loss 0.1234  3.2/s  2 min 30 s left`."""
        seconds = time.monotonic() - self.began if seconds is None else seconds
        rate = (self.done - self.first) / seconds if seconds > 0 else 0.0
        count = (
            _bytes(self.done, self.of) if self.unit == "B" else f"{self.done}" + f"/{self.of}" * (self.of is not None)
        )
        parts = [count, *_figures(self.figures), self.steps]
        if rate:
            parts.append(f"{_bytes(round(rate))}/s" if self.unit == "B" else f"{rate:.1f}/s")
            if self.of is not None and not self.is_over:
                parts.append(translate(f"{_time((self.of - self.done) / rate)} left"))
        return "  ".join(filter(None, parts))

    def line(self) -> str:
        return f"{translate(self.name)} {self.words()}"


class LineWatch(Watch):
    """A line for each job every few seconds, and its last one if there was another or it has figures."""

    def __init__(self) -> None:
        self.jobs: dict[str, JobLine] = {}
        self.now: JobLine | None = None

    def progress(
        self, job: str, done: int, of: int | None = None, figures: Mapping[str, float] = NO_FIGURES, *, unit: str = ""
    ) -> None:
        self.now = now = self.jobs.setdefault(job, JobLine(job, done))
        now.done, now.of, now.unit, now.figures = done, of, unit, figures or now.figures
        now.steps = ""
        if now.is_over:
            self.over(self.jobs.pop(job))
        else:
            self.changed(now)

    def result(self, job: str, done: int, of: int, figures: Mapping[str, float]) -> None:
        self.line("  ".join([f"{translate(job)} {done}/{of}", *_figures(figures)]))

    def step(self, done: int, of: int) -> None:
        if self.now is not None and of > 1:  # a picture of one step is counted by the job
            self.now.steps = f"{translate('step')} {done}/{of}"
            self.changed(self.now)

    def changed(self, job: JobLine) -> None:
        if job.is_due(SECONDS):
            self.line(job.line())

    def over(self, job: JobLine) -> None:
        if job.shown or job.figures:
            self.line(job.line())

    def line(self, text: str) -> None:
        _write(sys.stderr, text)

    def end(self) -> None:
        """The last line of jobs of unknown length."""
        for job in self.jobs.values():
            self.over(job)


class Bars(LineWatch):
    """A bar for each job. What has figures leaves its last line on the screen."""

    def __init__(self, bars: Progress) -> None:
        super().__init__()
        self.bars = bars
        self.tasks: dict[str, TaskID] = {}

    def changed(self, job: JobLine) -> None:
        if job.name not in self.tasks:
            self.tasks[job.name] = self.bars.add_task(translate(job.name), total=job.of, about="")
        self.bars.update(self.tasks[job.name], completed=job.done, total=job.of, about=job.words())

    def over(self, job: JobLine) -> None:
        if job.name in self.tasks:
            self.bars.remove_task(self.tasks.pop(job.name))
        if job.figures:
            self.line(job.line())

    def line(self, text: str) -> None:
        self.bars.console.print(text)


def _figures(values: Mapping[str, float]) -> list[str]:
    """`loss 0.1234`, `ok 1200`."""
    return [f"{name} {value}" if isinstance(value, int) else f"{name} {value:.4g}" for name, value in values.items()]


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _bytes(n: int, of: int | None = None) -> str:
    return f"{n / 1e6:.1f} MB" if of is None else f"{n / 1e6:.1f}/{of / 1e6:.1f} MB"


def _bars() -> Progress:
    from rich.progress import BarColumn, Progress

    columns = (words("{task.description}"), BarColumn(), words("{task.fields[about]}"))
    # Results may be printed meanwhile: rich would send them to where the bars are.
    return Progress(*columns, console=console(sys.stderr), transient=True, redirect_stdout=False)


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

    out = console(sys.stdout)
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
    sys.stderr.write(f"{visible(translate(question))} [y/N] ")
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
    _write(sys.stderr, message, "error:", 31)
    if hint:
        _write(sys.stderr, f"  {translate(hint)}")
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

    _write(sys.stderr, "".join(tracebacks.format_exception(type(problem), problem, problem.__traceback__)).rstrip("\n"))


def interrupted() -> int:
    """Say so; returns the exit code of Ctrl-C."""
    _write(sys.stderr, translate("interrupted"))
    return 130


def console(stream: TextIO, width: int | None = None) -> Console:
    """A rich console of this width, else the terminal's; in a pipe it is as wide as it needs to be."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class VisibleConsole(Console):
        """Writes out what is in texts; the cursor is moved by segments of another kind."""

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else segment._replace(text=visible(segment.text))

    width = width or (None if stream.isatty() else 10_000)  # bars in a pipe are not drawn
    return VisibleConsole(file=stream, highlight=False, markup=False, emoji=False, width=width)


def words(template: str) -> TextColumn:
    """The text of a bar or a spinner; brackets in it are no markup."""
    from rich.progress import TextColumn

    return TextColumn(template, markup=False)
