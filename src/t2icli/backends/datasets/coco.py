"""MS COCO captions, 2014 and 2017: annotation files beside image folders or the zips they are published as."""

from __future__ import annotations

import re
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from t2icli.backends.datasets import Coco
from t2icli.data.dataset import SourceRow
from t2icli.ground.errors import T2IError

ANNOTATIONS = re.compile(r"captions_(train|val)(2014|2017)\.json")
MOST = 256 << 20


class CocoImage(msgspec.Struct):
    id: int
    file_name: str


class CocoCaption(msgspec.Struct):
    image_id: int
    caption: str


class Annotations(msgspec.Struct):
    images: list[CocoImage]
    annotations: list[CocoCaption]


class CocoSource:
    def __init__(self, settings: Coco) -> None:
        self.settings = settings

    def rows(self, source: Path) -> Iterator[SourceRow]:
        paths = [path for path in sorted(source.rglob("captions_*.json")) if self._wanted(path)]
        if not paths:
            raise T2IError(
                f"there is no captions_train2017.json or similar file in '{source}'", "or in its annotations/"
            )
        for path in paths:
            yield from self._part(path, source)

    def _wanted(self, path: Path) -> bool:
        match = ANNOTATIONS.fullmatch(path.name)
        return match is not None and self.settings.year in ("any", match[2])

    def _part(self, path: Path, root: Path) -> Iterator[SourceRow]:
        split, year = ANNOTATIONS.fullmatch(path.name).groups()  # type: ignore[union-attr]
        try:
            annotations = msgspec.json.decode(path.read_bytes(), type=Annotations)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, OSError) as error:
            raise T2IError(f"'{path}' is not COCO's annotations: {error}") from error
        captions: dict[int, list[str]] = defaultdict(list)
        for sentence in annotations.annotations:
            captions[sentence.image_id].append(sentence.caption.strip())
        with ExitStack() as opened:
            images = _Images(root, f"{split}{year}", opened)
            for picture in sorted(annotations.images, key=lambda picture: picture.id):
                image, extra = images.find(picture.file_name)
                key = f"{split}{year}/{Path(picture.file_name).stem}"
                yield SourceRow(key, image, tuple(captions[picture.id]), {"split": split, **extra})


class _Images:
    """The images of one part, as a folder or a zip of that name."""

    def __init__(self, root: Path, name: str, opened: ExitStack) -> None:
        places = [root / name, root / "images" / name]
        self.folder = next((place for place in places if place.is_dir()), None)
        zips = [place.with_name(f"{name}.zip") for place in places]
        path = next((place for place in zips if place.is_file()), None)
        if self.folder is None and path is None:
            raise T2IError(f"there are no images for {name!r} in '{root}'", f"neither {name}/ nor {name}.zip")
        self.name = name
        self.zip = opened.enter_context(_opened(path)) if self.folder is None and path is not None else None

    def find(self, name: str) -> tuple[Path | bytes | None, dict[str, Any]]:
        if self.folder is not None:
            inside = (self.folder / name).resolve().is_relative_to(self.folder.resolve())
            return self.folder / name, {} if inside else {"problem": "outside-root"}
        assert self.zip is not None
        try:
            if self.zip.getinfo(f"{self.name}/{name}").file_size > MOST:
                return None, {"problem": "too-many-bytes"}
            return self.zip.read(f"{self.name}/{name}"), {}
        except KeyError:
            return None, {"problem": "no-such-file"}
        except (zipfile.BadZipFile, OSError):
            return None, {"problem": "corrupt"}


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise T2IError(
            f"'{path}' is damaged: {error}", "download it again, or unpack it beside the annotations"
        ) from error
