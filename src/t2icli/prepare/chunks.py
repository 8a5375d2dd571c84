"""Cutting a source into chunks: the same rows in the same chunk in every run, whatever became of them before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from t2icli.dataset import SourceRow
from t2icli.errors import T2IError
from t2icli.prepare.captions import CaptionRules
from t2icli.prepare.report import ReportRow

BLOCK = 20_000
"""Source rows whose captions are judged together."""
MOST_ROWS = 200_000
MOST_BYTES = 256 << 20
"""A chunk ends here even if few of its rows pass, or if its images came as bytes."""


class Candidate(msgspec.Struct, frozen=True):
    """A row whose captions may stay: what is left is its picture."""

    row: int
    source: SourceRow


class Chunk(msgspec.Struct):
    """Rows that become at most one shard and exactly one report file."""

    number: int
    candidates: list[Candidate] = []
    dropped: list[ReportRow] = []
    bytes: int = 0

    def is_full(self, most: int) -> bool:
        rows = len(self.candidates)
        return rows >= most or rows + len(self.dropped) >= MOST_ROWS or self.bytes >= MOST_BYTES


def cut(rows: Iterable[SourceRow], captions: CaptionRules, most: int) -> Iterator[Chunk]:
    """Chunks of `most` rows that pass the caption rules, the others beside them."""
    chunk = Chunk(0)
    for number, row, reason in judged(rows, captions):
        if reason:
            chunk.dropped.append(ReportRow(number, address_of(row), first(row), "dropped", reason))
        else:
            chunk.candidates.append(Candidate(number, row))
            chunk.bytes += len(row.image) if isinstance(row.image, bytes) else 0
        if chunk.is_full(most):
            yield chunk
            chunk = Chunk(chunk.number + 1)
    if chunk.candidates or chunk.dropped:
        yield chunk


def judged(rows: Iterable[SourceRow], captions: CaptionRules) -> Iterator[tuple[int, SourceRow, str]]:
    """Every row with its number, the captions it keeps, and why it is dropped, or ''."""
    number, here = 0, iter(rows)
    while block := list(islice(here, BLOCK if number else 500)):  # the first ones soon, to show that it runs
        verdicts = captions.judge([row.captions for row in block])
        for row, (kept, reason) in zip(block, verdicts, strict=True):
            if row.extra and "problem" in row.extra:
                reason = ""  # what is wrong with the row itself comes first
            elif len(kept) != len(row.captions):
                row = msgspec.structs.replace(row, captions=kept)
            yield number, row, reason
            number += 1


def address_of(row: SourceRow) -> str:
    return "" if isinstance(row.image, bytes) or row.image is None else str(row.image)


def first(row: SourceRow) -> str:
    return row.captions[0] if row.captions else ""


def check_same(chunk: Chunk, before: list[ReportRow]) -> None:
    """Refuse to go on with a source whose rows are not those of the earlier run; more at the end are fine."""
    now = {candidate.row: address_of(candidate.source) for candidate in chunk.candidates}
    now.update((row.row, row.image) for row in chunk.dropped)
    for row in before:
        if now.get(row.row) != row.image:
            raise T2IError(
                f"the source has changed since the earlier run: row {row.row} was {row.image!r}, "
                f"and is {now.get(row.row, 'gone')!r}",
                "prepare it into another --output",
            )


def redo(
    chunk: Chunk, before: list[ReportRow], reasons: frozenset[str] | None
) -> tuple[list[Candidate], list[ReportRow]]:
    """Which rows are still to do, and the report rows that stand: failed ones are done again, or those of `reasons`."""
    stand = [row for row in before if not _again(row, reasons)]
    done = {row.row for row in stand}
    return [candidate for candidate in chunk.candidates if candidate.row not in done], stand


def _again(row: ReportRow, reasons: frozenset[str] | None) -> bool:
    return row.status == "failed" if reasons is None else row.status != "ok" and row.reason in reasons


def shard_name(number: int, stand: list[ReportRow]) -> str:
    """A name no finished shard of this chunk has: shards are added, never changed."""
    used = {row.shard for row in stand}
    names = (f"{number:06d}" + f"-{i}" * (i > 0) for i in range(len(used) + 1))
    return next(name for name in names if name not in used)
