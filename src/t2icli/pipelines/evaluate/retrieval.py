"""Finding each sentence's picture among all, and each picture's sentence: recall, ranks, and search.

Scores are made a block at a time, so that a million of each side need no table of a million times a million.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from t2icli.contract.kinds import AudioEmbedder, Embedder
from t2icli.ground import files
from t2icli.ground.batches import batched
from t2icli.ground.errors import T2IError
from t2icli.pictures.found import FoundPicture, page
from t2icli.pipelines.evaluate import embeddings
from t2icli.pipelines.evaluate.embeddings import Embedded
from t2icli.pipelines.evaluate.pairs import CaptionedPicture, EvaluationSet
from t2icli.registry.open import Opened

if TYPE_CHECKING:
    from numpy.typing import NDArray

Duplicates = Literal["right", "wrong"]
AT = (1, 5, 10)
BLOCK = 1024


@dataclass(frozen=True)
class Gallery:
    """Which pictures and sentences take part, and which of them belong together."""

    images: list[int]
    """Rows of the data."""
    texts: list[str]
    right: list[tuple[int, int]]
    """Pairs of places in `images` and `texts`."""


@dataclass(frozen=True)
class Direction:
    """How well one side finds the other."""

    recall: dict[int, float]
    """The share of queries, in percent, whose partner is among the first k."""
    median_rank: float
    mean_rank: float


@dataclass(frozen=True)
class RetrievalResult:
    """What one model reached."""

    model: str
    image_to_text: Direction
    text_to_image: Direction
    images: int
    texts: int
    unreadable: Mapping[str, str] = field(default_factory=dict)
    sounds: int = 0
    audio_to_text: Direction | None = None
    audio_to_image: Direction | None = None

    @property
    def directions(self) -> dict[str, Direction]:
        """All that were measured, by name."""
        directions = {"image_to_text": self.image_to_text, "text_to_image": self.text_to_image}
        if self.audio_to_text is not None and self.audio_to_image is not None:
            directions |= {"audio_to_text": self.audio_to_text, "audio_to_image": self.audio_to_image}
        return directions

    def table(self) -> dict[str, Any]:
        """As plain data."""
        figures = {
            name: {
                **{f"recall@{k}": value for k, value in side.recall.items()},
                "median_rank": side.median_rank,
                "mean_rank": side.mean_rank,
            }
            for name, side in self.directions.items()
        }
        sounds = {"sounds": self.sounds} if self.sounds else {}
        return {"model": self.model, "images": self.images, "texts": self.texts, **sounds, **figures}


def evaluate(
    sources: Sequence[Opened[Embedder]],
    pairs: EvaluationSet,
    *,
    duplicates: Duplicates = "right",
    audio: bool = False,
    cache: Path | None = None,
    advance: Callable[[int], None] = lambda n: None,
) -> list[RetrievalResult]:
    """Every model on the same pictures and sentences; pictures that cannot be opened are left out for all.

    With `audio` also the sounds that belong to them look for both.
    """
    texts = sentences_of(pairs)
    embedded = [embeddings.embed(source, pairs, texts, cache, advance) for source in sources]
    return measured(sources, pairs, embedded, duplicates=duplicates, audio=audio)


def sentences_of(pairs: EvaluationSet) -> list[str]:
    """Every sentence once."""
    return list(dict.fromkeys(caption for picture in pairs.pictures for caption in picture.captions))


def measured(
    sources: Sequence[Opened[Embedder]],
    pairs: EvaluationSet,
    embedded: Sequence[Embedded],
    *,
    duplicates: Duplicates = "right",
    audio: bool = False,
) -> list[RetrievalResult]:
    """The same of vectors that are there: those of every picture, and of `sentences_of(pairs)`."""
    unreadable = dict(embedded[0].unreadable)
    readable = [row for row, picture in enumerate(pairs.pictures) if picture.name not in unreadable]
    if not readable:
        raise T2IError(f"none of {len(pairs.pictures)} pictures can be opened", next(iter(unreadable.values()), None))
    chosen = gallery(pairs, readable, duplicates)
    places = {text: place for place, text in enumerate(sentences_of(pairs))}
    rows = np.asarray([places[text] for text in chosen.texts])
    results = []
    for source, each in zip(sources, embedded, strict=True):
        images, texts = VectorRows(each.images, np.asarray(chosen.images)), VectorRows(each.texts, rows)
        result = _result(source.name, images, texts, chosen, unreadable)
        results.append(_with_sounds(result, source, pairs, images, texts, chosen) if audio else result)
    return results


def _with_sounds(
    result: RetrievalResult,
    source: Opened[Embedder],
    pairs: EvaluationSet,
    images: VectorRows,
    texts: VectorRows,
    chosen: Gallery,
) -> RetrievalResult:
    if not isinstance(source.thing, AudioEmbedder):
        raise T2IError(f"{source.name!r} does not embed sounds", "name one that does, such as -r wavbrivl")
    vectors, places = [], []
    for place, row in enumerate(chosen.images):
        clip = pairs.pictures[row].sound()
        if clip is not None:
            vectors.append(source.thing.embed_audio([clip])[0].numpy())
            places.append(place)
    if not places:
        raise T2IError("the data has no sounds", "prepare some: t2i prepare audio-folder")
    sounds = VectorRows(np.stack(vectors), np.arange(len(places)))
    number = {place: i for i, place in enumerate(places)}
    to_text = ranks(sounds, texts, [(number[i], t) for i, t in chosen.right if i in number])
    to_image = ranks(sounds, images, [(number[i], i) for i in places])
    return replace(result, sounds=len(places), audio_to_text=summary(to_text), audio_to_image=summary(to_image))


def _result(
    name: str, images: VectorRows, texts: VectorRows, chosen: Gallery, unreadable: Mapping[str, str]
) -> RetrievalResult:
    forth = [(i, t) for i, t in chosen.right]
    back = [(t, i) for i, t in chosen.right]
    to_text, to_image = ranks(images, texts, forth), ranks(texts, images, back)
    return RetrievalResult(name, summary(to_text), summary(to_image), len(images), len(texts), unreadable)


def gallery(pairs: EvaluationSet, readable: Sequence[int], duplicates: Duplicates) -> Gallery:
    """`right`: the same file or the same sentence twice is there once, and every partner it has anywhere is right.

    `wrong`: as text2img and BAAI count, where row i is right for row i alone, whatever it looks like.
    """
    rows = [(row, text) for row in readable for text in pairs.pictures[row].captions]
    if duplicates == "wrong":
        return Gallery([row for row, _ in rows], [text for _, text in rows], [(i, i) for i in range(len(rows))])
    first: dict[str, int] = {}
    for row in readable:
        first.setdefault(pairs.pictures[row].sha256, row)
    image_place = {sha256: place for place, sha256 in enumerate(first)}
    text_place = {text: place for place, text in enumerate(dict.fromkeys(text for _, text in rows))}
    right = {(image_place[pairs.pictures[row].sha256], text_place[text]) for row, text in rows}
    return Gallery(list(first.values()), list(text_place), sorted(right))


@dataclass(frozen=True)
class VectorRows:
    """Some rows of a table, possibly in a file, read a block at a time."""

    table: NDArray[np.float32]
    which: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.which)

    def block(self, start: int) -> NDArray[np.float32]:
        rows: NDArray[np.float32] = np.ascontiguousarray(self.table[self.which[start : start + BLOCK]])
        return rows

    def at(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        rows: NDArray[np.float32] = np.ascontiguousarray(self.table[self.which[places]])
        return rows


def ranks(queries: VectorRows, gallery: VectorRows, right: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    """For each query how many wrong ones come before its first right one; of those that score the same, half."""
    pairs = np.asarray(sorted(right), dtype=np.int64)
    result = np.zeros(len(queries))
    for start in range(0, len(queries), BLOCK):
        block = queries.block(start)
        mine = pairs[(pairs[:, 0] >= start) & (pairs[:, 0] < start + len(block))]
        local = mine[:, 0] - start
        scores = np.einsum("nd,nd->n", block[local], gallery.at(mine[:, 1]))
        best = np.full(len(block), -np.inf, np.float32)
        np.maximum.at(best, local, scores)
        result[start : start + len(block)] = _before(block, best, gallery, local, mine[:, 1])
    return result


def _before(
    block: NDArray[np.float32],
    best: NDArray[np.float32],
    gallery: VectorRows,
    local: NDArray[np.int64],
    right: NDArray[np.int64],
) -> NDArray[np.float64]:
    """How many of the gallery score higher than `best`; the right ones of each query do not count."""
    count = np.zeros(len(block))
    for start in range(0, len(gallery), BLOCK):
        scores = block @ gallery.block(start).T
        inside = (right >= start) & (right < start + scores.shape[1])
        scores[local[inside], right[inside] - start] = -np.inf
        count += (scores > best[:, None]).sum(1) + 0.5 * (scores == best[:, None]).sum(1)
    return count


def summary(ranks: NDArray[np.float64]) -> Direction:
    # A fractional rank is a tie, and a tie at the edge is not a hit.
    recall = {k: float(100 * (ranks <= k - 1).mean()) for k in AT}
    return Direction(recall, float(np.median(ranks) + 1), float(ranks.mean() + 1))


def search(
    query: NDArray[np.float32], table: NDArray[np.float32], n: int, block: int = 65536
) -> list[tuple[int, float]]:
    """The n rows of `table` nearest to `query`, best first, reading it a block at a time."""
    places, scores = np.empty(0, np.int64), np.empty(0, np.float32)
    for start in range(0, len(table), block):
        products = np.asarray(table[start : start + block]) @ query
        products[~np.isfinite(products)] = -np.inf
        places = np.concatenate([places, np.arange(start, start + len(products))])
        scores = np.concatenate([scores, products])
        order = np.argsort(-scores, kind="stable")[:n]
        places, scores = places[order], scores[order]
    return [(int(p), float(s)) for p, s in zip(places, scores, strict=True) if np.isfinite(s)]


@dataclass(frozen=True)
class Hit:
    """A picture that was found, in its place."""

    rank: int
    picture: CaptionedPicture
    score: float


@dataclass(frozen=True)
class RetrievedSentence:
    """A sentence that was found, in its place."""

    rank: int
    text: str
    score: float


def sentences(query: NDArray[np.float32], embedder: Embedder, texts: Sequence[str], n: int) -> list[RetrievedSentence]:
    """The n texts that fit the vector `query` best, best first."""
    blocks = [embedder.embed_texts(some).numpy() for some in batched(texts, BLOCK)]
    nearest = search(query, np.concatenate(blocks), n)
    return [RetrievedSentence(rank, texts[row], score) for rank, (row, score) in enumerate(nearest, start=1)]


def hits(query: NDArray[np.float32], embedded: Embedded, pairs: EvaluationSet, n: int) -> list[Hit]:
    """The n pictures that fit the vector `query` best, best first."""
    nearest = search(query, embedded.images, n)
    return [Hit(rank, pairs.pictures[row], score) for rank, (row, score) in enumerate(nearest, start=1)]


def file(hits: Sequence[Hit], folder: Path) -> list[Path]:
    """Copy pictures into a folder, in names that sort by rank; nothing there is replaced."""
    targets = [folder / f"{hit.rank:03d}-{hit.picture.file_name}" for hit in hits]
    if taken := [target for target in targets if target.exists()]:
        raise T2IError(f"'{taken[0]}' already exists", "give --copy another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for hit, target in zip(hits, targets, strict=True):
        with files.whole(target) as draft:
            draft.write_bytes(hit.picture.content())
    return targets


def write_page(hits: Sequence[Hit], prompt: str, source: str, path: Path) -> Path:
    """One page with all the pictures in it."""
    found = [
        FoundPicture(hit.rank, hit.picture.name, hit.score, hit.picture.captions, hit.picture.open()) for hit in hits
    ]
    return files.write(path, page(prompt, source, found))
