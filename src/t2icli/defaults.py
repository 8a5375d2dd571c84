"""Which backend is meant when none is named."""

from __future__ import annotations

import msgspec

from t2icli import discovery, models, plugins
from t2icli.errors import T2IError


def name(kind: str) -> str:
    """The backend with the largest installed model, else one that needs no model, else an error that helps."""
    sources = plugins.installed().sources
    offers = plugins.installed().offers[kind]
    sizes = {name: model.size for name in offers if (model := models.default(name, sources)) is not None}
    if sizes:
        return max(sizes, key=lambda name: (sizes[name], name))
    without = [name for name, offer in offers.items() if not _takes_a_model(offer.entry.settings)]
    if without:
        return min(without)
    if offers:
        raise T2IError(f"no model for any {kind} is installed", "run: t2i models list")
    raise T2IError(f"no {kind} is installed", discovery.what_to_install(kind))


def _takes_a_model(settings: type) -> bool:
    return any(field.name == "model" for field in msgspec.structs.fields(settings))
