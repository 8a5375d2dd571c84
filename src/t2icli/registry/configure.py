"""From the words a user typed to an entry and its settings: what a word means, which model, which parts."""

from __future__ import annotations

import os
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from t2icli.contract.entries import Entry
from t2icli.contract.fields import Part
from t2icli.ground.errors import T2IError
from t2icli.registry import discovery, settings
from t2icli.store import models
from t2icli.store.models import Model

Values = dict[str, Any]
"""Settings by name, from typed words, files or cards, before they are converted."""


def resolve(kind: str, word: str) -> tuple[Entry[Any], Model | None]:
    """What `-m WORD` means: an entry's name, a model's name such as `dalle/starter`, or a model folder."""
    if word in discovery.installed().offers[kind] or not _looks_like_a_model(word):
        return discovery.find(kind, word), None
    model = models.find(word, discovery.installed().sources)
    return discovery.find(kind, model.card.backend), model


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
    owner = f"{kind} {entry.name!r}"
    fields = {field.name: field for field in msgspec.structs.fields(entry.settings)}
    values, model = _with_model(entry, fields, dict(options or {}), model, owner)
    values, model = _with_start(entry, fields, values, model, owner)
    values = _with_base(entry, values, owner)
    for name, default in _parts(fields.values()):
        values[name] = part(default, values.get(name), name, model)
    return settings.convert(entry.settings, values, owner)


def _with_model(
    entry: Entry[Any], fields: Mapping[str, Any], values: Values, resolved: Model | None, owner: str
) -> tuple[Values, Model | None]:
    """The settings with the model they are for: the one asked for, or `resolved`, or the default of the entry."""
    if "model" not in fields:
        if resolved is not None:
            raise T2IError(f"{owner} takes no model, but {resolved.name!r} is one")
        return values, None
    chosen = values.pop("model", None) or resolved
    if chosen is None and not settings.is_replaced(entry.settings, values, "model"):
        chosen = _default_model(entry, fields["model"].required, owner)
    if chosen is None:
        return values, None
    model = _model_of(entry, chosen, owner)
    return {**settings.merge(model.card.settings, values), "model": model}, model


def _default_model(entry: Entry[Any], required: bool, owner: str) -> Model | None:
    sources = discovery.installed().sources
    model = models.default(entry.name, sources)
    if model is None and required:
        known = [source for source in sources if source.name.startswith(f"{entry.name}/")]
        known.sort(key=lambda source: not source.can_be_pulled)  # those that can be pulled first
        get = models.way_to_get(known[0]) if known else f"t2i models import FILE --as {entry.name}"
        raise T2IError(f"{owner} needs a model and none is installed", f"train one, or run: {get}")
    return model


def _with_start(
    entry: Entry[Any], fields: Mapping[str, Any], values: Values, model: Model | None, owner: str
) -> tuple[Values, Model | None]:
    """The settings of a recipe that continues from a model, whose parts are kept unless others are chosen."""
    name = settings.start_of(entry.settings)
    if name is None or settings.is_none(values.get(name)):
        return values, model
    model = _model_of(entry, values[name], owner)
    parts = {name for name, _ in _parts(fields.values())}
    own_parts = {name: value for name, value in model.card.settings.items() if name in parts}
    return {**settings.merge(own_parts, values), name: model}, model


def _with_base(entry: Entry[Any], values: Values, owner: str) -> Values:
    """The settings of a recipe with the model that it trains beside, which must be in the store."""
    base = settings.base(entry.settings)
    if base is None or values.get(base[0]) is None:
        return values
    name, backend = base
    word = values[name]
    if not isinstance(word, Model) and Path(word).is_dir() and models.folder_of(Path(word)) is None:
        raise T2IError(f"'{word}' is a folder, but no model", f"run: t2i models import {word} --as {backend}")
    model = word if isinstance(word, Model) else models.find(str(word), discovery.installed().sources)
    model.check_made_for(backend, f"the {name} of {owner}")
    same = models.in_store(model.sha256)
    if same is None:
        raise T2IError(f"the {name} of {owner} must be in the store", f"run: t2i models import {model.folder}")
    return {**values, name: same}


def _model_of(entry: Entry[Any], chosen: Any, owner: str) -> Model:
    """The model that a setting names, or is; it must be one of the entry's."""
    model = chosen if isinstance(chosen, Model) else models.find(str(chosen), discovery.installed().sources)
    model.check_made_for(entry.name, owner)
    return model


def _parts(fields: Iterable[msgspec.structs.FieldInfo]) -> Iterator[tuple[str, Part[Any]]]:
    for field in fields:
        if isinstance(field.default, Part):
            yield field.name, field.default


def part(default: Part[Any], value: Any, name: str, model: Model | None = None) -> Part[Any]:
    """A part as `value` says, else the one inside `model`, else the default."""
    if isinstance(value, Part):
        return value
    options = dict(value) if isinstance(value, Mapping) else {}
    word = options.pop("name", None) if isinstance(value, Mapping) else value
    if not isinstance(word, (str, types.NoneType)):
        raise T2IError(f"{name} cannot be {word!r}", f"name a {default.kind}: -o {name}=NAME")
    inside = model.part(name) if model is not None and name in model.card.parts else None
    if default.is_none and settings.is_none(word) and (inside is None or word is not None):
        if options:
            raise T2IError(f"there is no {name} to set", f"name one: -o {name}=NAME")
        return default
    if word is None and inside is not None:
        word, options = inside.card.backend, {"model": inside, **options}
    entry, chosen = configure(default.kind, default.name if word is None else word, options)
    used = settings.model_of(chosen)
    if model is not None and inside is not None and used is not None and used.sha256 != inside.sha256:
        raise T2IError(
            f"model {model.name!r} was trained with another {name}: {inside.sha256[:12]}, "
            f"but {used.name!r} is {used.sha256[:12]}",
            f"omit the {name} to use the model's own",
        )
    return Part(default.kind, entry.name, chosen, entry)
