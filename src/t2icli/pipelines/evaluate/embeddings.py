"""Embeddings of many pictures and sentences, kept in files that are read in place, block by block."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from t2icli.contract.kinds import BoxEmbedder, Embedder
from t2icli.ground import files
from t2icli.ground.batches import batched
from t2icli.ground.errors import T2IError
from t2icli.pipelines.evaluate.pairs import CaptionedPicture, EvaluationSet
from t2icli.registry import discovery
from t2icli.registry.open import Choice, Opened, choose_several, identity

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 256
"""Pictures opened, and texts read, at a time."""
Advance = Callable[[int], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Embedded:
    """Unit vectors in the order of what was given; rows of pictures that could not be opened are not a number."""

    images: NDArray[np.float32]
    texts: NDArray[np.float32]
    unreadable: Mapping[str, str]


def open_embedders(words: Iterable[str], options: Mapping[str, Any], **flags: Any) -> list[Opened[Embedder]]:
    """Those that `["clip,brivl"]` or `["clip", "brivl"]` name."""
    return [choice.open() for choice in choose_embedders(words, options, **flags)]


def choose_embedders(words: Iterable[str], options: Mapping[str, Any], **flags: Any) -> list[Choice]:
    """The same, not loaded; one that only ranks cannot embed by itself."""
    names = [word.strip() for several in words for word in several.split(",") if word.strip()]
    kinds = discovery.installed().offers
    for name in names:
        if name in kinds["ranker"] and name not in kinds["embedder"]:
            hint = f"use one of: {', '.join(kinds['embedder'])}"
            raise T2IError(f"{name!r} ranks pictures but does not embed them", hint)
    chosen = choose_several("embedder", names, options, **flags)
    return [Choice.of("embedder", *chosen[name]) for name in names]


def embed(
    source: Opened[Embedder],
    pairs: EvaluationSet,
    texts: Sequence[str],
    cache: Path | None = None,
    advance: Advance = lambda n: None,
) -> Embedded:
    """Both sides, from `cache` if this embedder has seen this data before."""
    unreadable: dict[str, str] = {}

    def image_blocks() -> Iterator[NDArray[np.float32]]:
        for some in batched(pairs.pictures, BLOCK):
            yield embed_pictures(source.thing, some, unreadable)
            advance(len(some))

    def text_blocks() -> Iterator[NDArray[np.float32]]:
        for some in batched(texts, BLOCK):
            yield source.thing.embed_texts(some).numpy()

    width = source.thing.width
    key = identity(source.entry, source.settings)
    of_texts = hashlib.sha256("\0".join(texts).encode()).hexdigest()
    images = _cached(cache, f"{key}-{pairs.identity}-images", (len(pairs.pictures), width), image_blocks, unreadable)
    text_table = _cached(cache, f"{key}-{of_texts}-texts", (len(texts), width), text_blocks)
    return Embedded(images, text_table, unreadable)


def _cached(
    cache: Path | None,
    name: str,
    shape: tuple[int, int],
    blocks: Callable[[], Iterator[NDArray[np.float32]]],
    unreadable: dict[str, str] | None = None,
) -> NDArray[np.float32]:
    """What `blocks` gives, one under the other; with a cache, in a file that is mapped and not read."""
    if cache is None:
        rows: NDArray[np.float32] = np.empty(shape, np.float32)
        _fill(rows, blocks())
        return rows
    path = cache / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.npy"
    problems = path.with_suffix(".json")
    if path.is_file():
        if unreadable is not None and problems.is_file():
            unreadable.update(json.loads(problems.read_text(encoding="utf-8")))
    else:
        with files.whole(path) as draft:
            rows = np.lib.format.open_memmap(draft, mode="w+", dtype=np.float32, shape=shape)
            _fill(rows, blocks())
            rows.flush()
            if unreadable:
                files.write(problems, json.dumps(unreadable, ensure_ascii=False))
    mapped: NDArray[np.float32] = np.load(path, mmap_mode="r")
    return mapped


def _fill(rows: NDArray[np.float32], blocks: Iterator[NDArray[np.float32]]) -> None:
    start = 0
    for block in blocks:
        rows[start : start + len(block)] = block
        start += len(block)


def embed_pictures(
    embedder: Embedder, pictures: Sequence[CaptionedPicture], unreadable: dict[str, str]
) -> NDArray[np.float32]:
    """A vector for each; not a number for those that cannot be opened, whose reasons go into `unreadable`."""
    rows: NDArray[np.float32] = np.full((len(pictures), embedder.width), np.nan, np.float32)
    images = opened(pictures, lambda picture: picture.open(), unreadable)
    if images:
        places, boxes = list(images), [pictures[place].boxes for place in images]
        if isinstance(embedder, BoxEmbedder) and any(boxes):
            rows[places] = embedder.embed_boxes(list(images.values()), boxes).numpy()
        else:
            rows[places] = embedder.embed_images(list(images.values())).numpy()
    return rows


def opened(
    rows: Sequence[CaptionedPicture], content: Callable[[CaptionedPicture], T], unreadable: dict[str, str]
) -> dict[int, T]:
    """The content of the rows that can be opened, by their places; for the others the reason, in `unreadable`."""
    found: dict[int, T] = {}
    for place, row in enumerate(rows):
        try:
            found[place] = content(row)
        except T2IError as error:
            unreadable[row.name] = error.message
    return found
