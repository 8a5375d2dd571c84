"""DALLE-pytorch's discrete VAE."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from t2icli.hookspecs import hookimpl
from t2icli.kinds import Codec, Entry, Upstream
from t2icli.models import Model
from t2icli.sampling import Batch, Device, Precision


class Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The shape of a discrete VAE, in the words of DALLE-pytorch."""

    image_size: Annotated[int, Meta(description="pixels of a side", ge=1)] = 256
    num_layers: Annotated[int, Meta(description="how often the size is halved", ge=1)] = 3
    num_tokens: Annotated[int, Meta(description="how many codes there are", ge=2)] = 512
    codebook_dim: Annotated[int, Meta(description="width of a code's vector", ge=1)] = 512
    hidden_dim: Annotated[int, Meta(description="width of the convolutions", ge=1)] = 64
    num_resnet_blocks: Annotated[int, Meta(description="residual blocks at the smallest size", ge=0)] = 0
    channels: Annotated[int, Meta(description="3 for RGB, 4 with transparency", ge=3, le=4)] = 3
    mean: Annotated[tuple[float, ...], Meta(description="taken off each channel")] = (
        0.5,
        0.5,
        0.5,
        0.0,
    )
    std: Annotated[tuple[float, ...], Meta(description="each channel is divided by")] = (0.5, 0.5, 0.5, 1.0)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    model: Annotated[Model, Meta(description="a discrete VAE, imported or trained here")]
    height: Annotated[int | None, Meta(description="pixels; none is what it was trained for")] = None
    width: Annotated[int | None, Meta(description="pixels; none is what it was trained for")] = None
    batch: Batch = 16
    device: Device = "auto"
    precision: Precision = "auto"


def load(settings: Settings) -> Codec:
    from t2icli.backends.dvae.codec import load

    codec: Codec = load(settings)
    return codec


# Not called `convert`: the module of that name takes its place in this package once it is imported.
def import_files(upstream: Upstream, folder: Path) -> None:
    from t2icli.backends.dvae.convert import convert

    convert(upstream, folder)


@hookimpl
def t2i_codecs() -> list[Entry[Codec]]:
    return [
        Entry(
            "dvae",
            "discrete VAE: soft pictures as codes, by DALLE-pytorch or trained here",
            Settings,
            load,
            import_files,
        )
    ]
