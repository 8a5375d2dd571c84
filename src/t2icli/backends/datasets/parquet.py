"""Parquet files: addresses, paths, or the images themselves as bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from t2icli.backends.datasets import Parquet
from t2icli.backends.datasets.columns import CAPTION, IMAGE, choose, escapes, located, name_of
from t2icli.backends.datasets.jsonl import captions_in
from t2icli.backends.datasets.text import files
from t2icli.dataset import SourceRow
from t2icli.errors import T2IError

ROWS = 1000


class ParquetSource:
    def __init__(self, settings: Parquet) -> None:
        self.settings = settings

    def rows(self, source: Path) -> Iterator[SourceRow]:
        for path in files(source, ".parquet"):
            yield from self._file(path)

    def _file(self, path: Path) -> Iterator[SourceRow]:
        import pyarrow.parquet as parquet

        settings, root = self.settings, Path(self.settings.root) if self.settings.root else path.parent
        try:
            opened = parquet.ParquetFile(path)
        except (OSError, ValueError) as error:
            raise T2IError(f"'{path}' is not a parquet file: {error}") from error
        with opened:
            names = opened.schema_arrow.names
            image = choose(settings.image, IMAGE, names, "image", path)
            caption = choose(settings.caption, CAPTION, names, "caption", path)
            key = [choose(settings.key, (), names, "key", path)] if settings.key else []
            for batch in opened.iter_batches(ROWS, columns=[image, caption, *key]):
                for found in batch.to_pylist():
                    yield _row(found[image], captions_in(found[caption]), str(found[key[0]]) if key else "", root)


def _row(cell: Any, captions: tuple[str, ...], key: str, root: Path) -> SourceRow:
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if isinstance(content, bytes):
        return SourceRow(key, content, captions)
    text = str((cell.get("path") if isinstance(cell, dict) else cell) or "")
    image = located(text, root)
    extra = {"problem": "outside-root"} if escapes(image, root) else {}
    return SourceRow(key or name_of(image, text, captions), image, captions, extra)
