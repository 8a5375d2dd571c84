"""One shard: a tar of `key.jpg key.txt key.json` and its parquet index, written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tarfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO
from urllib.parse import quote

import msgspec

from t2icli.data.dataset import SPLITS, DatasetCard, PreparedDataset, SourceRow, key_of, write_card
from t2icli.data.index import BLOCK, ShardEntry, digest_of
from t2icli.ground import files

UNSAFE = re.compile(r"[\x00-\x1f\x7f\\.:%]")
AUDIO = frozenset({"audio_offset", "audio_size", "audio_sha256", "audio_format"})
"""Columns of an index whose shard has sounds."""
EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
"""Formats stored unchanged in a shard: those that every reader of such tars knows."""


SHARD = re.compile(r"\d{6,}(-\d+)?\.(tar|parquet)")
ENTRY = b"t2i.shard"
"""The key under which an index holds its shard's entry for the card."""


class ShardWriter:
    """Collects rows in `.NAME.tar.part`; leaving the block without an error renames tar and index into place."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self._path = folder / f"{name}.tar"
        self._draft = files.draft_of(folder / f"{name}.tar")
        with files.writing(self._path):
            self._tar: BinaryIO = self._draft.open("wb")
        self._places: list[int] = []
        self._columns: dict[str, list[Any]] = {name: [] for name, _ in _columns()}

    def add(
        self,
        key: str,
        image: bytes,
        captions: Sequence[str],
        extra: Mapping[str, Any],
        described: Mapping[str, Any] | None = None,
        place: int | None = None,
        audio: bytes | None = None,
    ) -> None:
        """Append one row.

        `described` is the result of `describe`, if there is one already; `place` is where the row stands in the index,
        for images that arrive in any order.
        """
        facts = described or describe(image)
        self._places.append(len(self) if place is None else place)
        name = member_name(key)
        offset = self._member(f"{name}.{facts['format']}", image)
        if captions:
            self._member(f"{name}.txt", captions[0].encode())
        sound = {"audio_offset": 0, "audio_size": 0, "audio_sha256": "", "audio_format": ""}
        if audio is not None:
            form = audio_format(audio)
            sound |= {"audio_offset": self._member(f"{name}.{form}", audio), "audio_size": len(audio)}
            sound |= {"audio_sha256": hashlib.sha256(audio).hexdigest(), "audio_format": form}
        split = extra.get("split") if extra.get("split") in SPLITS else ""  # of others the key decides
        row = {"key": key, "captions": list(captions), **facts, "split": split}
        record = msgspec.json.encode({**extra, **row})
        places = {"json_offset": self._member(f"{name}.json", record), "json_size": len(record)}
        self._note({**row, **places, **sound, "offset": offset, "size": len(image)})

    def _note(self, row: Mapping[str, Any]) -> None:
        for name, values in self._columns.items():
            values.append(row[name])

    def _member(self, name: str, content: bytes) -> int:
        """Write one file of the tar and return the offset of its bytes."""
        info = tarfile.TarInfo(name)
        info.size = len(content)
        with files.writing(self._path):
            self._tar.write(info.tobuf(tarfile.PAX_FORMAT, "utf-8"))
            offset = self._tar.tell()
            self._tar.write(content + b"\0" * (-len(content) % BLOCK))
        return offset

    def __len__(self) -> int:
        return len(self._columns["key"])

    @property
    def entry(self) -> ShardEntry:
        return ShardEntry(self.name, len(self), digest_of(self._columns))

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and len(self):
                self._finish()
        finally:
            with contextlib.suppress(OSError):  # on a full disk closing fails once more
                self._tar.close()
            self._draft.unlink(missing_ok=True)

    def _finish(self) -> None:
        order = sorted(range(len(self)), key=self._places.__getitem__)
        self._columns = {name: [values[i] for i in order] for name, values in self._columns.items()}
        with files.writing(self._path):
            self._tar.write(b"\0" * 2 * BLOCK)
            self._tar.flush()
            files.fsync(self._draft)
        write_parquet(self.folder / f"{self.name}.parquet", self._index())
        os.replace(self._draft, self._path)

    def _index(self) -> Any:
        """The columns, and in their metadata what the card will say of the shard."""
        import pyarrow as pa

        entry = msgspec.json.encode(self.entry)
        columns = [(name, kind) for name, kind in _columns() if name not in AUDIO or any(self._columns["audio_size"])]
        values = {name: self._columns[name] for name, _ in columns}
        return pa.table(values, schema=pa.schema(columns, metadata={ENTRY: entry}))


def member_name(key: str) -> str:
    """A key as a name in a tar: it cannot leave the folder, and dots only start the extension."""
    return UNSAFE.sub(lambda match: quote(match[0], safe="").replace(".", "%2E"), key).lstrip("/")


def describe(image: bytes) -> dict[str, Any]:
    """Width, height, format and hash of an image file, from its header alone."""
    from t2icli.pictures.images import opened

    with opened(image) as header:
        width, height = header.size
        form = EXTENSIONS.get(header.format or "", (header.format or "").lower())
    return {"width": width, "height": height, "format": form, "sha256": hashlib.sha256(image).hexdigest()}


def entry_of(folder: Path, name: str) -> ShardEntry:
    """What the card will say of a finished shard, read back from its index."""
    import pyarrow.parquet as parquet

    return msgspec.json.decode(parquet.read_schema(folder / f"{name}.parquet").metadata[ENTRY], type=ShardEntry)


def sweep(folder: Path, names: Collection[str]) -> None:
    """Remove leftovers of killed runs: drafts, and shards that no report mentions."""
    for path in [*folder.glob(".*.part"), *folder.glob("*/.*.part")]:
        path.unlink(missing_ok=True)
    for path in folder.iterdir():
        if SHARD.fullmatch(path.name) and path.stem not in names:
            path.unlink()


def audio_format(content: bytes) -> str:
    """The ending of a sound's file, by how it begins."""
    beginnings = {b"RIFF": "wav", b"fLaC": "flac", b"OggS": "ogg", b"FORM": "aiff"}
    return beginnings.get(content[:4], "mp3")


def _columns() -> list[tuple[str, Any]]:
    import pyarrow as pa

    number = pa.int64()
    return [
        ("key", pa.string()),
        ("captions", pa.list_(pa.string())),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("format", pa.string()),
        ("sha256", pa.string()),
        ("split", pa.string()),
        ("offset", number),
        ("size", number),
        ("json_offset", number),
        ("json_size", number),
        ("audio_offset", number),
        ("audio_size", number),
        ("audio_sha256", pa.string()),
        ("audio_format", pa.string()),
    ]


def write_parquet(path: Path, table: Any) -> None:
    """A table under its final name only when every byte of it is on the disk."""
    import pyarrow.parquet as parquet

    with files.whole(path, durable=True) as draft:
        parquet.write_table(table, draft)


def write(folder: Path | str, rows: Iterable[SourceRow], **card: Any) -> PreparedDataset:
    """A prepared dataset from a few good local images, in one shard; `card` gives fields of the card.

    For more data, or data from elsewhere, use `t2icli.pipelines.prepare`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with ShardWriter(folder, "000000") as shard:
        for row in rows:
            image = row.read()
            key = row.key or key_of(image, row.captions)
            shard.add(key, image, row.captions, row.extra, audio=row.read_audio())
    return write_card(folder, DatasetCard(shards=(shard.entry,) if len(shard) else (), **card))
