"""What the shell's Tab key offers for names: entries, models, recipes. Light: no model is opened, no torch imported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from t2icli.ground.translate import translate
from t2icli.registry import discovery
from t2icli.store import models

Offers = list[tuple[str, str]]
"""Words with a line of help each."""
Completer = Callable[[str], Offers]


def names(kind: str, *, models_too: bool = True) -> Completer:
    """Entries of a kind, their models, and the models of runs in this folder."""

    def complete(incomplete: str) -> Offers:
        entries = _entries(kind)
        return _starting(incomplete, [*entries, *_models(kind)] if models_too else entries)

    return complete


def rankers(incomplete: str) -> Offers:
    """Rankers for `--rerank clip=2,brivl`: the last of several is completed."""
    before, comma, last = incomplete.rpartition(",")
    return [(f"{before}{comma}{name}", about) for name, about in names("ranker")(last)]


def model_names(incomplete: str) -> Offers:
    """Every model that is here."""
    here = models.installed(discovery.installed().sources)
    return _starting(incomplete, ((name, model.card.about) for name, model in here.items()))


def known_models(incomplete: str) -> Offers:
    """Models that can be pulled."""
    sources = discovery.installed().sources
    return _starting(incomplete, ((source.name, source.about) for source in sources if source.can_be_pulled))


def converters(incomplete: str) -> Offers:
    """Backends that take files or repositories of other projects."""
    kinds = discovery.installed().offers.values()
    entries = (offer.entry for offers in kinds for offer in offers.values())
    return _starting(incomplete, ((entry.name, entry.about) for entry in entries if entry.convert or entry.adopt))


def kinds(incomplete: str) -> Offers:
    """Kinds of plugin."""
    return _starting(incomplete, ((kind, "") for kind in discovery.installed().offers))


def of_that_kind(ctx: Any, incomplete: str) -> Offers:
    """Entries of the kind that was typed before."""
    kind = ctx.params.get("kind")
    return names(kind, models_too=False)(incomplete) if kind in discovery.installed().offers else []


def _entries(kind: str) -> Offers:
    return [(name, offer.entry.about) for name, offer in sorted(discovery.installed().offers[kind].items())]


def _models(kind: str) -> Iterator[tuple[str, str]]:
    here = discovery.installed()
    for name, model in models.installed(here.sources).items():
        if model.card.backend in here.offers[kind]:
            yield name, model.card.about
    for card in sorted(Path().glob(f"runs/*/model/{models.CARD}")):
        if models.open_model(card.parent).card.backend in here.offers[kind]:
            yield str(card.parent), "trained here"


def _starting(incomplete: str, offers: Iterable[tuple[str, str]]) -> Offers:
    return [(name, translate(about)) for name, about in dict(offers).items() if name.startswith(incomplete)]
