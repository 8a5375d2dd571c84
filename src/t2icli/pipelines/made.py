"""Parts that a training needs and that are not installed: other models replace them, and vocabularies are trained."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from t2icli.contract.entries import Entry
from t2icli.contract.fields import Part
from t2icli.contract.recipes import Fit
from t2icli.data.dataset import PreparedDataset
from t2icli.ground.errors import T2IError
from t2icli.registry import configure, defaults, discovery, settings
from t2icli.registry.open import load
from t2icli.store import models

LEARNT_BY, LEARNT_AS = "tokenizer", "json"
"""The recipe that learns a vocabulary from captions, and the tokenizer that reads it. One of these that has no model
is learnt from the captions of the training data: `-o tokenizer=json`."""
NEEDED = ("codec", "embedder", "tokenizer")
"""Kinds of part that do nothing without a model. A metric has something that takes its place."""
Tell = Callable[[str], None]


def filled(entry: Entry[Any], option: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """`option` with other backends for the parts that were not asked for and have no model here."""
    if settings.begins_from_weights(entry.settings, option):
        return dict(option)
    options = dict(option)
    for name, part in _parts(entry):
        if name in option or part.is_none or part.kind not in NEEDED or not _has_no_model(part.kind, part.name):
            continue
        if settings.is_replaced(entry.settings, option, name):
            continue
        if (other := _other(part)) is not None:
            options[name] = {"name": other}
            if part.kind != "tokenizer":
                tell(f"{name}: {other}, because there is no model of {part.name}")
    return options


def _parts(entry: Entry[Any]) -> Iterator[tuple[str, Part[Any]]]:
    for field in msgspec.structs.fields(entry.settings):
        if isinstance(field.default, Part):
            yield field.name, field.default


def _has_no_model(kind: str, backend: str) -> bool:
    offer = discovery.installed().offers[kind].get(backend)
    if offer is None:
        return True
    wants_one = "model" in settings.names(offer.entry.settings)
    return wants_one and models.default(backend, discovery.installed().sources) is None


def _other(part: Part[Any]) -> str | None:
    if part.kind == "tokenizer":
        return LEARNT_AS if part.name != LEARNT_AS else None
    with contextlib.suppress(T2IError):  # the recipe reports better what is missing
        return defaults.name(part.kind)
    return None


def unlearnt(entry: Entry[Any], chosen: Any) -> list[str]:
    """The parts that are vocabularies still to be trained."""
    return [
        name
        for name, _ in _parts(entry)
        for part in [getattr(chosen, name)]
        if (part.kind, part.name) == ("tokenizer", LEARNT_AS)
        and part.model is None
        and not settings.is_replaced(type(part.settings), settings.tables(part.settings), "model")
        and not settings.is_replaced(entry.settings, settings.tables(chosen), name)
    ]


def vocabulary(folder: Path) -> Part[Any]:
    """The part that reads the vocabulary trained in `folder`."""
    return configure.part(Part("tokenizer", LEARNT_AS), {"model": str(folder)}, "tokenizer")


def learn(data: PreparedDataset, folder: Path) -> models.Model:
    """A vocabulary from all captions of the data, in `folder`; the same captions give the same one."""
    fit: Fit = load("recipe", LEARNT_BY)
    fit.fit((caption for i in range(len(data)) for caption in data.captions(i)), folder)
    return models.open_model(folder)
