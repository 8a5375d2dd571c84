"""Files of one JSON document a line that grow while a job runs: lines are appended, and a kill costs at most the last.

A kill may leave a part of a line without its end. It does not count, and is cut off before more is appended.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from t2icli.ground import files


def append(path: Path, documents: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
    """Append a line for each; where that fails, none of them counts. Returns where they begin and end."""
    content = "".join(f"{json.dumps(document, ensure_ascii=False)}\n" for document in documents).encode()
    with files.writing(path), path.open("ab", buffering=0) as stream:
        start = stream.tell()
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[stream.write(rest) :]
        except BaseException:
            stream.truncate(start)
            raise
    return start, start + len(content)


def mend(path: Path) -> int:
    """Cut off what a kill has left of a line, and end one that only lacks its line end; returns the file's size."""
    if not path.exists():
        return 0
    with path.open("r+b") as stream:
        if tail := _tail(stream):
            if _is_json(tail):
                stream.write(b"\n")
            else:
                stream.truncate(stream.tell() - len(tail))
        return stream.seek(0, os.SEEK_END)


def lines(path: Path, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """The lines between two places, empty ones included, but for one that a kill has left without its end."""
    with path.open("rb") as stream:
        end = stream.seek(0, os.SEEK_END) if end is None else end
        stream.seek(start)
        while (here := stream.tell()) < end and (line := stream.readline(end - here)):
            if line.endswith(b"\n") or _is_json(line):
                yield line


def _tail(stream: BinaryIO) -> bytes:
    """What follows the last line end; the stream is at its end afterwards."""
    size, length = stream.seek(0, os.SEEK_END), 1 << 12
    while True:
        stream.seek(max(0, size - length))
        content = stream.read()
        if b"\n" in content or length >= size:
            return content[content.rfind(b"\n") + 1 :]
        length *= 16


def _is_json(line: bytes) -> bool:
    """Whether it is complete: a part of an object is never valid JSON."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
