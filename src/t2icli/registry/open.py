"""The one road from a word to a loaded thing: `open_one("generator", "dalle/starter")`, once for each role of a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from t2icli.contract.entries import Entry
from t2icli.contract.kinds import loaded
from t2icli.ground.errors import T2IError
from t2icli.registry import configure, defaults, discovery, settings
from t2icli.store.models import Model

T = TypeVar("T")
NOT_THE_RESULT = {"batch", "device"}
"""Settings that change nothing but the speed."""


@dataclass(frozen=True)
class Opened(Generic[T]):
    """A backend that is loaded, and all that is known of it."""

    kind: str
    entry: str
    settings: Any
    thing: T

    @property
    def model(self) -> Model | None:
        return settings.model_of(self.settings)

    @property
    def tables(self) -> dict[str, Any]:
        """The settings as plain tables, which open the same backend again."""
        return settings.tables(self.settings)

    @property
    def name(self) -> str:
        """The model's name; the backend's where there is none."""
        return self.model.name if self.model else self.entry

    @property
    def distribution(self) -> str:
        """The package it comes from, with its version."""
        return discovery.installed().offers[self.kind][self.entry].distribution


def open_one(
    kind: str,
    word: str | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    batch: int | None = None,
    device: str | None = None,
) -> Opened[Any]:
    """What `word` means, or the default of its kind, configured and loaded.

    `batch` and `device` are what --batch-size and --device say: settings that not every backend has.
    """
    entry, chosen = choose(kind, word, options, batch=batch, device=device)
    return Opened(kind, entry.name, chosen, loaded(kind, entry, chosen))


def choose(
    kind: str,
    word: str | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    batch: int | None = None,
    device: str | None = None,
) -> tuple[Entry[Any], Any]:
    """The entry and the settings that `open_one` would load."""
    entry, model = configure.resolve(kind, defaults.name(kind) if word is None else word)
    own = {**(options or {}), **_flags(kind, entry, batch, device)}
    return entry, configure.configure_entry(kind, entry, own, model)


def _flags(kind: str, entry: Entry[Any], batch: int | None, device: str | None) -> dict[str, Any]:
    known = settings.names(entry.settings)
    if device is not None and "device" not in known:
        raise T2IError(f"{kind} {entry.name!r} has no device setting", "omit --device")
    flags = {"batch": batch, "device": device}
    return {name: value for name, value in flags.items() if value is not None and name in known}


def open_several(
    kind: str, words: Iterable[str], options: Mapping[str, Any] | None = None, **flags: Any
) -> dict[str, Opened[Any]]:
    """Several of a kind, by the words that name them; `flags` are as in `open_one`.

    `options` go to all of them, but a table called like one of them goes to that one alone.
    """
    return {
        name: Opened(kind, entry.name, chosen, loaded(kind, entry, chosen))
        for name, (entry, chosen) in choose_several(kind, words, options, **flags).items()
    }


def choose_several(
    kind: str, words: Iterable[str], options: Mapping[str, Any] | None = None, **flags: Any
) -> dict[str, tuple[Entry[Any], Any]]:
    """The entries and settings that `open_several` would load."""
    names, shared = list(dict.fromkeys(words)), dict(options or {})
    own = {}
    for name in names:
        key = name if name in shared else name.replace("-", "_")  # as `-o` spells every key
        if isinstance(shared.get(key), Mapping):
            own[name] = shared.pop(key)
    return {name: choose(kind, name, {**shared, **own.get(name, {})}, **flags) for name in names}


def identity(entry: str, chosen: Any) -> str:
    """Whatever changes the results of an entry with these settings, in one hash."""
    tables = {name: value for name, value in settings.tables(chosen).items() if name not in NOT_THE_RESULT}
    model = settings.model_of(chosen)
    sha256 = model.sha256 if model else ""
    return hashlib.sha256(json.dumps([entry, tables, sha256], sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class Choice:
    """What another machine is to open: the same entry, settings and model, from the same version of a plugin."""

    kind: str
    entry: str
    tables: Mapping[str, Any]
    """The settings."""
    identity: str
    distribution: str
    model: Model | None

    @classmethod
    def of(cls, kind: str, entry: Entry[Any], chosen: Any) -> Choice:
        distribution = discovery.installed().offers[kind][entry.name].distribution
        model = settings.model_of(chosen)
        return cls(kind, entry.name, settings.tables(chosen), identity(entry.name, chosen), distribution, model)

    @property
    def name(self) -> str:
        """As that of what is opened."""
        return self.model.name if self.model else self.entry

    @property
    def plan(self) -> dict[str, Any]:
        """What a plan notes of it."""
        option = {name: value for name, value in self.tables.items() if name not in NOT_THE_RESULT}
        return {"name": self.entry, "identity": self.identity, "option": option}

    def open(self) -> Opened[Any]:
        same = "install the same packages and models on all machines"
        try:
            entry, chosen = choose(self.kind, self.entry, self.tables)
        except T2IError as error:
            raise T2IError(f"{error.message}: {same}", error.hint) from error
        here = Choice.of(self.kind, entry, chosen)
        for name, ours, theirs in (
            ("plugin", here.distribution, self.distribution),
            ("model", here.identity, self.identity),
        ):
            if ours != theirs:
                raise T2IError(
                    f"{self.kind} {self.entry!r} has another {name} here, {ours} rather than {theirs}: {same}"
                )
        return Opened(self.kind, entry.name, chosen, loaded(self.kind, entry, chosen))


def load(kind: str, name: str, **options: Any) -> Any:
    """The thing itself: `load("generator", "dalle", model="runs/noodles/model", top_p=0.9)`."""
    entry, chosen = configure.configure(kind, name, options)
    return loaded(kind, entry, chosen)
