"""DALL-E: words and image codes as one sequence, by DALLE-pytorch or trained here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from t2icli.backends.dalle.config import Options
from t2icli.contract.entries import Entry, Size, lazily
from t2icli.contract.fields import Part, Start, part
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Codec, Generator, Tokenizer
from t2icli.contract.recipes import Recipe
from t2icli.contract.sampling import Batch, CfgScale, CodePrecision, Device, Temperature, TopK, TopP
from t2icli.store.models import Model
from t2icli.training.settings import LoopSettings


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    model: Annotated[Model, Meta(description="a DALL-E, imported or trained with t2i")]
    codec: Annotated[Part[Codec], Meta(description="codec that decodes images; the model has its own")] = part(
        "codec", "vqgan"
    )
    tokenizer: Annotated[Part[Tokenizer], Meta(description="tokenizer; the model has its own")] = part(
        "tokenizer", "chinese"
    )
    temperature: Temperature = 1.0
    top_k: TopK | None = None
    top_p: TopP | None = None
    cfg_scale: CfgScale = 1.0
    prime: Annotated[Path, Meta(description="an image whose upper part every drawn image begins with")] | None = None
    prime_rows: (
        Annotated[int, Meta(description="rows of codes to keep of it, or of --from; none is 7 of 16", ge=1)] | None
    ) = None
    strict: Annotated[bool, Meta(description="refuse a text that is too long instead of cutting it")] = False
    batch: Batch = 32
    precision: CodePrecision = "auto"
    device: Device = "auto"


LOOP = LoopSettings(batch_size=32, lr=3e-4, optimizer="adam", clip=0.5)


class TrainSettings(Options, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The network, what it is trained on, and the loop."""

    codec: Annotated[Part[Codec], Meta(description="codec that encodes images, such as codec=runs/vae/model")] = part(
        "codec", "vqgan"
    )
    tokenizer: Annotated[Part[Tokenizer], Meta(description="tokenizer")] = part("tokenizer", "chinese")
    text_length: Annotated[int, Meta(description="tokens of text; longer texts are cut", ge=1)] = 64
    null_condition: Annotated[
        float, Meta(description="fraction of texts dropped in training, so that cfg_scale can be used", ge=0, le=1)
    ] = 0.1
    crops: Annotated[int, Meta(description="crops of each image to encode; 1 is the centre crop", ge=1)] = 1
    crop_from: Annotated[float, Meta(description="with more crops: smallest part of the square's area", gt=0, le=1)] = (
        0.75
    )
    start: Annotated[Start, Meta(description="a DALL-E to continue from: its network, codec and tokenizer")] = None
    temperature: Annotated[float, Meta(description="default of the trained model", gt=0)] = 1.0
    cfg_scale: Annotated[float, Meta(description="the same for guidance; needs null_condition", ge=1)] = 1.0
    loop: Annotated[LoopSettings, Meta(description="how long, how fast: -o loop.NAME=...")] = LOOP


# Briefly trained models draw better at a lower temperature and with guidance.
ALIKE: dict[str, Any] = {"rotary": True, "shift_tokens": True, "temperature": 0.5, "cfg_scale": 2.0}
MUON: dict[str, Any] = {
    "optimizer": "muon",
    "lr": 2e-3,
    "betas": [0.9, 0.96],
    "schedule": "cosine",
    "weight_decay": 0.03,
    "clip": 1.0,
}
SIZES: dict[Size, dict[str, Any]] = {
    "tiny": {
        **ALIKE,
        "dim": 128,
        "depth": 4,
        "heads": 4,
        "dim_head": 32,
        "text_length": 32,
        "loop": {**MUON, "batch_size": 16, "max_steps": 1000, "warmup": 50},
    },
    "small": {
        **ALIKE,
        "dim": 256,
        "depth": 6,
        "heads": 4,
        "text_length": 48,
        "loop": {**MUON, "batch_size": 32, "max_steps": 6000, "warmup": 100},
    },
    "base": {
        "rotary": True,
        "shift_tokens": True,
        "dim": 768,
        "depth": 12,
        "heads": 12,
        "loop": {**MUON, "lr": 1e-3, "batch_size": 64, "max_steps": 40_000, "warmup": 500},
    },
}


load = lazily("t2icli.backends.dalle.generate:load")
load_recipe = lazily("t2icli.backends.dalle.train:DallERecipe")
import_files = lazily("t2icli.backends.dalle.convert:convert")


@hookimpl
def t2i_generators() -> list[Entry[Generator]]:
    about = "DALL-E: a sentence's words to an image's codes, one after another"
    return [Entry("dalle", about, Settings, load, import_files, conditions={"source"})]


@hookimpl
def t2i_recipes() -> list[Entry[Recipe]]:
    about = "DALL-E: from pairs of text and image, over the codes of a trained codec"
    return [Entry("dalle", about, TrainSettings, load_recipe, sizes=SIZES)]
