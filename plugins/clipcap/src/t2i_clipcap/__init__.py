"""ClipCap: captions from a CLIP embedding and a GPT-2, in Chinese or any other language."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from t2icli.hookspecs import hookimpl
from t2icli.kinds import Captioner, Embedder, Entry, Upstream
from t2icli.models import Model
from t2icli.sampling import Device, Precision, Temperature, TopK, TopP
from t2icli.settings import Part, part


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    model: Annotated[Model, Meta(description="a ClipCap, imported or trained here")]
    embedder: Annotated[Part[Embedder], Meta(description="what it sees images through")] = part("embedder", "clip")
    temperature: Temperature = 1.0
    top_k: TopK | None = None
    top_p: TopP | None = 0.8
    beams: Annotated[
        int, Meta(description="search for the likeliest captions this widely instead of drawing; 0 draws", ge=0)
    ] = 0
    max_tokens: Annotated[int, Meta(description="where a caption that does not end is cut", ge=1)] = 100
    batch: Annotated[int, Meta(description="images at a time; does not change the captions", ge=1)] = 16
    precision: Precision = "auto"
    device: Device = "auto"


def load_captioner(settings: Settings) -> Captioner:
    from t2i_clipcap.caption import load

    return load(settings)


# Not called `convert`, for the module of that name would take its place in this package once imported.
def import_files(upstream: Upstream, folder: Path) -> None:
    from t2i_clipcap.convert import convert

    convert(upstream, folder)


@hookimpl
def t2i_captioners() -> list[Entry[Captioner]]:
    about = "ClipCap: a CLIP embedding, mapped to the first words of a GPT-2"
    return [Entry("clipcap", about, Settings, load_captioner, import_files)]
