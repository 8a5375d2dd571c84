"""Text files of unknown origin: their encoding, and where in them something is wrong."""

from __future__ import annotations

import codecs
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from t2icli.data.dataset import SourceRow
from t2icli.ground.errors import T2IError

SAMPLE = 1 << 20
LONGEST = 1 << 24
"""Characters of a line that is still read."""
DAMAGED = "\udcff"
"""Stands in a text where bytes could not be decoded; no encoding has a character like it."""
TOO_LONG = "\udcfe\n"
"""Stands for a line of more than `LONGEST` characters."""

COMMON = b"\xd7\xf9"
"""The last of GB2312's first level: signs, and the 3755 most used characters."""

KOREAN = 20
"""Different Hangul that make a text Korean: a Chinese one with as many characters has some of other bytes."""

BINARY = {
    b"PK\x03\x04": "an Excel workbook or another zip: save it as CSV in UTF-8",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save it as CSV in UTF-8",
    b"\x1f\x8b": "compressed: run gunzip on it",
    b"BZh": "compressed: run bunzip2 on it",
    b"\xfd7zXZ\x00": "compressed: run unxz on it",
    b"\x28\xb5\x2f\xfd": "compressed: run unzstd on it",
    b"PAR1": "a parquet file: t2i prepare parquet SOURCE",
    b"%PDF": "a PDF: export its table as CSV in UTF-8",
}
"""How files start that are no text, and what to do with them."""

BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16's, which it starts with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def _mark(error: UnicodeError) -> tuple[str, int]:
    if isinstance(error, UnicodeDecodeError):
        return DAMAGED, error.end
    raise error


codecs.register_error("t2icli-mark", _mark)


@contextmanager
def open_text(path: Path, encoding: str = "auto") -> Iterator[TextIO]:
    """A text file with its line ends untouched, `DAMAGED` where it is not text; a BOM is not part of the first cell."""
    try:
        encoding = guess_encoding(path) if encoding == "auto" else encoding
        with path.open(encoding=encoding, errors="t2icli-mark", newline="") as stream:
            yield stream
    except OSError as error:
        raise T2IError(f"cannot read '{path}': {error.strerror}") from error
    except LookupError as error:
        raise T2IError(f"there is no text encoding called {encoding!r}", "try -o encoding=gb18030") from error


