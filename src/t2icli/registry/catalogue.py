"""Our list of models of public hubs: `catalogue.toml`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from t2icli.contract.kinds import ModelSource
from t2icli.ground import toml

PATH = Path(__file__).with_name("catalogue.toml")


class Listed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model of the list; the file says what its fields mean."""

    kind: str
    repository: str
    about: str
    licence: str = ""
    gigabytes: float | None = None
    chinese: bool | None = None
    commerce: bool = True
    variant: str | None = None
    wanted: tuple[str, ...] = ()


class Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    plugins: dict[str, str]
    models: dict[str, Listed]


def read() -> Catalogue:
    return msgspec.convert(toml.read(PATH), Catalogue)


def sources() -> list[ModelSource]:
    """The models of the list, as plugins would announce them."""
    return [_source(name, listed) for name, listed in read().models.items()]


def _source(name: str, listed: Listed) -> ModelSource:
    return ModelSource(
        name,
        listed.about,
        listed.licence,
        repository=listed.repository,
        wanted=listed.wanted,
        variant=listed.variant,
        kind=listed.kind,
        size=None if listed.gigabytes is None else round(listed.gigabytes * 1e9),
        chinese=listed.chinese,
        is_noncommercial=not listed.commerce,
    )


def plugin_of(backend: str) -> str | None:
    """The distribution of ours that brings a backend of the list."""
    return read().plugins.get(backend)
