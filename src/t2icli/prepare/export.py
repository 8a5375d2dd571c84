"""A prepared dataset as the files other trainers read: images in folders and a list of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from t2icli.data.dataset import PreparedDataset
from t2icli.data.shards import member_name
from t2icli.ground import files
from t2icli.ground.errors import T2IError, did_you_mean

Writer = Callable[[PreparedDataset, TextIO, str], None]
"""Writes the list; the text goes in front of every image's path."""


def export(data: PreparedDataset, form: str, folder: Path) -> list[Path]:
    """Write images below `folder` and the list or lists naming them; returns the lists."""
    if form not in FORMS:
        raise T2IError(f"there is no export called {form!r}", did_you_mean(form, FORMS))
    name, writer, per_split = FORMS[form]
    folder.mkdir(parents=True, exist_ok=True)
    _images(data, folder)
    lists = []
    for split in ("train", "val", "test") if per_split else ("all",):
        view = data.split(split)
        if len(view):
            path = folder / name.format(split=split)
            with files.whole(path) as draft, draft.open("w", encoding="utf-8", newline="") as stream:
                writer(view, stream, f"{folder.resolve()}/" if form in ABSOLUTE else "")
            lists.append(path)
    return lists


def _images(data: PreparedDataset, folder: Path) -> None:
    for i in range(len(data)):
        path = folder / image_name(data, i)
        with files.whole(path) as draft:
            draft.write_bytes(data.image_bytes(i))


def image_name(data: PreparedDataset, i: int) -> str:
    """Where an image lies below the export's folder; a key cannot lead out of it."""
    return f"{member_name(data.key(i))}.{data.format(i)}"


def _pairs(data: PreparedDataset) -> Iterator[tuple[str, str]]:
    """Image and caption, once for each caption."""
    for i in range(len(data)):
        for caption in data.captions(i):
            yield image_name(data, i), caption


def open_clip(data: PreparedDataset, stream: TextIO, prefix: str = "") -> None:
    """Tab-separated with open_clip's default column names; quoted as pandas reads it, only where needed."""
    writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
    writer.writerow(("title", "filepath"))
    writer.writerows((caption, prefix + name) for name, caption in _pairs(data))


def dalle(data: PreparedDataset, stream: TextIO, prefix: str = "") -> None:
    """text2img's lines for DALLE-pytorch; it wants absolute paths."""
    for name, caption in _pairs(data):
        _line(stream, {"image_path": prefix + name, "sentences": caption})


def brivl(data: PreparedDataset, stream: TextIO, prefix: str = "") -> None:
    """BriVL's test set: one text an image, no boxes unless the source had them."""
    for i in range(len(data)):
        texts = [["sur_text", caption] for caption in data.captions(i)]
        _line(
            stream,
            {"image_id": prefix + image_name(data, i), "sentences": texts, "bbox": data.extra(i).get("bbox", [])},
        )


def clipcap(data: PreparedDataset, stream: TextIO, prefix: str = "") -> None:
    """ClipCap-Chinese's `image_id<TAB>caption`: no spaces around, one line each."""
    for name, caption in _pairs(data):
        stream.write(f"{prefix}{name.rsplit('.', 1)[0]}\t{' '.join(caption.split())}\n")


def _line(stream: TextIO, value: dict[str, Any]) -> None:
    stream.write(json.dumps(value, ensure_ascii=False) + "\n")


FORMS: dict[str, tuple[str, Writer, bool]] = {
    "openclip-csv": ("{split}.csv", open_clip, True),
    "dalle-jsonl": ("DALLE.{split}.jsonl", dalle, True),
    "brivl-jsonl": ("BriVL_{split}.jsonl", brivl, False),
    "clipcap": ("flickr_caption.txt", clipcap, False),
}
"""File name, writer, and whether each split gets a file of its own."""
ABSOLUTE = frozenset({"dalle-jsonl", "openclip-csv"})
