"""Parquet files: addresses, paths, or the images themselves as bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from t2icli.backends.datasets import Parquet
from t2icli.backends.datasets.columns import CAPTION, IMAGE, choose, located, name_of, problem_of
from t2icli.backends.datasets.jsonl import captions_in
from t2icli.backends.datasets.text import files
from t2icli.data.dataset import SourceRow
from t2icli.ground.errors import T2IError

ROWS = 1000


class ParquetSource:
    def __init__(self, settings: Parquet) -> None:
        self.settings = settings

    def rows(self, source: Path) -> Iterator[SourceRow]:
        for path in files(source, ".parquet"):
            yield from self._file(path)

    def _file(self, path: Path) -> Iterator[SourceRow]:
        import pyarrow as pa
        import pyarrow.parquet as parquet

        try:
            opened = parquet.ParquetFile(path, page_checksum_verification=True)
        except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
            raise T2IError(f"'{path}' is not a parquet file: {error}") from error
        with opened:
            columns = self._columns(opened.schema_arrow.names, path)
            for group in range(opened.num_row_groups):
                done = 0
                try:
                    for batch in opened.iter_batches(ROWS, row_groups=[group], columns=list(dict.fromkeys(columns))):
                        yield from self._batch(batch, columns, path, group, done)
                        done += batch.num_rows
                except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
                    lost = opened.metadata.row_group(group).num_rows - done
                    message = f"{lost} rows from {done} on are lost: {error}"
                    yield _bad(path, group, done, "corrupt-parquet", message)

    def _columns(self, names: list[str], path: Path) -> list[str]:
        """Those of image and caption, and of the key if there is one."""
        settings = self.settings
        image = choose(settings.image, IMAGE, names, "image", path)
        caption = choose(settings.caption, CAPTION, names, "caption", path)
        return [image, caption, *([choose(settings.key, (), names, "key", path)] if settings.key else [])]

    def _batch(self, batch: Any, columns: list[str], path: Path, group: int, first: int) -> Iterator[SourceRow]:
        root = Path(self.settings.root) if self.settings.root else path.parent
        for i in range(batch.num_rows):
            try:
                cell, caption, *key = (batch.column(name)[i].as_py() for name in columns)
            except UnicodeDecodeError as error:
                yield _bad(path, group, first + i, "bad-encoding", str(error))
                continue
            yield _row(cell, captions_in(caption), str(key[0]) if key else "", root)


def _bad(path: Path, group: int, row: int, problem: str, error: str) -> SourceRow:
    """A row that cannot be read, called by its file, row group and number in that."""
    return SourceRow(f"{path.name}:{group}:{row}", None, (), {"problem": problem, "error": error})


def _row(cell: Any, captions: tuple[str, ...], key: str, root: Path) -> SourceRow:
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if isinstance(content, bytes):
        return SourceRow(key, content, captions)
    text = str((cell.get("path") if isinstance(cell, dict) else cell) or "")
    image = located(text, root)
    return SourceRow(key or name_of(image, text, captions), image, captions, problem_of(image, root))
