"""Near-duplicates by embedding: of rows whose vectors are nearly the same, the first is kept.

A row is left out if its cosine with an earlier row that is kept reaches the threshold. So no two rows that are kept are
near-duplicates, and the result depends on the order of the rows alone.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from t2icli.contract.kinds import DatasetPreparer
from t2icli.data.dataset import SourceRow
from t2icli.ground import files
from t2icli.ground.errors import T2IError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Read = Callable[[int, int], NDArray[np.float32]]
    """The vectors of the rows from one number to another."""
    OfRows = Callable[[NDArray[np.int64]], NDArray[np.float32]]
    Near = Callable[[NDArray[np.float32], int], tuple[NDArray[np.float32], NDArray[np.int64]]]
    """Rough scores and rows of what is nearest to each of some vectors; -1 where there is no more."""

NAME = "duplicates.csv"
"""The list, beside the dataset without them."""
REASON = "near-duplicate"
COLUMNS = ("row", "key", "duplicate_of", "cosine")
BLOCK = 4096
"""Rows compared with as many others at a time."""
ROUNDING = 1e-4
"""Products in float32 are off by less; what is this near to the threshold is computed in float64."""
NEAREST = 64
"""Neighbours of each row that an index is asked for."""
ROUGH = 0.03
"""How far off its scores may be."""


class Duplicate(NamedTuple):
    """A row, and the first of those that it is a near-duplicate of."""

    row: int
    of: int
    cosine: float


def comparisons(rows: int) -> int:
    """How many pairs of blocks there are."""
    blocks = -(-rows // BLOCK)
    return blocks * (blocks + 1) // 2


def find(rows: int, read: Read, threshold: float, advance: Callable[[int], None] = lambda n: None) -> list[Duplicate]:
    """All near-duplicates in order, by comparing every row with every earlier one that is kept."""
    kept = np.ones(rows, bool)
    found: list[Duplicate] = []
    for start in range(0, rows, BLOCK):
        here = _unit(read(start, min(rows, start + BLOCK)))
        new: dict[int, Duplicate] = {}
        for before in range(0, start, BLOCK):
            places = np.flatnonzero(kept[before : before + BLOCK])
            there = _unit(read(before, before + BLOCK)[places])
            left = np.asarray([row for row in range(len(here)) if row not in new], np.int64)
            for row, place, cosine in _first(here[left], there, threshold):
                new[int(left[row])] = Duplicate(start + int(left[row]), before + int(places[place]), cosine)
            advance(1)
        new |= {row: Duplicate(start + row, start + of, cosine) for row, of, cosine in _within(here, new, threshold)}
        advance(1)
        found += (new[row] for row in sorted(new))
        kept[[start + row for row in new]] = False
    return found


def find_among_nearest(
    rows: int, read: Read, of_rows: OfRows, near: Near, threshold: float, advance: Callable[[int], None]
) -> list[Duplicate]:
    """The same among the nearest of each row, as an index gives them: quicker, and some may be missing."""
    first: dict[int, int] = {}
    found: list[Duplicate] = []
    for start in range(0, rows, BLOCK):
        here = _unit(read(start, min(rows, start + BLOCK)))
        usable = np.flatnonzero(np.isfinite(here).all(1))
        for row, *nearest in zip(usable.tolist(), *near(here[usable], NEAREST), strict=True):
            if duplicate := _among_nearest(start + row, here[row], nearest, first, of_rows, near, threshold):
                first[duplicate.row] = duplicate.of
                found.append(duplicate)
        advance(1)
    return found


def _among_nearest(
    row: int,
    vector: NDArray[np.float32],
    nearest: Sequence[NDArray[Any]],
    first: Mapping[int, int],
    of_rows: OfRows,
    near: Near,
    threshold: float,
) -> Duplicate | None:
    """The row as a duplicate; where all that are given may be near, but none comes before it, more are asked for."""
    while True:
        rough, others = nearest
        likely = others[(rough >= threshold - ROUGH) & (others >= 0)].tolist()
        # One that is left out stands for the one that it is a duplicate of.
        before = np.asarray(sorted({first.get(other, other) for other in likely if other < row}), np.int64)
        if len(before) and (pair := _reaching(vector, _unit(of_rows(before)), np.arange(len(before)), threshold)):
            return Duplicate(row, int(before[pair[0]]), pair[1])
        if len(likely) < len(others):
            return None
        nearest = [each[0] for each in near(vector[None], 8 * len(others))]


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(invalid="ignore", divide="ignore"):
        unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _first(here: NDArray[np.float32], there: NDArray[np.float32], threshold: float) -> Iterator[tuple[int, int, float]]:
    """Of each row with any, the first of `there` that reaches the threshold."""
    near = here @ there.T >= threshold - ROUNDING  # a vector that is not a number is near to none
    for row in np.flatnonzero(near.any(1)).tolist():
        if pair := _reaching(here[row], there, np.flatnonzero(near[row]), threshold):
            yield row, *pair


def _within(here: NDArray[np.float32], gone: Iterable[int], threshold: float) -> Iterator[tuple[int, int, float]]:
    """The same among the rows of a block, but for those that are gone."""
    kept = np.ones(len(here), bool)
    kept[list(gone)] = False
    near = np.tril(here @ here.T >= threshold - ROUNDING, -1)
    for row in np.flatnonzero(near.any(1) & kept).tolist():
        if pair := _reaching(here[row], here, np.flatnonzero(near[row] & kept), threshold):
            kept[row] = False
            yield row, *pair


def _reaching(
    vector: NDArray[np.float32], others: NDArray[np.float32], places: NDArray[np.int64], threshold: float
) -> tuple[int, float] | None:
    """The first of `places` whose cosine reaches the threshold, summed alike on every machine."""
    for place in places.tolist():
        if (cosine := _cosine(vector, others[place])) >= threshold:
            return place, cosine
    return None


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float((one.astype(np.float64) * other).sum())


def write(path: Path, found: Iterable[tuple[int, str, str, float]]) -> None:
    """The list: row and key, the key it is a duplicate of, and their cosine."""
    with files.whole(path, durable=True) as draft, draft.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows((row, key, of, f"{cosine:.6f}") for row, key, of, cosine in found)


def read(path: Path) -> dict[int, str]:
    """The rows in a list, with their keys."""
    with path.open(encoding="utf-8", newline="") as stream:
        return {int(line["row"]): line["key"] for line in csv.DictReader(stream)}


@dataclass(frozen=True)
class WithoutDuplicates:
    """A source whose near-duplicates are skipped: those in the list, which is read when rows are."""

    source: DatasetPreparer
    listed: Path

    def rows(self, path: Path) -> Iterator[SourceRow]:
        known = read(self.listed)
        number = 0  # as `t2i embed` counts them
        for row in self.source.rows(path.resolve()):
            if "skip" not in row.extra:
                if number in known:
                    row = self._skipped(row, known[number])
                number += 1
            yield row

    def _skipped(self, row: SourceRow, key: str) -> SourceRow:
        if key != (str(row.image) if isinstance(row.image, Path) else row.key):
            raise T2IError(f"'{self.listed}' has {key!r} where the source has {row.key!r}", "use another --output")
        return msgspec.structs.replace(row, extra={**row.extra, "skip": REASON})
