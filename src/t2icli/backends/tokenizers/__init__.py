"""Text to ids: Chinese word pieces, CLIP's BPE, any Hugging Face tokenizer.json."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from t2icli.contract.entries import Entry, lazily
from t2icli.contract.fields import ELSEWHERE
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Tokenizer
from t2icli.contract.recipes import Fit
from t2icli.store.models import Model
from t2icli.store.sources import ModelSource

Strict = Annotated[bool, Meta(description="refuse a text that is too long instead of cutting it")]

ROBERTA = "hfl/chinese-roberta-wwm-ext"


class ChineseSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: Annotated[Model | None, Meta(description="a vocabulary, imported or inside another model")] = None
    vocabulary: Annotated[
        str | None,
        Meta(
            description=f"instead of a model: vocab.txt, its folder, or a hub name such as {ROBERTA}", extra=ELSEWHERE
        ),
    ] = None
    strict: Strict = False


class ClipSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    strict: Strict = False


class JsonSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: Annotated[Model | None, Meta(description="a tokenizer, imported or trained with t2i")] = None
    file: Annotated[
        Path | None, Meta(description="instead of a model: tokenizer.json, or its folder", extra=ELSEWHERE)
    ] = None
    special: Annotated[bool, Meta(description="add the start and end ids the file asks for")] = True
    unknown: Annotated[
        Literal["keep", "drop"],
        Meta(description="characters missing from the vocabulary: unknown token, or dropped"),
    ] = "keep"
    strict: Strict = False


class FitSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A vocabulary trained on captions."""

    pieces: Annotated[
        Literal["wordpiece", "bytes"],
        Meta(description="single Chinese characters and pieces of words, or runs of bytes that can spell anything"),
    ] = "wordpiece"
    vocabulary: Annotated[int, Meta(description="largest vocabulary", ge=300)] = 16_384
    frequency: Annotated[int, Meta(description="minimum count of a token", ge=1)] = 2
    lowercase: Annotated[bool, Meta(description="ignore case")] = True


load_chinese = lazily("t2icli.backends.tokenizers.chinese:load")
load_clip = lazily("t2icli.backends.tokenizers.clip:load")
load_json = lazily("t2icli.backends.tokenizers.json:load")
import_chinese = lazily("t2icli.backends.tokenizers.chinese:convert")
import_json = lazily("t2icli.backends.tokenizers.json:convert")


@hookimpl
def t2i_tokenizers() -> list[Entry[Tokenizer]]:
    return [
        Entry(
            "chinese",
            "Chinese characters and word pieces, as BERT has them",
            ChineseSettings,
            load_chinese,
            import_chinese,
            wanted=("vocab.txt",),
        ),
        Entry("clip", "CLIP's byte pairs, made for English", ClipSettings, load_clip),
        Entry("json", "any Hugging Face tokenizer.json", JsonSettings, load_json, import_json),
    ]


load_training = lazily("t2icli.backends.tokenizers.train:TokenizerFit")


@hookimpl
def t2i_recipes() -> list[Entry[Fit]]:
    return [Entry("tokenizer", "a vocabulary from captions, Chinese and English", FitSettings, load_training)]


@hookimpl
def t2i_models() -> list[ModelSource]:
    about = "the 21,128 word pieces of Chinese BERT models"
    repository = f"hf:{ROBERTA}"
    return [
        ModelSource(
            "chinese/roberta",
            about,
            "Apache-2.0",
            repository=repository,
            wanted=("vocab.txt",),
            kind="tokenizer",
            chinese=True,
        )
    ]
