"""Doing a job: in this process, or in the workers of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from t2icli.engine import jobs
from t2icli.engine.jobs import Job
from t2icli.ground import locks
from t2icli.ground.errors import T2IError


@dataclass(frozen=True)
class Ray:
    """A cluster, and what a job takes of it."""

    address: str | None = None
    """None starts a cluster on this machine."""
    workers: int = 1
    """Processes, each of which loads its own copy of a model."""
    gpus: float = 0
    """Of each worker; a fraction shares one GPU."""


def run(job: Job, on: Ray | None = None, done: Callable[[int], None] = lambda number: None) -> None:
    """Make the shards that are missing; `done` is called with the number of each chunk whose shard is there."""
    taken = T2IError(f"another run is writing to '{job.output}'", "wait until it has finished, or use another --output")
    with locks.locked(job.output / ".lock", taken=taken):
        jobs.begin(job)
        missing = job.missing()
        for number in set(range(len(job.chunks))) - set(missing):
            done(number)
        if missing and on is None:
            _here(job, missing, done)
        elif missing and on is not None:
            from t2icli.engine.cluster import run_on_ray

            run_on_ray(job, missing, on, done)


def _here(job: Job, missing: list[int], done: Callable[[int], None]) -> None:
    make = job.load()
    for number in missing:
        jobs.write(job, number, job.chunks[number], make)
        done(number)
