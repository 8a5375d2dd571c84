"""Pictures with their sentences to measure on: a prepared dataset, a folder, open_clip's CSV, BriVL's JSONL."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from t2icli.contract.kinds import Box, DatasetPreparer
from t2icli.data import places
from t2icli.data.dataset import PreparedDataset, Split
from t2icli.ground.errors import T2IError
from t2icli.registry.open import load

if TYPE_CHECKING:
    from PIL.Image import Image

    from t2icli.contract.kinds import AudioClip


def _no_sound() -> None:
    return None


@dataclass(frozen=True)
class CaptionedPicture:
    """One row: a picture, opened on demand, and its captions."""

    name: str
    captions: tuple[str, ...]
    content: Callable[[], bytes]
    """The picture's file."""
    boxes: tuple[Box, ...] = ()
    suffix: str = ""
    """Of its file, where the name is a dataset's key."""
    sound: Callable[[], AudioClip | None] = _no_sound

    @property
    def has_sound(self) -> bool:
        return self.sound is not _no_sound

    @property
    def file_name(self) -> str:
        return f"{Path(self.name).name}{self.suffix}"

    def open(self) -> Image:
        from t2icli.pictures import images

        return images.decode(self.content(), f"'{self.name}'")

    @cached_property
    def sha256(self) -> str:
        """Of the file; empty where there is none."""
        try:
            return hashlib.sha256(self.content()).hexdigest()
        except T2IError:
            return ""


@dataclass(frozen=True)
class EvaluationSet:
    """What is measured on, and one hash for all of it."""

    pictures: Sequence[CaptionedPicture]
    identity: str

    @property
    def has_boxes(self) -> bool:
        return any(picture.boxes for picture in self.pictures)


def read(
    path: Path, *, text: str = "sur_text", root: Path | None = None, split: Split = "all", captions: bool = True
) -> EvaluationSet:
    """Every picture in `path` that has a sentence; with `captions=False` those without are there too.

    `text` is which of BriVL's kinds of sentence counts; pictures of tables are looked for from `root`, which is the
    table's own folder unless given.
    """
    if (path / places.CARD).is_file():
        data = PreparedDataset.open(path).split(split)
        return EvaluationSet([row for row in prepared(data) if row.captions or not captions], data.sha256)
    if not path.exists():
        raise T2IError(f"there is no data at '{path}'")
    pictures = [row for row in rows(path, text, root) if row.captions or not captions]
    if not pictures:
        raise T2IError(f"no picture of '{path}' has a sentence" if captions else f"there is no picture in '{path}'")
    return EvaluationSet(pictures, _identity(pictures))


def keys(rows: Iterable[CaptionedPicture]) -> str:
    """A hash of names and captions; files of the same names are taken to be the same."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(repr((row.name, row.captions)).encode())
    return digest.hexdigest()


def _identity(rows: Sequence[CaptionedPicture]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(repr((row.sha256, row.captions, row.boxes)).encode())
    return digest.hexdigest()


def prepared(data: PreparedDataset) -> Iterator[CaptionedPicture]:
    """The rows of a prepared dataset."""
    for i in range(len(data)):
        sound = partial(data.clip, i) if data.has_audio(i) else _no_sound
        yield CaptionedPicture(
            data.key(i), data.captions(i), partial(data.image_bytes, i), suffix=f".{data.format(i)}", sound=sound
        )


def rows(path: Path, text: str = "sur_text", root: Path | None = None) -> Iterator[CaptionedPicture]:
    """A folder or a table, read by the same code as `t2i prepare` reads them."""
    source = source_of(path, text, root)
    for number, row in enumerate(source.rows(path), start=2):
        if "skip" in row.extra:
            continue
        where = row.extra.get("where", f"{path}:{number}")
        if problem := row.extra.get("problem"):
            hint = "name the pictures' folder with --root" if problem == "outside-root" else None
            error = row.extra.get("error")
            raise T2IError(f"{where}: {problem}: {error}" if error else f"{where}: {problem}", hint)
        if not isinstance(row.image, Path):
            other = str(row.image)
            raise T2IError(f"{where} does not name a file: {other}", "fetch the pictures with t2i prepare")
        boxes = tuple(tuple(box) for box in row.extra.get("bbox", ()))
        yield CaptionedPicture(str(row.image), row.captions, partial(_file, row.image), boxes)


def source_of(path: Path, text: str = "sur_text", root: Path | None = None) -> DatasetPreparer:
    """What reads a folder of pictures, a CSV or a JSONL."""
    options = {"root": str(root)} if root else {}
    if path.is_dir():
        return cast(DatasetPreparer, load("dataset", "folder"))
    if path.suffix.lower() in (".jsonl", ".json"):
        return cast(DatasetPreparer, load("dataset", "jsonl", text=text, **options))
    return cast(DatasetPreparer, load("dataset", "csv", **options))


def _file(path: Path) -> bytes:
    from t2icli.pictures.images import read_file

    return read_file(path)


def first(pairs: EvaluationSet, n: int | None) -> EvaluationSet:
    """The first n rows, with a hash of their own."""
    if n is None or n >= len(pairs.pictures):
        return pairs
    rows = pairs.pictures[:n]
    return EvaluationSet(rows, _identity(rows))
