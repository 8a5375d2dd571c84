"""ImageNet's folders: `train/n01440764/*.JPEG` and `val/`, images without sentences, as VQGANs train on them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from t2icli.backends.datasets import ImageNet
from t2icli.backends.datasets.folder import image_files, unreadable
from t2icli.data.dataset import SourceRow
from t2icli.ground import files
from t2icli.ground.errors import T2IError

NAMES = "LOC_synset_mapping.txt"
SPLITS = ("train", "val", "test")


class ImageNetSource:
    def __init__(self, settings: ImageNet) -> None:
        self.settings = settings

    def rows(self, source: Path) -> Iterator[SourceRow]:
        names = _names(source) if self.settings.captions == "names" else {}
        for split, root in _parts(source):
            for folder, images in image_files(root):
                if images is None:
                    yield unreadable(folder, source)
                    continue
                kind = folder.name
                extra = {"class": kind, **({"split": split} if split else {})}
                for image in images:
                    key = (folder / image).relative_to(source).with_suffix("").as_posix()
                    yield SourceRow(key, folder / image, (names[kind],) if kind in names else (), extra)


def _parts(source: Path) -> list[tuple[str, Path]]:
    splits = [(split, source / split) for split in SPLITS if (source / split).is_dir()]
    if not splits and not source.is_dir():
        raise T2IError(f"'{source}' is not a folder")
    return splits or [("", source)]


def _names(source: Path) -> dict[str, str]:
    """`n01440764 tench, Tinca tinca`: the first name of each class."""
    path = source / NAMES
    if not path.is_file():
        raise T2IError(f"there is no {NAMES} in '{source}'", "omit -o captions=names")
    lines = (line.split(" ", 1) for line in files.read_text(path).splitlines() if " " in line)
    return {kind: names.split(",")[0].strip() for kind, names in lines}