class Lines:
    """The lines of a text, which can be given back; none is longer than `LONGEST`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._back: list[str] = []
        self.first = 1
        """The number of the first line taken."""
        self.taken: list[str] = []
        """Lines handed out since `begin`."""

    def begin(self) -> None:
        self.first += len(self.taken)
        self.taken.clear()

    def give_back(self, keep: int) -> None:
        """All that were taken but the first `keep`, to be read again."""
        self._back += reversed(self.taken[keep:])
        del self.taken[keep:]

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._back.pop() if self._back else self._stream.readline(LONGEST)
        if not line:
            raise StopIteration
        if len(line) == LONGEST and not line.endswith(("\n", "\r")):
            line = self._skip()
        self.taken.append(line)
        return line

    def _skip(self) -> str:
        while len(rest := self._stream.readline(LONGEST)) == LONGEST and not rest.endswith(("\n", "\r")):
            pass
        return TOO_LONG


def problem_in(text: str) -> str:
    """Why a line or a row of a text cannot be used; empty if it can."""
    if TOO_LONG[0] in text:
        return "line-too-long"
    if DAMAGED in text:
        return "bad-encoding"
    return "nul-character" if "\0" in text else ""


def bad_row(path: Path, line: int, problem: str, error: str = "") -> SourceRow:
    """A row that is none, called by its file and line."""
    details = {"error": error} if error else {}
    return SourceRow(f"{path.name}:{line}", None, (), {"problem": problem, "where": f"{path}:{line}", **details})


def guess_encoding(path: Path) -> str:
    """UTF-8 where its first megabyte can be that; GB18030, which holds all of GBK, where that gives Chinese text.

    A damaged byte in UTF-8 does not make it another encoding.
    """
    with path.open("rb") as stream:
        start = stream.read(SAMPLE)
    if kind := next((what for head, what in BINARY.items() if start.startswith(head)), None):
        raise T2IError(f"'{path}' is not a text file: it is {kind.split(': ')[0]}", kind.split(": ")[1])
    if known := next((name for bom, name in BOMS.items() if start.startswith(bom)), None) or _wide(start):
        return known
    if (zeros := start.count(0)) * 10 > len(start):
        raise T2IError(f"'{path}' is not a text file: {zeros} of its first {len(start)} bytes are 0")
    read, broken = _decoded(start, "utf-8")
    if not broken or 2 * broken <= sum(not character.isascii() for character in read):
        return "utf-8-sig"
    if _is_korean(start):
        raise T2IError(
            f"the encoding of '{path}' may be EUC-KR or GBK", "name it: -o encoding=euc-kr, or -o encoding=gb18030"
        )
    if _is_chinese(start):
        return "gb18030"
    if not _is_western(start):
        raise T2IError(f"the encoding of '{path}' is neither UTF-8 nor GBK", "name it: -o encoding=big5, for example")
    warnings.warn(
        f"'{path.name}' is neither UTF-8 nor GBK: it is read as Western European, Windows-1252; "
        "if that is wrong, name its encoding: -o encoding=NAME",
        UserWarning,
        stacklevel=2,
    )
    return "cp1252"


def _wide(start: bytes) -> str | None:
    """UTF-16 without a BOM: every other byte of its ASCII characters is 0."""
    even, odd = start[::2].count(0), start[1::2].count(0)
    if 20 * max(even, odd) > len(start) and min(even, odd) * 4 < max(even, odd):
        return "utf-16-be" if even > odd else "utf-16-le"
    return None


def _decoded(start: bytes, encoding: str) -> tuple[str, int]:
    """The text, and how often it is broken; a character that is cut at the end of the sample is left out."""
    read = codecs.getincrementaldecoder(encoding)("replace").decode(start)
    return read, read.count("\ufffd")


def _is_chinese(start: bytes) -> bool:
    """Whether it decodes as GB18030, and mostly to common characters: other encodings give rare ones."""
    read, broken = _decoded(start, "gb18030")
    foreign = [character for character in read if not character.isascii()]
    usual = sum(b"\xa1\xa1" <= character.encode("gb2312", "ignore") <= COMMON for character in foreign)
    return 10 * broken <= len(foreign) and 2 * usual >= len(foreign)


def _is_korean(start: bytes) -> bool:
    """Whether its characters are Hangul in EUC-KR. In GBK the same bytes are those common characters whose
    pronunciation begins with a letter up to R, which is all that short Chinese texts alone may have."""
    read, broken = _decoded(start, "euc-kr")
    foreign = {character for character in read if not character.isascii()}
    hangul = sum("가" <= character <= "힣" for character in foreign)
    return not broken and hangul >= KOREAN and 20 * hangul >= 19 * len(foreign)


def _is_western(start: bytes) -> bool:
    """Whether letters beyond ASCII stand alone between others, as they do in Western European languages."""
    return 2 * len(re.findall(rb"[\x80-\xff](?=[\x80-\xff])", start)) <= len(re.findall(rb"[\x80-\xff]", start))


def files(source: Path, *endings: str) -> list[Path]:
    """`source` itself, or the files of these endings in it, in the order of their names."""
    if source.is_file():
        return [source]
    named = sorted(path for path in source.rglob("*") if path.name.lower().endswith(endings) and not path.is_dir())
    readable = [path for path in named if path.is_file()]
    for path in set(named) - set(readable):
        warnings.warn(f"'{path}' is ignored: it is not a file", UserWarning, stacklevel=2)
    if not readable:
        what = "no such file or folder" if not source.exists() else f"no {' or '.join(endings)} file in it"
        raise T2IError(f"cannot read '{source}': {what}")
    return readable
