"""Images in folders, captions beside them, in the folders' names or in the images that t2i drew."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from t2icli.backends.datasets import Folder
from t2icli.data.dataset import SourceRow
from t2icli.ground.errors import T2IError
from t2icli.pictures import album, images


class FolderSource:
    def __init__(self, settings: Folder) -> None:
        self.settings = settings

    def rows(self, source: Path) -> Iterator[SourceRow]:
        if not source.is_dir():
            raise T2IError(f"'{source}' is not a folder")
        kind = _kind_of(source) if self.settings.captions == "auto" else self.settings.captions
        for folder, names in image_files(source):
            if names is None:
                yield unreadable(folder, source)
                continue
            stems = Counter(Path(name).stem for name in names)
            for name in names:
                image = folder / name
                place = image if stems[image.stem] > 1 else image.with_suffix("")
                yield self._row(place.relative_to(source).as_posix(), image, kind, source)

    def _row(self, key: str, image: Path, kind: str, root: Path) -> SourceRow:
        record = images.record_of(image)
        if images.SHEET in record or (image.name == album.GRID and (image.parent / album.RESULTS).is_file()):
            return SourceRow(key, image, (), {"skip": "sheet"})
        try:
            captions = _beside(image) if kind == "txt" else ()
        except (OSError, UnicodeDecodeError):
            return SourceRow(key, image, (), {"problem": "bad-caption-file"})
        prompt = record.get("prompt")
        if not captions and isinstance(prompt, str) and prompt and self.settings.captions in ("auto", "txt"):
            captions = (prompt,)
        return SourceRow(
            key, image, captions or ((image.parent.name,) if kind == "class" and image.parent != root else ())
        )


def image_files(root: Path) -> Iterator[tuple[Path, list[str] | None]]:
    """Every folder under `root` with the names of its images, in one order everywhere; hidden ones are left out.

    A folder that cannot be read has None.
    """
    closed: list[Path] = []
    for folder, subfolders, names in os.walk(root, onerror=lambda error: closed.append(Path(error.filename))):
        while closed:
            yield closed.pop(0), None
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        pictures = sorted(n for n in names if Path(n).suffix.lower() in images.SUFFIXES and not n.startswith("."))
        if pictures:
            yield Path(folder), pictures
    if root in closed:
        raise T2IError(f"the folder '{root}' cannot be read", "change its permissions")
    yield from ((folder, None) for folder in closed)


def unreadable(folder: Path, root: Path) -> SourceRow:
    return SourceRow(folder.relative_to(root).as_posix(), folder, (), {"problem": "unreadable-folder"})


def _kind_of(root: Path) -> str:
    if next(root.rglob("*.txt"), None) is not None:
        return "txt"
    return "none" if any(folder == root for folder, _ in image_files(root)) else "class"


def _beside(image: Path) -> tuple[str, ...]:
    """The lines of the .txt beside an image."""
    path = image.with_suffix(".txt")
    lines = path.read_text(encoding="utf-8-sig").splitlines() if path.is_file() else []
    return tuple(line.strip() for line in lines if line.strip())
