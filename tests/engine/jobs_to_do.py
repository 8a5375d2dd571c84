"""Jobs of the tests; a module of its own, because the workers of a cluster import it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from t2icli.engine.jobs import Job, Make
from t2icli.engine.run import Ray, run
from t2icli.ground.errors import T2IError


@dataclass(frozen=True)
class Squares:
    """Loads nothing, but notes in `log` that it does, with the process; a chunk takes `seconds`."""

    log: Path
    seconds: float = 0.0
    deadly: int | None = None
    """A chunk that ends whoever makes it."""

    def __call__(self) -> Make:
        with self.log.open("a") as stream:
            stream.write(f"{os.getpid()}\n")
        return self.make

    def make(self, chunk: Sequence[int], draft: Path) -> None:
        (number,) = chunk
        if number < 0:
            raise T2IError(f"{number} has no square here")
        if number == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        with draft.open("w") as stream:
            stream.write(f"{number} ")
            stream.flush()
            time.sleep(self.seconds)
            stream.write(f"{number**2}\n")


def job(output: Path, chunks: int = 6, seconds: float = 0.0, deadly: int | None = None, **settings: object) -> Job:
    log = output.with_name(f"{output.name}.log")
    return Job(output, {"power": 2, **settings}, ([i] for i in range(chunks)), Squares(log, seconds, deadly), ".txt")


def loads(output: Path) -> list[str]:
    """The processes that have loaded, once for each time."""
    log = output.with_name(f"{output.name}.log")
    return log.read_text().split() if log.is_file() else []


def shards(output: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (output / "shards").iterdir()}


if __name__ == "__main__":
    folder, count, pause, deadly, *address = sys.argv[1:]
    import jobs_to_do

    try:
        run(
            jobs_to_do.job(Path(folder), int(count), float(pause), int(deadly) if deadly else None),
            Ray(address[0], workers=2) if address else None,
        )
    except T2IError as error:
        sys.exit(f"{error.message} ({error.hint})")
