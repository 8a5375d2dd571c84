"""Rows going by on stderr: how many, how fast, and what became of them."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from t2icli.commands import show
from t2icli.ground.translate import translate

SECONDS = 5.0
"""Between lines where there is no terminal."""
REASONS = 6
"""Shown at a time, the commonest."""


@contextlib.contextmanager
def tallying() -> Iterator[Callable[[str, int, int], None]]:
    """What to call as rows come in: why (or `ok`), how many, how many bytes."""
    if show.quiet:
        yield lambda reason, rows, size: None
    elif sys.stderr.isatty():
        with _spinner() as spinner:
            task = spinner.add_task("", total=None)
            yield Tally(lambda text: spinner.update(task, description=text), 0.1)
    else:
        yield Tally(show.note, SECONDS)


class Tally:
    """Counts rows and reports now and then."""

    def __init__(self, say: Callable[[str], None], every: float) -> None:
        self.say = say
        self.every = every
        self.counts: Counter[str] = Counter()
        self.started = self.said = time.monotonic()
        self.bytes = 0

    def __call__(self, reason: str, rows: int, size: int) -> None:
        self.counts[reason] += rows
        self.bytes += size
        now = time.monotonic()
        if now - self.said >= self.every:
            self.said = now
            self.say(self.line(now - self.started))

    def line(self, seconds: float) -> str:
        """`1200 rows  240/s  9.1 MB/s  ok 1100  http-404 80  timeout 20`."""
        total = self.counts.total()
        parts = [translate(f"{total} rows"), f"{total / seconds:.0f}/s", f"{self.bytes / seconds / 1e6:.1f} MB/s"]
        return "  ".join(parts + [f"{reason} {count}" for reason, count in self.counts.most_common(REASONS)])


def _spinner() -> Any:
    from rich.progress import Progress, SpinnerColumn

    columns = (SpinnerColumn(), show.words("{task.description}"))
    return Progress(*columns, console=show.console(sys.stderr), transient=True)
