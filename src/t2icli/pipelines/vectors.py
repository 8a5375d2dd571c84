"""The folder of vectors that `t2i embed` makes: searched shard by shard, in place."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from t2icli.contract.kinds import Embedder, loaded
from t2icli.data.dataset import PreparedDataset
from t2icli.data.places import CARD, where
from t2icli.engine.jobs import FOLDER, PLAN
from t2icli.ground import toml
from t2icli.ground.batches import batched
from t2icli.ground.errors import T2IError
from t2icli.pictures.images import read_file
from t2icli.pipelines.embed import JOB, SUFFIX, Of
from t2icli.pipelines.evaluate.embeddings import BLOCK, Embedded
from t2icli.pipelines.evaluate.pairs import CaptionedPicture, EvaluationSet
from t2icli.pipelines.evaluate.retrieval import Duplicates, Hit, RetrievalResult, measured, search, sentences_of
from t2icli.registry.open import Opened, choose, identity

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Vectors:
    """Shards of vectors, and what they were made of."""

    folder: Path
    plan: Mapping[str, Any]

    @classmethod
    def at(cls, folder: Path) -> Vectors | None:
        """The vectors in a folder; None where it holds something else."""
        path = folder / PLAN
        plan = toml.read(path) if path.is_file() else {}
        return cls(folder, plan) if plan.get("job") == JOB else None

    @cached_property
    def source(self) -> Path:
        """What the vectors were made of."""
        return where(self.plan["source"])

    @property
    def of(self) -> Of:
        of: Of = self.plan["of"]
        return of

    @property
    def shards(self) -> list[Path]:
        return sorted((self.folder / FOLDER).glob(f"*{SUFFIX}"))

    @property
    def missing(self) -> int:
        """How many shards an unfinished run has not made yet."""
        return -(-self.rows // int(self.plan["shard_rows"])) - len(self.shards)

    def open_embedder(self, word: str | None, options: Mapping[str, Any], **flags: Any) -> Opened[Embedder]:
        """The embedder that made the vectors; an error where `word` or its settings mean another."""
        name = self.plan["embedder"] if word is None else word
        own = {**self.plan.get("option", {}), **options} if word is None else options
        entry, chosen = choose("embedder", name, own, **flags)
        self.check(entry.name, chosen)
        return Opened("embedder", entry.name, chosen, loaded("embedder", entry, chosen))

    def check(self, name: str, chosen: Any) -> None:
        """Whether the embedder `name` with these settings makes the same vectors."""
        if identity(name, chosen) != self.plan["identity"]:
            hint = "omit -r and its settings, install that model again, or embed into another folder"
            raise T2IError(f"the vectors in '{self.folder}' are of another model or other settings", hint)

    def search(self, query: NDArray[np.float32], n: int, among: NDArray[np.int64] | None = None) -> list[Hit]:
        """The n rows nearest to `query`, best first; of the same score the earlier one."""
        best = self.nearest(query, n, among)
        return [Hit(rank, self._picture(row), score) for rank, (row, score) in enumerate(best, start=1)]

    def nearest(
        self, query: NDArray[np.float32], n: int, among: NDArray[np.int64] | None = None
    ) -> list[tuple[int, float]]:
        """The same as row and score: of all rows, or of those that an index names."""
        if among is not None:
            rows = np.unique(among[among >= 0])
            return [(int(rows[place]), score) for place, score in search(query, self.of_rows(rows), n)]
        best: list[tuple[float, int]] = []
        for path in self.shards:
            first = int(path.stem) * int(self.plan["shard_rows"])
            vectors = _numbers(_read(path).column("vector"), path, len(query))
            best = sorted([*best, *((-score, first + row) for row, score in search(query, vectors, n))])[:n]
        return [(row, -score) for score, row in best]

    @property
    def rows(self) -> int:
        return int(self.plan["rows"])

    def between(self, start: int, end: int) -> NDArray[np.float32]:
        """The vectors of the rows from `start` to before `end`."""
        size = int(self.plan["shard_rows"])
        parts = []
        for number in range(start // size, -(-min(end, self.rows) // size)):
            path = self._shard(number)
            column = _read(path).column("vector")
            parts.append(_numbers(column, path)[max(0, start - number * size) : end - number * size])
        return np.concatenate(parts)

    def of_rows(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors of some rows, in rising order."""
        size = int(self.plan["shard_rows"])
        blocks: list[NDArray[np.float32]] = [self.between(0, 1)[:0]]
        for number in np.unique(rows // size).tolist():
            path = self._shard(number)
            blocks.append(_numbers(_read(path).column("vector"), path)[rows[rows // size == number] - number * size])
        return np.concatenate(blocks)

    def captions(self, n: int) -> list[str]:
        """The first caption of at most n rows from all over them."""
        rows = sorted({i * self.rows // n for i in range(n)})
        size, found = int(self.plan["shard_rows"]), []
        for number, some in groupby(rows, lambda row: row // size):
            column = _read(self._shard(number)).column("captions")
            found += [captions[0] for row in some if (captions := column[row - number * size].as_py())]
        return found

    def keys(self, rows: Collection[int]) -> dict[int, str]:
        """The keys of some rows."""
        size = int(self.plan["shard_rows"])
        keys: dict[int, str] = {}
        for number, some in groupby(sorted(rows), lambda row: row // size):
            column = _read(self._shard(number)).column("key")
            keys.update((row, column[row - number * size].as_py()) for row in some)
        return keys

    def _shard(self, number: int) -> Path:
        return self.folder / FOLDER / f"{number:06d}{SUFFIX}"

    def check_pictures(self) -> None:
        """Whether all shards are there, and of pictures."""
        if self.of != "pictures":
            raise T2IError(f"'{self.folder}' holds vectors of {self.of}, not of pictures", "omit --of when embedding")
        if self.missing:
            raise T2IError(
                f"'{self.folder}' is not finished: {self.missing} shards are missing", "run the same t2i embed again"
            )

    def measure(self, source: Opened[Embedder], duplicates: Duplicates, limit: int | None = None) -> RetrievalResult:
        """How well pictures and their captions find each other; the captions are embedded here."""
        self.check_pictures()
        pictures = list(self._pictures())
        places = [place for place, picture in enumerate(pictures) if picture.captions][:limit]
        if not places:
            raise T2IError(f"no picture of '{self.folder}' has a sentence")
        pairs = EvaluationSet([pictures[place] for place in places], self.plan["keys"])
        return self.measure_pairs(source, pairs, duplicates, places)

    def measure_pairs(
        self,
        source: Opened[Embedder],
        pairs: EvaluationSet,
        duplicates: Duplicates,
        places: Sequence[int] | None = None,
    ) -> RetrievalResult:
        """The same of these pictures, whose vectors are at `places`; None if they are all, in order."""
        columns = [_read(path).column("vector") for path in self.shards]
        images = np.concatenate([_numbers(column, self.folder, source.thing.width) for column in columns])
        texts = sentences_of(pairs)
        vectors = np.concatenate([source.thing.embed_texts(some).numpy() for some in batched(texts, BLOCK)])
        embedded = Embedded(images if places is None else images[places], vectors, dict(self.problems()))
        return measured([source], pairs, [embedded], duplicates=duplicates)[0]

    def _pictures(self) -> Iterator[CaptionedPicture]:
        """The rows of all shards."""
        data = PreparedDataset.open(self.source) if (self.source / CARD).is_file() else None
        rows = (row for path in self.shards for row in _read(path).select(["key", "captions"]).to_pylist())
        for place, row in enumerate(rows):
            content = partial(data.image_bytes, place) if data is not None else partial(read_file, Path(row["key"]))
            yield CaptionedPicture(row["key"], tuple(row["captions"]), content)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Key and reason of every row without a vector."""
        import pyarrow.compute as pc

        for path in self.shards:
            table = _read(path).select(["key", "problem"])
            for row in table.filter(pc.is_valid(table.column("problem"))).to_pylist():
                yield row["key"], row["problem"]

    def _picture(self, row: int) -> CaptionedPicture:
        shard, place = divmod(row, int(self.plan["shard_rows"]))
        fields = _read(self._shard(shard)).select(["key", "captions"]).slice(place, 1).to_pylist()[0]
        key, captions = fields["key"], tuple(fields["captions"])
        if self.of != "pictures" or not (self.source / CARD).is_file():
            return CaptionedPicture(key, captions, partial(read_file, Path(key)))
        data = PreparedDataset.open(self.source)
        return CaptionedPicture(key, captions, partial(data.image_bytes, row), suffix=f".{data.format(row)}")


def _read(path: Path) -> Any:
    """A shard as an arrow batch whose columns are in the mapped file."""
    try:
        import pyarrow as pa
    except ImportError as error:
        raise T2IError("embedded shards need pyarrow", "run: t2i install 't2icli[data]'") from error
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, ValueError) as error:
        hint = "delete it and run the same t2i embed again"
        raise T2IError(f"'{path}' is damaged: {error}", hint, code=1) from error


def _numbers(column: Any, path: Path, query: int | None = None) -> NDArray[np.float32]:
    """A column of vectors as one table, not copied; as wide as the `query`."""
    width = column.type.list_size
    if query not in (None, width):
        raise T2IError(f"the vectors in '{path}' have {width} numbers, the query {query}")
    vectors: NDArray[np.float32] = column.combine_chunks().flatten().to_numpy(zero_copy_only=True).reshape(-1, width)
    return vectors
