"""Leaving near-duplicates out of a dataset: the list of them, by the vectors that `t2i embed` has made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2icli.ground.errors import T2IError
from t2icli.pipelines import embed, vector_index
from t2icli.pipelines.evaluate import pairs
from t2icli.pipelines.vectors import Vectors
from t2icli.prepare import duplicates

THRESHOLD = 0.95
SOURCES = ("prepared", "folder", "csv", "jsonl")
"""What `t2i embed` reads too."""


@dataclass(frozen=True)
class Dedup:
    """Which vectors, and from which cosine on two rows are near-duplicates."""

    vectors: Vectors
    threshold: float = THRESHOLD

    @classmethod
    def of(cls, folder: Path, threshold: float) -> Dedup:
        vectors = Vectors.at(folder)
        if vectors is None:
            raise T2IError(f"'{folder}' holds no vectors", f"compute them: t2i embed SOURCE --output {folder}")
        return cls(vectors, threshold)

    @property
    def uses_index(self) -> bool:
        """Whether there are so many vectors that only the nearest of each are compared."""
        usable = vector_index.is_there(self.vectors) and vector_index.is_usable()
        return usable and self.vectors.rows > vector_index.EXACT

    @property
    def plan(self) -> dict[str, Any]:
        """What a plan notes of it."""
        of = self.vectors.plan
        compared = {"compared": "nearest" if self.uses_index else "all"}
        return {"threshold": self.threshold, **{key: of[key] for key in ("embedder", "identity", "keys")}, **compared}

    @property
    def comparisons(self) -> int:
        """How many times `advance` is called with 1."""
        return (
            -(-self.vectors.rows // duplicates.BLOCK) if self.uses_index else duplicates.comparisons(self.vectors.rows)
        )

    def check(self, source: str, path: Path, options: Mapping[str, Any]) -> None:
        """Whether the vectors are those of the pictures in this source, all of them."""
        self.vectors.check_pictures()
        if source not in SOURCES or Path(self.vectors.plan["source"]) != path.resolve():
            raise T2IError(
                f"the vectors in '{self.vectors.folder}' are of '{self.vectors.plan['source']}', not of '{path}'",
                f"compute some: t2i embed {path} --output FOLDER",
            )
        root = options.get("root")
        if pairs.keys(embed.read(path, "pictures", Path(root) if root else None)) != self.vectors.plan["keys"]:
            raise T2IError(f"'{path}' has changed since it was embedded", "embed it into another folder")

    def listed(self, output: Path, advance: Callable[[int], None]) -> Path:
        """The list of near-duplicates in the folder of a dataset, made unless it is there."""
        path = output / duplicates.NAME
        if not path.is_file():
            found = self._found(advance)
            keys = self.vectors.keys({row for each in found for row in (each.row, each.of)})
            duplicates.write(path, ((each.row, keys[each.row], keys[each.of], each.cosine) for each in found))
        return path

    def _found(self, advance: Callable[[int], None]) -> list[duplicates.Duplicate]:
        rows, read = self.vectors.rows, self.vectors.between
        if not self.uses_index:
            return duplicates.find(rows, read, self.threshold, advance)
        of_rows, near = self.vectors.of_rows, vector_index.open_index(self.vectors).near
        return duplicates.find_among_nearest(rows, read, of_rows, near, self.threshold, advance)
