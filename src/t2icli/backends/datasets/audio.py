"""Sounds: in folders with their captions beside them, and by the tables of VGGSound and AudioCaps.

The tables name videos; their sounds, cut out, are expected as files called after them. A sound without a picture of the
same name beside it gets its spectrogram.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from t2icli.backends.datasets import AudioFolder, AudioTable
from t2icli.backends.datasets.columns import problem_of
from t2icli.backends.datasets.tables import bad_record, read_cells
from t2icli.backends.datasets.text import files
from t2icli.data.dataset import SourceRow, UnreadableImage
from t2icli.ground.errors import T2IError
from t2icli.pictures import images
from t2icli.sounds import clips


class AudioFolderSource:
    def __init__(self, settings: AudioFolder) -> None:
        self.settings = settings

    def rows(self, source: Path) -> Iterator[SourceRow]:
        if not source.is_dir():
            raise T2IError(f"'{source}' is not a folder")
        for path in sound_files(source):
            try:
                captions = self._captions(path, source)
            except (OSError, UnicodeDecodeError):
                yield SourceRow(path.relative_to(source).as_posix(), path, (), {"problem": "bad-caption-file"})
                continue
            yield _row(path.relative_to(source).as_posix(), path, captions)

    def _captions(self, path: Path, root: Path) -> tuple[str, ...]:
        beside = path.with_suffix(".txt")
        if beside.is_file():
            lines = (line.strip() for line in beside.read_text(encoding="utf-8-sig").splitlines())
            return tuple(line for line in lines if line)
        return (path.parent.name,) if self.settings.captions == "class" and path.parent != root else ()


class VggSoundSource:
    """Without a header: video, seconds at which the sound begins, label, split."""

    def __init__(self, settings: AudioTable) -> None:
        self.settings = settings

    def rows(self, source: Path) -> Iterator[SourceRow]:
        for path in files(source, ".csv"):
            root = Path(self.settings.root) if self.settings.root else path.parent
            for record in read_cells(path, ","):
                if record.problem or len(record.cells) < 4 or not record.cells[1].isdigit():
                    yield bad_record(path, record)
                    continue
                video, second, label, split = record.cells[:4]
                key = f"{video}_{int(second):06d}"
                yield _row_at(key, [key, video], (label,), root, {"split": split} if split in ("train", "test") else {})


class AudioCapsSource:
    """With a header: audiocap_id, youtube_id, start_time, caption."""

    def __init__(self, settings: AudioTable) -> None:
        self.settings = settings

    def rows(self, source: Path) -> Iterator[SourceRow]:
        for path in files(source, ".csv"):
            root = Path(self.settings.root) if self.settings.root else path.parent
            records = read_cells(path, ",")
            header = next(records, None)
            wanted = ["audiocap_id", "youtube_id", "start_time", "caption"]
            if header is None or header.cells[:4] != wanted:
                raise T2IError(f"'{path}' is not a table of AudioCaps: its header is not {','.join(wanted)}")
            for record in records:
                if record.problem or len(record.cells) < 4:
                    yield bad_record(path, record)
                    continue
                number, video, second, caption = record.cells[:4]
                yield _row_at(number, [number, f"{video}_{second}", video], (caption,), root, {})


def sound_files(root: Path) -> Iterator[Path]:
    """Every sound below a folder, in one order everywhere; hidden ones are left out."""
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            if Path(name).suffix.lower() in clips.SUFFIXES and not name.startswith("."):
                yield Path(folder, name)


def _row_at(key: str, names: list[str], captions: tuple[str, ...], root: Path, extra: dict[str, str]) -> SourceRow:
    """The row whose sound has one of these names, with any ending."""
    paths = (root / f"{name}{suffix}" for name in names for suffix in sorted(clips.SUFFIXES))
    try:
        path = next((path for path in paths if path.is_file()), None)
    except (OSError, ValueError):  # a NUL in it
        path = None
    if path is None:
        return SourceRow(key, None, captions, {"problem": "no-audio-file", **extra})
    return _row(key, path, captions, {**extra, **problem_of(path, root)})


def _row(key: str, path: Path, captions: tuple[str, ...], extra: dict[str, str] | None = None) -> SourceRow:
    beside = (path.with_suffix(suffix) for suffix in sorted(images.SUFFIXES))
    image = next((picture for picture in beside if picture.is_file()), None)
    return SourceRow(key, image or partial(_spectrogram, path), captions, extra or {}, path)


def _spectrogram(path: Path) -> bytes:
    from t2icli.sounds.spectrogram import picture

    try:
        return picture(clips.open_clip(path))
    except T2IError as error:
        raise UnreadableImage("bad-audio", error.message) from error
