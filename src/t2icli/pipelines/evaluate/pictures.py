"""How much the pictures in one place look like those in another: FID, KID, and CLIPScore for their prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np

from t2icli.contract.kinds import Embedder
from t2icli.ground.batches import batched
from t2icli.ground.errors import T2IError
from t2icli.pictures import album, images
from t2icli.pipelines.evaluate import pairs
from t2icli.pipelines.evaluate.distances import frechet, kernel_distance
from t2icli.pipelines.evaluate.embeddings import Advance
from t2icli.pipelines.evaluate.pairs import CaptionedPicture

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import Tensor

AT_ONCE = 64
FEW = 10_000
"""Pictures below which the number of them shifts FID noticeably."""


def read(path: Path, *, root: Path | None = None, captions: bool) -> Sequence[CaptionedPicture]:
    """The pictures of an output folder of `t2i generate` with their prompts, or those of data as everywhere."""
    if not (path / album.RESULTS).is_file():
        return pairs.read(path, root=root, captions=captions).pictures
    rows = (row for row in album.read(path) if row["file"] is not None and (path / row["file"]).is_file())
    pictures = [_drawn(path / row["file"], row["prompt"]) for row in rows]
    if not pictures:
        raise T2IError(f"there is no picture in '{path}'")
    return pictures


def _drawn(path: Path, prompt: str) -> CaptionedPicture:
    return CaptionedPicture(path.name, (prompt,), partial(images.read_file, path))


class Features(Protocol):
    """A metric that gives features of single pictures, as `inception` does."""

    def features(self, images: Sequence[Image]) -> Tensor: ...


class PicturesResult(msgspec.Struct, frozen=True):
    """How similar they are, and how well they fit their prompts."""

    pictures: int
    reference: int
    fid: float | None = None
    kid: float | None = None
    kid_deviation: float | None = None
    """Between subsets; None where there is only one."""
    clip_score: float | None = None
    """Mean of 100 x cosine, negative ones as 0, of each picture and its prompt."""


def evaluate(
    pictures: Sequence[CaptionedPicture],
    real: Sequence[CaptionedPicture] = (),
    *,
    network: Features | None = None,
    embedder: Embedder | None = None,
    advance: Advance = lambda count: None,
) -> PicturesResult:
    """FID and KID if there is a `network` and real pictures, CLIPScore if there is an `embedder`."""
    distances: dict[str, Any] = {}
    if network is not None:
        drawn, others = (_features(network, each, advance) for each in (pictures, real))
        kid, deviation = kernel_distance(drawn, others)
        distances = {"fid": frechet(drawn, others), "kid": kid, "kid_deviation": deviation}
    score = clip_score(embedder, pictures, advance) if embedder is not None else None
    return PicturesResult(len(pictures), len(real), **distances, clip_score=score)


def _features(network: Features, pictures: Sequence[CaptionedPicture], advance: Advance) -> NDArray[Any]:
    if len(pictures) < 2:
        raise T2IError("FID and KID need at least two pictures on each side")
    return np.concatenate([network.features(batch).numpy() for batch in _opened(pictures, advance)])


def _opened(pictures: Sequence[CaptionedPicture], advance: Advance) -> Iterator[list[Image]]:
    for some in batched(pictures, AT_ONCE):
        yield [picture.open() for picture in some]
        advance(len(some))


def clip_score(
    embedder: Embedder, pictures: Sequence[CaptionedPicture], advance: Advance = lambda count: None
) -> float:
    """CLIPScore of pictures and their own sentences; of several sentences of a picture the mean."""
    scores: list[float] = []
    for some, opened in zip(batched(pictures, AT_ONCE), _opened(pictures, advance), strict=True):
        for picture, vector in zip(some, embedder.embed_images(opened), strict=True):
            scores.append(float((embedder.embed_texts(picture.captions) @ vector).clamp(min=0).mean()) * 100)
    return float(np.mean(scores))
