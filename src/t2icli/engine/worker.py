"""One process of a cluster that makes shards of a job."""

from __future__ import annotations

import contextlib
import os
import pickle
import platform
import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from t2icli.engine import jobs
from t2icli.engine.jobs import Chunk, Job
from t2icli.ground.errors import T2IError, Unreachable

TRIES = 3
"""Times a chunk is begun when workers die under it."""
CHUNKS = ".chunks"
"""Where the chunks of a run wait, in the folder that all machines see, so that a query holds their places alone."""
BEGUN = ".begun"
"""The folder of a file for each chunk under way, with a byte for each worker that has begun it and not ended."""


def versions() -> dict[str, str]:
    """What must be the same on all machines."""
    return {"t2icli": version("t2icli"), "Python": ".".join(platform.python_version_tuple()[:2])}


class Given(NamedTuple):
    """What a worker is given of a job: types that no version of ours changes."""

    job: bytes
    """Without its chunks; of another version it may be something else."""
    reads: Mapping[Path, Path]
    """What must be there, by the path that an error names: of a folder something in it, as a mount may be missing."""
    versions: Mapping[str, str]
    folder: Path
    """Where the job was begun."""

    @classmethod
    def of(cls, job: Job) -> Given:
        reads = {job.output: job.output / CHUNKS, **{path: _within(path) for path in job.reads}}
        return cls(pickle.dumps(replace(job, chunks=())), reads, versions(), Path.cwd())


def _within(path: Path) -> Path:
    """Some file or folder in a folder; the path itself, where there is none."""
    if not path.is_dir():
        return path
    return next((each for each in path.iterdir() if not each.name.startswith(".")), path)


class ClusterWorker:
    """A worker with its models. It works where the job was begun, so that paths mean the same."""

    def __init__(self, job: bytes, reads: Mapping[Path, Path], versions: Mapping[str, str], folder: Path) -> None:
        self._content, self._reads, self._theirs = job, reads, versions
        self._make: jobs.Make | None = None
        with contextlib.suppress(OSError):
            os.chdir(folder)

    def __call__(self, place: int) -> str:
        """The number of the chunk whose shard is there now, or what is wrong."""
        try:
            return self._made(place)
        except (T2IError, Unreachable) as error:
            return f"{socket.gethostname()}: {error.message}"

    def _made(self, place: int) -> str:
        if self._make is None:
            self._check_versions()
            self._check_folders()
            self._job: Job = pickle.loads(self._content)
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
        for path, inside in self._reads.items():
            if not inside.exists():
                raise T2IError(f"'{path}' is not there, or is empty, but every machine must see the same folder")


@contextlib.contextmanager
def begun(mark: Path, chunk: Chunk) -> Iterator[None]:
    """Refuse a chunk under which `TRIES` workers have died; whichever of Ray, Daft and `run_on_ray` begins it again."""
    if mark.is_file() and mark.stat().st_size >= TRIES:
        raise T2IError(f"{TRIES} workers have died on the rows from {jobs.name_of(chunk[0])!r} on")
    with mark.open("ab") as stream:
        stream.write(b".")
    try:
        yield
    finally:
        mark.unlink(missing_ok=True)
