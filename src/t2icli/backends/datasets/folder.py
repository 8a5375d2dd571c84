"""Images in folders, captions beside them or in the folders' names."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from t2icli.backends.datasets import Folder
from t2icli.dataset import SourceRow
from t2icli.errors import T2IError

IMAGES = frozenset(".jpg .jpeg .png .webp .gif .bmp .tif .tiff".split())


class FolderSource:
    def __init__(self, settings: Folder) -> None:
        self.settings = settings

    def rows(self, source: Path) -> Iterator[SourceRow]:
        if not source.is_dir():
            raise T2IError(f"'{source}' is not a folder")
        kind = _kind_of(source) if self.settings.captions == "auto" else self.settings.captions
        for folder, images in image_files(source):
            stems = Counter(Path(name).stem for name in images)
            for name in images:
                image = folder / name
                place = image if stems[image.stem] > 1 else image.with_suffix("")
                yield SourceRow(place.relative_to(source).as_posix(), image, _captions(image, kind, source))


def image_files(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder under `root` with the names of its images, in one order everywhere; hidden ones are left out."""
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        images = sorted(name for name in names if Path(name).suffix.lower() in IMAGES and not name.startswith("."))
        if images:
            yield Path(folder), images


def _kind_of(root: Path) -> str:
    if next(root.rglob("*.txt"), None) is not None:
        return "txt"
    return "none" if any(folder == root for folder, _ in image_files(root)) else "class"


def _captions(image: Path, kind: str, root: Path) -> tuple[str, ...]:
    if kind == "class" and image.parent != root:
        return (image.parent.name,)
    beside = image.with_suffix(".txt")
    if kind != "txt" or not beside.is_file():
        return ()
    try:
        lines = beside.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise T2IError(f"'{beside}' is not UTF-8: {error.reason} at byte {error.start}") from error
    return tuple(line.strip() for line in lines if line.strip())
