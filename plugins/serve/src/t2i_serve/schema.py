"""Bodies of requests and answers, as OpenAI's client sends and reads them, and our own fields."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Json

Quality = Literal["low", "medium", "high", "xhigh", "max", "auto", "standard", "hd"]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Score = Annotated[float | None, Field(description="The rankers' combined score; null without a ranker.")]


class PicturesRequest(BaseModel):
    """What generations and edits share."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    model: str | None = Field(None, description="A name from /v1/models; the default if omitted.")
    n: int | None = Field(1, ge=1, le=64, description="Candidates; candidate i is drawn with seed + i.")
    size: str | None = Field("auto", description="WIDTHxHEIGHT, one that the model draws, or auto.")
    quality: Quality | None = Field("auto", description="Ignored: a model draws as well as it can.")
    background: Literal["opaque", "transparent", "auto"] | None = Field("auto", description="transparent is refused.")
    output_format: Literal["png", "webp", "jpeg"] | None = Field("png", description="PNGs carry how they were made.")
    output_compression: int | None = Field(None, ge=0, le=100, description="Quality of webp and jpeg; 100 is best.")
    response_format: Literal["b64_json", "url"] | None = Field("b64_json", description="url is on this server.")
    stream: bool | None = Field(False, description="Answer with server-sent events.")
    partial_images: int | None = Field(0, ge=0, le=3, description="Previews of each picture, when streaming.")
    user: str | None = Field(None, description="Who takes turns with others; the client's address if omitted.")
    safety_identifier: str | None = Field(None, description="Takes the place of user.")
    seed: int | None = Field(None, ge=0, le=2**62, description="Ours. A random one is chosen and reported if omitted.")
    rerank: str | list[str] | None = Field(None, description="Ours. Rankers: clip, or clip=2,brivl=1.")
    top: int | None = Field(None, ge=1, description="Ours. How many of the candidates to keep, the best.")
    progress: bool | None = Field(False, description="Ours. When streaming, also image_generation.progress events.")


class AudioRequest(PicturesRequest):
    """What goes with a sound."""

    audio_embedder: str | None = Field(None, description="Ours. The embedder for audio; the default if omitted.")


class InputAudio(BaseModel):
    """A sound as OpenAI's `input_audio`."""

    data: str = Field(description="Base64.")
    format: str | None = Field(None, description="Ignored: the file itself says what it is.")


class GenerationRequest(AudioRequest):
    """`POST /v1/images/generations`. Further fields are settings of the model that may differ per picture: see
    `settings` of `/v1/models`."""

    prompt: str = Field(description="What to draw; empty for what is heard in audio.")
    audio: str | InputAudio | None = Field(
        None, description="Ours. A sound in place of the prompt: base64, a data: address, or as input_audio."
    )
    weights: dict[Literal["words", "audio"], Weight] | None = Field(
        None, description="Ours. Mixes prompt and audio; without it audio takes the place of the prompt."
    )
    moderation: Literal["low", "auto"] | None = Field(None, description="Ignored.")
    style: Literal["vivid", "natural"] | None = Field(None, description="Ignored.")


class EditRequest(AudioRequest):
    """`POST /v1/images/edits`, as multipart/form-data with the files `image` (or `image[]`), `mask` and `audio`."""

    prompt: str = Field("", description="What to draw.")
    input_fidelity: Literal["high", "low"] | None = Field(None, description="Ignored.")
    use: Literal["source", "like"] = Field(
        "source", description="Ours. like draws pictures similar to the image in place of changed ones."
    )
    audio: str | None = Field(
        None, description="Ours. A sound to draw from as well: a file, base64 or a data: address."
    )
    weights: Json[dict[Literal["words", "like", "audio"], Weight]] | None = Field(
        None, description="Ours. Mixes prompt, image and audio, as JSON; without it image and audio count alike."
    )


class PictureAnswer(BaseModel):
    """One picture of an answer."""

    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str | None = None
    seed: int
    rank: int
    score: Score
    scores: dict[str, float] = Field(description="By ranker.")
    same_as: int | None = Field(description="The seed of an equal picture of this answer.")


