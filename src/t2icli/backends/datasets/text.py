"""Text files of unknown origin: their encoding, and where in them something is wrong."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from t2icli.errors import T2IError

SAMPLE = 1 << 20


@contextmanager
def open_text(path: Path, encoding: str = "auto") -> Iterator[TextIO]:
    """A text file with its line ends untouched; a BOM is not part of the first cell."""
    try:
        encoding = guess_encoding(path) if encoding == "auto" else encoding
        with path.open(encoding=encoding, newline="") as stream:
            yield stream
    except OSError as error:
        raise T2IError(f"cannot read '{path}': {error.strerror}") from error
    except LookupError as error:
        raise T2IError(f"there is no text encoding called {encoding!r}", "try -o encoding=gb18030") from error


def guess_encoding(path: Path) -> str:
    """UTF-8 if its first megabyte mostly is, UTF-16 if it says so, else GB18030, which holds all of GBK."""
    with path.open("rb") as stream:
        start = stream.read(SAMPLE)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    read = codecs.getincrementaldecoder("utf-8")("replace").decode(start)
    foreign, broken = sum(not character.isascii() for character in read), read.count("\ufffd")
    # GBK read as UTF-8 is mostly broken; UTF-8 with a damaged byte is not, and shall be an error that names the row.
    return "gb18030" if broken * 10 > foreign else "utf-8-sig"


def files(source: Path, *endings: str) -> list[Path]:
    """`source` itself, or the files of these endings in it, in the order of their names."""
    if source.is_file():
        return [source]
    found = sorted(path for path in source.rglob("*") if path.is_file() and path.name.lower().endswith(endings))
    if not found:
        what = "no such file or folder" if not source.exists() else f"no {' or '.join(endings)} file in it"
        raise T2IError(f"cannot read '{source}': {what}")
    return found
