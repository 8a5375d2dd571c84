"""Which plugins are here, what they offer, and how an offer becomes the thing itself."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import os
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pluggy

from t2icli import backends, hookspecs, models, settings
from t2icli.errors import T2IError, did_you_mean
from t2icli.kinds import KINDS, Embedder, Entry, ModelSource, Ranker
from t2icli.models import Model
from t2icli.settings import Part

GROUP = "t2icli"


@dataclass(frozen=True)
class Offer:
    """An entry and who made it."""

    entry: Entry[Any]
    plugin: str
    distribution: str


@dataclass(frozen=True)
class Broken:
    """A plugin, or one hook of it, that was left out."""

    plugin: str
    distribution: str
    reason: str

    def __str__(self) -> str:
        return f"plugin {self.plugin!r} ({self.distribution}) was left out: {self.reason}"


@dataclass
class Plugins:
    """Everything that installed distributions announced, by kind and name."""

    offers: dict[str, dict[str, Offer]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    sources: list[ModelSource] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    commands: list[Callable[..., object]] = field(default_factory=list)

    def add(self, name: str, distribution: str, load: Callable[[], object]) -> None:
        """Load one plugin and ask each of its hooks; whatever goes wrong is noted, not raised."""
        try:
            manager = pluggy.PluginManager(hookspecs.PROJECT)
            manager.add_hookspecs(hookspecs)
            manager.register(load(), name)
            manager.check_pending()  # a misspelt hook
            self._ask(manager, name, distribution)
        except (Exception, SystemExit) as error:
            if os.environ.get("T2I_STRICT"):
                raise
            self.broken.append(Broken(name, distribution, _reason(error)))

    def _ask(self, manager: pluggy.PluginManager, name: str, distribution: str) -> None:
        mine: list[tuple[str, Offer]] = []
        for kind in KINDS:
            for entries in getattr(manager.hook, f"t2i_{kind}s")():
                mine += [(kind, Offer(_checked(entry), name, distribution)) for entry in entries]
        for kind, offer in mine:
            taken = self.offers[kind].get(offer.entry.name)
            if taken is not None:
                raise T2IError(f"{kind} {offer.entry.name!r} is already taken by plugin {taken.plugin!r}")
        for sources in manager.hook.t2i_models():
            self.sources += sources
        self.commands += [impl.function for impl in manager.hook.t2i_commands.get_hookimpls()]
        for kind, offer in mine:
            self.offers[kind][offer.entry.name] = offer

    def offer_embedders_as_rankers(self) -> None:
        """An embedder ranks by cosine, unless a ranker of that name exists already."""
        for name, offer in self.offers["embedder"].items():
            if name not in self.offers["ranker"]:
                self.offers["ranker"][name] = Offer(_as_ranker(offer.entry), offer.plugin, offer.distribution)

    def find(self, kind: str, name: str) -> Entry[Any]:
        """The entry a user means, or an error with the nearest name."""
        if kind not in self.offers:
            raise T2IError(f"there is no kind of plugin called {kind!r}", did_you_mean(kind, KINDS))
        offers = self.offers[kind]
        if name in offers:
            return offers[name].entry
        hint = did_you_mean(name, offers) or f"no installed plugin offers a {kind}: see t2i plugins"
        raise T2IError(f"no {kind} called {name!r}", hint)


def _checked(entry: object) -> Entry[Any]:
    if not isinstance(entry, Entry):
        raise TypeError(f"a hook must return Entry objects, not {type(entry).__name__}")
    if not (isinstance(entry.settings, type) and issubclass(entry.settings, msgspec.Struct)):
        raise TypeError(f"the settings of {entry.name!r} must be a msgspec.Struct, not {entry.settings!r}")
    for role, hand in (("load", entry.load), ("convert", entry.convert)):
        if hand is not None and not callable(hand):  # a submodule of that name replaced the function
            raise TypeError(f"{role} of {entry.name!r} must be a function, not {hand!r}")
    return entry


def _reason(error: BaseException) -> str:
    first = str(error).strip().splitlines()
    return f"{type(error).__name__}: {first[0]}" if first else type(error).__name__


def _as_ranker(entry: Entry[Embedder]) -> Entry[Ranker]:
    def load(chosen: Any) -> Ranker:
        from t2icli.cosine import CosineRanker

        return CosineRanker(entry.load(chosen))

    return Entry(entry.name, entry.about, entry.settings, load)


def _built_in(name: str) -> Callable[[], object]:
    return lambda: importlib.import_module(f"t2icli.backends.{name}")


Announced = tuple[str, str, Callable[[], object]]
"""A plugin that is not imported yet: its name, its distribution, and how to import it."""


@functools.cache
def installed() -> Plugins:
    """The built-in backends and every distribution with an entry point in the group `t2icli`."""
    return collect(
        (point.name, f"{point.dist.name} {point.dist.version}" if point.dist else "?", point.load)
        for point in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda point: point.name)
    )


def collect(others: Iterable[Announced]) -> Plugins:
    """The built-in backends and these plugins."""
    plugins = Plugins()
    version = importlib.metadata.version("t2icli")
    for _, name, _ in pkgutil.iter_modules(backends.__path__):
        plugins.add(name, f"t2icli {version}", _built_in(name))
    for name, distribution, load in others:
        plugins.add(name, distribution, load)
    plugins.offer_embedders_as_rankers()
    return plugins


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
        model = _model(entry, fields["model"].required, values.pop("model", None), model, owner)
        if model is not None:
            values = {**settings.merge(model.card.settings, values), "model": model}
    elif model is not None:
        raise T2IError(f"{owner} takes no model, but {model.name!r} is one")
    for name, default in _parts(fields.values()):
        values[name] = _part(default, values.get(name), model, name)
    return settings.convert(entry.settings, values, owner)


def _model(entry: Entry[Any], required: bool, chosen: Any, found: Model | None, owner: str) -> Model | None:
    sources = installed().sources
    model = found
    if isinstance(chosen, Model):
        model = chosen
    elif chosen is not None:
        model = models.find(str(chosen), sources)
    elif model is None:
        model = models.default(entry.name, sources)
    if model is None and required:
        known = [source.name for source in sources if source.name.startswith(f"{entry.name}/")]
        get = f"t2i models pull {known[0]}" if known else f"t2i models import FILE --as {entry.name}"
        raise T2IError(f"{owner} needs a model and none is installed", f"train one, or run: {get}")
    if model is not None and model.card.backend != entry.name:
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
    inside = model.part(name) if model is not None and name in model.card.parts else None
    if word is None and inside is not None:
        word, options["model"] = inside.card.backend, inside
    entry, chosen = configure(default.kind, word or default.name, options)
    used = getattr(chosen, "model", None)
    if inside is not None and used is not None and used.sha256 != inside.sha256:
        raise T2IError(
            f"model {model.name!r} was made with another {name}: "  # type: ignore[union-attr]
            f"{inside.sha256[:12]}, but {used.name!r} is {used.sha256[:12]}",
            f"leave out the {name} and its own is used",
        )
    return Part(default.kind, entry.name, chosen)


def load(kind: str, name: str, **options: Any) -> Any:
    """The thing itself: `load("generator", "dalle", model="runs/noodles/model", top_p=0.9)`."""
    entry, chosen = configure(kind, name, options)
    return entry.load(chosen)


def load_part(chosen: Part[Any]) -> Any:
    if chosen.settings is None:
        return load(chosen.kind, chosen.name)
    return find(chosen.kind, chosen.name).load(chosen.settings)
