"""WebDataset tars: members that share a name up to the first dot are one row. Nothing is ever unpacked to disk."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from t2icli.backends.datasets import WebDataset
from t2icli.backends.datasets.jsonl import captions_in, json_in
from t2icli.backends.datasets.text import files
from t2icli.data.dataset import SourceRow

IMAGES = ("jpg", "jpeg", "png", "webp", "gif", "bmp")
MOST = 256 << 20
"""Bytes of a member that is still read."""


class WebDatasetSource:
    def __init__(self, settings: WebDataset) -> None:
        self.settings = settings

    def rows(self, source: Path) -> Iterator[SourceRow]:
        for path in files(source, ".tar", ".tar.gz", ".tgz"):
            members = _members(path)
            for name, group in groupby(members, key=lambda member: member[0]):
                yield self._row(f"{path.name.split('.')[0]}/{name}", {ending: content for _, ending, content in group})

    def _row(self, key: str, parts: dict[str, bytes]) -> SourceRow:
        if "problem" in parts:
            return SourceRow(key, None, (), {"problem": parts["problem"].decode()})
        image = next((parts[ending] for ending in IMAGES if ending in parts), None)
        try:
            record = json_in(parts["json"]) if "json" in parts else {}
            captions = _captions(parts, record)
        except ValueError:
            return SourceRow(key, None, (), {"problem": "bad-caption-file"})
        extra = {
            name: record[name]
            for name in ("split", "url", "class")
            if isinstance(record, dict) and _is_plain(record.get(name))
        }
        if captions is None and self.settings.captions == "required":
            extra["problem"] = "no-caption-file" if image is not None else "no-image"
        return SourceRow(key, image, captions or (), extra)


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int)) and value not in ("", False, 0)


def _captions(parts: dict[str, bytes], record: Any) -> tuple[str, ...] | None:
    """From the JSON if it has any, else the text; None if there is neither."""
    if isinstance(record, dict):
        for name in ("captions", "caption", "text"):
            if name in record:
                return captions_in(record[name])
    if "txt" in parts:
        return captions_in(parts["txt"].decode("utf-8-sig").strip())
    return None


def _members(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """Name, ending and content of each file of a tar; what must not be touched comes with the ending `problem`."""
    try:
        with tarfile.open(path, "r:*") as tar:
            for member in tar:
                if not member.isdir():
                    yield _read(tar, member)
    except (tarfile.TarError, EOFError, OSError) as error:
        yield "end", "problem", b"truncated-tar" if "end" in str(error) else b"bad-tar"


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[str, str, bytes]:
    place = PurePosixPath(member.name)
    base, _, ending = place.name.partition(".")
    name = (place.parent / base).as_posix().lstrip("/")
    if place.is_absolute() or ".." in place.parts or not member.isreg():
        return name, "problem", b"unsafe-member"
    if member.size > MOST:
        return name, "problem", b"too-many-bytes"
    stream = tar.extractfile(member)
    content = stream.read() if stream is not None else b""
    if len(content) != member.size:
        return name, "problem", b"truncated-tar"
    return name, ending.lower(), content
