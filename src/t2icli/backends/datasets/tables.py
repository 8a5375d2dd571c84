"""CSV and TSV files with an image and a caption column."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from t2icli.backends.datasets import Csv
from t2icli.backends.datasets.columns import AUDIO, CAPTION, IMAGE, audio_of, choose, located, name_of, problem_of
from t2icli.backends.datasets.text import LONGEST, Lines, bad_row, files, open_text, problem_in
from t2icli.data.dataset import SourceRow
from t2icli.ground.errors import T2IError

END = "\n\n"
"""Behind a line that is read alone: who asks for more of it has found a quote that is not closed."""


class CsvSource:
    def __init__(self, settings: Csv) -> None:
        self.settings = settings

    def rows(self, source: Path) -> Iterator[SourceRow]:
        for path in files(source, ".csv", ".tsv"):
            yield from self._file(path)

    def _file(self, path: Path) -> Iterator[SourceRow]:
        settings = self.settings
        root = Path(settings.root) if settings.root else path.parent
        records = read_cells(path, settings.delimiter, settings.encoding)
        header = next(records, None)
        if header is None:
            return
        names = header_of(header, path) if settings.header else [str(i) for i in range(len(header.cells))]
        image = names.index(choose(settings.image, IMAGE, names, "image", path))
        caption = names.index(choose(settings.caption, CAPTION, names, "caption", path))
        key = names.index(choose(settings.key, (), names, "key", path)) if settings.key else None
        has_audio = settings.audio or AUDIO in names
        audio = names.index(choose(settings.audio, (AUDIO,), names, "audio", path)) if has_audio else None
        for record in records if settings.header else chain([header], records):
            if record.problem or len(record.cells) <= max(image, caption, key or 0, audio or 0):
                yield bad_record(path, record)
            else:
                row = _row(record.cells, image, caption, key, root)
                yield row if audio is None else with_audio(row, record.cells[audio], root)


def _row(cells: Sequence[str], image: int, caption: int, key: int | None, root: Path) -> SourceRow:
    place = located(cells[image], root)
    captions = (cells[caption],) if cells[caption] else ()
    name = cells[key] if key is not None else name_of(place, cells[image], captions)
    return SourceRow(name, place, captions, problem_of(place, root))


def with_audio(row: SourceRow, cell: object, root: Path) -> SourceRow:
    sound, problem = audio_of(cell, root)
    return msgspec.structs.replace(row, audio=sound, extra={**problem, **row.extra})


class TableRow(NamedTuple):
    """One row of a table, and the line it starts in."""

    line: int
    cells: list[str]
    problem: str = ""


def header_of(record: TableRow, path: Path) -> list[str]:
    if record.problem:
        raise T2IError(
            f"the first row of '{path}', which names the columns, cannot be read: {record.problem}",
            "if it is in another encoding, name it: -o encoding=gb18030",
        )
    return record.cells


def bad_record(path: Path, record: TableRow) -> SourceRow:
    """A row with a problem, or one that has too few cells."""
    row = bad_row(path, record.line, record.problem or "missing-column")
    return row if record.problem else msgspec.structs.replace(row, captions=tuple(record.cells))


def read_cells(path: Path, delimiter: str = "auto", encoding: str = "auto") -> Iterator[TableRow]:
    """The rows of a table, empty lines left out; one that cannot be read comes with the problem."""
    with open_text(path, encoding) as stream:
        between = separator(stream.readline(LONGEST), path) if delimiter == "auto" else delimiter
        stream.seek(0)
        tabs = between in ("\t", "tab", "\\t")
        yield from _records(Lines(stream), "\t" if tabs else between, tabs)


def separator(first: str, path: Path) -> str:
    """What stands between the cells of a table's first line: open_clip writes tabs into files called .csv."""
    if "\t" in first or path.suffix.lower() == ".tsv":
        return "\t"
    return ";" if ";" in first and "," not in first else ","


def _records(lines: Lines, delimiter: str, plain: bool) -> Iterator[TableRow]:
    # Captions in tab-separated files carry lone quotation marks: such files do not quote cells.
    quoting: Literal[0, 3] = csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL
    while True:
        reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
        try:
            while True:
                lines.begin()
                cells = next(reader)
                if cells:
                    problem = problem_in("".join(cells))
                    yield TableRow(lines.first, [] if problem else cells, problem)
        except StopIteration:
            return
        except csv.Error:
            yield _doubtful(lines, delimiter, quoting)


def _doubtful(lines: Lines, delimiter: str, quoting: Literal[0, 3]) -> TableRow:
    """The row that strict reading stopped at, of whose lines only the first is used up."""
    line = lines.first
    lines.give_back(1)
    if problem := problem_in(lines.taken[0]):
        return TableRow(line, [], problem)
    here = Lines(io.StringIO(lines.taken[0] + END, newline=""))
    try:
        cells = next(csv.reader(here, delimiter=delimiter, quoting=quoting))  # `"a"b` is read as `ab`
    except csv.Error:
        return TableRow(line, [], "field-too-long")
    return TableRow(line, cells) if len(here.taken) == 1 else TableRow(line, [], "unclosed-quote")
