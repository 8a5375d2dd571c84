"""An index of a folder of vectors, by faiss: which are near, without comparing a query with all of them.

The vectors are gathered around middles (IVF), of which only the nearest are looked at, and stored in 8 bits a number.
What comes out is compared once more with the vectors themselves: scores are exact, only some hits may be missing.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from t2icli.ground import files, toml
from t2icli.ground.errors import T2IError
from t2icli.pipelines.vectors import Vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ask = Callable[[list[str]], NDArray[np.float32]]
    """The vectors of some texts."""

FILE, FACTS = "index.faiss", "index.toml"
EXACT = 1_000_000
"""Vectors up to which comparing all of them is quick enough."""
BLOCK = 16_384
TRAINED_ON = 50
"""Vectors for each middle that is looked for."""
ROUNDS = 10
"""Of looking for the middles; more change little."""
QUERIES = 200
FOUND = 10
"""Hits of each query that recall counts."""
ENOUGH = 0.98
"""Recall with which no more middles are looked at."""


@dataclass(frozen=True)
class Recall:
    """How much of what comparing all would find an index finds."""

    share: float
    queries: int
    of: str
    """What was asked for: captions, or some of the vectors."""


@dataclass(frozen=True)
class VectorIndex:
    """An open index: its file is mapped into memory."""

    faiss: Any

    def near(self, queries: NDArray[np.float32], n: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Rough scores and rows of what is nearest to each query; -1 where there is no more."""
        scores, rows = self.faiss.search(np.ascontiguousarray(queries, np.float32), n)
        return scores, rows

    def candidates(self, query: NDArray[np.float32], n: int) -> NDArray[np.int64]:
        """Rows among which the n nearest are."""
        _, rows = self.near(query[None], self.asked(n))
        return rows.ravel()

    @staticmethod
    def asked(n: int) -> int:
        """How many candidates there are for n hits: scores of 8 bits may swap some."""
        return 2 * n + 32


def is_there(vectors: Vectors) -> bool:
    return (vectors.folder / FACTS).is_file()


def is_usable() -> bool:
    return importlib.util.find_spec("faiss") is not None


def library() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise T2IError("an index of vectors needs faiss", "run: t2i install 't2icli[search]'") from error
    return faiss


def open_index(vectors: Vectors) -> VectorIndex:
    """The index beside the shards."""
    faiss, path = library(), vectors.folder / FILE
    damaged = T2IError(f"'{path}' is damaged", f"delete '{path.with_name(FACTS)}' and run the same t2i embed again", 1)
    # Mapped pages beyond the end of a file would end the process.
    if not path.is_file() or path.stat().st_size != toml.read(path.with_name(FACTS)).get("bytes"):
        raise damaged
    try:
        return VectorIndex(faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY))
    except RuntimeError as error:
        raise damaged from error


def build(vectors: Vectors, ask: Ask | None = None, advance: Callable[[int], None] = lambda n: None) -> Recall:
    """Make the index; `ask` embeds captions to try it with, which otherwise some of the vectors are."""
    faiss = library()
    rows = vectors.rows - sum(1 for _ in vectors.problems())
    if not rows:
        raise T2IError(f"'{vectors.folder}' has no vectors to index")
    middles = max(1, min(int(2 * math.sqrt(rows)), rows // TRAINED_ON))
    sample = np.concatenate([block for _, block in _blocks(vectors, max(1, rows // (middles * TRAINED_ON)))])
    index = faiss.index_factory(sample.shape[1], f"IVF{middles},SQ8", faiss.METRIC_INNER_PRODUCT)
    index.cp.niter = ROUNDS
    index.train(sample)
    del sample
    for numbers, block in _blocks(vectors):
        index.add_with_ids(block, numbers)
        advance(len(block))
    recall = _tuned(index, middles, vectors, ask)
    path = vectors.folder / FILE
    with files.whole(path, durable=True) as draft:
        faiss.write_index(index, str(draft))
    facts = {"bytes": path.stat().st_size, "rows": rows, "recall": recall.share}
    files.write(path.with_name(FACTS), toml.dumps(facts), durable=True)
    return recall


def _blocks(vectors: Vectors, step: int = 1) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Every so many rows that have a vector, and their numbers."""
    for start in range(0, vectors.rows, BLOCK):
        block = vectors.between(start, start + BLOCK)
        there = np.flatnonzero(np.isfinite(block).all(1))
        there = there[(start + there) % step == 0]
        yield start + there, np.ascontiguousarray(block[there])


def _tuned(index: Any, middles: int, vectors: Vectors, ask: Ask | None) -> Recall:
    """Look at so many middles that recall is enough, or at half of them."""
    queries, of = _queries(vectors, ask)
    right = _best(vectors, queries)
    opened, share = VectorIndex(index), 0.0
    for probes in (2**power for power in range(2, 64)):
        index.nprobe = min(probes, middles)
        share = _share(opened, vectors, queries, right)
        if share >= ENOUGH or 2 * probes > max(1, middles // 2):
            break
    return Recall(share, len(queries), of)


def _queries(vectors: Vectors, ask: Ask | None) -> tuple[NDArray[np.float32], str]:
    captions = vectors.captions(QUERIES) if ask is not None else []
    if ask is not None and captions:
        return ask(captions), "captions"
    some = np.concatenate([block for _, block in _blocks(vectors, max(1, vectors.rows // QUERIES))])
    return some[:QUERIES], "vectors"


def _best(vectors: Vectors, queries: NDArray[np.float32]) -> NDArray[np.float32]:
    """The score of the last hit that counts, of each query, by comparing all."""
    best: NDArray[np.float32] = np.full((len(queries), FOUND), -np.inf, np.float32)
    for _, block in _blocks(vectors):
        both = np.concatenate([best, queries @ block.T], axis=1)
        best = np.partition(both, -FOUND, axis=1)[:, -FOUND:]
    least: NDArray[np.float32] = best.min(1)
    return least


def _share(index: VectorIndex, vectors: Vectors, queries: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    """How many of the hits are found; of those with the same score any will do."""
    _, rows = index.near(queries, index.asked(FOUND))
    looked_at = np.unique(rows[rows >= 0])
    scores = queries @ vectors.of_rows(looked_at).T
    found = wanted = 0
    for near, score, least in zip(rows, scores, right.tolist(), strict=True):
        hits = score[np.searchsorted(looked_at, near[near >= 0])] >= least - 1e-5
        found += min(FOUND, int(hits.sum()))
        wanted += FOUND if math.isfinite(least) else len(hits)
    return min(1.0, found / wanted) if wanted else 1.0
