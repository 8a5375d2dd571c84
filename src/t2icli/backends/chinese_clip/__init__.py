"""Chinese-CLIP over transformers: the released models by their hub name, or any of their form in a folder."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from t2icli.contract.entries import Entry, lazily
from t2icli.contract.fields import ELSEWHERE
from t2icli.contract.hookspecs import hookimpl
from t2icli.contract.kinds import Embedder
from t2icli.store.models import Model


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How Chinese-CLIP embeds."""

    model: Annotated[Model | None, Meta(description="an imported Chinese-CLIP, instead of `source`")] = None
    source: Annotated[str, Meta(description="a folder, or the name of a repository on the hub", extra=ELSEWHERE)] = (
        "OFA-Sys/chinese-clip-vit-base-patch16"
    )
    length: Annotated[int, Meta(description="tokens of a text that are read", ge=3)] = 52
    batch: Annotated[int, Meta(description="images or texts at a time", ge=1)] = 64
    device: Annotated[str, Meta(description="auto, cpu, cuda, cuda:1 ...")] = "auto"
    precision: Annotated[
        Literal["auto", "fp32", "bf16"], Meta(description="number format; auto is bf16 on a GPU, fp32 on a CPU")
    ] = "auto"


def load(settings: Settings) -> Embedder:
    from t2icli.backends.chinese_clip import hub

    if settings.model is None:
        settings = msgspec.structs.replace(settings, source=str(hub.folder(settings.source)))
    from t2icli.backends.chinese_clip.embed import load

    return load(settings)


import_files = lazily("t2icli.backends.chinese_clip.convert:convert")


@hookimpl
def t2i_embedders() -> list[Entry[Embedder]]:
    about = "Chinese-CLIP: Chinese texts and images in one space, by transformers"
    return [Entry("chinese-clip", about, Settings, load, import_files)]
