"""Address lists of the web-scale sets: Wukong's CSV files and Conceptual Captions' TSV.

They are read twice as it were: whole columns at a time by arrow, at some million rows a second, and row by row from
where arrow finds something it cannot read, so that every such row is reported or named.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from t2icli.backends.datasets import GoogleCc, Wukong
from t2icli.backends.datasets.tables import read_cells
from t2icli.backends.datasets.text import files, guess_encoding
from t2icli.backends.datasets.text2img import as_the_notebook_does
from t2icli.dataset import ADDRESS, SourceRow
from t2icli.errors import T2IError

SHORT = {"problem": "missing-column"}
BLOCK = 4 << 20
ROWS = 20_000


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
            yield from in_lists(self.rows(source))
            return
        for path in files(source, ".csv"):
            header = next(read_cells(path, ",", self.settings.encoding), [])
            names = ["image", "caption"] if header and ADDRESS.match(header[0]) else None
            yield from _columns(path, self.settings.encoding, ",", names, (0, 1), self._file(path))

    def _file(self, path: Path) -> Iterator[SourceRow]:
        cells = read_cells(path, ",", self.settings.encoding)
        header = next(cells, None)
        if header is None:
            return iter(())
        if len(header) < 2:
            raise T2IError(f"'{path}' has no caption column: its header is {header}", "Wukong's files have url,caption")
        return map(_row, chain([header], cells) if ADDRESS.match(header[0]) else cells)


def _row(cells: list[str]) -> SourceRow:
    if len(cells) < 2:
        return SourceRow("", cells[0], (), SHORT)
    return SourceRow("", cells[0] or None, (cells[1],) if cells[1] else ())


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
        for cells in read_cells(path, "tab", self.settings.encoding):
            if len(cells) < 2:
                yield SourceRow("", None, tuple(cells), SHORT)
            else:
                yield SourceRow("", cells[1] or None, (cells[0],) if cells[0] else ())


def _columns(
    path: Path,
    encoding: str,
    delimiter: str,
    names: list[str] | None,
    places: tuple[int, int],
    rows: Iterator[SourceRow],
) -> Iterator[Any]:
    """A file by arrow, and by `rows` from the first row that arrow refuses."""
    import pyarrow as pa
    import pyarrow.csv as csv

    encoding = guess_encoding(path) if encoding == "auto" else encoding
    read = csv.ReadOptions(
        block_size=BLOCK, column_names=names, encoding="utf8" if encoding.startswith("utf-8") else encoding
    )
    tabs = delimiter == "\t"
    parse = csv.ParseOptions(delimiter=delimiter, quote_char=not tabs and '"', newlines_in_values=not tabs)
    done = 0
    try:
        kinds = _all_text(path, read, parse)
        with csv.open_csv(path, read, parse, csv.ConvertOptions(column_types=kinds)) as batches:
            for batch in batches:
                yield pa.table([batch.column(i) for i in places], names=["image", "caption"])
                done += batch.num_rows
    except (pa.ArrowException, IndexError, UnicodeError, LookupError):
        yield from in_lists(islice(rows, done, None))


def _all_text(path: Path, read: Any, parse: Any) -> dict[str, Any]:
    """No column is to be taken for numbers or dates."""
    import pyarrow as pa
    import pyarrow.csv as csv

    with csv.open_csv(path, read, parse) as batches:
        return dict.fromkeys(batches.schema.names, pa.string())


def in_lists(rows: Iterator[SourceRow]) -> Iterator[list[SourceRow]]:
    while block := list(islice(rows, ROWS)):
        yield block
