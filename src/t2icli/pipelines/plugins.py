"""The work behind `t2i plugins`: what is installed, from where, and how it is set."""

from __future__ import annotations

import msgspec

from t2icli.contract.kinds import KINDS
from t2icli.ground.errors import T2IError, did_you_mean
from t2icli.registry import discovery, settings


class PluginRow(msgspec.Struct, frozen=True):
    """One line of `t2i plugins`."""

    kind: str
    name: str
    about: str
    plugin: str
    distribution: str


class BrokenPlugin(msgspec.Struct, frozen=True):
    """A plugin that was left out."""

    plugin: str
    distribution: str
    reason: str


class Setting(msgspec.Struct, frozen=True):
    """One setting of an entry; an empty default means that it must be given."""

    name: str
    type: str
    default: str
    about: str


class Details(msgspec.Struct, frozen=True):
    """Everything there is to know of one entry."""

    row: PluginRow
    settings: list[Setting]
    can_import: bool
    can_adopt: bool
    """Whether it uses repositories of model hubs as they are."""


COMMAND = "command"
"""In place of a kind: a command that a plugin brings."""


def rows(kind: str | None = None) -> list[PluginRow]:
    """Every entry and every command of a plugin, or those of one kind."""
    installed = discovery.installed()
    entries = [
        PluginRow(each, name, offer.entry.about, offer.plugin, offer.distribution)
        for each, offers in installed.offers.items()
        if kind in (None, each)
        for name, offer in sorted(offers.items())
    ]
    commands = [
        PluginRow(COMMAND, name, offer.command.about, offer.plugin, offer.distribution)
        for name, offer in sorted(installed.commands.items())
        if kind in (None, COMMAND) and offer.plugin != discovery.OWN
    ]
    return entries + commands


def broken() -> list[BrokenPlugin]:
    """The plugins that were left out, with the reason."""
    return [BrokenPlugin(b.plugin, b.distribution, b.reason) for b in discovery.installed().broken]


def details(kind: str, name: str) -> Details:
    """One entry with its settings; a command of a plugin, which has flags."""
    named = {row.name: row for row in rows(kind)}
    if kind == COMMAND:
        if name not in named:
            raise T2IError(f"no plugin brings a command called {name!r}", did_you_mean(name, named))
        return Details(named[name], [], can_import=False, can_adopt=False)
    entry, row = discovery.find(kind, name), named[name]
    fields = [Setting(f.name, f.type, f.default, f.about) for f in settings.describe(entry.settings)]
    return Details(row, fields, entry.convert is not None, entry.adopt is not None)


def meant(word: str) -> list[PluginRow]:
    """What a single word means: a kind, or else a name of whatever kind."""
    if word in (*KINDS, COMMAND):
        return rows(word)
    named = [row for row in rows() if row.name == word]
    if not named:
        known = [*KINDS, *(row.name for row in rows())]
        raise T2IError(f"there is no kind and no plugin called {word!r}", did_you_mean(word, known))
    return named
