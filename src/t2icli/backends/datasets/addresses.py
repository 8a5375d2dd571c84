"""Address lists of the web-scale sets: Wukong's CSV files and Conceptual Captions' TSV.

They are read in two ways: whole columns at a time by arrow, at some million rows a second, and row by row from
where arrow finds something it cannot read, so that every such row is reported or named.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import msgspec

from t2icli.backends.datasets import GoogleCc, Wukong
from t2icli.backends.datasets.tables import TableRow, bad_record, header_of, read_cells
from t2icli.backends.datasets.text import files, guess_encoding
from t2icli.backends.datasets.text2img import as_the_notebook_does
from t2icli.data.dataset import SourceRow
from t2icli.data.places import ADDRESS
from t2icli.ground.batches import batched
from t2icli.ground.errors import T2IError

BLOCK = 4 << 20
ROWS = 20_000


class Doubtful(Exception):
    """Arrow may have misread a file."""


class WukongSource:
    """Address and caption in the first two columns, whatever they are called."""

    def __init__(self, settings: Wukong) -> None:
        self.settings = settings

    def rows(self, source: Path) -> Iterator[SourceRow]:
        rows = chain.from_iterable(map(self._file, files(source, ".csv")))
        return as_the_notebook_does(rows) if self.settings.notebook else rows

    def columns(self, source: Path) -> Iterator[Any]:
        """Arrow tables of image and caption, or lists of rows where those cannot be had."""
        if self.settings.notebook:
            yield from batched(self.rows(source), ROWS)
            return
        for path in files(source, ".csv"):
            header = next(read_cells(path, ",", self.settings.encoding), TableRow(1, []))
            names = ["image", "caption"] if header.cells and ADDRESS.match(header.cells[0]) else None
            yield from _columns(path, self.settings.encoding, ",", names, (0, 1), self._file(path))

    def _file(self, path: Path) -> Iterator[SourceRow]:
        records = read_cells(path, ",", self.settings.encoding)
        header = next(records, None)
        if header is None:
            return iter(())
        if len(header_of(header, path)) < 2:
            raise T2IError(
                f"'{path}' has no caption column: its header is {header.cells}", "Wukong's files have url,caption"
            )
        rows = chain([header], records) if ADDRESS.match(header.cells[0]) else records
        return (_row(path, record, 0, 1) for record in rows)


def _row(path: Path, record: TableRow, image: int, caption: int) -> SourceRow:
    cells = record.cells
    if record.problem or len(cells) < 2:
        row = bad_record(path, record)
        return msgspec.structs.replace(row, image=cells[0], captions=()) if cells and image == 0 else row
    return SourceRow("", cells[image] or None, (cells[caption],) if cells[caption] else ())


class GoogleCcSource:
    """Conceptual Captions: `caption<TAB>address`, no header."""

    def __init__(self, settings: GoogleCc) -> None:
        self.settings = settings

    def rows(self, source: Path) -> Iterator[SourceRow]:
        return chain.from_iterable(map(self._file, files(source, ".tsv")))

    def columns(self, source: Path) -> Iterator[Any]:
        for path in files(source, ".tsv"):
            yield from _columns(path, self.settings.encoding, "\t", ["caption", "image"], (1, 0), self._file(path))

    def _file(self, path: Path) -> Iterator[SourceRow]:
        for record in read_cells(path, "tab", self.settings.encoding):
            yield _row(path, record, 1, 0)


def _columns(
    path: Path,
    encoding: str,
    delimiter: str,
    names: list[str] | None,
    places: tuple[int, int],
    rows: Iterator[SourceRow],
) -> Iterator[Any]:
    """A file by arrow, and by `rows` from where arrow refuses it or may have misread it."""
    import pyarrow as pa
    import pyarrow.csv as arrow_csv

    encoding = guess_encoding(path) if encoding == "auto" else encoding
    read = arrow_csv.ReadOptions(
        block_size=BLOCK, column_names=names, encoding="utf8" if encoding.startswith("utf-8") else encoding
    )
    tabs = delimiter == "\t"
    parse = arrow_csv.ParseOptions(delimiter=delimiter, quote_char=not tabs and '"', newlines_in_values=not tabs)
    done = 0
    try:
        for batch in _batches(path, read, parse):
            yield pa.table([batch.column(i) for i in places], names=["image", "caption"])
            done += batch.num_rows
    except (Doubtful, pa.ArrowException, IndexError, UnicodeError, LookupError):
        yield from batched(islice(rows, done, None), ROWS)


def _batches(path: Path, read: Any, parse: Any) -> Iterator[Any]:
    """The rows as arrow reads them, as long as that is certain to equal reading row by row."""
    import pyarrow.csv as arrow_csv

    if parse.quote_char and _may_end_open(path):
        raise Doubtful
    kinds = _all_text(path, read, parse)
    with arrow_csv.open_csv(path, read, parse, arrow_csv.ConvertOptions(column_types=kinds)) as batches:
        for batch in batches:
            if any(map(_is_doubtful, batch.columns)):
                raise Doubtful
            yield batch


def _may_end_open(path: Path) -> bool:
    """Whether the last line, where no newline ends it, may end inside of a quote: arrow would not say so."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - BLOCK))
        return stream.read().rpartition(b"\n")[2].count(b'"') % 2 == 1


def _is_doubtful(column: Any) -> bool:
    """Whether a cell may hold other rows, because of a quote that is not closed, or what is refused by row."""
    import pyarrow.compute as pc

    if (pc.max(pc.binary_length(column)).as_py() or 0) > csv.field_size_limit():
        return True
    texts = column.buffers()[2]
    content = texts.to_pybytes() if texts else b""
    return any(sign in content for sign in (b"\n", b"\r", b"\0"))


def _all_text(path: Path, read: Any, parse: Any) -> dict[str, Any]:
    """No column is to be read as numbers or dates."""
    import pyarrow as pa
    import pyarrow.csv as arrow_csv

    with arrow_csv.open_csv(path, read, parse) as batches:
        return dict.fromkeys(batches.schema.names, pa.string())
