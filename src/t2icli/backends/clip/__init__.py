"""CLIP over open_clip: any architecture and pretrained tag it knows, local checkpoints, and models trained here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from t2icli.contract.entries import Entry, Size, lazily
from t2icli.contract.fields import ELSEWHERE, Part, Start, first_weights, part
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Embedder, Tokenizer
from t2icli.contract.recipes import Recipe
from t2icli.ground.errors import T2IError
from t2icli.store.models import Model
from t2icli.store.sources import ModelSource, RemoteFile
from t2icli.training.settings import LoopSettings


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How CLIP embeds. Without a model folder, open_clip's `architecture` and `pretrained` say which weights."""

    model: Annotated[Model | None, Meta(description="a CLIP model, imported or trained with t2i")] = None
    architecture: Annotated[str, Meta(description="open_clip's name, used with `pretrained`")] = "ViT-B-32"
    pretrained: Annotated[
        str | None, Meta(description="open_clip's tag, such as laion2b_s34b_b79k", extra=ELSEWHERE)
    ] = None
    tokenizer: Annotated[
        Part[Tokenizer], Meta(description="`clip` is the one open_clip pairs with the architecture")
    ] = part("tokenizer", "clip")
    pool: Annotated[
        Literal["model", "eos", "argmax"],
        Meta(description="where the text feature is taken: as the model was made, at the end token, at the largest id"),
    ] = "model"
    keep_end: Annotated[
        bool, Meta(description="whether a text that is too long keeps its end token; in CLIP-GEN's own code it did not")
    ] = True
    pixels: Annotated[
        Literal["model", "raw", "whole"],
        Meta(
            description="how pixels are scaled: as the model expects; raw from -1 to 1 and stretched, as CLIP-GEN's "
            "code ranked; or whole, with black around, as HPSv2 was trained"
        ),
    ] = "model"
    batch: Annotated[int, Meta(description="images or texts at a time", ge=1)] = 64
    device: Annotated[str, Meta(description="auto, cpu, cuda, cuda:1 ...")] = "auto"
    precision: Annotated[
        Literal["auto", "fp32", "bf16"], Meta(description="number format; auto is bf16 on a GPU, fp32 on a CPU")
    ] = "auto"


class RecipeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """open_clip's training: any of its architectures, its loss, the contrast of the whole batch."""

    architecture: Annotated[str, Meta(description="open_clip's name, `tiny` or `small` of our own, or a JSON file")] = (
        "ViT-B-32"
    )
    pretrained: Annotated[
        str | None, Meta(description="open_clip's tag of weights to continue from", extra=first_weights())
    ] = None
    start: Annotated[Start, Meta(description="a CLIP model to continue from, instead of `architecture`")] = None
    tokenizer: Annotated[
        Part[Tokenizer], Meta(description="clip, or chinese or json with a model of its own: tokenizer.model=NAME")
    ] = part("tokenizer", "clip")
    context: Annotated[int | None, Meta(description="tokens of a text; unless given the architecture's")] = None
    chunk: Annotated[int, Meta(description="pairs encoded at a time to save memory; 0 is all at once", ge=0)] = 0
    crop: Annotated[float, Meta(description="smallest part of a picture that a random crop shows", gt=0, le=1)] = 0.9
    loop: Annotated[LoopSettings, Meta(description="the training loop")] = LoopSettings(
        batch_size=64, lr=5e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2, schedule="cosine", warmup=200
    )


def _learns(steps: int, batch: int) -> dict[str, Any]:
    return {"lr": 1e-3, "batch_size": batch, "max_steps": steps, "warmup": 50, "weight_decay": 0.05, "clip": 1.0}


# With words of its own: CLIP's vocabulary is larger than these networks, and English.
OWN_WORDS = {"name": "json"}
SIZES: dict[Size, dict[str, Any]] = {
    "tiny": {"architecture": "tiny", "tokenizer": OWN_WORDS, "loop": _learns(800, 64)},
    "small": {"architecture": "small", "tokenizer": OWN_WORDS, "loop": _learns(4000, 128)},
    "base": {"architecture": "ViT-S-16", "tokenizer": OWN_WORDS, "loop": {"batch_size": 256, "max_steps": 20_000}},
}


load_recipe = lazily("t2icli.backends.clip.train:ClipRecipe")


@hookimpl
def t2i_recipes() -> list[Entry[Recipe]]:
    return [Entry("clip", "CLIP: open_clip's models and loss", RecipeSettings, load_recipe, sizes=SIZES)]


def load(settings: Settings) -> Embedder:
    if settings.model is None and settings.pretrained is None:
        raise T2IError(
            "'clip' needs a model and none is installed",
            "run: t2i models pull clip/vit-b-32, or t2i models import FILE --as clip; or name open_clip's weights:\n"
            "  -o pretrained=TAG, a ranker's -o ranker.pretrained=TAG, a part's -o embedder.pretrained=TAG",
        )
    from t2icli.backends.clip.embed import load

    return load(settings)


import_files = lazily("t2icli.backends.clip.convert:convert")


@hookimpl
def t2i_embedders() -> list[Entry[Embedder]]:
    about = "CLIP: texts and images in one space, by open_clip"
    return [Entry("clip", about, Settings, load, import_files, wanted=IN_REPOSITORY)]


IN_REPOSITORY = ("open_clip_config.json", "open_clip_model.safetensors|open_clip_pytorch_model.bin")
"""open_clip's files in a repository; beside them there may be those of transformers."""
OPENAI = {
    "rn50": "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762/RN50",
    "vit-b-32": "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32",
    "vit-b-16": "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f/ViT-B-16",
    "vit-l-14": "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836/ViT-L-14",
}
"""OpenAI's files; each address begins with the file's sha256."""


def _openai(name: str, path: str) -> ModelSource:
    sha256, file = path.split("/")
    remote = RemoteFile((f"https://openaipublic.azureedge.net/clip/models/{path}.pt",), sha256)
    about = f"OpenAI's CLIP {file}, English"
    return ModelSource(f"clip/{name}", about, "MIT", files=(remote,), kind="embedder", chinese=False)


@hookimpl
def t2i_models() -> list[ModelSource]:
    return [_openai(name, path) for name, path in OPENAI.items()]
