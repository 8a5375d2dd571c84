"""The one road from a word to a loaded thing: `open_one("generator", "dalle/starter")`, once for each role of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from t2icli.contract.entries import Entry
from t2icli.contract.kinds import loaded
from t2icli.ground.errors import T2IError
from t2icli.registry import configure, defaults, discovery, settings
from t2icli.store.models import Model

T = TypeVar("T")


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
    names, shared = list(dict.fromkeys(words)), dict(options or {})
    own = {}
    for name in names:
        key = name if name in shared else name.replace("-", "_")  # as `-o` spells every key
        if isinstance(shared.get(key), Mapping):
            own[name] = shared.pop(key)
    return {name: open_one(kind, name, {**shared, **own.get(name, {})}, **flags) for name in names}


def load(kind: str, name: str, **options: Any) -> Any:
    """The thing itself: `load("generator", "dalle", model="runs/noodles/model", top_p=0.9)`."""
    entry, chosen = configure.configure(kind, name, options)
    return loaded(kind, entry, chosen)
