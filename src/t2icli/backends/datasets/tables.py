"""CSV and TSV files with an image and a caption column."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from t2icli.backends.datasets import Csv
from t2icli.backends.datasets.columns import CAPTION, IMAGE, choose, escapes, located, name_of
from t2icli.backends.datasets.text import files, open_text
from t2icli.dataset import SourceRow
from t2icli.errors import T2IError


class CsvSource:
    def __init__(self, settings: Csv) -> None:
        self.settings = settings

    def rows(self, source: Path) -> Iterator[SourceRow]:
        for path in files(source, ".csv", ".tsv"):
            yield from self._file(path)

    def _file(self, path: Path) -> Iterator[SourceRow]:
        settings = self.settings
        root = Path(settings.root) if settings.root else path.parent
        cells = read_cells(path, settings.delimiter, settings.encoding)
        header = next(cells, None)
        if header is None:
            return
        names = header if settings.header else [str(i) for i in range(len(header))]
        image = names.index(choose(settings.image, IMAGE, names, "image", path))
        caption = names.index(choose(settings.caption, CAPTION, names, "caption", path))
        key = names.index(choose(settings.key, (), names, "key", path)) if settings.key else None
        if not settings.header:
            yield _row(header, image, caption, key, root)
        for row in cells:
            yield _row(row, image, caption, key, root)


def _row(cells: Sequence[str], image: int, caption: int, key: int | None, root: Path) -> SourceRow:
    if len(cells) <= max(image, caption, key or 0):
        return SourceRow("", None, tuple(cells), {"problem": "missing-column"})
    found = located(cells[image], root)
    captions = (cells[caption],) if cells[caption] else ()
    name = cells[key] if key is not None else name_of(found, cells[image], captions)
    return SourceRow(name, found, captions, {"problem": "outside-root"} if escapes(found, root) else {})


def read_cells(path: Path, delimiter: str = "auto", encoding: str = "auto") -> Iterator[list[str]]:
    """The rows of a table, empty lines left out; what cannot be read is an error that names the row."""
    with open_text(path, encoding) as stream:
        between = separator(stream.readline(), path) if delimiter == "auto" else delimiter
        stream.seek(0)
        tabs = between in ("\t", "tab", "\\t")
        yield from _rows(path, stream, "\t" if tabs else between, tabs)


def separator(first: str, path: Path) -> str:
    """What stands between the cells of a table's first line: open_clip writes tabs into files called .csv."""
    if "\t" in first or path.suffix.lower() == ".tsv":
        return "\t"
    return ";" if ";" in first and "," not in first else ","


def _rows(path: Path, stream: TextIO, delimiter: str, plain: bool) -> Iterator[list[str]]:
    # Captions in tab-separated files carry lone quotation marks: nobody who writes those quotes cells.
    reader = csv.reader(stream, delimiter=delimiter, quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL)
    try:
        yield from filter(None, reader)
    except csv.Error as error:
        raise T2IError(f"'{path}' line {reader.line_num}: {error}") from error
    except UnicodeDecodeError as error:
        raise T2IError(
            f"'{path}' after line {reader.line_num} is not {error.encoding}: {error.reason}",
            "say what it is: -o encoding=gb18030",
        ) from error
