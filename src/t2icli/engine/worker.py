"""One process of a cluster that makes shards of a job."""

from __future__ import annotations

import contextlib
import os
import pickle
import platform
import socket
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from t2icli.engine import jobs
from t2icli.engine.jobs import Chunk, Job
from t2icli.ground.errors import T2IError

TRIES = 3
"""Times a chunk is begun when workers die under it."""
CHUNKS = ".chunks"
"""Where the chunks of a run wait, in the folder that all machines see, so that a query holds their places alone."""
BEGUN = ".begun"
"""The folder of a file for each chunk under way, with a byte for each worker that has begun it and not ended."""


def versions() -> dict[str, str]:
    """What must be the same on all machines."""
    return {"t2icli": version("t2icli"), "Python": ".".join(platform.python_version_tuple()[:2])}


def content_of(job: Job) -> bytes:
    """What a worker is given of a job, whose chunks it reads from a file."""
    return pickle.dumps((versions(), Path.cwd(), pickle.dumps(replace(job, chunks=()))))


class ClusterWorker:
    """A worker with its models. It works where the job was begun, so that paths mean the same."""

    def __init__(self, content: bytes) -> None:
        self._theirs, folder, self._content = pickle.loads(content)
        self._make: jobs.Make | None = None
        with contextlib.suppress(OSError):
            os.chdir(folder)

    def __call__(self, place: int) -> str:
        """The number of the chunk whose shard is there now, or what is wrong."""
        try:
            return self._made(place)
        except T2IError as error:
            return f"{socket.gethostname()}: {error.message}"

    def _made(self, place: int) -> str:
        if self._make is None:
            self._check_versions()
            self._job: Job = pickle.loads(self._content)  # of another version it may be something else
            self._check_folders()
            self._make = self._job.load()
        with (self._job.output / CHUNKS).open("rb") as stream:
            stream.seek(place)
            number, chunk = pickle.load(stream)
        with begun(self._job.output / BEGUN / str(number), chunk):
            jobs.write(self._job, number, chunk, self._make)
        return str(number)

    def _check_versions(self) -> None:
        for name, ours in versions().items():
            if ours != self._theirs[name]:
                raise T2IError(f"{name} is {ours} here, on the machine that began this job {self._theirs[name]}")

    def _check_folders(self) -> None:
        for path in (self._job.output / CHUNKS, *self._job.reads):
            if not path.exists():
                folder = path.parent if path.name == CHUNKS else path
                raise T2IError(f"'{folder}' is not there, but every machine must see the same folder")


@contextlib.contextmanager
def begun(mark: Path, chunk: Chunk) -> Iterator[None]:
    """Refuse a chunk under which `TRIES` workers have died; whichever of Ray, Daft and `run_on_ray` begins it again."""
    if mark.is_file() and mark.stat().st_size >= TRIES:
        raise T2IError(f"{TRIES} workers have died while they worked on the rows from {jobs.name_of(chunk[0])!r} on")
    with mark.open("ab") as stream:
        stream.write(b".")
    try:
        yield
    finally:
        mark.unlink(missing_ok=True)
