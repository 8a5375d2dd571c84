"""A job's chunks on a Ray cluster through Daft: one query for the whole job, so that each worker loads its model once.

All machines must see the output folder, and what the chunks name, under the same path.
"""

from __future__ import annotations

import pickle
import pkgutil
import socket
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from queue import Empty, Queue
from threading import Thread
from typing import TYPE_CHECKING, Any

from t2icli.engine import jobs
from t2icli.engine.jobs import Job
from t2icli.ground.errors import T2IError

if TYPE_CHECKING:
    from t2icli.engine.run import Ray

ANSWER_WITHIN = 4.0
"""Seconds in which the head of a cluster must take a connection, and then answer."""
TRIES = 3
"""Times a chunk is begun when workers die under it."""
STARTED = "start one: ray start --head; its first lines show the address"
SHARED = "every machine must see the same folder under that path"
KEPT = "finished shards are kept: run the same command again"


def connect(address: str | None) -> tuple[Any, Any]:
    """Daft and Ray, connected to the cluster at `address`; None starts one on this machine."""
    try:
        import daft
        import ray
    except ImportError as error:
        raise T2IError("a Ray cluster needs daft and ray", "run: t2i install 't2icli[ray]'") from error
    if address:
        check_address(address)
        check_answer(address)
    try:
        ray.init(address=address or None, ignore_reinit_error=True, log_to_driver=False, configure_logging=False)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).split("\n", 1)[0]
        raise T2IError(f"cannot use the Ray cluster at {address or 'this machine'}: {reason}", code=1) from error
    if daft.get_or_infer_runner_type() != "ray":
        daft.set_runner_ray(address or None)
    return daft, ray


def check_address(address: str) -> None:
    """Whether anything takes connections there: Ray itself would wait for minutes."""
    if address in ("auto", "local"):
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not host or not port.isdecimal():
        raise T2IError(f"{address!r} is not the address of a Ray cluster", "write HOST:PORT, as `ray start` shows it")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_WITHIN).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise T2IError(f"no Ray cluster answers at {address}: {error}", STARTED, code=1) from error


def check_answer(address: str) -> None:
    """Whether what takes connections there is Ray: `ray.init` would try for 20 seconds, or for a minute and more."""
    if address in ("auto", "local") or address.startswith("ray://"):
        return
    answers: Queue[Exception | None] = Queue()
    Thread(target=_ask, args=(address, answers), daemon=True).start()  # the call itself cannot be given a deadline
    try:
        error = answers.get(timeout=ANSWER_WITHIN)
    except Empty:
        error = TimeoutError("timed out")
    if error is not None:
        raise T2IError(f"what answers at {address} is not a Ray cluster: {error}", STARTED, code=1) from error


def _ask(address: str, answers: Queue[Exception | None]) -> None:
    try:
        pkgutil.resolve_name("ray._raylet:GcsClient")(address=address)  # as `ray health-check` does
        answers.put(None)
    except Exception as error:  # of types of Ray's own
        answers.put(error)


def run_on_ray(job: Job, missing: list[int], on: Ray, done: Callable[[int], None]) -> None:
    """Make the shards of `missing` in `on.workers` processes."""
    daft, _ = connect(on.address)
    job = replace(job, output=job.output.resolve())
    worker = daft.cls(
        ClusterWorker, cpus=1, gpus=on.gpus, max_concurrency=on.workers, use_process=True, max_retries=TRIES - 1
    )(pickle.dumps((replace(job, chunks=()), version("t2icli"))))
    chunks = [pickle.dumps((number, job.chunks[number])) for number in missing]
    frame = daft.from_pydict({"chunk": chunks}).into_partitions(len(chunks))
    try:
        for row in frame.select(worker(daft.col("chunk")).alias("answer")).iter_rows(results_buffer_size=None):
            _take(row["answer"], done)
        if lost := job.missing():
            raise T2IError(f"shards that workers have made are not in '{job.output}': {len(lost)}", SHARED, code=1)
    except T2IError:
        raise
    except Exception as error:  # what Daft and Ray raise when workers are gone is of many types
        raise T2IError(f"the cluster failed: {str(error).strip().splitlines()[-1]}", KEPT, code=1) from error


def _take(answer: str, done: Callable[[int], None]) -> None:
    if not answer.isdecimal():
        raise T2IError(answer, KEPT, code=1)
    done(int(answer))


class ClusterWorker:
    """One process of the cluster, with its models."""

    def __init__(self, content: bytes) -> None:
        self._job, theirs = pickle.loads(content)
        self._make: jobs.Make | None = None
        self._problem = ""
        if (ours := version("t2icli")) != theirs:
            self._problem = f"{socket.gethostname()} has t2icli {ours}, the machine that began this job {theirs}"

    def __call__(self, content: bytes) -> str:
        """The number of the chunk whose shard is there now, or what is wrong."""
        try:
            return self._problem or self._made(content)
        except T2IError as error:
            return f"{socket.gethostname()}: {error.message}"

    def _made(self, content: bytes) -> str:
        if not (self._job.output / jobs.PLAN).is_file():
            raise T2IError(f"'{self._job.output}' is not there, but every machine must see the same folder")
        if self._make is None:
            self._make = self._job.load()
        number, chunk = pickle.loads(content)
        jobs.write(self._job, number, chunk, self._make)
        return str(number)
