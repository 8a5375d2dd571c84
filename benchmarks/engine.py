"""What a job costs here and on Ray: overhead per chunk, speed with more workers, time from a kill to going on.

    python benchmarks/engine.py [ADDRESS]

Without an address two nodes of one core each are started on this machine, beside a head that computes nothing.
Chunks wait, as for a GPU, so that the engine is measured and not the processor. Times are those at which shards
appeared, so starting a cluster and loading models are not in them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from t2icli.engine.jobs import Job, Make
from t2icli.engine.run import Ray, run

PAUSE = 0.5
"""Seconds that a chunk of work takes."""


@dataclass(frozen=True)
class Waiting:
    """Waits, and notes in `log` the process that has loaded."""

    log: Path
    seconds: float

    def __call__(self) -> Make:
        with self.log.open("a") as stream:
            stream.write(f"{os.getpid()} {time.time()}\n")
        return self.make

    def make(self, chunk: Sequence[int], draft: Path) -> None:
        time.sleep(self.seconds)
        draft.write_text(f"{os.getpid()} {chunk[0]}\n")

    @property
    def loads(self) -> list[tuple[int, float]]:
        """The processes that have loaded, and when."""
        lines = self.log.read_text().splitlines() if self.log.is_file() else []
        return [(int(process), float(when)) for process, when in map(str.split, lines)]


def done(folder: Path, chunks: int, seconds: float, on: Ray | None) -> tuple[Waiting, list[float]]:
    """A job, and when each of its shards appeared."""
    how = Waiting(folder / "log", seconds)
    job = Job(folder / "out", {"chunks": chunks}, ([i] for i in range(chunks)), how, ".txt")
    run(job, on)
    return how, sorted(path.stat().st_mtime for path in (folder / "out/shards").iterdir())


def seconds_a_chunk(chunks: int, seconds: float, on: Ray | None) -> float:
    """Between shards, once all workers have loaded."""
    with tempfile.TemporaryDirectory() as folder:
        how, times = done(Path(folder), chunks, seconds, on)
        ready = max(when for _, when in how.loads)
        times = [when for when in times if when > ready]
    return (times[-1] - times[0]) / (len(times) - 1)


def from_kill_to_next(address: str) -> tuple[float, float]:
    """One of two workers is killed: seconds until another has loaded in its place, and until its first shard."""
    killed: list[tuple[int, float]] = []

    def kill(how: Waiting) -> None:
        while len(how.loads) < 2:
            time.sleep(0.02)
        time.sleep(2 * PAUSE)
        process = how.loads[0][0]
        os.kill(process, signal.SIGKILL)
        killed.append((process, time.time()))

    with tempfile.TemporaryDirectory() as folder:
        Thread(target=kill, args=(Waiting(Path(folder) / "log", PAUSE),), daemon=True).start()
        how, _ = done(Path(folder), 60, PAUSE, Ray(address, 2))
        (_, at), (new, loaded) = killed[0], how.loads[2]
        shards = [path for path in (Path(folder) / "out/shards").iterdir() if path.read_text().startswith(f"{new} ")]
        return loaded - at, min(path.stat().st_mtime for path in shards) - at


def cluster() -> tuple[str, Callable[[], None]]:
    """The address of two nodes started here, and what stops them."""
    from ray.cluster_utils import Cluster

    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # that of the workers
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        started.add_node(num_cpus=1)
    return started.address, started.shutdown


def rows(address: str) -> Iterator[list[Any]]:
    for name, on in (("here", None), ("ray, 1 worker", Ray(address, 1)), ("ray, 2 workers", Ray(address, 2))):
        nothing, work = seconds_a_chunk(100, 0, on), seconds_a_chunk(40, PAUSE, on)
        yield [name, 1000 * nothing, 1 / work, 100 * PAUSE / work / (on.workers if on else 1)]


def main(address: str | None = None) -> None:
    import table

    with contextlib.ExitStack() as stack:
        if address is None:
            address, stop = cluster()
            stack.callback(stop)
        measured = list(rows(address))
        again, first = from_kill_to_next(address)
    about = (
        f"Jobs of `t2icli.engine` (`make bench-engine`): 100 chunks that do nothing, and 40 that wait {PAUSE} s each.\n"
        f"Loading is not counted. After kill -9 of one of two workers another had loaded in {again:.1f} s and made a\n"
        f"shard in {first:.1f} s; the other worker kept working."
    )
    columns = ["engine", "ms a chunk of nothing", "chunks of work a second", "of the ideal, %"]
    table.record("Jobs in shards", about, columns, measured)


if __name__ == "__main__":
    import engine  # by its name, which the workers import it by

    engine.main(*sys.argv[1:])
