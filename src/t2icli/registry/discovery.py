"""Asking plugins what they offer, so that no plugin can harm another or the tool."""

from __future__ import annotations

import functools
import importlib
import os
import pkgutil
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec
import pluggy

from t2icli.contract import hookspecs
from t2icli.contract.entries import Command, Entry
from t2icli.contract.kinds import KINDS, Embedder, Ranker
from t2icli.ground import distributions
from t2icli.ground.errors import T2IError, did_you_mean
from t2icli.registry import catalogue
from t2icli.registry.isolation import Isolation
from t2icli.store import models
from t2icli.store.sources import ModelSource

BACKENDS = Path(__file__).parents[1] / "backends"
"""The built-in plugins, found as files: nothing here imports what stands on it."""
GROUP = distributions.GROUP
COMMANDS = "t2icli.commands"
"""The built-in plugin that announces the commands."""
HOOKS = tuple(name for name in vars(hookspecs) if name.startswith("t2i_"))
HEAVY = ("torch", "transformers", "open_clip", "diffusers", "pyarrow", "daft")
"""Modules so slow to import that even `t2i --help` would be felt to hang."""
PACKAGES = {
    "generator": "t2icli-clipgen",
    "ranker": "t2icli-brivl",
    "embedder": "t2icli-brivl",
    "captioner": "t2icli-clipcap",
    "codec": "t2icli-clipgen",
    "recipe": "t2icli-clipgen",
    "dataset": "t2icli-starter",
}
"""One of our packages for each kind, suggested to users who have none."""
OWN = "t2icli"
"""The plugin of the built-in commands."""
PLUGINS = ("brivl", "starter", "clipcap", "clipgen", "dalle2", "diffusers", "flow", "serve", "transformers", "wavbrivl")
OURS = tuple(f"t2icli-{name}" for name in PLUGINS)
"""Our distributions beside t2icli itself."""


Hook = Callable[..., Iterable[Any]]


@dataclass(frozen=True)
class Offer:
    """An entry and who made it."""

    entry: Entry[Any]
    plugin: str
    distribution: str


@dataclass(frozen=True)
class CommandOffer:
    """A command and who made it."""

    command: Command
    plugin: str
    distribution: str


@dataclass(frozen=True)
class Broken:
    """A plugin that was left out."""

    plugin: str
    distribution: str
    reason: str

    def __str__(self) -> str:
        hint = _hint(self.distribution)
        return f"plugin {self.plugin!r} ({self.distribution}) was left out: {self.reason}{hint}"


@dataclass
class Announcement:
    """What one plugin offers, as far as it has been asked."""

    plugin: str
    distribution: str
    step: str = "import"
    """What it is doing, or failed at."""
    offers: list[tuple[str, Offer]] = field(default_factory=list)
    sources: list[ModelSource] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)

    def ask(self, load: Callable[[], object], taken: Mapping[tuple[str, str], str]) -> None:
        """Import it and ask each of its hooks; `taken` holds the plugin that has each kind and name already."""
        hooks = _hooks(load(), self.plugin)
        for kind in KINDS:
            self.step = f"t2i_{kind}s"
            entries = list(map(_entry, hooks.get(self.step, list)()))
            _refuse_taken(kind, [entry.name for entry in entries], taken)
            self.offers += [(kind, Offer(entry, self.plugin, self.distribution)) for entry in entries]
        self.step = "t2i_models"
        self.sources += map(_source, hooks.get(self.step, list)())
        _refuse_taken("model", [source.name for source in self.sources], taken)
        self.step = "t2i_commands"
        self.commands += map(_command, hooks.get(self.step, list)())
        _refuse_taken("command", [command.name for command in self.commands], taken)


def _refuse_taken(kind: str, names: list[str], taken: Mapping[tuple[str, str], str]) -> None:
    for name in names:
        if (kind, name) in taken:
            raise T2IError(f"{kind} {name!r} is already taken by plugin {taken[kind, name]!r}")
        if names.count(name) > 1:
            raise T2IError(f"{kind} {name!r} is announced twice")


