"""CLIP over open_clip: any architecture and pretrained tag it knows, local checkpoints, and models trained here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from t2icli.hookspecs import hookimpl
from t2icli.kinds import Embedder, Entry, Upstream
from t2icli.models import Model


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How CLIP embeds. Without a model folder, open_clip's `architecture` and `pretrained` say which weights."""

    model: Annotated[Model | None, Meta(description="a CLIP model, imported or trained here")] = None
    architecture: Annotated[str, Meta(description="open_clip's name, used with `pretrained`")] = "ViT-B-32"
    pretrained: Annotated[str | None, Meta(description="open_clip's tag, such as laion2b_s34b_b79k")] = None
    pool: Annotated[
        Literal["model", "eos", "argmax"],
        Meta(description="where the text feature is taken: as the model was made, at the end token, at the largest id"),
    ] = "model"
    batch: Annotated[int, Meta(description="images or texts at a time", ge=1)] = 64
    device: Annotated[str, Meta(description="auto, cpu, cuda, cuda:1 ...")] = "auto"
    precision: Annotated[
        Literal["auto", "fp32", "bf16"], Meta(description="number format; auto is bf16 on a GPU, fp32 on a CPU")
    ] = "auto"


def load(settings: Settings) -> Embedder:
    from t2icli.backends.clip.embed import load

    return load(settings)


# Not called `convert`: the module of that name takes its place in this package once it is imported.
def import_files(upstream: Upstream, folder: Path) -> None:
    from t2icli.backends.clip.convert import convert

    convert(upstream, folder)


@hookimpl
def t2i_embedders() -> list[Entry[Embedder]]:
    return [Entry("clip", "CLIP: texts and images in one space, by open_clip", Settings, load, import_files)]
