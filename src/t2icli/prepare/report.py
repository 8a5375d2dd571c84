"""The report: one row for every input row, with its status. A second run starts from it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from t2icli.data.index import read_parquet
from t2icli.data.shards import write_parquet
from t2icli.ground.errors import T2IError
from t2icli.prepare.chunks import Chunk
from t2icli.prepare.outcome import Status

FOLDER = "report"
FEW = 3
"""Rows that failed, as examples."""
MOST_SCORED = 1_000_000
"""Rows whose scores are looked at."""


class ReportRow(msgspec.Struct):
    """The status of one input row."""

    row: int
    """Its number in the source, from 0."""
    image: str
    """The address or path; empty for images that came as bytes."""
    caption: str
    """The first one."""
    status: Status = "ok"
    reason: str = ""
    key: str = ""
    """Of a row that failed, what its source calls it: for a bad line of a list, the file and the line's number."""
    tries: int = 0
    bytes: int = 0
    width: int = 0
    height: int = 0
    sha256: str = ""
    look: int | None = None
    shard: str = ""
    """The shard it is in, if it is `ok`."""
    scores: list[tuple[str, float]] | None = None
    """By ranker, that of the caption which fits best."""


COLUMNS = ReportRow.__struct_fields__


def _schema() -> Any:
    import pyarrow as pa

    text, number = pa.string(), pa.int64()
    kinds = {"row": number, "tries": pa.int32(), "bytes": number, "width": pa.int32(), "height": pa.int32()}
    kinds |= {"look": pa.uint64(), "scores": pa.map_(text, pa.float64())}
    return pa.schema([(name, kinds.get(name, text)) for name in COLUMNS])


def table_of(rows: Iterable[ReportRow]) -> Any:
    import pyarrow as pa

    listed = list(rows)
    return pa.table({name: [getattr(row, name) for row in listed] for name in COLUMNS}, schema=_schema())


def dropped_of(chunk: Chunk) -> Any:
    """The rows a chunk lost for their captions, as report rows."""
    import pyarrow as pa

    if not chunk.dropped:
        return table_of([])
    table = pa.concat_tables(chunk.dropped)
    empty = ReportRow(0, "", "", "dropped")
    columns = [
        table.column(name).cast(kind)
        if name in table.column_names
        else _repeated(getattr(empty, name), kind, len(table))
        for name, kind in zip(COLUMNS, _schema().types, strict=True)
    ]
    return pa.table(columns, schema=_schema())


def _repeated(value: Any, kind: Any, n: int) -> Any:
    import pyarrow as pa

    return pa.nulls(n, kind) if value is None else pa.repeat(pa.scalar(value, kind), n)


def _read(path: Path) -> Any:
    """A report; an older one has no scores."""
    import pyarrow as pa

    table = read_parquet(path)
    for name, kind in zip(COLUMNS, _schema().types, strict=True):
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(len(table), kind))
    return table.select(COLUMNS)


def path_of(output: Path, chunk: int) -> Path:
    return output / FOLDER / f"{chunk:06d}.parquet"


def files(output: Path) -> list[Path]:
    return sorted(path for path in (output / FOLDER).glob("*.parquet") if path.stem.isdecimal())


def every_row(output: Path) -> Iterator[ReportRow]:
    """All rows of all chunks."""
    for path in files(output):
        columns = [column.to_pylist() for column in _read(path).columns]
        yield from (ReportRow(*values) for values in zip(*columns, strict=True))


@dataclass(frozen=True)
class _Outline:
    """What is remembered of a report."""

    rows: int
    images: bytes
    """The hash of its images' addresses: whether the source is still the same."""
    counts: Counter[tuple[str, str]]
    """Rows by status and reason."""
    shards: frozenset[str]
    failed: Sequence[tuple[str, str]]
    """A few rows that failed: what each is called, or its number, and the reason."""


class Reports:
    """The reports in a dataset's folder. Each is read once; again only if rows of it are to be done again."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self._known: dict[int, _Outline] = {}

    def kept(self) -> Iterator[tuple[int, str, str, int | None]]:
        """Number, key, image hash and look of every row that is `ok`."""
        import pyarrow.compute as pc

        for path in files(self.output):
            table = read_parquet(path, [name for name in COLUMNS if name not in ("caption", "scores")])
            self._known[int(path.stem)] = _outline(table)
            good = table.filter(pc.equal(table.column("status"), "ok"))
            yield from zip(*(good.column(name).to_pylist() for name in ("row", "key", "sha256", "look")), strict=True)

    def read(self, number: int) -> Any:
        """A chunk's report; empty if it was never finished."""
        path = path_of(self.output, number)
        return _read(path) if path.is_file() else table_of([])

    def write(self, number: int, tables: Sequence[Any]) -> None:
        """Put a chunk's report in place: from this moment its rows count as done."""
        import pyarrow as pa

        table = pa.concat_tables(tables).sort_by("row")
        write_parquet(path_of(self.output, number), table)
        self._known[number] = _outline(table)

    def forget(self, numbers: Iterable[int]) -> None:
        """Others have written these."""
        for number in numbers:
            self._known.pop(number, None)

    def is_finished(self, chunk: Chunk, again: frozenset[str] | None) -> bool:
        """Whether a chunk has all its rows, none of which is to be tried `again` (as in `standing`)."""
        known = self._of(chunk.number)
        if known.rows < chunk.rows or any(_is_tried(*which, again) for which in known.counts):
            return False
        if known.images != _hash(_images(chunk).slice(0, known.rows)):
            _check_same(chunk, self.read(chunk.number))
        return True

    def counts(self) -> Counter[tuple[str, str]]:
        """How many rows ended with each status and reason."""
        return sum((outline.counts for outline in self._all()), Counter[tuple[str, str]]())

    def shard_names(self) -> list[str]:
        """The shards that reports speak of: all others are left-overs of a run that was killed."""
        return sorted({name for outline in self._all() for name in outline.shards} - {""})

    def failed(self) -> list[tuple[str, str]]:
        """A few of the rows that failed."""
        return [row for outline in self._all() for row in outline.failed][:FEW]

    def _all(self) -> Iterator[_Outline]:
        return (self._of(int(path.stem)) for path in files(self.output))

    def _of(self, number: int) -> _Outline:
        if number not in self._known:
            self._known[number] = _outline(self.read(number))
        return self._known[number]


