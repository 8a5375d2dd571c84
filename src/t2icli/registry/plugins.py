"""What the installed plugins offer, and how an offer becomes the thing itself."""

from __future__ import annotations

import functools
import os
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from t2icli.contract.kinds import Entry
from t2icli.ground.errors import T2IError
from t2icli.registry import discovery, settings
from t2icli.registry.discovery import Plugins
from t2icli.registry.settings import Part
from t2icli.store import models
from t2icli.store.models import Model


@functools.cache
def installed() -> Plugins:
    """The built-in backends and every distribution with an entry point in the group `t2icli`."""
    return discovery.collect(discovery.announced())


def find(kind: str, name: str) -> Entry[Any]:
    return installed().find(kind, name)


def resolve(kind: str, word: str) -> tuple[Entry[Any], Model | None]:
    """What `-m WORD` means: an entry's name, a model's name such as `dalle/starter`, or a model folder."""
    if word in installed().offers[kind] or not _looks_like_a_model(word):
        return find(kind, word), None
    model = models.find(word, installed().sources)
    return find(kind, model.card.backend), model


def _looks_like_a_model(word: str) -> bool:
    return "/" in word or os.sep in word or os.path.isdir(word)


def configure(kind: str, word: str, options: Mapping[str, Any] | None = None) -> tuple[Entry[Any], Any]:
    """The entry a word means, and its settings."""
    entry, model = resolve(kind, word)
    return entry, configure_entry(kind, entry, options, model)


def configure_entry(
    kind: str, entry: Entry[Any], options: Mapping[str, Any] | None = None, model: Model | None = None
) -> Any:
    """An entry's settings: defaults, then what its model says, then `options`."""
    values = dict(options or {})
    fields = {f.name: f for f in msgspec.structs.fields(entry.settings)}
    owner = f"{kind} {entry.name!r}"
    if "model" in fields:
        asked = values.pop("model", None)
        elsewhere = asked is None and model is None and settings.is_replaced(entry.settings, values, "model")
        model = None if elsewhere else _model(entry, fields["model"].required, asked, model, owner)
        if model is not None:
            values = {**settings.merge(model.card.settings, values), "model": model}
    elif model is not None:
        raise T2IError(f"{owner} takes no model, but {model.name!r} is one")
    parts = dict(_parts(fields.values()))
    start = values.get("start")
    if not settings.is_none(start) and "start" in fields and settings.is_model(fields["start"].type):
        model = _named(entry, start, owner)
        told = {name: value for name, value in model.card.settings.items() if name in parts}
        values = {**settings.merge(told, values), "start": model}
    for name, default in parts.items():
        values[name] = _part(default, values.get(name), model, name)
    return settings.convert(entry.settings, values, owner)


def _model(entry: Entry[Any], required: bool, chosen: Any, found: Model | None, owner: str) -> Model | None:
    if chosen is not None:
        return _named(entry, chosen, owner)
    sources = installed().sources
    model = found or models.default(entry.name, sources)
    if model is None and required:
        known = [source for source in sources if source.name.startswith(f"{entry.name}/")]
        known.sort(key=lambda source: not source.files)  # those that can be pulled first
        get = models.way_to_get(known[0]) if known else f"t2i models import FILE --as {entry.name}"
        raise T2IError(f"{owner} needs a model and none is installed", f"train one, or run: {get}")
    return _named(entry, model, owner) if model is not None else None


def _named(entry: Entry[Any], chosen: Any, owner: str) -> Model:
    """The model that a setting names, or is; it must be one of the entry's."""
    model = chosen if isinstance(chosen, Model) else models.find(str(chosen), installed().sources)
    if model.card.backend != entry.name:
        raise T2IError(f"model {model.name!r} is made for {model.card.backend!r}, not for {owner}")
    return model


def _parts(fields: Iterable[msgspec.structs.FieldInfo]) -> Iterator[tuple[str, Part[Any]]]:
    for info in fields:
        if isinstance(info.default, Part):
            yield info.name, info.default


def _part(default: Part[Any], value: Any, model: Model | None, name: str) -> Part[Any]:
    """A part as asked for, else the one inside the model, else the default."""
    if isinstance(value, Part):
        return value
    options = dict(value) if isinstance(value, Mapping) else {}
    word = options.pop("name", None) if isinstance(value, Mapping) else value
    if not isinstance(word, (str, types.NoneType)):
        raise T2IError(f"{name} cannot be {word!r}", f"name a {default.kind}: -o {name}=NAME")
    inside = model.part(name) if model is not None and name in model.card.parts else None
    if word is None and inside is not None:
        word, options = inside.card.backend, {"model": inside, **options}
    entry, chosen = configure(default.kind, default.name if word is None else word, options)
    used = getattr(chosen, "model", None)
    if model is not None and inside is not None and used is not None and used.sha256 != inside.sha256:
        raise T2IError(
            f"model {model.name!r} was trained with another {name}: {inside.sha256[:12]}, "
            f"but {used.name!r} is {used.sha256[:12]}",
            f"omit the {name} to use the model's own",
        )
    return Part(default.kind, entry.name, chosen, entry)


def load(kind: str, name: str, **options: Any) -> Any:
    """The thing itself: `load("generator", "dalle", model="runs/noodles/model", top_p=0.9)`."""
    entry, chosen = configure(kind, name, options)
    return entry.load(chosen)
