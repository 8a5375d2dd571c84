"""ClipCap: captions from a CLIP embedding and a GPT-2, in Chinese or any other language."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from t2icli.contract.entries import Entry, Size, lazily
from t2icli.contract.fields import Part, first_weights, in_place_of, part
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Captioner, DatasetPreparer, Embedder, Tokenizer
from t2icli.contract.recipes import Recipe
from t2icli.contract.sampling import CodePrecision, Device, Temperature, TopK, TopP
from t2icli.store.models import Model
from t2icli.training.settings import LoopSettings


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    model: Annotated[Model, Meta(description="a ClipCap, imported or trained with t2i")]
    embedder: Annotated[Part[Embedder], Meta(description="image embedder")] = part("embedder", "clip")
    temperature: Temperature = 1.0
    top_k: TopK | None = None
    top_p: TopP | None = 0.8
    beams: Annotated[int, Meta(description="beam width; 0 samples instead of searching", ge=0, le=1000)] = 0
    candidates: Annotated[
        int, Meta(description="captions drawn for each one returned; the embedder keeps the best", ge=1, le=1000)
    ] = 1
    max_tokens: Annotated[int, Meta(description="longest caption, in tokens", ge=1)] = 100
    batch: Annotated[int, Meta(description="images at a time; does not change the captions", ge=1)] = 16
    precision: CodePrecision = "auto"
    device: Device = "auto"


class RecipeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The Chinese original's own numbers, as it was published: 40 captions a step, 40 epochs."""

    embedder: Annotated[Part[Embedder], Meta(description="image embedder")] = part("embedder", "clip")
    gpt2: Annotated[
        str | None,
        Meta(
            description="a Hugging Face GPT-2: a folder, or a hub name; none trains one from scratch",
            extra=first_weights("tokenizer"),
        ),
    ] = None
    vocabulary: Annotated[
        Path | None,
        Meta(
            description="vocab.txt, tokenizer.json or a folder with one; else the GPT-2's own, else the tokenizer's",
            extra=in_place_of("tokenizer"),
        ),
    ] = None
    tokenizer: Annotated[
        Part[Tokenizer], Meta(description="vocabulary of a GPT-2 trained from scratch; learnt from the captions")
    ] = part("tokenizer", "json")
    tune: Annotated[bool, Meta(description="train the GPT-2 too, not only the mapper")] = True
    mapper: Annotated[
        Literal["mlp", "bert", "transformer", "patches"],
        Meta(
            description="what makes the prefix: three networks read the embedding, 'patches' the features of each patch"
        ),
    ] = "mlp"
    prefix: Annotated[int, Meta(description="vectors handed to the GPT-2; 'patches' hands over every patch", ge=1)] = 10
    given: Annotated[int, Meta(description="vectors a transformer mapper spreads the embedding over", ge=1)] = 10
    mapper_layers: Annotated[int, Meta(description="of a transformer mapper", ge=1)] = 8
    mapper_heads: Annotated[int, Meta(description="of a transformer mapper", ge=1)] = 8
    mapper_hidden: Annotated[int, Meta(description="of a transformer mapper", ge=1)] = 3072
    width: Annotated[int, Meta(description="of a GPT-2 trained from scratch", ge=1)] = 768
    layers: Annotated[int, Meta(description="of a GPT-2 trained from scratch", ge=1)] = 12
    heads: Annotated[int, Meta(description="of a GPT-2 trained from scratch", ge=1)] = 12
    positions: Annotated[int, Meta(description="of a GPT-2 trained from scratch", ge=2)] = 1024
    dropout: Annotated[float, Meta(description="of the GPT-2, while it is trained", ge=0, lt=1)] = 0.1
    max_tokens: Annotated[int, Meta(description="captions are cut here, their end included", ge=1)] = 90
    language: Annotated[
        str | None, Meta(description="train only on captions in this language: zh, en, ja ...; none is all")
    ] = None
    unit: Annotated[
        bool, Meta(description="normalise embeddings to length 1; the original used CLIP's unnormalised features")
    ] = True
    padding_in_loss: Annotated[
        bool, Meta(description="count padding in the loss, as the original did, so that curves can be compared")
    ] = False
    loop: Annotated[LoopSettings, Meta(description="how to train")] = LoopSettings(
        epochs=40, batch_size=40, lr=2e-5, eps=1e-6, schedule="linear", warmup=5000
    )


FROM_NOTHING: dict[str, Any] = {
    "optimizer": "muon",
    "lr": 1e-3,
    "schedule": "cosine",
    "weight_decay": 0.01,
    "clip": 1.0,
}
SIZES: dict[Size, dict[str, Any]] = {
    "tiny": {
        "prefix": 4,
        "width": 128,
        "layers": 3,
        "heads": 4,
        "positions": 48,
        "max_tokens": 40,
        "dropout": 0.05,
        "loop": {**FROM_NOTHING, "epochs": 20, "batch_size": 32, "max_steps": 2000, "warmup": 50},
    },
    "small": {
        "width": 256,
        "layers": 4,
        "heads": 4,
        "positions": 112,
        "loop": {**FROM_NOTHING, "batch_size": 64, "max_steps": 8000, "warmup": 100},
    },
    "base": {
        "width": 512,
        "layers": 8,
        "heads": 8,
        "positions": 112,
        "loop": {**FROM_NOTHING, "batch_size": 128, "max_steps": 20_000, "warmup": 500},
    },
}


class FlickrSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    images: Annotated[Path | None, Meta(description="folder of ID.jpg; else images/ beside the list")] = None


load_flickr = lazily("t2i_clipcap.flickr:FlickrSource")
load_recipe = lazily("t2i_clipcap.train:ClipCapRecipe")
load_captioner = lazily("t2i_clipcap.caption:load")
import_files = lazily("t2i_clipcap.convert:convert")


@hookimpl
def t2i_captioners() -> list[Entry[Captioner]]:
    about = "ClipCap: a CLIP embedding, mapped to the first words of a GPT-2"
    return [Entry("clipcap", about, Settings, load_captioner, import_files)]


@hookimpl
def t2i_recipes() -> list[Entry[Recipe]]:
    about = "ClipCap: trains a GPT-2 to continue an image's embedding"
    return [Entry("clipcap", about, RecipeSettings, load_recipe, sizes=SIZES)]


@hookimpl
def t2i_datasets() -> list[Entry[DatasetPreparer]]:
    about = "Flickr30k-cn: lists of Chinese captions beside Flickr30k's images"
    return [Entry("flickr30k-cn", about, FlickrSettings, load_flickr)]
