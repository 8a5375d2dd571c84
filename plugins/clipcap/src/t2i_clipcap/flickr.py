"""Flickr30k-cn: caption lists without their images, as published or as the Chinese ClipCap flattened them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from t2icli.data.dataset import SourceRow
from t2icli.ground.errors import T2IError

if TYPE_CHECKING:
    from t2i_clipcap import FlickrSettings

PART = re.compile(r"(train|val|test)\.txt$")
"""The published lists are one file a part: flickr_caption-train.txt."""
DAMAGED = "\ufffd"
"""Stands in a line where its bytes are not UTF-8."""
FOLDERS = ("images", "flickr30k-images", "flickr30k_images")


@dataclass
class Described:
    """An image's captions, and where they stand."""

    captions: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    part: str | None = None


class FlickrSource:
    """One row an image; a line that cannot be used becomes a row of its own, called by file and number."""

    def __init__(self, settings: FlickrSettings) -> None:
        self.settings = settings

    def rows(self, source: Path) -> Iterator[SourceRow]:
        images = self.settings.images or image_folder(source)
        described: dict[str, Described] = {}
        for path in lists(source):
            for number, line in enumerate(read_lines(path), start=1):
                where = f"{path.name}:{number}"
                image, caption = parse(line)
                if DAMAGED in line:
                    yield SourceRow(where, None, (), {"problem": "bad-encoding", "line": where})
                elif image and caption:
                    description = described.setdefault(image, Described(part=part_of(path)))
                    description.captions.append(caption)
                    description.lines.append(where)
                elif line.strip():
                    problem = "empty-caption" if image else "missing-tab"
                    yield SourceRow(where, None, (line.strip(),), {"problem": problem, "line": where})
        for image, description in described.items():
            path, captions = images / f"{image}.jpg", tuple(description.captions)
            if path.is_file():
                extra = {"lines": description.lines, **({"split": description.part} if description.part else {})}
                yield SourceRow(image, path, captions, extra)
            else:
                yield SourceRow(", ".join(description.lines), path, captions, {"problem": "no-such-file"})


def parse(line: str) -> tuple[str, str]:
    """The image's id and the caption of one line, either form; what is not there is empty."""
    if "#" in "".join(line.split(None, 1)[:1]):
        return parse_published(line)
    image, tab, caption = line.strip("\n").partition("\t")
    return (image.strip(), caption.strip()) if tab else ("", caption)


def parse_published(line: str) -> tuple[str, str]:
    """`ID#zhb#0 word word` or `ID#zhm#0 word:POS word:POS`: words without their kind, and nothing between them."""
    first, *words = line.split()
    is_tagged = "#zhm" in first
    return first.split("#", 1)[0], "".join(word.split(":", 1)[0] if is_tagged else word for word in words)


def part_of(path: Path) -> str | None:
    match = PART.search(path.name)
    return match[1] if match else None


def lists(source: Path) -> list[Path]:
    """The caption lists: the file itself, or those in the folder, train before val before test."""
    if source.is_file():
        return [source]
    paths = [path for path in source.glob("*.txt") if path.is_file()] if source.is_dir() else []
    if not paths:
        raise T2IError(f"there is no caption list in '{source}'", "give flickr_caption.txt, or a folder of its parts")
    order = {"train": 0, "val": 1, "test": 2, None: 3}
    return sorted(paths, key=lambda path: (order[part_of(path)], path.name))


def image_folder(source: Path) -> Path:
    """The folder of the pictures, which the lists do not contain."""
    root = source if source.is_dir() else source.parent
    return next((root / name for name in FOLDERS if (root / name).is_dir()), root)


def read_lines(path: Path) -> list[str]:
    """The lines, with `DAMAGED` where one is not UTF-8; a file that is mostly something else is refused."""
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise T2IError(f"cannot read '{path}': {error.strerror}") from error
    if 2 * sum(DAMAGED in line for line in lines) > len(lines):
        raise T2IError(f"'{path}' is not UTF-8", f"convert it: iconv -f GB18030 -t UTF-8 '{path.name}'")
    return lines
