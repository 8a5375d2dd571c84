"""BriVL: pictures and Chinese sentences in one space, as a ranker and an embedder, and small ones to train."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from t2i_brivl.recipe import SIZES, RecipeSettings
from t2icli.contract.entries import Command, Entry, lazily
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Embedder
from t2icli.contract.recipes import Recipe
from t2icli.store.models import Model
from t2icli.store.sources import ModelSource


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How BriVL embeds; the defaults are those of its evaluation."""

    model: Annotated[Model, Meta(description="a BriVL model: t2i models import FILE vocab.txt --as brivl")]
    preprocess: Annotated[
        Literal["evaluation", "clip_sort"],
        Meta(description="clip_sort is what text2img's script of that name did: pixels not normalised, no boxes"),
    ] = "evaluation"
    image_size: Annotated[int | None, Meta(description="pixels; unless given the model's own, for clip_sort 456")] = (
        None
    )
    batch: Annotated[int, Meta(description="images or texts at a time", ge=1)] = 32
    device: Annotated[str, Meta(description="auto, cpu, cuda, cuda:1 ...")] = "auto"
    precision: Annotated[
        Literal["auto", "fp32", "bf16"], Meta(description="number format; auto is bf16 on a GPU, fp32 on a CPU")
    ] = "auto"


load = lazily("t2i_brivl.embed:load")
import_files = lazily("t2i_brivl.convert:convert")
load_recipe = lazily("t2i_brivl.train:BrivlRecipe")


@hookimpl
def t2i_recipes() -> list[Entry[Recipe]]:
    about = "BriVL: two towers, contrasted by momentum and queues"
    return [Entry("brivl", about, RecipeSettings, load_recipe, sizes=SIZES)]


@hookimpl
def t2i_embedders() -> list[Entry[Embedder]]:
    return [Entry("brivl", "BriVL: pictures and Chinese sentences in one space", Settings, load, import_files)]


@hookimpl
def t2i_models() -> list[ModelSource]:
    # BAAI gave the file out on application and the links found since are dead: it has to be imported.
    return [ModelSource("brivl/1.0", "BriVL 1.0 of BAAI, trained on 55 million Chinese pairs", "MIT")]


@hookimpl
def t2i_commands() -> list[Command]:
    return [Command("brivl", "BriVL's own checks.", "t2i_brivl.command:app")]
