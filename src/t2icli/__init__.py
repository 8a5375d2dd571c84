"""t2i: sentences to pictures, sorted, captioned and trained, from parts that anyone can write.

Everything a plugin's module needs is here, and is imported only when it is used: the program `t2i` passes here before
it can answer Ctrl-C.
"""

from __future__ import annotations

from t2icli.ground.errors import T2IError

TYPE_CHECKING = False  # type checkers know this name; typing itself takes 20 ms
if TYPE_CHECKING:
    from typing import Any

    from t2icli.contract.entries import Command, Entry, Upstream, lazily
    from t2icli.contract.fields import PER_PICTURE, Part, Start, part
    from t2icli.contract.hookspecs import hookimpl
    from t2icli.contract.kinds import (
        Captioner,
        Codec,
        DatasetPreparer,
        Embedder,
        Generator,
        LatentCodec,
        Metric,
        Ranker,
        Tokenizer,
    )
    from t2icli.contract.recipes import Estimate, Fit, Frozen, ParamGroup, Recipe, Samples, Turn
    from t2icli.contract.requests import Abilities, Request
    from t2icli.data.dataset import PreparedDataset, SourceRow
    from t2icli.ground.watch import Watch
    from t2icli.store.models import Card, Model, seal
    from t2icli.store.sources import ModelSource, RemoteFile
    from t2icli.training.settings import LoopSettings

__all__ = [
    "PER_PICTURE",
    "Abilities",
    "Captioner",
    "Card",
    "Codec",
    "Command",
    "DatasetPreparer",
    "Embedder",
    "Entry",
    "Estimate",
    "Fit",
    "Frozen",
    "Generator",
    "LatentCodec",
    "LoopSettings",
    "Metric",
    "Model",
    "ModelSource",
    "ParamGroup",
    "Part",
    "PreparedDataset",
    "Ranker",
    "Recipe",
    "RemoteFile",
    "Request",
    "Samples",
    "SourceRow",
    "Start",
    "T2IError",
    "Tokenizer",
    "Turn",
    "Upstream",
    "Watch",
    "hookimpl",
    "lazily",
    "load",
    "part",
    "seal",
]
_HOMES = {
    "contract.hookspecs": ("hookimpl",),
    "contract.entries": ("Command", "Entry", "Upstream", "lazily"),
    "contract.fields": ("PER_PICTURE", "Part", "Start", "part"),
    "contract.recipes": ("Estimate", "Fit", "Frozen", "ParamGroup", "Recipe", "Samples", "Turn"),
    "contract.requests": ("Abilities", "Request"),
    "data.dataset": ("PreparedDataset", "SourceRow"),
    "ground.watch": ("Watch",),
    "store.models": ("Card", "Model", "seal"),
    "store.sources": ("ModelSource", "RemoteFile"),
    "training.settings": ("LoopSettings",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"t2icli.{_HOME.get(name, 'contract.kinds')}"), name)


def load(kind: str, name: str, **options: Any) -> Any:
    """The thing itself: `load("generator", "dalle", model="runs/noodles/model", top_p=0.9)`."""
    from t2icli.registry.open import load

    return load(kind, name, **options)
