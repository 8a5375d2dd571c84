"""One query of Daft's on a Ray cluster, in a process of its own that the one with the job starts.

Ray ends the process that is connected to a cluster when it loses the head, and all workers of that process when it
ends: so a job can tell what happened, and begin another query where machines were lost under this one.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pkgutil import resolve_name
from queue import Empty, Queue
from threading import Thread
from typing import IO, Any

from t2icli.engine.worker import TRIES, ClusterWorker, Given
from t2icli.ground.errors import T2IError

ANSWER_WITHIN = 4.0
"""Seconds in which the head of a cluster must take a connection, and then answer."""
LOOKS_AFTER = 5.0
"""Seconds without an answer after which the machines of the cluster are counted."""
LOST_AFTER = 20.0
"""Seconds for which there must be too few of them."""
PARTITIONS = 10_000
"""Of one query at most: what Daft remembers of each must fit into memory. Longer jobs have several chunks in each."""
STARTED = "start one: ray start --head; its first lines show the address"
TOKEN = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH=FILE, here and on all machines"
SAME = "install the same packages on all machines"
KEPT = "finished shards are kept: run the same command again"
STARTS = "import sys; sys.path[:] = sys.argv[1:]; from t2icli.engine.query import main; main()"


class Lost(T2IError):
    """The query ended because workers or machines did: what it has not answered may be asked again."""


@dataclass(frozen=True)
class Query:
    """Chunks to make, and what to take of a cluster for them."""

    address: str | None
    workers: int
    gpus: float
    again: bool
    """Whether machines were lost under a query before: then fewer workers will do."""
    given: Given
    places: list[int]


def ask(query: Query) -> Iterator[str]:
    """What workers say of the chunks, as they come."""
    process = subprocess.Popen([sys.executable, "-c", STARTS, *sys.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    try:
        with contextlib.suppress(BrokenPipeError):
            pickle.dump(query, process.stdin)
            process.stdin.flush()
        while (answer := _received(process.stdout)) is not None:
            if isinstance(answer, Exception):
                raise answer
            yield answer
    finally:
        process.kill()
        process.communicate()


def _received(stream: IO[bytes]) -> Any:
    try:
        return pickle.load(stream)
    except (EOFError, pickle.UnpicklingError):
        raise Lost("the connection to the cluster broke", KEPT, code=1) from None


def main() -> None:
    """Answer the query on stdin, as long as the process that asks it lives."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # that is for the process that asks
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)  # Ray reports on both what the answers say better
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    query: Query = pickle.load(questions)
    Thread(target=_end_with, args=(questions,), daemon=True).start()
    end: Any = None
    try:
        for answer in _answered(query):
            pickle.dump(answer, answers)
            answers.flush()
    except T2IError as error:
        end = error
    except Exception as error:
        end = RuntimeError(f"{type(error).__name__}: {error}")
    pickle.dump(end, answers)
    answers.flush()
    os._exit(0)  # Daft's threads may wait for what was lost


def _end_with(questions: IO[bytes]) -> None:
    questions.read()
    os._exit(1)


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
        ray.init(address=address or "local", ignore_reinit_error=True, log_to_driver=False, configure_logging=False)
    except Exception as error:  # it raises plain ones too
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
    Thread(target=_ask_head, args=(address, answers), daemon=True).start()  # the call itself cannot be given a deadline
    try:
        error = answers.get(timeout=ANSWER_WITHIN)
    except Empty:
        error = TimeoutError("timed out")
    if error is not None and "AuthToken" in str(error):
        raise T2IError(f"the Ray cluster at {address} wants its token", TOKEN, code=1) from error
    if error is not None:
        raise T2IError(f"what answers at {address} is not a Ray cluster: {error}", STARTED, code=1) from error


def _ask_head(address: str, answers: Queue[Exception | None]) -> None:
    try:
        resolve_name("ray._raylet:GcsClient")(address=address)  # as `ray health-check` does
        answers.put(None)
    except Exception as error:  # of types of Ray's own
        answers.put(error)


def _answered(query: Query) -> Iterator[str]:
    try:
        daft, ray = connect(query.address)
        workers = _awaited_room(ray.cluster_resources, query)
    except T2IError as error:
        if not query.again:
            raise
        hint = f"{KEPT}, once machines are available again"
        raise T2IError(f"the cluster has lost machines: {error.message}", hint, code=1) from error
    yield from patient(_answers(daft, query, workers), lambda: room(ray.cluster_resources(), query) >= workers)


def _awaited_room(resources: Callable[[], dict[str, float]], query: Query) -> int:
    end = time.monotonic() + (LOST_AFTER if query.again else 0)
    while (fit := room(resources(), query)) < 1 and time.monotonic() < end:
        time.sleep(1)
    check_room(resources(), replace(query, workers=1) if query.again else query)
    return fit


def room(has: dict[str, float], query: Query) -> int:
    """How many of the workers have a place in a cluster with these resources."""
    gpus = int(has.get("GPU", 0) / query.gpus + 1e-6) if query.gpus else query.workers
    return min(int(has.get("CPU", 0)), gpus, query.workers)


def check_room(has: dict[str, float], query: Query) -> None:
    """Whether all workers have a place: Ray itself would wait for more machines for ever."""
    if room(has, query) < query.workers:
        needs = f"{query.workers} workers need {query.workers} and {query.workers * query.gpus:g}"
        hint = "use fewer --workers, or start Ray on more machines"
        cores, gpus = has.get("CPU", 0), has.get("GPU", 0)
        raise T2IError(f"the cluster has {cores:g} cores and {gpus:g} GPUs, but {needs}", hint, code=1)


def patient(answers: Iterator[str], has_room: Callable[[], bool]) -> Iterator[str]:
    """The answers, unless none comes and for some time there is no room for all workers.

    What a lost machine was to do waits for another one, for ever: a query does not divide it among the workers left.
    """
    came: Queue[str | Exception | None] = Queue()
    Thread(target=_forward, args=(answers, came), daemon=True).start()
    waited = 0.0
    while True:
        try:
            answer = came.get(timeout=LOOKS_AFTER)
        except Empty:
            waited = 0.0 if has_room() else waited + LOOKS_AFTER
            if waited >= LOST_AFTER:
                raise Lost("the cluster has lost machines", KEPT, code=1) from None
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


def _answers(daft: Any, query: Query, workers: int) -> Iterator[str]:
    make = daft.cls(
        ClusterWorker, cpus=1, gpus=query.gpus, max_concurrency=workers, use_process=True, max_retries=TRIES - 1
    )(*query.given)
    frame = daft.from_pydict({"place": query.places}).into_partitions(min(len(query.places), PARTITIONS))
    try:
        for row in frame.select(make(daft.col("place")).alias("answer")).iter_rows(results_buffer_size=None):
            yield row["answer"]
    except Exception as error:  # what Daft and Ray raise when workers are gone is of many types
        reason = str(error).strip().splitlines()[-1]
        if isinstance(error, ImportError) or "ModuleNotFoundError" in reason:
            raise T2IError(f"the cluster failed: {reason}", SAME, code=1) from error
        raise Lost(f"the cluster failed: {reason}", KEPT, code=1) from error
