"""From words on a command line to pictures in memory, a few at a time."""

from __future__ import annotations

import glob
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from t2icli.data import places
from t2icli.data.dataset import PreparedDataset
from t2icli.ground.batches import batched
from t2icli.ground.errors import T2IError
from t2icli.pipelines.evaluate import pairs
from t2icli.pipelines.evaluate.pairs import CaptionedPicture

if TYPE_CHECKING:
    from PIL.Image import Image

DERIVED = {"grid.png"}
"""Sheets that `t2i generate` makes of the pictures beside them; left out when their folder is given."""


def find(words: Iterable[str]) -> list[Path]:
    """The files meant by names, folders (searched to the bottom) and patterns such as `out/*.png`, each once."""
    paths = [path for word in words for path in _meant(word)]
    if not paths:
        raise T2IError("there are no images", "name files, folders or patterns")
    if not any(path.exists() for path in paths):
        raise T2IError(f"there is no file '{paths[0]}'", "name files, folders or patterns")
    return list(dict.fromkeys(paths))


def pictures(words: Sequence[str]) -> list[CaptionedPicture]:
    """The same as pictures to open; those of a prepared dataset if it alone is named."""
    folder = places.where(words[0])
    if len(words) == 1 and (folder / places.CARD).is_file():
        return list(pairs.prepared(PreparedDataset.open(folder)))
    return [CaptionedPicture(str(path), (), partial(read_file, path)) for path in find(words)]


def sources(words: Iterable[str]) -> tuple[Path, ...]:
    """What must be seen on every machine that opens them."""
    return tuple(
        Path(word).expanduser().absolute() for word in words if not (glob.has_magic(word) or places.ADDRESS.match(word))
    )


def _meant(word: str) -> list[Path]:
    path = Path(word).expanduser()
    if path.is_dir():
        inside = _images_below(path)
        if not inside:
            raise T2IError(f"there are no images in the folder '{word}'")
        return inside
    if not path.exists() and glob.has_magic(word):
        matching = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
        if not matching:
            raise T2IError(f"nothing matches '{word}'")
        return [file for file in matching if not file.is_dir()]
    return [path]


def _images_below(folder: Path) -> list[Path]:
    from t2icli.pictures.images import SUFFIXES

    return [
        path
        for path in sorted(_files_below(folder))
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not (path.name in DERIVED and (path.parent / "results.jsonl").exists())
    ]


def _files_below(folder: Path) -> Iterator[Path]:
    """Everything in a folder except folders, even a pipe: it is refused when it is opened."""

    def unreadable(error: OSError) -> None:
        warnings.warn(f"the folder '{error.filename}' is left out: {error.strerror}", UserWarning, stacklevel=2)

    for inside, _, names in os.walk(folder, onerror=unreadable):
        yield from (Path(inside, name) for name in names)


def read_file(path: Path) -> bytes:
    from t2icli.pictures import images

    return images.read_file(path)


def opened(
    paths: Iterable[Path], at_once: int, unreadable: Callable[[Path, str], None]
) -> Iterator[list[tuple[Path, Image]]]:
    """The pictures in lists of `at_once`; `unreadable` is called for each that could not be opened, with the reason."""
    return batched(_one_by_one(paths, unreadable), at_once)


def _one_by_one(paths: Iterable[Path], unreadable: Callable[[Path, str], None]) -> Iterator[tuple[Path, Image]]:
    from t2icli.pictures.images import open_image

    for path in paths:
        try:
            image = open_image(path)
        except T2IError as error:
            unreadable(path, error.message)
        else:
            yield path, image
