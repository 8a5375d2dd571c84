"""The work behind `t2i models`: what is here, what it is used for, and whether it is whole."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from t2icli.contract.fields import Part
from t2icli.ground.errors import T2IError, did_you_mean
from t2icli.registry import catalogue, discovery
from t2icli.store import models
from t2icli.store.models import Model
from t2icli.store.sources import ModelSource, RemoteFile


class ModelRow(msgspec.Struct, frozen=True):
    """One line of `t2i models list`."""

    name: str
    kind: str | None
    """None where only its plugin knows of it, and does not say."""
    backend: str
    size: int | None
    """Bytes: on disk, or to be downloaded; None where that is unknown."""
    is_here: bool
    is_default: bool
    about: str
    can_be_pulled: bool = False
    """Else, if it is not here either, its files have to be got by other means and imported."""
    stands_in: bool = False
    """Whether it is used only until there is another."""
    licence: str = ""
    """Empty where unknown: the hub gives it before a download."""
    is_noncommercial: bool = False
    chinese: bool | None = None
    """Whether it reads, or writes, Chinese."""
    plugin: str = ""
    """The distribution that has to be installed for it first."""


def rows() -> list[ModelRow]:
    """Every model that is here, then those that can be had."""
    sources = discovery.installed().sources
    here = models.installed(sources)
    usual = _usual(here)
    known = {source.name: source for source in sources}
    present = [_here(model, known.get(name), usual) for name, model in here.items()]
    away = [source for source in sources if source.folder is None and source.name not in here]
    return present + [_away(source) for source in away]


def _here(model: Model, source: ModelSource | None, usual: Mapping[str, str]) -> ModelRow:
    card = model.card
    return ModelRow(
        model.name,
        card.kind,
        card.backend,
        model.size,
        is_here=True,
        is_default=usual.get(card.backend) == model.name,
        about=card.about,
        stands_in=bool(card.stand_in),
        licence=card.licence,
        is_noncommercial=source is not None and source.is_noncommercial,
        chinese=source.chinese if source else None,
    )


def _away(source: ModelSource) -> ModelRow:
    backend = backend_of(source.name)
    offers = discovery.installed().offers
    kind = source.kind or next((kind for kind, of_kind in offers.items() if backend in of_kind), None)
    is_known = any(backend in of_kind for of_kind in offers.values())
    return ModelRow(
        source.name,
        kind,
        backend,
        _size(source),
        is_here=False,
        is_default=False,
        about=source.about,
        can_be_pulled=source.can_be_pulled,
        licence=source.licence,
        is_noncommercial=source.is_noncommercial,
        chinese=source.chinese,
        plugin="" if is_known else catalogue.plugin_of(backend) or "",
    )


def _usual(here: Mapping[str, Model]) -> dict[str, str]:
    """The default model of every backend: the rule of `models.default`, for all at once."""
    of_backend: dict[str, list[Model]] = {}
    for model in here.values():
        of_backend.setdefault(model.card.backend, []).append(model)
    usual = {backend: models.preferred(known) for backend, known in of_backend.items()}
    return {**{backend: model.name for backend, model in usual.items() if model}, **models.defaults()}


def backend_of(name: str) -> str:
    """The first half of a model's name."""
    return name.partition("/")[0]


def stand_ins(used: Iterable[Model | None]) -> list[str]:
    """A line for those of the models that are placeholders: what they are, and how to get another for the first."""
    by_words: dict[str, list[Model]] = {}
    for model in used:
        if model is not None and model.card.stand_in:
            by_words.setdefault(model.card.stand_in, []).append(model)
    return [
        f"{' and '.join(dict.fromkeys(model.name for model in alike))}: {words}{_for_another(alike[0].card.backend)}"
        for words, alike in by_words.items()
    ]


