"""Progress of jobs: bars on a terminal, elsewhere a line now and then in the same words."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from t2icli.commands import terminal
from t2icli.ground.translate import translate
from t2icli.ground.watch import NO_FIGURES, Watch

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID, TextColumn

SECONDS = 5.0
"""Between plain lines of one job."""


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
        terminal.write(sys.stderr, text)

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


def bars() -> Progress:
    from rich.progress import BarColumn, Progress

    columns = (_words("{task.description}"), BarColumn(), _words("{task.fields[about]}"))
    # Results may be printed meanwhile: rich would send them to where the bars are.
    return Progress(*columns, console=terminal.console(sys.stderr), transient=True, redirect_stdout=False)


def _words(template: str) -> TextColumn:
    """The text of a bar or a spinner; brackets in it are no markup."""
    from rich.progress import TextColumn

    return TextColumn(template, markup=False)
