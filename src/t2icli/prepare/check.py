"""Is a prepared dataset what its card says? Every byte of every shard is read once."""

from __future__ import annotations

import hashlib
import tarfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from t2icli.data.dataset import PreparedDataset
from t2icli.data.index import Index, ShardEntry, digest_of, read_parquet, wrong_index
from t2icli.data.shards import member_name
from t2icli.ground.errors import T2IError, Unreachable
from t2icli.prepare import report
from t2icli.prepare.outcome import Refused
from t2icli.prepare.pictures import finish
from t2icli.prepare.settings import Rules

ANYTHING = Rules(max_pixels=178_000_000, upright=False)


def problems(data: PreparedDataset) -> Iterator[str]:
    """Everything that is wrong, shard by shard; nothing at all if the dataset is whole."""
    keys: Counter[str] = Counter()
    for shard in data.card.shards:
        try:
            with data.place.held(f"{shard.name}.parquet", wrong_index(shard)) as path:
                index = read_parquet(path).to_pylist()
            keys.update(row["key"] for row in index)
            yield from _index(shard, index)
            with data.place.held(f"{shard.name}.tar", partial(_wrong, data, shard)) as path:
                yield from _tar(path, index)
        except (T2IError, Unreachable) as error:
            yield error.message
    yield from (f"key {key!r} is there {count} times" for key, count in keys.items() if count > 1)
    yield from _report(data)


def _wrong(data: PreparedDataset, shard: ShardEntry, path: Path) -> str | None:
    return Index(data.place, shard).wrong(path)


def _index(shard: ShardEntry, index: list[dict[str, Any]]) -> Iterator[str]:
    if len(index) != shard.rows:
        yield f"the index of shard {shard.name!r} has {len(index)} rows, the card says {shard.rows}"
    names = [name for name in ("key", "captions", "sha256", "audio_sha256") if index and name in index[0]]
    if index and digest_of({name: [row[name] for row in index] for name in names}) != shard.sha256:
        yield f"the index of shard {shard.name!r} is not the one on the card: its hash differs"


def _tar(path: Path, index: list[dict[str, Any]]) -> Iterator[str]:
    expected = {f"{member_name(row['key'])}.{row['format']}": row for row in index}
    sounds = {
        f"{member_name(row['key'])}.{row['audio_format']}": row["audio_sha256"]
        for row in index
        if row.get("audio_size")
    }
    texts = {f"{member_name(row['key'])}.txt": row["captions"][0] for row in index if row["captions"]}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                stream = tar.extractfile(member)
                content = stream.read() if stream is not None else b""
                if member.name in expected:
                    yield from _image(path, expected.pop(member.name), member.offset_data, content)
                elif member.name in texts:
                    if texts.pop(member.name).encode() != content:
                        yield f"{member.name!r} in '{path}' is not the caption in the index"
                elif member.name in sounds:
                    if sounds.pop(member.name) != hashlib.sha256(content).hexdigest():
                        yield f"sound {member.name!r} in '{path}' is damaged: its sha256 differs"
                elif not member.name.endswith(".json"):
                    yield f"{member.name!r} in '{path}' is not in the index"
    except (tarfile.TarError, OSError, EOFError) as error:
        yield f"'{path}' cannot be read: {error}"
    yield from (f"{name!r} is missing from '{path}'" for name in [*expected, *texts, *sounds])


def _image(path: Path, row: dict[str, Any], offset: int, content: bytes) -> Iterator[str]:
    where = f"image {row['key']!r} in '{path}'"
    if offset != row["offset"] or len(content) != row["size"]:
        yield f"{where} is not where the index says"
    if hashlib.sha256(content).hexdigest() != row["sha256"]:
        yield f"{where} is damaged: its sha256 differs"
        return
    try:
        picture = finish(content, ANYTHING)
    except Refused as refused:
        yield f"{where} cannot be opened: {refused.reason}"
        return
    if (picture.width, picture.height) != (row["width"], row["height"]):
        yield f"{where} is {picture.width}x{picture.height}, the index says {row['width']}x{row['height']}"


def _report(data: PreparedDataset) -> Iterator[str]:
    """Sets made by `prepare` have a report; its good rows are the dataset's."""
    if not report.files(data.folder):
        return
    lengths: Counter[int] = Counter()
    good: Counter[str] = Counter()
    for row in report.every_row(data.folder):
        lengths[row.row] += 1
        good[row.shard] += row.status == "ok"
    if lengths and (len(lengths) != max(lengths) + 1 or max(lengths.values()) > 1):
        yield "the report does not hold every input row exactly once"
    listed = {shard.name: shard.rows for shard in data.card.shards}
    if {name: count for name, count in good.items() if name} != listed:
        yield "the report and the card disagree on the contents of the shards"
