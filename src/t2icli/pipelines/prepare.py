"""The work behind `t2i prepare`, and `open_data`, by which training and evaluation read anything."""

from __future__ import annotations

import hashlib
from pathlib import Path

from t2icli import dataset, models, plugins
from t2icli.dataset import CARD, PreparedDataset
from t2icli.errors import T2IError


def open_data(path: Path | str, cache: Path | None = None) -> PreparedDataset:
    """A prepared dataset as it is; a plain folder, CSV, TSV or JSONL after preparing it once into `cache`."""
    path = Path(path)
    if (path / CARD).is_file():
        return PreparedDataset.open(path)
    if not path.exists():
        raise T2IError(f"there is no data at '{path}'")
    folder = (cache or models.home() / "datasets") / _fingerprint(path)
    if not (folder / CARD).is_file():
        rows = plugins.load("dataset", guess_source(path)).rows(path)
        dataset.write(folder, rows, source=str(path))
    return PreparedDataset.open(folder)


def guess_source(path: Path) -> str:
    """Which dataset source reads a file or folder of this look."""
    ending = path.suffix.lower()
    return {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl"}.get(ending, "folder")


def _fingerprint(path: Path) -> str:
    """Changes when a file is added, taken away or written anew."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    seen = [(str(file.relative_to(path)), stat.st_size, stat.st_mtime_ns) for file in files if (stat := file.stat())]
    return hashlib.sha256(repr((str(path.resolve()), seen)).encode()).hexdigest()[:16]
