"""The original packages behind our kinds, as a second opinion: generator `dalle-pytorch`, codec `taming`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from t2icli.contract.entries import Entry, lazily
from t2icli.contract.fields import Part, part
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Codec, Generator, Tokenizer


class CodecSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    checkpoint: Annotated[Path, Meta(description="taming's last.ckpt")]
    config: Annotated[Path, Meta(description="taming's model.yaml")]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    file: Annotated[Path, Meta(description="DALLE-pytorch's dalle.pt")]
    vqgan_checkpoint: Annotated[Path, Meta(description="taming's last.ckpt, if it was made with a VQGAN")] | None = None
    vqgan_config: Annotated[Path, Meta(description="taming's model.yaml, if it was made with a VQGAN")] | None = None
    tokenizer: Annotated[Part[Tokenizer], Meta(description="tokenizer")] = part("tokenizer", "chinese")
    temperature: Annotated[float, Meta(description="its temperature", gt=0)] = 1.0
    filter_thres: Annotated[
        float, Meta(description="fraction of tokens and codes that are never sampled", ge=0, le=1)
    ] = 0.9
    cond_scale: Annotated[float, Meta(description="its guidance, which acts on the first code", ge=0)] = 1.0


load_codec = lazily("t2i_reference.codec:load")
load_generator = lazily("t2i_reference.generate:load")


@hookimpl
def t2i_codecs() -> list[Entry[Codec]]:
    return [Entry("taming", "VQGAN by the original taming-transformers", CodecSettings, load_codec)]


@hookimpl
def t2i_generators() -> list[Entry[Generator]]:
    return [Entry("dalle-pytorch", "DALL-E by the original DALLE-pytorch", Settings, load_generator)]
