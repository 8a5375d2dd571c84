"""A job's chunks on a Ray cluster through Daft: one query for the whole job, so that each worker loads its model once.

All machines must see the output folder, and what the chunks name, under the same path. When machines are lost, what is
left is another query, for the workers that there is room for.
"""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from t2icli.engine import jobs
from t2icli.engine.jobs import Job
from t2icli.engine.query import KEPT, Lost, Query, ask, check_address
from t2icli.engine.worker import BEGUN, CHUNKS, TRIES, Given
from t2icli.ground.errors import T2IError

if TYPE_CHECKING:
    from t2icli.engine.run import Done, Ray

Ask = Callable[[Query], Iterator[str]]
"""Runs a query; gives the number of each chunk as it is made, or what is wrong with it."""
SHARED = "every machine must see the same folder under that path"


class Waiting(NamedTuple):
    """A chunk without a shard."""

    place: int
    """Where it begins in the file of chunks."""
    rows: int


def run_on_ray(job: Job, on: Ray, done: Done, ask: Ask = ask) -> int:
    """As `run` does here, in `on.workers` processes."""
    if on.address:
        check_address(on.address)
    job = replace(job, output=job.output.resolve())
    chunks, begun = job.output / CHUNKS, job.output / BEGUN
    shutil.rmtree(begun, ignore_errors=True)
    begun.mkdir()
    try:
        left, count = _store(job, chunks, done)
        _make(job, on, left, done, ask)
        jobs.sweep(job)  # those of workers that died
        if lost := count - len(job.finished() & set(range(count))):
            raise T2IError(f"shards that workers have made are not in '{job.output}': {lost}", SHARED, code=1)
        return count
    finally:
        chunks.unlink(missing_ok=True)
        shutil.rmtree(begun, ignore_errors=True)


def _make(job: Job, on: Ray, left: dict[int, Waiting], done: Done, ask: Ask) -> None:
    """Ask workers for the shards of the chunks `left`, as long as some of them become fewer by it."""
    given, again = Given.of(job), 0
    while left:
        query = Query(on.address, on.workers, on.gpus, again > 0, given, [chunk.place for chunk in left.values()])
        before = len(left)
        try:
            for answer in ask(query):
                if not answer.isdecimal():
                    raise T2IError(answer, KEPT, code=1)
                done(left.pop(int(answer), Waiting(0, 0)).rows)
            return
        except Lost:
            for number in job.finished() & left.keys():  # their workers ended before they could answer
                done(left.pop(number).rows)
            again = 1 if len(left) < before else again + 1
            if again == TRIES:
                raise


def _store(job: Job, path: Path, done: Done) -> tuple[dict[int, Waiting], int]:
    """Write the chunks without a shard to `path`; returns them by their numbers, and how many chunks there are."""
    finished, count = job.finished(), 0
    left: dict[int, Waiting] = {}
    with path.open("wb") as stream:
        for number, chunk in enumerate(job.chunks):
            count = number + 1
            if number in finished:
                done(len(chunk))
                continue
            left[number] = Waiting(stream.tell(), len(chunk))
            pickle.dump((number, chunk), stream)
        os.fsync(stream.fileno())
    return left, count
