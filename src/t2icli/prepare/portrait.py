"""What a dataset looks like from afar: lengths, sizes, shapes, words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from t2icli.data.dataset import PreparedDataset
from t2icli.data.index import ShardEntry, read_parquet, wrong_index
from t2icli.prepare.captions import read_words

MOST = 500_000
"""Rows looked at; of a larger dataset, whole shards from all over it."""
HAN = re.compile("[\u3400-\u9fff\U00020000-\U0003ffff]+")
WORD = re.compile(r"[^\W\d_]{2,}")


@dataclass
class Portrait:
    rows: int = 0
    captions: int = 0
    lengths: list[int] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)
    words: Counter[str] = field(default_factory=Counter)


def portrait(data: PreparedDataset) -> Portrait:
    """Look at a dataset's indexes, not at its images."""
    drawn = Portrait()
    listed = data.card.rules.get("words")
    known = frozenset(read_words(Path(listed))) if listed and Path(listed).is_file() else None
    for shard in _shards(data):
        with data.place.held(f"{shard.name}.parquet", wrong_index(shard)) as path:
            table = read_parquet(path, ["captions", "width", "height"])
        captions = [caption for row in table.column("captions").to_pylist() for caption in row]
        drawn.rows += table.num_rows
        drawn.captions += len(captions)
        drawn.lengths += map(len, captions)
        drawn.widths += table.column("width").to_pylist()
        drawn.heights += table.column("height").to_pylist()
        for caption in captions:
            drawn.words.update(set(_words(caption, known)))
    return drawn


def _shards(data: PreparedDataset) -> list[ShardEntry]:
    shards = data.card.shards
    few = max(1, len(shards) * MOST // max(len(data), MOST))
    return [shards[i * len(shards) // few] for i in range(few)] if shards else []


def _words(caption: str, known: frozenset[str] | None) -> Iterable[str]:
    """Words of the list that was asked for; else words of letters, and pairs of Han characters."""
    if known is not None:
        longest = max(map(len, known))
        pieces = (caption[i : i + n] for i in range(len(caption)) for n in range(1, longest + 1))
        return (piece for piece in pieces if piece in known)
    pairs = (run[i : i + 2] for run in HAN.findall(caption) for i in range(len(run) - 1))
    return [*pairs, *(word.lower() for word in WORD.findall(HAN.sub(" ", caption)))]


def histogram(values: Iterable[float], bins: int, low: float, high: float) -> tuple[list[int], list[float]]:
    """Counts and edges; what lies outside is counted in the outermost bins."""
    clipped = np.clip(np.asarray(list(values), dtype=np.float64), low, high)
    counts, edges = np.histogram(clipped, bins=bins, range=(low, high))
    return counts.tolist(), edges.tolist()
