"""CLIP-GEN: text-to-image models trained on images alone, with their own VQGAN."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from t2icli.hookspecs import hookimpl
from t2icli.kinds import Codec, Embedder, Entry, Generator, ModelSource, RemoteFile, Upstream
from t2icli.models import Model
from t2icli.sampling import Batch, Device, Precision, Temperature, TopK, TopP
from t2icli.settings import Part, part


class CodecSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    model: Annotated[Model, Meta(description="a VQGAN of CLIP-GEN, imported or trained here")]
    batch: Annotated[int, Meta(description="images at a time", ge=1)] = 16
    device: Device = "auto"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    model: Annotated[Model, Meta(description="a prior of CLIP-GEN, imported or trained here")]
    embedder: Annotated[Part[Embedder], Meta(description="whose embeddings it is conditioned on")] = part(
        "embedder", "clip"
    )
    codec: Annotated[Part[Codec], Meta(description="what turns codes into images")] = part("codec", "clipgen-vqgan")
    temperature: Temperature = 1.0
    top_k: TopK | None = 500
    top_p: TopP | None = 0.95
    batch: Batch = 16
    precision: Precision = "auto"
    device: Device = "auto"


def load_prior(settings: Settings) -> Generator:
    from t2i_clipgen.generate import load

    return load(settings)


# Not called `convert`, for the module of that name would take its place in this package once imported.
def import_prior(upstream: Upstream, folder: Path) -> None:
    from t2i_clipgen.convert import convert

    convert(upstream, folder)


def load_codec(settings: CodecSettings) -> Codec:
    from t2i_clipgen.vqgan.codec import load

    return load(settings)


def import_codec(upstream: Upstream, folder: Path) -> None:
    from t2i_clipgen.vqgan.convert import convert

    convert(upstream, folder)


@hookimpl
def t2i_generators() -> list[Entry[Generator]]:
    about = "CLIP-GEN: a CLIP embedding to an image, code by code"
    return [Entry("clipgen", about, Settings, load_prior, import_prior)]


@hookimpl
def t2i_codecs() -> list[Entry[Codec]]:
    about = "CLIP-GEN's VQGAN: 256 x 256 pixels as 16 x 16 of 16384 codes"
    return [Entry("clipgen-vqgan", about, CodecSettings, load_codec, import_codec)]


RELEASE = "https://github.com/HFAiLab/clip-gen/releases/download/v0.1.0/"


def released(name: str) -> tuple[RemoteFile, ...]:
    return (RemoteFile((RELEASE + name,), sha256=None),)


@hookimpl
def t2i_models() -> list[ModelSource]:
    return [
        ModelSource(
            "clipgen/coco",
            "CLIP-GEN trained on COCO's images, by its authors",
            licence="MIT",
            files=released("gpt_coco.pt"),
            parts={"codec": released("vqgan_coco.pt"), "embedder": released("clip_vit_b32.pt")},
        ),
        ModelSource(
            "clipgen-vqgan/coco",
            "the VQGAN of CLIP-GEN trained on COCO's images, by its authors",
            licence="MIT",
            files=released("vqgan_coco.pt"),
        ),
    ]
