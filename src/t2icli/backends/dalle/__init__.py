"""DALL-E: words and image codes as one sequence, by DALLE-pytorch or trained here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from t2icli.hookspecs import hookimpl
from t2icli.kinds import Codec, Entry, Generator, Tokenizer, Upstream
from t2icli.models import Model
from t2icli.sampling import Batch, CfgScale, Device, Precision, Temperature, TopK, TopP
from t2icli.settings import Part, part


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    model: Annotated[Model, Meta(description="a DALL-E, imported or trained here")]
    codec: Annotated[Part[Codec], Meta(description="what turns codes into images; the model brings its own")] = part(
        "codec", "vqgan"
    )
    tokenizer: Annotated[Part[Tokenizer], Meta(description="what turns text into ids; the model knows its own")] = part(
        "tokenizer", "chinese"
    )
    temperature: Temperature = 1.0
    top_k: TopK | None = None
    top_p: TopP | None = None
    cfg_scale: CfgScale = 1.0
    prime: Annotated[Path, Meta(description="an image whose upper part every drawn image begins with")] | None = None
    prime_rows: Annotated[int, Meta(description="rows of codes to keep of it; none is 7 of 16", ge=1)] | None = None
    strict: Annotated[bool, Meta(description="refuse a text that is too long instead of cutting it")] = False
    batch: Batch = 32
    precision: Precision = "auto"
    device: Device = "auto"


def load(settings: Settings) -> Generator:
    from t2icli.backends.dalle.generate import load

    return load(settings)


# Not called `convert`, for the module of that name would take its place in this package once imported.
def import_files(upstream: Upstream, folder: Path) -> None:
    from t2icli.backends.dalle.convert import convert

    convert(upstream, folder)


@hookimpl
def t2i_generators() -> list[Entry[Generator]]:
    about = "DALL-E: a sentence's words to an image's codes, one after another"
    return [Entry("dalle", about, Settings, load, import_files)]
