"""The two kinds of model folder: a prior's, and a decoder's, which may hold a prior. Light: no torch.

Both remember the embedder they were trained with, so that no prior meets a decoder of another space.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from t2i_dalle2.shapes import DecoderShape, PriorShape
from t2icli.contract.fields import Part
from t2icli.ground.errors import T2IError
from t2icli.registry import discovery, parts
from t2icli.store import models
from t2icli.store.models import Card, Model

PRIOR, DECODER = "dalle2-prior", "dalle2"


@dataclass(frozen=True)
class Space:
    """Identifies the space of an embedder's vectors."""

    owner: str
    width: int
    embedder: str
    """The hash of the embedder's model, or which weights it fetches."""


def space_of(model: Model) -> Space:
    shape = model.card.config["shape"]
    what, width = ("prior", shape["width"]) if model.card.backend == PRIOR else ("decoder", shape["embedding"])
    return Space(f"{what} {model.name!r}", width, model.card.config["embedder"])


def space_of_part(embedder: Part[Any], width: int) -> Space:
    identity = embedder.model.sha256 if embedder.model else parts.identity(embedder)
    return Space(f"embedder {embedder.name!r}", width, identity)


TOGETHER = "train the prior and the decoder with one embedder; leave it out and the model's own is used"


def check_same(one: Space, other: Space, together: str = TOGETHER) -> None:
    """Prior, decoder and embedder must be of one space."""
    if one.width != other.width:
        raise T2IError(
            f"{one.owner} uses embeddings of width {one.width}, but {other.owner} uses width {other.width}", together
        )
    if one.embedder != other.embedder:
        raise T2IError(
            f"{one.owner} uses embedder {_short(one.embedder)}, but {other.owner} uses {_short(other.embedder)}",
            together,
        )


def _short(embedder: str) -> str:
    """A hash by its beginning, other words as they are."""
    return embedder[:12] if len(embedder) == 64 else embedder


def seal_prior(folder: Path, shape: PriorShape, embedder: str, **more: Any) -> None:
    config = {"shape": _plain(shape), "embedder": embedder}
    models.seal(folder, Card(kind="prior", backend=PRIOR, config=config, **more))


def seal_decoder(folder: Path, shape: DecoderShape, embedder: str, settings: dict[str, Any], **more: Any) -> None:
    config = {"shape": _plain(shape), "embedder": embedder}
    guidance = {"cfg_scale": 2.0} if shape.dropped else {}
    models.seal(folder, Card(kind="generator", backend=DECODER, config=config, settings=guidance | settings, **more))


def _plain(shape: msgspec.Struct) -> dict[str, Any]:
    """As a table of TOML, which has no word for none."""
    return {key: value for key, value in msgspec.to_builtins(shape).items() if value is not None}


def prior_shape(model: Model) -> PriorShape:
    return msgspec.convert(model.card.config["shape"], PriorShape)


def decoder_shape(model: Model) -> DecoderShape:
    return msgspec.convert(model.card.config["shape"], DecoderShape)


def find_prior(word: str) -> Model:
    """A prior by its name or folder; of a whole model, the prior inside."""
    model = models.find(word, discovery.installed().sources)
    if model.card.backend == DECODER and "prior" in model.card.parts:
        return model.part("prior")
    return _made_for(PRIOR, model)


def find_decoder(word: str) -> Model:
    return _made_for(DECODER, models.find(word, discovery.installed().sources))


def _made_for(backend: str, model: Model) -> Model:
    model.check_made_for(backend)
    return model


def keep_prior(model: Model, folder: Path) -> None:
    """A copy without the embedder, which the decoder has already."""
    shutil.copytree(model.folder, folder, ignore=shutil.ignore_patterns("embedder", models.CARD))
    models.seal(folder, msgspec.structs.replace(model.card, links={}))
