"""The VQGAN of taming-transformers, VQ and Gumbel, f4 to f32, and small ones for CPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from t2icli.hookspecs import hookimpl
from t2icli.kinds import Codec, Entry, Upstream
from t2icli.models import Model
from t2icli.sampling import Batch, Device, Precision


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    model: Annotated[Model, Meta(description="a VQGAN, imported or trained here")]
    height: Annotated[int | None, Meta(description="pixels; none is what it was trained for")] = None
    width: Annotated[int | None, Meta(description="pixels; none is what it was trained for")] = None
    batch: Batch = 16
    device: Device = "auto"
    precision: Precision = "auto"


def load(settings: Settings) -> Codec:
    from t2icli.backends.vqgan.codec import load

    codec: Codec = load(settings)
    return codec


# Not called `convert`: the module of that name takes its place in this package once it is imported.
def import_files(upstream: Upstream, folder: Path) -> None:
    from t2icli.backends.vqgan.convert import convert

    convert(upstream, folder)


@hookimpl
def t2i_codecs() -> list[Entry[Codec]]:
    return [
        Entry(
            "vqgan",
            "VQGAN: sharp pictures as codes, by taming-transformers or trained here",
            Settings,
            load,
            import_files,
        )
    ]
