"""Chunks on many machines: Daft's Ray runner hands each to a worker that does what `run_here` does here.

All machines must see the output folder (and local images) under the same path. On one machine the loop in
`runners` is used without Daft: Daft's native runner writes nothing before its end, and fetching inside it was
measured at half the rate.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from threading import Lock
from typing import Any, cast

import msgspec

from t2icli.engine.query import connect
from t2icli.ground.errors import T2IError, Unreachable
from t2icli.prepare.chunks import Chunk
from t2icli.prepare.claims import LocalClaims
from t2icli.prepare.report import Reports
from t2icli.prepare.runners import run_here
from t2icli.prepare.scores import Scorer, Scoring
from t2icli.prepare.work import Progress, Work

NAMESPACE = "t2icli"
TRIES = 3
"""Times a wave of chunks is begun when workers die under it; chunks with a report are not done again."""

LOADING = Lock()
SCORERS: dict[object, Scorer] = {}
"""Of this process; at most one."""


class Answer(msgspec.Struct):
    """A worker's result for its chunk."""

    progress: list[tuple[str, int, int]] = []
    error: str = ""


def run_on_cluster(chunks: Iterable[Chunk], work: Work, address: str) -> None:
    """As `run_here`, on all machines of a Ray cluster; '' starts one on this machine."""
    assert isinstance(work.claims, LocalClaims)
    daft, ray = connect(address or None)
    output = work.reports.output.resolve()
    name = hashlib.sha256(str(output).encode()).hexdigest()[:16]
    keeper = (
        ray.remote(LocalClaims).options(name=name, namespace=NAMESPACE, max_concurrency=1, **_on_this_node()).remote()
    )
    ray.get(keeper.take_over.remote(work.claims.state()))
    try:
        left = (chunk for chunk in chunks if not work.reports.is_finished(chunk, work.retry))
        for wave in _waves(left, lambda: 2 * sum(node["Alive"] for node in ray.nodes())):
            jobs = [pickle.dumps((output, work.plan, work.retry, chunk, name)) for chunk in wave]
            for answer in _answers(daft, jobs):
                if answer.error:
                    raise T2IError(answer.error, "finished shards are kept: run the same command again", code=1)
                for what in answer.progress:
                    work.progress(*what)
            work.reports.forget(chunk.number for chunk in wave)
    finally:
        ray.kill(keeper)


def _on_this_node() -> dict[str, Any]:
    """Options of an actor that no loss of another node ends; it needs no core, of which this node may have none."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    node = ray.get_runtime_context().get_node_id()
    return {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


def _waves(chunks: Iterable[Chunk], size: Callable[[], int]) -> Iterator[list[Chunk]]:
    """As many chunks at a time as keep the cluster busy, so that the driver never holds the whole source."""
    waiting = iter(chunks)
    while wave := list(islice(waiting, size())):
        yield wave


def _answers(daft: Any, jobs: list[bytes]) -> list[Answer]:
    work = daft.func(_work, return_dtype=daft.DataType.binary())
    frame = daft.from_pydict({"job": jobs}).into_partitions(len(jobs))
    for left in reversed(range(TRIES)):
        try:
            answers = frame.select(work(daft.col("job")).alias("answer")).to_pydict()["answer"]
            return [msgspec.msgpack.decode(answer, type=Answer) for answer in answers]
        except Exception as error:  # what Daft and Ray raise when a worker is gone is of many types
            if not left:
                raise T2IError(f"the cluster failed: {error}", "run the same command again", code=1) from error
    raise AssertionError("unreachable")


def _work(job: bytes) -> bytes:
    """On a worker: one chunk."""
    output, plan, retry, chunk, name = pickle.loads(job)
    progress: list[tuple[str, int, int]] = []
    try:
        scorer = _scorer(plan.scoring) if plan.scoring else None
        run_here([chunk], Work(Reports(output), plan, _ClusterClaims(name), retry, _listing(progress), scorer=scorer))
    except (T2IError, Unreachable) as error:
        return msgspec.msgpack.encode(Answer(error=error.message))
    return msgspec.msgpack.encode(Answer(progress))


def _scorer(scoring: Scoring) -> Scorer:
    """The same one for all chunks of a job that this process works on, so that it loads its rankers once."""
    with LOADING:
        if scoring.key not in SCORERS:
            SCORERS.clear()
            SCORERS[scoring.key] = Scorer(scoring)
        return SCORERS[scoring.key]


def _listing(calls: list[tuple[str, int, int]]) -> Progress:
    return lambda *what: calls.append(what)


class _ClusterClaims:
    """Claims kept by one actor for all workers."""

    def __init__(self, name: str) -> None:
        import ray

        self._ray = ray
        self._keeper = ray.get_actor(name, namespace=NAMESPACE)

    def key(self, key: str, row: int) -> bool:
        return cast(bool, self._ray.get(self._keeper.key.remote(key, row)))

    def image(self, sha256: str, row: int) -> bool:
        return cast(bool, self._ray.get(self._keeper.image.remote(sha256, row)))

    def look(self, look: int, row: int, distance: int) -> bool:
        return cast(bool, self._ray.get(self._keeper.look.remote(look, row, distance)))
