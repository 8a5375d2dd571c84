"""One shard's index: its columns in memory, reads at a place of its tar, and whether both are what the card says."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from t2icli.data.places import Check, Place
from t2icli.ground.errors import T2IError

BLOCK = 512
"""Of a tar; two that are empty end it."""


class ShardEntry(msgspec.Struct, frozen=True):
    """A finished shard, as the card lists it."""

    name: str
    rows: int
    sha256: str
    """Of the rows' keys, captions and image hashes: whichever run packed them."""


class Index:
    """One shard's parquet columns, in memory from the first look, and reads at a place of its tar."""

    def __init__(self, place: Place, entry: ShardEntry) -> None:
        self.place, self.entry = place, entry
        self.tar = f"{entry.name}.tar"
        with place.held(f"{entry.name}.parquet", wrong_index(entry)) as path:
            table = read_parquet(path)
        if table.num_rows != entry.rows:
            raise T2IError(
                f"the index of shard {entry.name!r} in '{place}' has {table.num_rows} rows, not {entry.rows}"
            )
        self._columns = {name: table.column(name).combine_chunks() for name in table.column_names}

    def has(self, name: str) -> bool:
        return name in self._columns

    def column(self, name: str) -> Any:
        return self._columns[name]

    def read(self, start: int, size: int) -> bytes:
        # Opened each time: 10 microseconds beside milliseconds of decoding, and nothing to share or
        # leak between workers, threads and forks.
        with self.place.held(self.tar, self.wrong) as path, path.open("rb", buffering=0) as tar:
            content = os.pread(tar.fileno(), size, start) if hasattr(os, "pread") else _seek_read(tar, size, start)
        if len(content) != size:
            raise T2IError(f"'{self.place}/{self.tar}' is truncated", "run: t2i prepare --check on its folder", code=1)
        return content

    @cached_property
    def size(self) -> int:
        """Bytes of the tar."""
        ends = [_last(self.column("json_offset"), self.column("json_size")), 2 * BLOCK]
        return sum(-(-end // BLOCK) * BLOCK for end in ends)

    def bring(self) -> None:
        """Get the tar here, where it is elsewhere."""
        self.place.bring(self.tar, self.wrong)

    def wrong(self, path: Path) -> str | None:
        """What is wrong with a tar: every picture, sound and record in it is compared with the index."""
        with path.open("rb") as tar:
            for row in self._members():
                for kind in ("", "audio_") if row.get("audio_size") else ("",):
                    tar.seek(row[f"{kind}offset"])
                    if hashlib.sha256(tar.read(row[f"{kind}size"])).hexdigest() != row[f"{kind}sha256"]:
                        return f"the {'sound' if kind else 'picture'} of {row['key']!r} has another sha256"
                tar.seek(row["json_offset"])
                if not _is_record(tar.read(row["json_size"]), row):
                    return f"the JSON of {row['key']!r} does not match the index"
        return None

    def _members(self) -> list[dict[str, Any]]:
        names = ("key", "sha256", "offset", "size", "json_offset", "json_size")
        sounds = ("audio_offset", "audio_size", "audio_sha256") if self.has("audio_size") else ()
        columns = {name: self.column(name).to_pylist() for name in (*names, *sounds)}
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def wrong_index(entry: ShardEntry) -> Check:
    """How an index that was downloaded is compared with the card."""

    def wrong(path: Path) -> str | None:
        try:
            table = read_parquet(path)
        except T2IError as error:
            return error.message
        names = ("key", "captions", "sha256", "audio_sha256")
        columns = {name: table.column(name).to_pylist() for name in names if name in table.column_names}
        return None if digest_of(columns) == entry.sha256 else "its sha256 differs"

    return wrong


def _last(offsets: Any, sizes: Any) -> int:
    import pyarrow.compute as pc

    return int(pc.max(pc.add(offsets, sizes)).as_py() or 0)


def _is_record(content: bytes, row: Mapping[str, Any]) -> bool:
    try:
        record = msgspec.json.decode(content)
        return bool(record["key"] == row["key"] and record["sha256"] == row["sha256"])
    except (msgspec.DecodeError, LookupError, TypeError):
        return False


def _seek_read(stream: io.RawIOBase | io.FileIO, size: int, start: int) -> bytes:
    stream.seek(start)
    return stream.read(size) or b""


def digest_of(columns: Mapping[str, Sequence[Any]]) -> str:
    """The hash of a shard: of what its rows are, not of how the files were packed."""
    digest = hashlib.sha256()
    for row in zip(columns["key"], columns["captions"], columns["sha256"], strict=True):
        digest.update(msgspec.json.encode(row))
    if any(sounds := columns.get("audio_sha256", ())):
        digest.update(msgspec.json.encode(sounds))
    return digest.hexdigest()


def read_parquet(path: Path, columns: list[str] | None = None) -> Any:
    """A parquet file as an arrow table; one thread, because a forked worker must be able to do it."""
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise T2IError("prepared datasets need pyarrow", "run: t2i install 't2icli[data]'") from error
    try:
        return parquet.read_table(path, columns=columns, use_threads=False)
    except (OSError, ValueError) as error:
        raise T2IError(f"cannot read '{path}': {error}", "run: t2i prepare --check on its folder", code=1) from error
