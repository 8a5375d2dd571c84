"""Doing a job: in this process, or in the workers of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from t2icli.engine import jobs
from t2icli.engine.jobs import Job
from t2icli.ground import locks
from t2icli.ground.errors import T2IError

Done = Callable[[int], None]
"""Called for each chunk whose shard is there, with how many rows it has."""
Join = Callable[[Sequence[Path]], None]
"""Makes of all shards, in order, what is left to be made."""


@dataclass(frozen=True)
class Ray:
    """A cluster, and what a job takes of it."""

    address: str | None = None
    """None starts a cluster on this machine."""
    workers: int = 1
    """Processes, each of which loads its own copy of a model."""
    gpus: float = 0
    """Of each worker; a fraction shares one GPU."""


def run(job: Job, on: Ray | None = None, done: Done = lambda rows: None, join: Join = lambda shards: None) -> int:
    """Make the shards that are missing and join them; returns how many there are."""
    taken = T2IError(f"another run is writing to '{job.output}'", "wait until it has finished, or use another --output")
    with locks.locked(job.output / ".job.lock", taken=taken):
        jobs.begin(job)
        if on is None:
            count = _here(job, done)
        else:
            from t2icli.engine.cluster import run_on_ray

            count = run_on_ray(job, on, done)
        join([job.shard(number) for number in range(count)])
        return count


def _here(job: Job, done: Done) -> int:
    finished, make, count = job.finished(), None, 0
    for number, chunk in enumerate(job.chunks):
        if number not in finished:
            make = make or job.load()
            jobs.write(job, number, chunk, make)
        done(len(chunk))
        count = number + 1
    return count
