"""Address lists of the web-scale sets: Wukong's CSV files and Conceptual Captions' TSV."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from t2icli.backends.datasets import GoogleCc, Wukong
from t2icli.backends.datasets.columns import ADDRESS
from t2icli.backends.datasets.tables import read_cells
from t2icli.backends.datasets.text import files
from t2icli.backends.datasets.text2img import as_the_notebook_does
from t2icli.dataset import SourceRow
from t2icli.errors import T2IError

SHORT = {"problem": "missing-column"}


class WukongSource:
    """Address and caption in the first two columns, whatever they are called."""

    def __init__(self, settings: Wukong) -> None:
        self.settings = settings

    def rows(self, source: Path) -> Iterator[SourceRow]:
        rows = chain.from_iterable(map(self._file, files(source, ".csv")))
        return as_the_notebook_does(rows) if self.settings.notebook else rows

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
        for path in files(source, ".tsv"):
            for cells in read_cells(path, "tab", self.settings.encoding):
                if len(cells) < 2:
                    yield SourceRow("", None, tuple(cells), SHORT)
                else:
                    yield SourceRow("", cells[1].strip() or None, (cells[0].strip(),) if cells[0].strip() else ())