class Candidate(BaseModel):
    """A picture that was drawn, kept or not."""

    seed: int
    rank: int
    score: Score
    scores: dict[str, float]
    same_as: int | None
    kept: bool


class PicturesAnswer(BaseModel):
    """The best pictures first."""

    model_config = ConfigDict(protected_namespaces=())

    created: int
    data: list[PictureAnswer]
    size: str | None = None
    quality: str = "auto"
    background: str = "opaque"
    output_format: Literal["png", "webp", "jpeg"]
    safety_identifier: str | None = None
    seed: int
    model: str
    album: str = Field(description="The folder with the pictures, within the output folder.")
    candidates: list[Candidate]
    doubts: list[str] = Field(description="Why the model may not know the prompt.")
    command: str = Field(description="What draws the same in a terminal.")


class ModelCard(BaseModel):
    """A model that is installed."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    kinds: list[Literal["generator", "ranker", "captioner", "embedder"]] = Field(description="What it can be used as.")
    default_of: list[str] = Field(description="The kinds of which it is the one that is used where none is named.")
    about: str
    stand_in: str = Field(description="What it is in place of a better one; empty if it is none.")
    size: int = Field(description="Bytes.")
    loaded: bool
    settings: list[dict[str, Any]] = Field(description="What may differ per picture: name, default, JSON schema.")
    conditions: list[str] = Field(
        description="What a generator draws from besides a prompt: like, source, mask for /v1/images/edits, and "
        "embedding, which is what audio becomes, for /v1/images/generations."
    )
    sizes: list[str] = Field(description="What a loaded generator can draw, as far as it says so.")


class ModelList(BaseModel):
    """Generators first, the default one before all."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class ErrorBody(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """Every error."""

    error: ErrorBody


class RankingRequest(BaseModel):
    """`POST /v1/rankings`: how well pictures fit a prompt."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    prompt: str
    images: list[str] = Field(min_length=1, description="Base64, or data: addresses.")
    model: str | list[str] | None = Field(None, description="Rankers: clip, or clip=2,brivl=1; else the default.")


class Ranked(BaseModel):
    index: int
    rank: int
    score: float
    scores: dict[str, float]


class RankingAnswer(BaseModel):
    """Best first."""

    object: Literal["list"] = "list"
    model: list[str]
    data: list[Ranked]


class CaptionRequest(BaseModel):
    """`POST /v1/captions`: sentences for pictures."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    images: list[str] = Field(min_length=1, description="Base64, or data: addresses.")
    n: int = Field(1, ge=1, le=16, description="Captions of each picture.")
    seed: int | None = Field(None, ge=0, le=2**62)
    model: str | None = None


class ImageCaptions(BaseModel):
    index: int
    captions: list[str]


class CaptionAnswer(BaseModel):
    object: Literal["list"] = "list"
    model: str
    seed: int
    data: list[ImageCaptions]


class EmbeddingRequest(BaseModel):
    """`POST /v1/embeddings` in OpenAI's shape; `images` is ours."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    input: str | list[str] | None = Field(None, description="Texts.")
    images: list[str] | None = Field(None, description="Ours, in place of texts: base64, or data: addresses.")
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, description="Refused unless it is the model's own number.")
    user: str | None = None


class Embedding(BaseModel):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    prompt_tokens: int = 0
    total_tokens: int = 0


class EmbeddingAnswer(BaseModel):
    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage = EmbeddingUsage()


class AlbumAnswer(BaseModel):
    """A folder of pictures of the history."""

    model_config = ConfigDict(protected_namespaces=())

    id: str
    created: int
    prompt: str
    model: str
    candidates: int
    rows: list[dict[str, Any]] = Field(description="The first ones of results.jsonl, with the address of each picture.")
    settings: dict[str, Any] | None = Field(description="Of the model; null in lists of albums.")
    command: str = Field(description="What draws the same in a terminal.")


class History(BaseModel):
    object: Literal["list"] = "list"
    data: list[AlbumAnswer]
    has_more: bool


ERRORS: dict[int | str, dict[str, Any]] = {"default": {"model": ErrorAnswer, "description": "An error."}}
