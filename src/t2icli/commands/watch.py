"""A long job on stderr: one live line in a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

from t2icli.commands import show
from t2icli.ground.translate import translate
from t2icli.training.progress import Progress, Watch, unwatched

SECONDS = 5.0
"""Between plain lines of one job."""
SHORT = 10.0
"""Seconds that need no estimate beforehand."""


@contextlib.contextmanager
def watching() -> Iterator[Watch]:
    """A watch to hand to a pipeline."""
    if show.quiet:
        yield unwatched
    elif sys.stderr.isatty():
        with _bars() as bars:
            yield _Live(bars)
    else:
        yield _Plain()


class _Plain:
    """Lines for logs: each job's first, its last, and one every few seconds between."""

    def __init__(self) -> None:
        self.told: dict[str, float] = {}

    def __call__(self, progress: Progress) -> None:
        if progress.what == "estimate":
            if (left := _left(progress)) > SHORT:
                show.note(f"about {_roughly(left)} to go")
            return
        now = time.monotonic()
        is_due = now - self.told.get(progress.what, -SECONDS) >= SECONDS
        if is_due or progress.done == progress.total or progress.what == "evaluate":
            self.told[progress.what] = now
            show.note(line(progress))


class _Live:
    """One bar for each job."""

    def __init__(self, bars: Any) -> None:
        self.bars = bars
        self.tasks: dict[str, Any] = {}

    def __call__(self, progress: Progress) -> None:
        if progress.what == "estimate":  # the bar shows it
            return
        if progress.what == "evaluate":
            self.bars.console.print(line(progress))
            return
        if progress.what not in self.tasks:
            self.tasks[progress.what] = self.bars.add_task(translate(progress.what), total=progress.total, told="")
        told = "  ".join(_said(progress))
        self.bars.update(self.tasks[progress.what], completed=progress.done, total=progress.total, told=told)


def _bars() -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (show.words("{task.description}"), BarColumn(), MofNCompleteColumn(), show.words("{task.fields[told]}"))
    return Bars(*columns, TimeRemainingColumn(elapsed_when_finished=True), console=show.console(sys.stderr))


def line(progress: Progress) -> str:
    """`train 20/500  loss 0.1234  64.0/s  12 s left`."""
    left = _left(progress)
    parts = [f"{translate(progress.what)} {progress.done}/{progress.total}", *_said(progress)]
    return "  ".join([*parts, translate(f"{_time(left)} left")] if left else parts)


def _left(progress: Progress) -> float:
    """Seconds."""
    return (progress.total - progress.done) * progress.batch / progress.rate if progress.rate else 0


def _roughly(seconds: float) -> str:
    hours, minutes = seconds / 3600, seconds / 60
    return f"{hours:.1f} h" if hours > 2 else f"{minutes:.0f} min" if minutes > 2 else f"{seconds:.0f} s"


def _said(progress: Progress) -> list[str]:
    figures = [f"{name} {value:.4g}" for name, value in progress.figures.items()]
    return figures + ([f"{progress.rate:.1f}/s"] if progress.rate else [])


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
