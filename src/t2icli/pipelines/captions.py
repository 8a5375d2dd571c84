"""Captions without pictures, from a text file, a folder of text files, or data with pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from t2icli.data import places
from t2icli.data.dataset import PreparedDataset
from t2icli.ground.errors import T2IError
from t2icli.pipelines.prepare import check_data, is_prepared


def captions(path: Path | str) -> Iterator[str]:
    """One line of text after the other."""
    path = places.where(path)
    check_data(path)
    if path.suffix == ".txt":
        yield from _lines(path)
    elif is_prepared(path):
        data = PreparedDataset.open(path)
        for i in range(len(data)):
            yield from data.captions(i)
    elif path.is_dir() and (texts := sorted(path.rglob("*.txt"))):
        for text in texts:
            yield from _lines(text)
    else:
        raise T2IError(f"'{path}' has no captions that can be read", "a .txt file, a folder of them, or prepared data")


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig") as stream:
            for line in stream:
                if text := line.strip():
                    yield text
    except UnicodeDecodeError as error:
        raise T2IError(f"'{path}' is not UTF-8: {error.reason} at byte {error.start}") from error
