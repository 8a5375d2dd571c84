"""A job's chunks on a Ray cluster through Daft: one query for the whole job, so that each worker loads its model once.

All machines must see the output folder, and what the chunks name, under the same path.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import pkgutil
import platform
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import TYPE_CHECKING, Any

from t2icli.engine import jobs
from t2icli.engine.jobs import Job
from t2icli.ground.errors import T2IError

if TYPE_CHECKING:
    from t2icli.engine.run import Done, Ray

ANSWER_WITHIN = 4.0
"""Seconds in which the head of a cluster must take a connection, and then answer."""
LOOKS_AFTER = 10.0
"""Seconds without an answer after which the machines of the cluster are counted."""
LOST_AFTER = 60.0
"""Seconds for which there must be too few of them."""
TRIES = 3
"""Times a chunk is begun when workers die under it."""
PARTITIONS = 10_000
"""Of one query at most: what Daft remembers of each must fit into memory. Longer jobs have several chunks in each."""
CHUNKS = ".chunks"
"""Where the chunks of a run wait, in the folder that all machines see, so that the query holds their places alone."""
STARTED = "start one: ray start --head; its first lines show the address"
SHARED = "every machine must see the same folder under that path"
SAME = "install the same packages on all machines"
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
        reason = " ".join(str(error).split())
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


def run_on_ray(job: Job, on: Ray, done: Done) -> int:
    """As `run` does here, in `on.workers` processes."""
    daft, ray = connect(on.address)
    check_room(ray.cluster_resources(), on)
    job = replace(job, output=job.output.resolve())
    waiting = job.output / CHUNKS
    try:
        places, rows, count = _store(job, waiting, done)
        for answer in patient(_answers(daft, job, on, places), lambda: check_room(ray.cluster_resources(), on)):
            if not answer.isdecimal():
                raise T2IError(answer, KEPT, code=1)
            done(rows.pop(int(answer), 0))
        if lost := count - len(job.finished() & set(range(count))):
            raise T2IError(f"shards that workers have made are not in '{job.output}': {lost}", SHARED, code=1)
        return count
    finally:
        waiting.unlink(missing_ok=True)


def check_room(has: dict[str, float], on: Ray) -> None:
    """Whether the workers fit into the cluster: Ray itself would wait for more machines for ever."""
    cores, gpus = has.get("CPU", 0), has.get("GPU", 0)
    if cores < on.workers or gpus < on.workers * on.gpus:
        needs = f"{on.workers} workers need {on.workers} and {on.workers * on.gpus:g}"
        hint = "use fewer --workers, or start Ray on more machines"
        raise T2IError(f"the cluster has {cores:g} cores and {gpus:g} GPUs, but {needs}", hint, code=1)


def patient(answers: Iterator[str], room: Callable[[], None]) -> Iterator[str]:
    """The answers, unless none comes and for a minute there is no `room` for all workers.

    What a lost machine was to do waits for another one, for ever: a query does not divide it among the workers left.
    """
    came: Queue[str | Exception | None] = Queue()
    Thread(target=_forward, args=(answers, came), daemon=True).start()
    waited = 0.0
    while True:
        try:
            answer = came.get(timeout=LOOKS_AFTER)
        except Empty:
            waited += LOOKS_AFTER
            try:
                room()
            except T2IError as error:
                if waited >= LOST_AFTER:
                    hint = f"{KEPT}, with fewer --workers or more machines"
                    raise T2IError(f"the cluster has lost machines: {error.message}", hint, code=1) from error
            else:
                waited = 0.0
            continue
        waited = 0.0
        if answer is None:
            return
        if isinstance(answer, Exception):
            raise answer
        yield answer


def _forward(answers: Iterator[str], to: Queue[str | Exception | None]) -> None:
    try:
        for answer in answers:
            to.put(answer)
        to.put(None)
    except Exception as error:
        to.put(error)


def _store(job: Job, path: Path, done: Done) -> tuple[list[int], dict[int, int], int]:
    """Write the chunks without a shard to `path`: where each begins, its rows by its number, and how many all are."""
    finished, count = job.finished(), 0
    places: list[int] = []
    rows: dict[int, int] = {}
    with path.open("wb") as stream:
        for number, chunk in enumerate(job.chunks):
            count = number + 1
            if number in finished:
                done(len(chunk))
                continue
            rows[number] = len(chunk)
            places.append(stream.tell())
            pickle.dump((number, chunk), stream)
        os.fsync(stream.fileno())
    return places, rows, count


def _answers(daft: Any, job: Job, on: Ray, places: list[int]) -> Iterator[str]:
    """What workers say of the chunks at these places, as they come."""
    if not places:
        return
    content = pickle.dumps((versions(), Path.cwd(), pickle.dumps(replace(job, chunks=()))))
    worker = daft.cls(
        ClusterWorker, cpus=1, gpus=on.gpus, max_concurrency=on.workers, use_process=True, max_retries=TRIES - 1
    )(content)
    frame = daft.from_pydict({"place": places}).into_partitions(min(len(places), PARTITIONS))
    try:
        for row in frame.select(worker(daft.col("place")).alias("answer")).iter_rows(results_buffer_size=None):
            yield row["answer"]
    except Exception as error:  # what Daft and Ray raise when workers are gone is of many types
        reason = str(error).strip().splitlines()[-1]
        hint = SAME if isinstance(error, ImportError) or "ModuleNotFoundError" in reason else KEPT
        raise T2IError(f"the cluster failed: {reason}", hint, code=1) from error


def versions() -> dict[str, str]:
    """What must be the same on all machines."""
    return {"t2icli": version("t2icli"), "Python": ".".join(platform.python_version_tuple()[:2])}


class ClusterWorker:
    """One process of the cluster, with its models. It works where the job was begun, so that paths mean the same."""

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
