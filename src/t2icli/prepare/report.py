"""The report: one row for every input row, saying what became of it. Also what a second run goes by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from t2icli.data.dataset import read_parquet
from t2icli.data.shards import write_parquet
from t2icli.ground.errors import T2IError
from t2icli.prepare.chunks import Chunk
from t2icli.prepare.outcome import Status

FOLDER = "report"


class ReportRow(msgspec.Struct):
    """What became of one input row."""

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
    """The shard it lies in, if it is `ok`."""


COLUMNS = ReportRow.__struct_fields__


def _schema() -> Any:
    import pyarrow as pa

    text, number = pa.string(), pa.int64()
    kinds = {"row": number, "tries": pa.int32(), "bytes": number, "width": pa.int32(), "height": pa.int32()}
    return pa.schema([(name, pa.uint64() if name == "look" else kinds.get(name, text)) for name in COLUMNS])


def table_of(rows: Iterable[ReportRow]) -> Any:
    import pyarrow as pa

    listed = list(rows)
    return pa.table({name: [getattr(row, name) for row in listed] for name in COLUMNS}, schema=_schema())


def dropped_of(chunk: Chunk) -> Any:
    """The rows a chunk lost for their captions, as report rows."""
    import pyarrow as pa

    if not chunk.dropped:
        return table_of([])
    found = pa.concat_tables(chunk.dropped)
    empty = ReportRow(0, "", "", "dropped")
    columns = [
        found.column(name).cast(kind)
        if name in found.column_names
        else pa.repeat(pa.scalar(getattr(empty, name), kind), len(found))
        for name, kind in zip(COLUMNS, _schema().types, strict=True)
    ]
    return pa.table(columns, schema=_schema())


def path_of(output: Path, chunk: int) -> Path:
    return output / FOLDER / f"{chunk:06d}.parquet"


def write(output: Path, chunk: int, tables: Sequence[Any]) -> None:
    """Put a chunk's report in place: from this moment its rows count as done."""
    import pyarrow as pa

    write_parquet(path_of(output, chunk), pa.concat_tables(tables).sort_by("row"))


def read(output: Path, chunk: int) -> Any:
    """A chunk's report; empty if it was never finished."""
    path = path_of(output, chunk)
    return read_parquet(path) if path.is_file() else table_of([])


def files(output: Path) -> list[Path]:
    return sorted((output / FOLDER).glob("[0-9]*.parquet"))


def every_row(output: Path) -> Iterator[ReportRow]:
    """All rows of all chunks."""
    for path in files(output):
        columns = [column.to_pylist() for column in read_parquet(path).select(COLUMNS).columns]
        yield from (ReportRow(*values) for values in zip(*columns, strict=True))


def kept(output: Path) -> Iterator[tuple[int, str, str, int | None]]:
    """Number, key, image hash and look of every row that is `ok`."""
    import pyarrow.compute as pc

    names = ["row", "key", "sha256", "look"]
    for path in files(output):
        table = read_parquet(path, [*names, "status"])
        good = table.filter(pc.equal(table.column("status"), "ok"))
        yield from zip(*(good.column(name).to_pylist() for name in names), strict=True)


def tally(output: Path) -> Counter[tuple[str, str]]:
    """How many rows ended with each status and reason."""
    counts: Counter[tuple[str, str]] = Counter()
    for path in files(output):
        grouped = (
            read_parquet(path, ["status", "reason", "row"]).group_by(["status", "reason"]).aggregate([("row", "count")])
        )
        for row in grouped.to_pylist():
            counts[row["status"], row["reason"]] += row["row_count"]
    return counts


def failed(output: Path, most: int) -> list[tuple[str, str]]:
    """Some of the rows that failed: what each is called, or its number, and the reason."""
    import pyarrow.compute as pc

    found: list[tuple[str, str]] = []
    for path in files(output):
        table = read_parquet(path, ["row", "key", "image", "status", "reason"])
        rows = table.filter(pc.equal(table.column("status"), "failed")).slice(0, most - len(found)).to_pylist()
        found += [(row["key"] or row["image"] or f"row {row['row']}", row["reason"]) for row in rows]
        if len(found) == most:
            break
    return found


def shard_names(output: Path) -> list[str]:
    """The shards that reports speak of: all others are left-overs of a run that was killed."""
    names: set[str] = set()
    for path in files(output):
        names.update(read_parquet(path, ["shard"]).column("shard").unique().to_pylist())
    return sorted(names - {""})


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
    """Refuse to go on with a source whose rows are not those of the earlier run; more at its end are fine."""
    import pyarrow as pa
    import pyarrow.compute as pc

    now = pa.chunked_array(chunk.images, pa.string())
    old = before.column("image")
    same = len(old) <= len(now) and (not len(old) or pc.all(pc.equal(old, now.slice(0, len(old)))).as_py())
    if not same:
        i = next((i for i in range(min(len(old), len(now))) if old[i] != now[i]), len(now))
        found = repr(now[i].as_py()) if i < len(now) else "gone"
        raise T2IError(
            f"the source has changed since the earlier run: row {chunk.first + i} was {old[i].as_py()!r}, is {found}",
            "prepare it into another --output",
        )


def shard_name(number: int, stand: Any) -> str:
    """A name no finished shard of this chunk has: shards are added, never changed."""
    used = set(stand.column("shard").unique().to_pylist())
    names = (f"{number:06d}" + f"-{i}" * (i > 0) for i in range(len(used) + 1))
    return next(name for name in names if name not in used)
