"""Rectified flow: a transformer that reads a prompt's tokens and draws the latents of a codec in a few steps."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from t2icli.contract.entries import Entry, Size, lazily
from t2icli.contract.fields import NONE, PER_PICTURE, Part, Start, part
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Embedder, Generator, LatentCodec, Tokenizer
from t2icli.contract.recipes import Recipe
from t2icli.contract.sampling import Batch, CfgScale, Device, Precision
from t2icli.store.models import Model
from t2icli.training.settings import LoopSettings

Steps = Annotated[
    int, Meta(description="steps from noise to picture; more are slower and finer", ge=1, le=1000, extra=PER_PICTURE)
]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    model: Annotated[Model, Meta(description="a flow trained with t2i")]
    codec: Annotated[Part[LatentCodec], Meta(description="codec that decodes latents; the model has its own")] = part(
        "codec", "vqgan"
    )
    tokenizer: Annotated[Part[Tokenizer], Meta(description="tokenizer; the model has its own")] = part(
        "tokenizer", "chinese"
    )
    embedder: Annotated[Part[Embedder], Meta(description="embedder it was trained with, if any")] = part(
        "embedder", NONE
    )
    steps: Steps = 12
    cfg_scale: CfgScale = 2.0
    shift: Annotated[
        float, Meta(description="above 1, steps near noise are shorter; as it was trained", gt=0, extra=PER_PICTURE)
    ] = 1.0
    strength: Annotated[
        float,
        Meta(description="with --from: how much may change; 1 keeps nothing", gt=0, le=1, extra=PER_PICTURE),
    ] = 0.6
    batch: Batch = 16
    precision: Precision = "auto"
    device: Device = "auto"


class RecipeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The network, what it is trained on, and the loop."""

    codec: Annotated[Part[LatentCodec], Meta(description="codec whose latents it learns")] = part("codec", "vqgan")
    tokenizer: Annotated[Part[Tokenizer], Meta(description="tokenizer")] = part("tokenizer", "chinese")
    embedder: Annotated[
        Part[Embedder], Meta(description="embedder of pictures, needed for --like; none leaves it out")
    ] = part("embedder", NONE)
    text: Annotated[
        Literal["tokens", "encodings"],
        Meta(description="learned token embeddings, or the embedder's encodings"),
    ] = "tokens"
    text_length: Annotated[int, Meta(description="tokens of text; longer texts are cut", ge=1)] = 64
    start: Annotated[Start, Meta(description="a flow to continue from: its network and parts")] = None
    width: Annotated[int, Meta(description="numbers per position", ge=2, multiple_of=2)] = 768
    layers: Annotated[int, Meta(description="of attention and feed-forward", ge=1)] = 12
    heads: Annotated[int, Meta(description="must divide width", ge=1)] = 12
    patch: Annotated[int, Meta(description="side of the square of latents at one position", ge=1)] = 1
    dropped: Annotated[
        float, Meta(description="fraction of conditions dropped in training, so that cfg_scale can be used", ge=0, le=1)
    ] = 0.1
    like_share: Annotated[
        float, Meta(description="fraction of texts replaced by the embedding of their picture", ge=0, le=1)
    ] = 0.2
    shift: Annotated[
        float,
        Meta(description="above 1, it learns more from noisy latents, which decide what is drawn and where", gt=0),
    ] = 1.0
    steps: Annotated[int, Meta(description="default of the trained model", ge=1)] = 12
    cfg_scale: Annotated[float, Meta(description="the same for guidance; needs `dropped`", ge=0)] = 2.0
    loop: Annotated[LoopSettings, Meta(description="how to train")] = LoopSettings(
        batch_size=64, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.01, clip=1.0, warmup=500, ema=0.9999
    )


MUON: dict[str, Any] = {
    "optimizer": "muon",
    "lr": 2e-3,
    "betas": [0.9, 0.96],
    "schedule": "cosine",
    "weight_decay": 0.01,
    "clip": 1.0,
    "ema": 0.0,
}
SIZES: dict[Size, dict[str, Any]] = {
    "tiny": {
        "width": 128,
        "layers": 4,
        "heads": 4,
        "text_length": 32,
        "loop": {**MUON, "batch_size": 16, "max_steps": 1500, "warmup": 50},
    },
    "small": {
        "width": 256,
        "layers": 6,
        "heads": 4,
        "text_length": 48,
        "loop": {**MUON, "batch_size": 32, "max_steps": 8000, "warmup": 100},
    },
    "base": {"loop": {**MUON, "lr": 1e-3, "max_steps": 60_000, "ema": 0.999}},
}


@hookimpl
def t2i_generators() -> list[Entry[Generator]]:
    about = "rectified flow: a sentence's tokens to the latents of an image, all at once, in a few steps"
    taken = {"source", "mask", "like", "embedding"}  # the last two, if it was trained with an embedder
    return [Entry("flow", about, Settings, lazily("t2i_flow.generate:load"), conditions=taken)]


@hookimpl
def t2i_recipes() -> list[Entry[Recipe]]:
    about = "a rectified flow: from pairs of text and image, over the latents of a trained codec"
    return [Entry("flow", about, RecipeSettings, lazily("t2i_flow.train:FlowRecipe"), sizes=SIZES)]
