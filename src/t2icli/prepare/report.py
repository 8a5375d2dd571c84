"""The report: one row for every input row, saying what became of it. Also what a second run goes by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from t2icli.dataset import read_parquet
from t2icli.prepare.outcome import Status
from t2icli.prepare.shards import write_parquet

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


def path_of(output: Path, chunk: int) -> Path:
    return output / FOLDER / f"{chunk:06d}.parquet"


def write(output: Path, chunk: int, rows: Iterable[ReportRow]) -> None:
    """Put a chunk's report in place: from this moment its rows count as done."""
    import pyarrow as pa

    listed = sorted(rows, key=lambda row: row.row)
    columns = {name: [getattr(row, name) for row in listed] for name in COLUMNS}
    write_parquet(path_of(output, chunk), pa.table(columns, schema=_schema()))


def read(output: Path, chunk: int) -> list[ReportRow]:
    """A chunk's report; none if it was never finished."""
    path = path_of(output, chunk)
    return list(_rows(path)) if path.is_file() else []


def _rows(path: Path) -> Iterator[ReportRow]:
    columns = [column.to_pylist() for column in read_parquet(path).select(COLUMNS).columns]
    return (ReportRow(*values) for values in zip(*columns, strict=True))


def files(output: Path) -> list[Path]:
    return sorted((output / FOLDER).glob("[0-9]*.parquet"))


def every_row(output: Path) -> Iterator[ReportRow]:
    """All rows of all chunks."""
    for path in files(output):
        yield from _rows(path)


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


def shard_names(output: Path) -> list[str]:
    """The shards that reports speak of: all others are left-overs of a run that was killed."""
    names: set[str] = set()
    for path in files(output):
        names.update(read_parquet(path, ["shard"]).column("shard").unique().to_pylist())
    return sorted(names - {""})