def _for_another(backend: str) -> str:
    """The commands that bring a backend a model of its own; each of them works."""
    here = discovery.installed()
    known = [source for source in here.sources if backend_of(source.name) == backend and source.can_be_pulled]
    ways = [models.way_to_get(source) for source in known[:1]]
    if len(known) > 1:
        ways = [f"{ways[0]} (more: t2i models list)"]
    if backend in here.offers["recipe"]:
        ways.append(f"t2i train {backend} --train-data FOLDER")
    entries = [offers[backend].entry for offers in here.offers.values() if backend in offers]
    if any(entry.convert for entry in entries):
        ways.append(f"t2i models import FILE --as {backend}")
    if any(entry.adopt for entry in entries):
        ways.append(f"t2i models import FOLDER --as {backend}")
    return f"; for another: {', or '.join(ways)}" if ways else ""


def within(chosen: Any) -> Iterator[Model]:
    """The models that settings name, those of their parts among them."""
    for value in map(chosen.__getattribute__, chosen.__struct_fields__):
        if isinstance(value, Model):
            yield value
        elif isinstance(value, Part) and value.settings is not None:
            yield from within(value.settings)


def remotes(source: ModelSource) -> list[RemoteFile]:
    """Every file to download for a model, parts included."""
    parts = (source.parts or {}).values()
    return [*source.files, *(remote for files in parts for remote in files)]


def _size(source: ModelSource) -> int | None:
    sizes = [remote.size for remote in remotes(source)]
    return source.size if None in sizes or not sizes else sum(size for size in sizes if size)


def find(name: str) -> Model:
    """A model by its name or folder; a backend's name means its default model."""
    sources = discovery.installed().sources
    if not Path(name).is_dir() and (model := models.default(name, sources)) is not None:
        return model
    return models.find(name, sources)


def remove(name: str) -> None:
    """Delete a model of the store; it is out of sight before the first byte goes."""
    folder = removable(name)
    grave = models.home() / "making" / f"{name.replace('/', '--')}.removed"
    grave.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(grave, ignore_errors=True)
    os.replace(folder, grave)
    shutil.rmtree(grave)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()  # the last model of its backend
    for backend, chosen in models.defaults().items():
        if chosen == name:
            models.set_default(backend, None)


def removable(name: str) -> Path:
    """The folder of a model that is ours to delete, be it damaged or not."""
    places = models.places()
    if name in places:
        return places[name]
    here = discovery.installed()
    if any(source.name == name and source.folder for source in here.sources):
        distribution = here.shippers[name].partition(" ")[0]
        raise T2IError(f"model {name!r} is part of {distribution}", f"remove both: t2i uninstall {distribution}")
    raise T2IError(f"there is no model called {name!r} in the store", did_you_mean(name, places))


def users(name: str) -> list[str]:
    """The models of the store that cannot be used without this one."""
    known = models.installed()
    sha256 = known[name].sha256 if name in known else None
    return [other for other, model in known.items() if sha256 in map(model.card.parts.get, model.bases)]


def choose_default(backend: str, name: str | None) -> Model:
    """Make a model the one that a bare backend name means."""
    if name is None:
        model = models.default(backend, discovery.installed().sources)
        if model is None:
            raise T2IError(f"there is no model for {backend!r}", did_you_mean(backend, (r.backend for r in rows())))
        return model
    model = find(name if "/" in name else f"{backend}/{name}")
    model.check_made_for(backend)
    models.set_default(backend, str(Path(model.name).absolute()) if Path(model.name).is_dir() else model.name)
    return model


class Check(msgspec.Struct, frozen=True):
    """What `check` found of one model."""

    name: str
    problems: list[str]


def check(
    names: Sequence[str] = (), *, anew: bool = False, tell: Callable[[str], None] = lambda _: None
) -> list[Check]:
    """Compare the hashes of all files of these models, or of all; `anew` also reads those that have not changed."""
    checks = []
    for name in names or models.places(discovery.installed().sources):
        tell(name)
        try:
            damage = list(problems(find(name), anew=anew))
        except T2IError as error:
            damage = [error.message]
        checks.append(Check(name, damage))
    return checks


def problems(model: Model, *, anew: bool = False) -> Iterator[str]:
    """What is missing or changed in a model and its parts."""
    for file in model.card.files:
        try:
            model.file(file, anew=anew)
        except T2IError as error:
            yield error.message
    for part in model.card.parts:
        try:
            inner = model.part(part)
            if part not in model.bases:  # which are checked as models of their own
                yield from problems(inner, anew=anew)
        except T2IError as error:
            yield error.message
