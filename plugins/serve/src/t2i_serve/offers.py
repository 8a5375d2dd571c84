"""The models that requests can name. No name in a request is used as a path: names are looked up here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from t2i_serve.errors import ApiError
from t2icli.contract.entries import Entry
from t2icli.ground.errors import T2IError
from t2icli.registry import configure, defaults, discovery, settings
from t2icli.store import models
from t2icli.store.models import Model


@dataclass(frozen=True)
class ServedModel:
    """A model, or a backend that needs none."""

    kind: str
    name: str
    word: str
    """What opens it."""
    entry: Entry[Any]
    model: Model | None

    @property
    def about(self) -> str:
        return self.model.card.about if self.model else self.entry.about

    @property
    def stand_in(self) -> str:
        return self.model.card.stand_in if self.model else ""

    @property
    def size(self) -> int:
        """Bytes of its files, which is about what its weights take."""
        return self.model.size if self.model else 0

    @property
    def has_device(self) -> bool:
        return "device" in settings.names(self.entry.settings)

    def fields(self) -> list[dict[str, Any]]:
        """The settings that may differ per picture, with what a form needs to ask for them."""
        return [_field(field, self.model) for field in _per_picture(self.entry)]


class Offers:
    """All that is installed; of generators those of `-m` alone, if any were named."""

    def __init__(self, generators: Sequence[str] = ()) -> None:
        self._chosen = [_offer("generator", word) for word in generators]

    def all(self, kind: str) -> list[ServedModel]:
        """The default first."""
        if kind == "generator" and self._chosen:
            return self._chosen
        offers = {offer.name: offer for offer in _installed(kind)}
        usual = _default(kind)
        return sorted(offers.values(), key=lambda offer: (offer.name != usual, offer.name))

    def find(self, kind: str, word: str | None) -> ServedModel:
        """By its name, or by that of its backend; the default if none is named."""
        offers = self.all(kind)
        if not offers:
            raise ApiError(503, f"no {kind} is installed", "model_not_found")
        if word is None:
            return offers[0]
        for offer in offers:
            if word in (offer.name, offer.word):
                return offer
        for offer in offers:
            if word == offer.entry.name and offer.model == models.default(word, discovery.installed().sources):
                return offer
        known = ", ".join(offer.name for offer in offers)
        raise ApiError(404, f"there is no {kind} called {word!r}; known: {known}", "model_not_found", "model")


def _installed(kind: str) -> Iterator[ServedModel]:
    plugins = discovery.installed()
    offers = plugins.offers[kind]
    for name, model in models.installed(plugins.sources).items():
        offer = offers.get(model.card.backend)
        if offer is not None and "model" in settings.names(offer.entry.settings):
            yield ServedModel(kind, name, name, offer.entry, model)
    for name, offer in offers.items():
        fields = msgspec.structs.fields(offer.entry.settings)
        if not any(field.name == "model" or field.required for field in fields):
            yield ServedModel(kind, name, name, offer.entry, None)


def _offer(kind: str, word: str) -> ServedModel:
    """What `-m` names, which may be a folder."""
    entry, model = configure.resolve(kind, word)
    if model is None and "model" in settings.names(entry.settings):
        model = models.default(entry.name, discovery.installed().sources)
        if model is None:
            configure.configure_entry(kind, entry)  # which says how to get one
    return ServedModel(kind, model.name if model else entry.name, word, entry, model)


def _default(kind: str) -> str | None:
    try:
        backend = defaults.name(kind)
    except T2IError:
        return None
    model = models.default(backend, discovery.installed().sources)
    return model.name if model else backend


def _per_picture(entry: Entry[Any]) -> Iterator[msgspec.structs.FieldInfo]:
    """All but those whose values may be paths: no path of a request reaches the disk."""
    names = settings.per_picture(entry.settings) - settings.names_files(entry.settings)
    return (field for field in msgspec.structs.fields(entry.settings) if field.name in names)


def _field(field: msgspec.structs.FieldInfo, model: Model | None) -> dict[str, Any]:
    own: Mapping[str, Any] = model.card.settings if model else {}
    default = own.get(field.name, None if field.default is msgspec.NODEFAULT else field.default)
    schema = msgspec.json.schema(field.type)
    return {"name": field.name, "default": default, "schema": schema}