@dataclass
class Plugins:
    """Everything that installed distributions announced, by kind and name."""

    offers: dict[str, dict[str, Offer]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    sources: list[ModelSource] = field(default_factory=list)
    shippers: dict[str, str] = field(default_factory=dict)
    """The distribution that knows each model, by the model's name."""
    commands: dict[str, CommandOffer] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each plugin took to be imported and asked."""
    taken: dict[tuple[str, str], str] = field(default_factory=dict)
    """The plugin that has each kind and name; a model source counts as of the kind "model", a command of "command"."""
    isolation: Isolation = field(default_factory=Isolation)

    def add(self, name: str, distribution: str, load: Callable[[], object]) -> None:
        """Load one plugin and ask each of its hooks. It is taken in whole or left out whole."""
        begun, heavy = time.perf_counter(), _heavy()
        announcement = Announcement(name, distribution)
        error = self.attempt(name, distribution, lambda: announcement.ask(load, self.taken))
        if error is not None:
            self.leave_out(name, distribution, announcement.step, error)
            return
        for kind, offer in announcement.offers:
            self.offers[kind][offer.entry.name] = offer
            self.taken[kind, offer.entry.name] = name
        self.sources += announcement.sources
        self.shippers |= {source.name: distribution for source in announcement.sources}
        self.taken |= {("model", source.name): name for source in announcement.sources}
        self.commands |= {each.name: CommandOffer(each, name, distribution) for each in announcement.commands}
        self.taken |= {("command", each.name): name for each in announcement.commands}
        self.seconds[name] = time.perf_counter() - begun
        if slow := _heavy() - heavy:
            _warn_of(name, distribution, slow)

    def attempt(self, plugin: str, distribution: str, call: Callable[[], object]) -> BaseException | None:
        """Run code of a plugin; what it raises is returned, unless it ends the program."""
        return self.isolation.attempt(lambda: f"plugin {plugin!r} ({distribution}){_hint(distribution)}", call)

    def leave_out(self, plugin: str, distribution: str, step: str, error: BaseException) -> None:
        """Note a plugin as broken; with T2I_STRICT, raise."""
        if os.environ.get("T2I_STRICT"):
            raise error
        self.broken.append(Broken(plugin, distribution, f"{step}: {_reason(error)}"))

    def offer_embedders_as_rankers(self) -> None:
        """An embedder ranks by cosine, unless a ranker of that name exists already."""
        for name, offer in self.offers["embedder"].items():
            if name not in self.offers["ranker"]:
                self.offers["ranker"][name] = Offer(_as_ranker(offer.entry), offer.plugin, offer.distribution)

    def list_known_models(self, own: str) -> None:
        """Add our list of models of public hubs; what a plugin says of one of them goes before it."""
        new = [source for source in catalogue.sources() if ("model", source.name) not in self.taken]
        self.sources += new
        self.shippers |= {source.name: own for source in new}

    def find(self, kind: str, name: str) -> Entry[Any]:
        """The entry a user means, or an error with the nearest name."""
        if kind not in self.offers:
            raise T2IError(f"there is no kind of plugin called {kind!r}", did_you_mean(kind, KINDS))
        offers = self.offers[kind]
        if name in offers:
            return offers[name].entry
        for broken in self.broken:
            if broken.plugin == name:
                raise T2IError(f"no {kind} called {name!r}", str(broken))
        raise T2IError(f"no {kind} called {name!r}", did_you_mean(name, offers) or what_to_install(kind))


Announced = tuple[str, str, Callable[[], object]]
"""A plugin that is not imported yet: its name, its distribution, and how to import it."""


def collect(others: Iterable[Announced]) -> Plugins:
    """The commands and backends that are built in, and these plugins."""
    plugins = Plugins()
    own = distributions.own_title()
    with plugins.isolation:
        plugins.add(OWN, own, _module(COMMANDS))
        for _, name, _ in pkgutil.iter_modules([str(BACKENDS)]):
            plugins.add(name, own, _module(f"t2icli.backends.{name}"))
        for name, distribution, load in others:
            plugins.add(name, distribution, load)
    plugins.offer_embedders_as_rankers()
    plugins.list_known_models(own)
    return plugins


def announced() -> Iterator[Announced]:
    """The plugins of every installed distribution, none of them imported yet."""
    for point in distributions.points():
        yield point.name, point.distribution, point.load


class _Manager(pluggy.PluginManager):
    """Looks at what is called like a hook alone: a module of settings has many other names."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        return super().parse_hookimpl_opts(plugin, name) if name.startswith("t2i_") else None


@functools.cache
def _manager() -> pluggy.PluginManager:
    manager = _Manager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def _hooks(plugin: object, name: str) -> dict[str, Hook]:
    """A plugin's hook functions by name, after pluggy has compared names and arguments with the specifications."""
    manager = _manager()
    try:
        manager.register(plugin, name)
        callers = {caller.name: caller for caller in manager.get_hookcallers(plugin) or ()}
        for hook, caller in callers.items():
            if not caller.has_spec():
                raise T2IError(f"there is no hook {hook!r}: {did_you_mean(hook, HOOKS)}")
        for hook in HOOKS:
            if hasattr(plugin, hook) and hook not in callers:
                raise T2IError(f"{hook} is not marked with @hookimpl")
        return {hook: cast(Hook, caller.get_hookimpls()[-1].function) for hook, caller in callers.items()}
    finally:  # it is asked alone, so that what it does is known to be its doing
        if manager.has_plugin(name):
            manager.unregister(name=name)


def _entry(entry: object) -> Entry[Any]:
    if not isinstance(entry, Entry):
        raise TypeError(f"a hook must return Entry objects, not {type(entry).__name__}")
    if not (isinstance(entry.name, str) and re.fullmatch(r"[a-z0-9][a-z0-9._-]*", entry.name)):
        raise TypeError(f"an entry's name is made of a-z, 0-9, '.', '_' and '-', unlike {entry.name!r}")
    if not (isinstance(entry.settings, type) and issubclass(entry.settings, msgspec.Struct)):
        raise TypeError(f"the settings of {entry.name!r} must be a msgspec.Struct, not {entry.settings!r}")
    if not callable(entry.load) or not all(each is None or callable(each) for each in (entry.convert, entry.adopt)):
        # A likely slip: a submodule called `convert` replaces the function of that name once it is imported.
        raise TypeError(f"load, convert and adopt of {entry.name!r} must be functions")
    return entry


def _source(source: object) -> ModelSource:
    if not isinstance(source, ModelSource):
        raise TypeError(f"t2i_models must return ModelSource objects, not {type(source).__name__}")
    if not models.NAME.fullmatch(source.name):
        raise TypeError(f"a model's name is backend/what, of a-z, 0-9, '.', '_' and '-', unlike {source.name!r}")
    if not all(remote.urls for remote in source.files):
        raise TypeError(f"model {source.name!r} has a file without an address")
    return source


def _command(command: object) -> Command:
    if not isinstance(command, Command):
        raise TypeError(f"t2i_commands must return Command objects, not {type(command).__name__}")
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", command.name):
        raise TypeError(f"a command's name is made of a-z, 0-9 and '-', unlike {command.name!r}")
    if not re.fullmatch(r"[\w.]+:[\w.]+", command.function):
        raise TypeError(f"the function of command {command.name!r} is written module:name, unlike {command.function!r}")
    return command


def _heavy() -> set[str]:
    return sys.modules.keys() & set(HEAVY)


def _warn_of(plugin: str, distribution: str, slow: set[str]) -> None:
    problem = f"plugin {plugin!r} ({distribution}) slows every command down: it imports {', '.join(sorted(slow))}"
    warnings.warn(f"{problem} at import time instead of in Entry.load", UserWarning, stacklevel=3)


def _reason(error: BaseException) -> str:
    try:
        message = " ".join(str(error).split())
    except Exception:  # a plugin's own class of exception may fail at this, too
        message = ""
    return f"{type(error).__name__}: {message}"[:300] if message else type(error).__name__


def plugins_of(distribution: str) -> list[str]:
    """The names of the plugins a distribution announces, read from its metadata alone."""
    import importlib.metadata

    try:
        points = importlib.metadata.distribution(distribution).entry_points
    except importlib.metadata.PackageNotFoundError:
        return []
    return sorted(point.name for point in points if point.group == GROUP)


def removal(titled: str) -> str:
    """The command that removes a distribution, given with its version; empty where it holds no installed plugin."""
    name = titled.split()[0]
    return f"t2i uninstall {name}" if plugins_of(name) else ""


def hint(titled: str) -> str | None:
    """How to be rid of a distribution that does not work."""
    command = removal(titled)
    return f"to remove it: {command}" if command else None


def _hint(titled: str) -> str:
    text = hint(titled)
    return f"; {text}" if text else ""


def what_to_install(kind: str) -> str:
    """Where a kind of thing can be had, for a user who has none."""
    example = f"; for example: {where_to_get(PACKAGES[kind])}" if kind in PACKAGES else ""
    return f"no installed plugin offers a {kind}{example}"


def where_to_get(distribution: str) -> str:
    """How one of `OURS` is installed; they are on no index."""
    folder = f"plugins/{distribution.removeprefix('t2icli-')}"
    return f"t2i install {folder} in the source tree of t2icli, or t2i install the wheel of {distribution}"


def _as_ranker(entry: Entry[Embedder]) -> Entry[Ranker]:
    def load(chosen: Any) -> Ranker:
        from t2icli.registry.cosine import CosineRanker

        return CosineRanker(entry.load(chosen))

    return Entry(entry.name, entry.about, entry.settings, load)


def _module(name: str) -> Callable[[], object]:
    return lambda: importlib.import_module(name)


@functools.cache
def built_in_commands() -> dict[str, CommandOffer]:
    """The commands that no plugin is needed for, nor asked."""
    plugins = Plugins()
    plugins.add(OWN, OWN, _module(COMMANDS))
    return plugins.commands


@functools.cache
def installed() -> Plugins:
    """All that is built in, and every distribution with an entry point in the group `t2icli`."""
    return collect(announced())


def find(kind: str, name: str) -> Entry[Any]:
    """An entry by its name."""
    return installed().find(kind, name)
