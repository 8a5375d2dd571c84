"""Pictures, texts or sounds as shards of vectors with their keys, made by the engine.

A shard is an Arrow file (Feather 2) without compression: `key`, `captions`, `problem`, and `vector`, float32 of one
width. Search maps it into memory; pyarrow, pandas and polars read it too. A row that cannot be opened keeps its place,
with the reason as its `problem` and a vector that is not a number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from t2icli.contract.kinds import AudioEmbedder, Embedder
from t2icli.data import places
from t2icli.data.dataset import PreparedDataset
from t2icli.engine.jobs import Job, Make
from t2icli.ground.batches import batched
from t2icli.ground.errors import T2IError
from t2icli.pictures import prompts
from t2icli.pipelines.evaluate import embeddings, pairs
from t2icli.pipelines.evaluate.pairs import CaptionedPicture, EvaluationSet
from t2icli.registry import defaults
from t2icli.registry.open import Choice, choose, load

if TYPE_CHECKING:
    from numpy.typing import NDArray

Of = Literal["pictures", "texts", "sounds"]
SUFFIX = ".arrow"
JOB = "embed"
"""How the plan of a folder of vectors names what made it."""


def read(path: Path, of: Of, root: Path | None = None) -> list[CaptionedPicture]:
    """The rows of a source that have what is to be embedded, under the same keys whatever folder one is in."""
    if not path.exists():
        raise T2IError(f"there is no data at '{path}'")
    path = path.resolve()
    rows = list({"pictures": _pictures, "texts": _texts, "sounds": _sounds}[of](path, root and root.resolve()))
    if not rows:
        others = {"pictures": "sounds", "texts": "pictures", "sounds": "pictures"}
        raise T2IError(f"'{path}' has no {of}", f"name another source, or: --of {others[of]}")
    return rows


def _pictures(path: Path, root: Path | None) -> Iterator[CaptionedPicture]:
    if path.suffix.lower() == ".txt":
        raise T2IError(f"'{path}' has no pictures", "omit --of pictures")
    return pairs.prepared(PreparedDataset.open(path)) if _is_prepared(path) else pairs.rows(path, root=root)


def _texts(path: Path, root: Path | None) -> Iterator[CaptionedPicture]:
    """The lines of a text file; of anything else each caption, by its picture's key and its number."""
    if path.suffix.lower() == ".txt":
        for number, line in enumerate(prompts.read(path)):
            yield CaptionedPicture(str(number), (line,), _no_content)
        return
    for row in _pictures(path, root):
        for number, caption in enumerate(row.captions):
            yield CaptionedPicture(f"{row.name}#{number}", (caption,), _no_content)


def _sounds(path: Path, root: Path | None) -> Iterator[CaptionedPicture]:
    if _is_prepared(path):
        yield from (row for row in pairs.prepared(PreparedDataset.open(path)) if row.has_sound)
        return
    source = load("dataset", "audio-folder") if path.is_dir() else pairs.source_of(path, root=root)
    for row in source.rows(path):
        if isinstance(row.audio, Path):
            yield CaptionedPicture(str(row.audio), row.captions, _no_content, sound=partial(_clip, row.audio))


def _is_prepared(path: Path) -> bool:
    return (path / places.CARD).is_file()


def _no_content() -> bytes:
    raise T2IError("there is no picture")


def _clip(path: Path) -> Any:
    from t2icli.sounds.clips import open_clip

    return open_clip(path)


@dataclass(frozen=True)
class Embedding:
    """How a chunk of rows becomes a shard; what every worker of a job is given."""

    of: Of
    embedder: Choice

    @classmethod
    def by(cls, of: Of, word: str | None, options: Mapping[str, Any], **flags: Any) -> Embedding:
        """With the embedder that `word` names, or the usual one; `flags` are as in `open_one`."""
        word = word or (defaults.listener() if of == "sounds" else None)
        return cls(of, Choice.of("embedder", *choose("embedder", word, options, **flags)))

    def __call__(self) -> Make:
        embedder = self.embedder.open().thing
        if self.of == "sounds" and not isinstance(embedder, AudioEmbedder):
            raise T2IError(f"{self.embedder.entry!r} does not embed sounds", "name one that does: -m wavbrivl")
        return partial(_write, self.of, embedder)


def job(rows: Sequence[CaptionedPicture], source: Path, output: Path, how: Embedding, shard_rows: int) -> Job:
    """The job that embeds `rows`; a later run must have the same rows, embedder and size of shards."""
    embedder = how.embedder.plan
    plan = {
        "job": JOB,
        "of": how.of,
        "source": places.name(source),
        "rows": len(rows),
        "keys": pairs.keys(rows),
        "shard_rows": shard_rows,
        "embedder": embedder["name"],
        "identity": embedder["identity"],
        "option": embedder["option"],
    }
    return Job(output, plan, batched(rows, shard_rows), how, SUFFIX, reads=places.on_this_machine(source))


def of_pairs(pairs: EvaluationSet, data: Path, output: Path, how: Embedding, shard_rows: int) -> Job:
    """The job that embeds what is measured: some rows of `data`, so that it is no folder to search in."""
    all_rows = job(pairs.pictures, data, output, how, shard_rows)
    return replace(all_rows, settings={**all_rows.settings, "job": "evaluate-retrieval", "data": pairs.identity})


def _write(of: Of, embedder: Embedder, rows: Sequence[CaptionedPicture], draft: Path) -> None:
    """The shard of some rows."""
    import pyarrow as pa

    vectors, problems = _vectors(of, embedder, rows)
    table = pa.table(
        {
            "key": pa.array([row.name for row in rows], pa.string()),
            "captions": pa.array([list(row.captions) for row in rows], pa.list_(pa.string())),
            "problem": pa.array([problems.get(row.name) for row in rows], pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]),
        }
    )
    with pa.ipc.new_file(str(draft), table.schema) as file:
        file.write_table(table)


def _vectors(
    of: Of, embedder: Embedder, rows: Sequence[CaptionedPicture]
) -> tuple[NDArray[np.float32], dict[str, str]]:
    problems: dict[str, str] = {}
    blocks = []
    for some in batched(rows, embeddings.BLOCK):
        if of == "pictures":
            blocks.append(embeddings.embed_pictures(embedder, some, problems))
        elif of == "texts":
            blocks.append(embedder.embed_texts([row.captions[0] for row in some]).numpy())
        else:
            blocks.append(_of_sounds(embedder, some, problems))
    return np.concatenate(blocks).astype(np.float32, copy=False), problems


def _of_sounds(embedder: Any, rows: Sequence[CaptionedPicture], problems: dict[str, str]) -> NDArray[np.float32]:
    vectors: NDArray[np.float32] = np.full((len(rows), embedder.width), np.nan, np.float32)
    clips = embeddings.opened(rows, lambda row: row.sound(), problems)
    if clips:
        vectors[list(clips)] = embedder.embed_audio(list(clips.values())).numpy()
    return vectors