def scores(output: Path) -> dict[str, Any]:
    """By ranker, the scores of all rows that have one; of very many rows, of reports from all over them."""
    import pyarrow as pa

    paths = files(output)
    rows = sum(map(_rows, paths))
    columns: dict[str, list[Any]] = {}
    for path in paths[:: -(-rows // MOST_SCORED) or 1]:
        column = pa.concat_arrays(_read(path).column("scores").chunks or [pa.nulls(0, _schema().field("scores").type)])
        names, values = np.asarray(column.keys), np.asarray(column.items)
        for name in dict.fromkeys(names.tolist()):
            columns.setdefault(name, []).append(values[names == name])
    return {name: np.concatenate(several) for name, several in columns.items()}


def _rows(path: Path) -> int:
    import pyarrow.parquet as parquet

    return int(parquet.read_metadata(path).num_rows)


def _outline(table: Any) -> _Outline:
    import pyarrow.compute as pc

    grouped = table.group_by(["status", "reason"]).aggregate([("row", "count")]).to_pylist()
    counts = Counter({(row["status"], row["reason"]): row["row_count"] for row in grouped})
    failed = table.filter(pc.equal(table.column("status"), "failed")).slice(0, FEW).to_pylist()
    names = [(row["key"] or row["image"] or f"row {row['row']}", row["reason"]) for row in failed]
    shards = frozenset(table.column("shard").unique().to_pylist())
    return _Outline(len(table), _hash(table.column("image")), counts, shards, names)


def _hash(column: Any) -> bytes:
    """Of a column of text: of all lengths, and of all bytes in a row, however arrow has cut it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths, content = hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)
    for piece in column.chunks:
        lengths.update(np.asarray(pc.binary_length(piece)).tobytes())
        row = pa.ListArray.from_arrays(pa.array([0, len(piece)], pa.int32()), piece)
        content.update(pc.binary_join(row, "")[0].as_buffer())
    return lengths.digest() + content.digest()


def _images(chunk: Chunk) -> Any:
    import pyarrow as pa

    return pa.chunked_array(chunk.images, pa.string())


def _is_tried(status: str, reason: str, again: frozenset[str] | None) -> bool:
    """Whether rows that ended so are done again, as `standing` has it."""
    return status == "failed" if again is None else status != "ok" and reason in again


def standing(chunk: Chunk, before: Any, reasons: frozenset[str] | None) -> Any:
    """The report rows of an earlier run that stand: all but the failed ones, or all but those of `reasons`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    _check_same(chunk, before)
    if reasons is None:
        return before.filter(pc.not_equal(before.column("status"), "failed"))
    again = pc.is_in(before.column("reason"), pa.array(sorted(reasons), pa.string()))
    return before.filter(pc.or_(pc.equal(before.column("status"), "ok"), pc.invert(again)))


def _check_same(chunk: Chunk, before: Any) -> None:
    """Refuse to continue with a source whose rows are not those of the earlier run; more at its end are fine."""
    import pyarrow.compute as pc

    now = _images(chunk)
    old = before.column("image")
    same = len(old) <= len(now) and (not len(old) or pc.all(pc.equal(old, now.slice(0, len(old)))).as_py())
    if not same:
        i = next((i for i in range(min(len(old), len(now))) if old[i] != now[i]), len(now))
        current = repr(now[i].as_py()) if i < len(now) else "gone"
        raise T2IError(
            f"the source has changed since the earlier run: row {chunk.first + i} was {old[i].as_py()!r}, is {current}",
            "prepare it into another --output",
        )


def shard_name(number: int, stand: Any) -> str:
    """A name no finished shard of this chunk has: shards are added, never changed."""
    used = set(stand.column("shard").unique().to_pylist())
    names = (f"{number:06d}" + f"-{i}" * (i > 0) for i in range(len(used) + 1))
    return next(name for name in names if name not in used)
