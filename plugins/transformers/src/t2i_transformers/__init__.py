"""Rankers and captioners of transformers: every dual encoder of texts and pictures, every vision-language model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from t2icli.contract.entries import Entry, lazily
from t2icli.contract.fields import ELSEWHERE
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Captioner, Embedder, Ranker
from t2icli.contract.sampling import Device, Precision, Temperature, TopK, TopP
from t2icli.store.models import Model

Source = Annotated[Path, Meta(description="a folder with a config.json", extra=ELSEWHERE)]
Language = Annotated[Literal["auto", "zh", "en"], Meta(description="of the question; auto is Chinese if the prompt is")]


class DualEncoderSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    model: Annotated[Model | None, Meta(description="a pulled or imported model, instead of `source`")] = None
    source: Source | None = None
    length: Annotated[
        int | None, Meta(description="tokens of a text that are read; none is as many as the model was trained with")
    ] = None
    batch: Annotated[int, Meta(description="images or texts at a time; does not change the result", ge=1)] = 32
    precision: Precision = "auto"
    device: Device = "auto"


class VqaSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    model: Annotated[Model | None, Meta(description="a pulled or imported model, instead of `source`")] = None
    source: Source | None = None
    style: Annotated[
        Literal["auto", "question", "reranker"],
        Meta(description="a question, or the form Qwen3-VL-Reranker was trained with; auto goes by the model's name"),
    ] = "auto"
    language: Language = "auto"
    question: Annotated[
        str | None, Meta(description="with {prompt} in place of the prompt; none is the built-in question")
    ] = None
    yes: Annotated[str | None, Meta(description="the word for yes; none is that of the language")] = None
    no: Annotated[str | None, Meta(description="the word for no; none is that of the language")] = None
    precision: Precision = "auto"
    device: Device = "auto"


class VlmSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    model: Annotated[Model | None, Meta(description="a pulled or imported model, instead of `source`")] = None
    source: Source | None = None
    question: Annotated[
        str | None, Meta(description="question asked about each picture; none asks for one sentence that describes it")
    ] = None
    language: Annotated[
        Literal["auto", "zh", "en"], Meta(description="of the question; auto is that of your system")
    ] = "auto"
    temperature: Temperature = 0.7
    top_k: TopK | None = None
    top_p: TopP | None = 0.9
    max_tokens: Annotated[int, Meta(description="longest caption, in tokens", ge=1)] = 128
    batch: Annotated[int, Meta(description="captions of a picture drawn at once on a GPU", ge=1)] = 4
    precision: Precision = "auto"
    device: Device = "auto"


adopt_clip = lazily("t2i_transformers.repository:adopt_clip")
adopt_vqa = lazily("t2i_transformers.repository:adopt_vqa")
adopt_vlm = lazily("t2i_transformers.repository:adopt_vlm")


@hookimpl
def t2i_embedders() -> list[Entry[Embedder]]:
    about = "dual encoders of transformers: CLIP, PickScore, MetaCLIP 2, SigLIP, SigLIP 2, AltCLIP, ALIGN, Chinese-CLIP"
    return [Entry("hub-clip", about, DualEncoderSettings, lazily("t2i_transformers.embed:load"), adopt=adopt_clip)]


@hookimpl
def t2i_rankers() -> list[Entry[Ranker]]:
    about = "VQAScore: how sure a vision-language model is that a picture shows the prompt; also Qwen3-VL-Reranker"
    return [Entry("vqa", about, VqaSettings, lazily("t2i_transformers.rank:load"), adopt=adopt_vqa)]


@hookimpl
def t2i_captioners() -> list[Entry[Captioner]]:
    about = "vision-language models: Qwen-VL, InternVL, SmolVLM, Florence-2, BLIP and similar ones"
    return [Entry("vlm", about, VlmSettings, lazily("t2i_transformers.caption:load"), adopt=adopt_vlm)]
