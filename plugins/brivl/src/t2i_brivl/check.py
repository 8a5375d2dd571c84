"""`t2i brivl check`: whether an imported BriVL 1.0 is the released one, by the vectors its makers published."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from t2icli.ground.errors import T2IError

if TYPE_CHECKING:
    from t2i_brivl.embed import BrivlEmbedder

RELEASED = files("t2i_brivl") / "released"
"""Three pairs and their vectors, from the BAAI repository (MIT). Its three pictures are not copied here."""
CLOSE = 0.999
"""Cosine from which on vectors count as the same: fp32 on any machine comes out far above, any mistake far below."""


@dataclass(frozen=True)
class Agreement:
    """One published vector and ours."""

    what: str
    cosine: float

    @property
    def is_same(self) -> bool:
        return self.cosine >= CLOSE


def compare(embedder: BrivlEmbedder, pictures: Path | None = None) -> list[Agreement]:
    """The three sentences and, if their pictures are at hand, the three pictures with their boxes."""
    rows = [json.loads(line) for line in (RELEASED / "example.jsonl").read_text(encoding="utf-8").splitlines() if line]
    expected = _published("np_text.npy")
    if embedder.width != expected.shape[1]:
        raise T2IError(f"this BriVL has {embedder.width} dimensions, the released one {expected.shape[1]}")
    texts = [dict(row["sentences"])["sur_text"] for row in rows]
    agreements = _agreements(texts, embedder.embed_texts(texts), expected)
    if pictures is not None:
        from t2icli.pictures.images import open_image

        opened = [open_image(pictures / Path(row["image_id"]).name) for row in rows]
        vectors = embedder.embed_boxes(opened, [row["bbox"] for row in rows])
        agreements += _agreements([Path(row["image_id"]).name for row in rows], vectors, _published("np_img.npy"))
    return agreements


def _published(name: str) -> Any:
    with (RELEASED / name).open("rb") as stream:
        return np.load(stream)


def _agreements(names: list[str], vectors: Any, expected: Any) -> list[Agreement]:
    cosines = (vectors.numpy() * expected).sum(1)
    return [Agreement(name, float(cosine)) for name, cosine in zip(names, cosines, strict=True)]
