"""`/v1/rankings`, `/v1/captions`, `/v1/embeddings`: what pictures show."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request

from t2i_serve.errors import ApiError
from t2i_serve.routes.uploads import decoded
from t2i_serve.schema import (
    ERRORS,
    CaptionAnswer,
    CaptionRequest,
    Embedding,
    EmbeddingAnswer,
    EmbeddingRequest,
    ImageCaptions,
    Ranked,
    RankingAnswer,
    RankingRequest,
)
from t2i_serve.studio import Studio
from t2icli.ground.errors import T2IError
from t2icli.pictures import prompts
from t2icli.pipelines import scoring

if TYPE_CHECKING:
    from PIL.Image import Image

router = APIRouter(prefix="/v1", responses=ERRORS, tags=["pictures"])


@router.post("/rankings")
async def rankings(request: Request, body: RankingRequest) -> RankingAnswer:
    """Score pictures against a prompt, best first."""
    studio: Studio = request.app.state.studio
    prompt = prompts.clean(_short(studio, body.prompt))
    words = [body.model] if isinstance(body.model, str) else body.model or []
    weights = scoring.weights(words) or {studio.pool.offers.find("ranker", None).name: 1.0}
    images = await decoded(body.images)
    judges, scores = [], [dict[str, float]() for _ in images]
    with studio.admitted(len(images)):
        for name, weight in weights.items():
            async with studio.pool.using("ranker", name) as resident:
                judge = scoring.Judge(name, resident.opened.thing, weight)
                judges.append(judge)
                for each, score in zip(scores, await resident.run(judge.score, prompt, images), strict=True):
                    each[name] = score
    combined = scoring.combined(judges, scores)
    order = sorted(range(len(images)), key=lambda index: -combined[index])
    data = [
        Ranked(index=index, rank=rank, score=combined[index], scores=scores[index])
        for rank, index in enumerate(order, start=1)
    ]
    return RankingAnswer(model=list(weights), data=data)


@router.post("/captions")
async def captions(request: Request, body: CaptionRequest) -> CaptionAnswer:
    """Describe pictures."""
    studio: Studio = request.app.state.studio
    images = await decoded(body.images)
    seed = secrets.randbelow(1_000_000) if body.seed is None else body.seed
    with studio.admitted(len(images)):
        async with studio.pool.using("captioner", body.model) as resident:
            name = resident.opened.name
            captions_of = await resident.run(_captions, resident.opened.thing, images, body.n, seed)
    data = [ImageCaptions(index=index, captions=each) for index, each in enumerate(captions_of)]
    return CaptionAnswer(model=name, seed=seed, data=data)


def _captions(captioner: Any, images: Sequence[Image], n: int, seed: int) -> list[list[str]]:
    texts = captioner.caption(images, n, seed=seed)
    if len(texts) != len(images) or any(len(each) != n for each in texts):
        raise T2IError(f"the captioner did not give {n} captions for each of {len(images)} pictures", code=1)
    return [[" ".join(caption.split()) for caption in each] for each in texts]


@router.post("/embeddings")
async def embeddings(request: Request, body: EmbeddingRequest) -> EmbeddingAnswer:
    """Texts, or pictures, as vectors of length 1."""
    studio: Studio = request.app.state.studio
    if (body.input is None) == (body.images is None):
        raise ApiError(400, "give input or images, not both", "invalid_value", "input")
    texts = [body.input] if isinstance(body.input, str) else body.input or []
    if len(texts) > studio.limits.texts:
        raise ApiError(400, f"{len(texts)} texts are more than {studio.limits.texts}", "invalid_value", "input")
    clean = [prompts.clean(_short(studio, text, "input")) for text in texts]
    images = await decoded(body.images or [])
    if not (clean or images):
        raise ApiError(400, "there is nothing to embed", "invalid_value", "input")
    with studio.admitted(len(clean) + len(images)):
        async with studio.pool.using("embedder", body.model) as resident:
            name, embedder = resident.opened.name, resident.opened.thing
            if body.dimensions not in (None, embedder.width):
                raise ApiError(400, f"model {name!r} gives {embedder.width} numbers", "invalid_value", "dimensions")
            work = embedder.embed_texts if clean else embedder.embed_images
            vectors = await resident.run(_vectors, work, clean or images)
    data = [
        Embedding(index=index, embedding=_encoded(vector) if body.encoding_format == "base64" else vector.tolist())
        for index, vector in enumerate(vectors)
    ]
    return EmbeddingAnswer(model=name, data=data)


def _vectors(work: Any, items: Sequence[Any]) -> Any:
    """In the embedder's thread: rows of 32-bit floats."""
    return work(items).float().cpu().numpy().astype("<f4")


def _encoded(vector: Any) -> str:
    return base64.b64encode(vector.tobytes()).decode()


def _short(studio: Studio, text: str, param: str = "prompt") -> str:
    if len(text) > studio.limits.prompt:
        message = f"the prompt has {len(text):,} characters, more than {studio.limits.prompt:,}"
        raise ApiError(400, message, "string_above_max_length", param)
    return text
