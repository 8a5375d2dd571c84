"""DALL-E 2: a diffusion prior from texts to CLIP's image embeddings, and a diffusion decoder from those to pixels."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from t2i_dalle2.shapes import FIRST, UPSAMPLER, Target, UnetShape
from t2icli.contract.entries import Entry, Size, lazily
from t2icli.contract.fields import NONE, PER_PICTURE, Part, part
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Embedder, Generator, LatentCodec
from t2icli.contract.recipes import Recipe
from t2icli.contract.sampling import Batch, CfgScale, Device, Precision
from t2icli.store.models import Model
from t2icli.training.settings import LoopSettings

EMBEDDER = "embedder it works with"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    model: Annotated[Model, Meta(description="a decoder, imported or trained with t2i, optionally with a prior inside")]
    prior: Annotated[str | None, Meta(description="a prior's name or folder, instead of the one inside")] = None
    embedder: Annotated[Part[Embedder], Meta(description=EMBEDDER)] = part("embedder", "clip")
    codec: Annotated[
        Part[LatentCodec], Meta(description="codec of a decoder that draws latents; the model has its own")
    ] = part("codec", NONE)
    sampler: Annotated[
        Literal["auto", "ddpm", "ddim", "dpm"],
        Meta(
            description="auto is ddpm if all steps are taken, else ddim; dpm is DPM-Solver++, for few steps",
            extra=PER_PICTURE,
        ),
    ] = "auto"
    steps: Annotated[
        tuple[int, ...],
        Meta(description="of the decoder; one number for each unet or one for all; else as trained", extra=PER_PICTURE),
    ] = ()
    cfg_scale: CfgScale = 1.0
    prior_steps: Annotated[int | None, Meta(description="of the prior; none is as trained", extra=PER_PICTURE)] = None
    prior_cfg_scale: CfgScale = 1.0
    candidates: Annotated[
        int,
        Meta(
            description="embeddings the prior draws for each image; the nearest to the text is kept",
            ge=1,
            extra=PER_PICTURE,
        ),
    ] = 2
    strength: Annotated[
        float,
        Meta(description="with --from: how much may change, of 1, which keeps nothing", gt=0, le=1, extra=PER_PICTURE),
    ] = 0.6
    batch: Batch = 16
    precision: Precision = "auto"
    device: Device = "auto"


class PriorRecipeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The numbers of the project this follows, but for its batches of one."""

    embedder: Annotated[Part[Embedder], Meta(description=EMBEDDER)] = part("embedder", "clip")
    encodings: Annotated[bool, Meta(description="read the text token by token, beside its embedding")] = True
    text_length: Annotated[int, Meta(description="tokens of a text to read", ge=1)] = 77
    layers: Annotated[int, Meta(description="of attention and feed-forward", ge=1)] = 6
    heads: Annotated[int, Meta(description="of queries; keys and values have one", ge=1)] = 8
    head_width: Annotated[int, Meta(description="numbers of one head, even", ge=2, multiple_of=2)] = 64
    timesteps: Annotated[int, Meta(description="steps between an embedding and noise", ge=1)] = 100
    predicts: Annotated[Target, Meta(description="the clean embedding, the noise in it, or a mix of both")] = "x0"
    clamp: Annotated[bool, Meta(description="normalise every estimate while sampling")] = False
    dropped: Annotated[
        float, Meta(description="probability of dropping the condition in training; 0 rules out guidance", ge=0, lt=1)
    ] = 0.2
    decoder: Annotated[str | None, Meta(description="a decoder to draw previews with; without one there are none")] = (
        None
    )
    loop: Annotated[LoopSettings, Meta(description="how to train")] = LoopSettings(
        epochs=10, batch_size=64, lr=3e-4, betas=(0.9, 0.99), weight_decay=0.01, clip=0.5, ema=0.999
    )


class DecoderRecipeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The numbers of the project this follows, but for its batches of one."""

    embedder: Annotated[Part[Embedder], Meta(description=EMBEDDER)] = part("embedder", "clip")
    codec: Annotated[
        Part[LatentCodec],
        Meta(
            description="draw this codec's latents instead of pixels: only with `first`, which takes their size and "
            "learns no variance; none draws pixels"
        ),
    ] = part("codec", NONE)
    encodings: Annotated[bool, Meta(description="read the text token by token, beside the image's embedding")] = False
    text_length: Annotated[int, Meta(description="tokens of a text to read", ge=1)] = 77
    unets: Annotated[Literal[1, 2], Meta(description="1 draws only with `first`")] = 2
    first: Annotated[UnetShape, Meta(description="draws from an embedding")] = FIRST
    second: Annotated[UnetShape, Meta(description="enlarges what the first drew")] = UPSAMPLER
    timesteps: Annotated[int, Meta(description="steps between a picture and noise", ge=1)] = 100
    dropped: Annotated[
        float, Meta(description="probability of dropping the embedding in training; 0 rules out guidance", ge=0, lt=1)
    ] = 0.1
    text_dropped: Annotated[float, Meta(description="probability of dropping the text in training", ge=0, lt=1)] = 0.5
    variance_weight: Annotated[float, Meta(description="weight of learning the variance", ge=0)] = 0.001
    blur: Annotated[
        float, Meta(description="probability of blurring the low-resolution picture given to `second`", ge=0, le=1)
    ] = 0.5
    blur_sigma: Annotated[float, Meta(description="standard deviation of that blur, in pixels", gt=0)] = 0.6
    prior: Annotated[str | None, Meta(description="a prior's name or folder, to be kept inside the saved model")] = None
    preview_steps: Annotated[int, Meta(description="steps of each unet for a preview", ge=1)] = 25
    loop: Annotated[LoopSettings, Meta(description="how to train")] = LoopSettings(
        epochs=10, batch_size=16, lr=3e-4, betas=(0.9, 0.99), weight_decay=0.01, clip=0.5, ema=0.999
    )


def _learns(steps: int, batch: int) -> dict[str, Any]:
    return {"lr": 1e-3, "batch_size": batch, "max_steps": steps, "schedule": "cosine", "warmup": 50, "ema": 0.995}


PRIOR_SIZES: dict[Size, dict[str, Any]] = {
    "tiny": {
        "text_length": 34,
        "layers": 2,
        "heads": 4,
        "head_width": 32,
        "clamp": True,
        "loop": _learns(2000, 32),
    },
    "small": {"text_length": 50, "layers": 4, "heads": 6, "clamp": True, "loop": _learns(6000, 64)},
    "base": {"heads": 12, "clamp": True, "loop": {"batch_size": 128, "max_steps": 40_000}},
}
SMALL_UNET: dict[str, Any] = {"blocks": 1, "kernels": [3], "predicts": "v", "learned_variance": False}
TINY_FIRST: dict[str, Any] = {
    "size": 32,
    "width": 16,
    "multipliers": [1, 2, 3],
    "condition": 32,
    "heads": 4,
    "head_width": 16,
    "cross_heads": 2,
    "cross_head_width": 16,
}
TINY_SECOND: dict[str, Any] = {
    "size": 64,
    "width": 8,
    "multipliers": [1, 2, 2],
    "groups": 4,
    "condition": 16,
    "heads": 2,
    "head_width": 16,
    "cross_heads": 2,
    "cross_head_width": 16,
    "betas": "cosine",
}
DECODER_SIZES: dict[Size, dict[str, Any]] = {
    "tiny": {
        "first": {**SMALL_UNET, **TINY_FIRST},
        "second": {**SMALL_UNET, **TINY_SECOND},
        "loop": _learns(1200, 8),
    },
    "small": {
        "first": {**SMALL_UNET, "size": 64, "width": 48, "multipliers": [1, 2, 3], "condition": 64, "heads": 4},
        "second": {**SMALL_UNET, **TINY_SECOND, "size": 128, "width": 16},
        "loop": _learns(6000, 16),
    },
    "base": {"first": {"size": 64, "blocks": 1, "kernels": [3]}, "loop": {"batch_size": 32, "max_steps": 40_000}},
}


load_generator = lazily("t2i_dalle2.generate:load")
import_files = lazily("t2i_dalle2.convert:convert")
load_prior_recipe = lazily("t2i_dalle2.prior.train:PriorRecipe")
load_decoder_recipe = lazily("t2i_dalle2.decoder.train:DecoderRecipe")


@hookimpl
def t2i_generators() -> list[Entry[Generator]]:
    about = "DALL-E 2: a prior draws an image's embedding, a decoder the image"
    return [Entry("dalle2", about, Settings, load_generator, import_files, conditions={"like", "embedding", "source"})]


@hookimpl
def t2i_recipes() -> list[Entry[Recipe]]:
    prior = "DALL-E 2's prior: from texts to the embeddings of their images, by diffusion"
    decoder = "DALL-E 2's decoder: from embeddings to pixels, in one size or two, or to a codec's latents, by diffusion"
    return [
        Entry("dalle2-prior", prior, PriorRecipeSettings, load_prior_recipe, sizes=PRIOR_SIZES),
        Entry("dalle2-decoder", decoder, DecoderRecipeSettings, load_decoder_recipe, sizes=DECODER_SIZES),
    ]
