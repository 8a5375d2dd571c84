"""Which backend is meant when none is named."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from t2icli.ground.errors import T2IError
from t2icli.registry import discovery
from t2icli.store import models


def name(kind: str, conditions: Collection[str] = ()) -> str:
    """The backend with the largest installed model, else one that needs no model, else an error that helps.

    Models that stand in come after all others, in the order in which their plugin lists them. Of generators only those
    count that take `conditions`; all of them where none does, for its error says so.
    """
    sources = discovery.installed().sources
    offers = discovery.installed().offers[kind]
    able = [name for name, offer in offers.items() if set(conditions) <= set(offer.entry.conditions)] or list(offers)
    listed = [name.partition("/")[0] for name in models.places(sources)]
    known = sorted(able, key=lambda backend: listed.index(backend) if backend in listed else -1)
    usual = models.preferred(model for backend in known if (model := models.default(backend, sources)) is not None)
    if usual is not None:
        return usual.card.backend
    without = [name for name in able if _is_complete(offers[name].entry.settings)]
    if without:
        return min(without)
    if offers:
        hint = f"run: {discovery.where_to_get('t2icli-starter')}; or see: t2i models list"
        raise T2IError(f"there is a {kind} ({', '.join(sorted(offers))}) but no model for it", hint)
    raise T2IError(f"no {kind} is installed", discovery.what_to_install(kind))


def listener() -> str:
    """The embedder of sounds with the largest installed model."""
    sources = discovery.installed().sources
    known = [name for name, offer in discovery.installed().offers["embedder"].items() if offer.entry.embeds_audio]
    usual = models.preferred(model for backend in known if (model := models.default(backend, sources)) is not None)
    if usual is not None:
        return usual.card.backend
    without = [name for name in known if _is_complete(discovery.find("embedder", name).settings)]
    if without:
        return min(without)
    if known:
        trained = sorted(set(known) & set(discovery.installed().offers["recipe"]))
        hint = f"train one: t2i train {trained[0]}" if trained else "see: t2i models list"
        raise T2IError(f"there is no model for {' or '.join(sorted(known))}, which embed sounds", hint)
    raise T2IError("no embedder of sounds is installed", f"run: {discovery.where_to_get('t2icli-wavbrivl')}")


def _is_complete(settings: type) -> bool:
    """Whether it works as it is: without a model and without a setting that must be given."""
    return not any(field.name == "model" or field.required for field in msgspec.structs.fields(settings))
