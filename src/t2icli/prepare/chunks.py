"""Cutting a source into chunks: the same rows in the same chunk in every run, whatever their status.

Most rows of a web-scale list are dropped for their caption; those stay in arrow columns from the file to the report,
and only rows whose picture is wanted become objects.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice, takewhile
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
import numpy as np

from t2icli.contract.kinds import ColumnPreparer, DatasetPreparer
from t2icli.data.dataset import SourceRow
from t2icli.prepare.captions import CaptionRules

ROWS = 20_000
"""Source rows whose captions are judged together."""
AHEAD = 3
"""Blocks judged at once: arrow and the word search let other threads run."""
MOST_ROWS = 200_000
MOST_BYTES = 128 << 20
"""A chunk ends here even if few of its rows pass, or if its images came as bytes."""


class PendingRow(msgspec.Struct, frozen=True):
    """A row whose captions may stay: what is left is its picture."""

    row: int
    source: SourceRow


@dataclass
class RowBlock:
    """Some rows of a source with the verdict on their captions."""

    images: Any
    """Arrow: addresses and paths, empty for other images."""
    captions: Any
    """Arrow: the first ones."""
    verdicts: Any
    """Numpy: the number of the reason each row is dropped for, 0 for those that stay."""
    row: Callable[[int], SourceRow]
    """Row i of the block, with the captions it keeps."""


@dataclass
class Chunk:
    """Rows that become at most one shard and exactly one report file."""

    number: int
    first: int
    """The number of its first row."""
    candidates: list[PendingRow] = field(default_factory=list)
    images: list[Any] = field(default_factory=list)
    """Of all rows in order, in arrow pieces: to see whether the source is the one of the last run."""
    dropped: list[Any] = field(default_factory=list)
    """Arrow tables of row, image, caption, reason."""
    rows: int = 0
    bytes: int = 0

    @property
    def is_remote(self) -> bool:
        """Whether anything is to be fetched for it."""
        return any(isinstance(candidate.source.image, str) for candidate in self.candidates)


def blocks(
    source: DatasetPreparer, path: Path, captions: CaptionRules, stop: Event | None = None
) -> Iterator[RowBlock]:
    """A source's rows, judged, until `stop`."""
    read: Iterator[Any] = (
        source.columns(path)
        if isinstance(source, ColumnPreparer)
        else _lists(_until(stop or Event(), source.rows(path)))
    )
    with ThreadPoolExecutor(AHEAD) as threads:
        waiting: deque[Future[RowBlock]] = deque()
        for piece in read:
            waiting.append(threads.submit(_judged, piece, captions))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _until(stop: Event, rows: Iterable[SourceRow]) -> Iterator[SourceRow]:
    # A source that makes its pictures in advance can take a minute for a block of rows.
    return takewhile(lambda row: not stop.is_set(), rows)


def _lists(rows: Iterable[SourceRow]) -> Iterator[list[SourceRow]]:
    """Rows in lists: short ones at first, to show soon that it runs, and never too many bytes in one."""
    here, most = iter(rows), 100
    while block := list(islice(here, most)):
        heavy = sum(len(row.image) for row in block if isinstance(row.image, bytes)) > MOST_BYTES >> 3
        most = max(1, most // 2) if heavy else min(2 * most, ROWS)
        yield block


def _judged(piece: Any, captions: CaptionRules) -> RowBlock:
    return _of_rows(piece, captions) if isinstance(piece, list) else _of_columns(piece, captions)


def _of_columns(table: Any, captions: CaptionRules) -> RowBlock:
    images, texts = (table.column(name).combine_chunks() for name in ("image", "caption"))

    def row(i: int) -> SourceRow:
        caption = texts[i].as_py()
        return SourceRow("", images[i].as_py() or None, (caption,) if caption else ())

    return RowBlock(images, texts, captions.verdicts(texts), row)


def _of_rows(rows: list[SourceRow], captions: CaptionRules) -> RowBlock:
    import pyarrow as pa

    rows = list(map(_in_unicode, rows))
    captions_left, verdicts = captions.judge([row.captions for row in rows])
    for i, row in enumerate(rows):
        if row.extra and ("problem" in row.extra or "skip" in row.extra):
            verdicts[i] = 0  # what is wrong with the row itself comes first

    def row_of(i: int) -> SourceRow:
        row = rows[i]
        return (
            row
            if len(captions_left[i]) == len(row.captions)
            else msgspec.structs.replace(row, captions=captions_left[i])
        )

    images = pa.array([address_of(row) for row in rows], pa.string())
    return RowBlock(images, pa.array([first(row) for row in rows], pa.string()), verdicts, row_of)


def _in_unicode(row: SourceRow) -> SourceRow:
    """The row itself; with a problem in its place if it has what no report or tar can hold, as some file names do."""
    try:
        for text in (row.key, address_of(row), *row.captions):
            text.encode()
    except UnicodeEncodeError:
        key = (row.key or address_of(row)).encode("utf-8", "backslashreplace").decode()
        return SourceRow(key, None, (), {"problem": "not-unicode"})
    return row


def cut(source_blocks: Iterable[RowBlock], reasons: tuple[str, ...], most: int) -> Iterator[Chunk]:
    """Chunks of at most `most` rows that stay, the dropped ones beside them."""
    chunk = Chunk(0, 0)
    for block in source_blocks:
        start, passing = 0, np.flatnonzero(block.verdicts == 0)
        while start < len(block.verdicts):
            end = _add(chunk, block, passing, start, reasons, most)
            start = end
            if len(chunk.candidates) >= most or chunk.rows >= MOST_ROWS or chunk.bytes >= MOST_BYTES:
                yield chunk
                chunk = Chunk(chunk.number + 1, chunk.first + chunk.rows)
    if chunk.rows:
        yield chunk


def _add(chunk: Chunk, block: RowBlock, passing: Any, start: int, reasons: tuple[str, ...], most: int) -> int:
    """Move rows of a block from `start` on into the chunk until one of them is at its end; returns where it stopped."""
    end = min(len(block.verdicts), start + MOST_ROWS - chunk.rows)
    here = passing[np.searchsorted(passing, start) : np.searchsorted(passing, end)]
    base = chunk.first + chunk.rows - start
    for i in here[: most - len(chunk.candidates)].tolist():
        row = block.row(i)
        chunk.candidates.append(PendingRow(base + i, row))
        chunk.bytes += len(row.image) if isinstance(row.image, bytes) else 0
        if len(chunk.candidates) >= most or chunk.bytes >= MOST_BYTES:
            end = i + 1
    chunk.images.append(block.images.slice(start, end - start))
    if table := _dropped(block, start, end, base, reasons):
        chunk.dropped.append(table)
    chunk.rows += end - start
    return end


def _dropped(block: RowBlock, start: int, end: int, base: int, reasons: tuple[str, ...]) -> Any:
    import pyarrow as pa

    gone = np.flatnonzero(block.verdicts[start:end]) + start
    if not len(gone):
        return None
    reason = pa.DictionaryArray.from_arrays(pa.array(block.verdicts[gone]), pa.array(reasons)).cast(pa.string())
    columns = {"row": pa.array(gone + base), "image": block.images.take(gone), "caption": block.captions.take(gone)}
    return pa.table({**columns, "reason": reason})


def address_of(row: SourceRow) -> str:
    return str(row.image) if isinstance(row.image, (str, Path)) else ""


def first(row: SourceRow) -> str:
    return row.captions[0] if row.captions else ""
