"""Our list of models of public hubs: `catalogue.json`. It is read at every start, and JSON is read quickest.

A field that nobody has looked up is left out: the hub itself gives exact files, bytes and licence before a download.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from t2icli.store.sources import ModelSource

PATH = Path(__file__).with_name("catalogue.json")


class CatalogueModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model of the list."""

    kind: str
    repository: str
    about: str
    licence: str = ""
    gigabytes: float | None = None
    """What the weights take, about: as the hub listed them where that was seen, else computed from the number of
    parameters (2 bytes each of a pipeline's, 4 of the small models that are published in fp32)."""
    chinese: bool | None = None
    """Whether it reads prompts in Chinese, or writes captions in it."""
    commerce: bool = True
    """False where the licence forbids commercial use."""
    variant: str | None = None
    wanted: tuple[str, ...] = ()
    settings: dict[str, Any] = {}


class ModelCatalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    plugins: dict[str, str]
    """The distribution of ours that brings each backend which t2icli itself does not have."""
    models: dict[str, CatalogueModel]


def read() -> ModelCatalogue:
    return msgspec.json.decode(PATH.read_bytes(), type=ModelCatalogue)


def sources() -> list[ModelSource]:
    """The models of the list, as plugins would announce them."""
    return [_source(name, listed) for name, listed in read().models.items()]


def _source(name: str, listed: CatalogueModel) -> ModelSource:
    return ModelSource(
        name,
        listed.about,
        listed.licence,
        repository=listed.repository,
        wanted=listed.wanted,
        variant=listed.variant,
        settings=listed.settings,
        kind=listed.kind,
        size=None if listed.gigabytes is None else round(listed.gigabytes * 1e9),
        chinese=listed.chinese,
        is_noncommercial=not listed.commerce,
    )


def plugin_of(backend: str) -> str | None:
    """The distribution of ours that brings a backend of the list."""
    return read().plugins.get(backend)
