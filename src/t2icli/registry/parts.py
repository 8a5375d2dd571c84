"""Parts in model folders: a model keeps the codec or embedder it was made with as a sub-folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from t2icli.contract.entries import Upstream
from t2icli.contract.fields import Part
from t2icli.contract.kinds import Codec, LatentCodec
from t2icli.ground.errors import T2IError
from t2icli.registry import configure, discovery, settings
from t2icli.store import models
from t2icli.store.models import Model


def keep(chosen: Part[Any], folder: Path, name: str) -> dict[str, Any]:
    """Copy the part's model to `folder/name`; what else it needs comes back for `Card.settings`.

    A file that a setting names in place of a model (a tokenizer's vocabulary) becomes one, so that the folder is whole.
    """
    if chosen.model is not None:
        models.copy(chosen.model, folder / name)
        return {}
    own = settings.tables(chosen.settings) if chosen.settings is not None else {}
    options = {key: value for key, value in own.items() if value is not None}
    files = {key: Path(value) for key, value in options.items() if isinstance(value, str) and Path(value).is_file()}
    into = discovery.find(chosen.kind, chosen.name).convert
    if files and into is not None:
        (folder / name).mkdir()
        into(Upstream(tuple(files.values()), {}), folder / name)
        return {name: {key: value for key, value in options.items() if key not in files}}
    return {name: {"name": chosen.name, **options}}


def space(name: str, chosen: Any) -> str:
    """Whose vectors can be compared with each other: those of the embedder `name` with these settings."""
    model = settings.model_of(chosen)
    return f"{name} {model.sha256}" if model is not None else f"{name} {json.dumps(settings.tables(chosen))}"


def load_codec(chosen: Part[Codec]) -> Codec:
    """A codec that has codes, which not every one has."""
    codec = chosen.load()
    if not isinstance(codec, Codec):
        raise T2IError(f"codec {chosen.name!r} has latents but no codes", "choose one with codes: -o codec=vqgan")
    return codec


def load_latent_codec(chosen: Part[LatentCodec]) -> LatentCodec:
    """A codec that has latents, which not every one has."""
    codec = chosen.load()
    if not isinstance(codec, LatentCodec):
        raise T2IError(f"codec {chosen.name!r} has codes but no latents", "choose one with latents: -o codec=vqgan")
    return codec


def identity(chosen: Part[Any]) -> str:
    """Whatever changes a part's results, in one string: for the caches of `Frozen` parts."""
    own = settings.tables(chosen.settings) if chosen.settings is not None else {}
    table = {key: value for key, value in own.items() if key not in ("batch", "device", "model")}
    return json.dumps([chosen.kind, chosen.name, chosen.model.sha256 if chosen.model else None, table], sort_keys=True)


def convert(kind: str, backend: str, upstream: Upstream, name: str, folder: Path) -> None:
    """Turn a part's upstream files, or the model folder given in their place, into `folder/name`."""
    files = upstream.parts.get(name, ())
    if not files:
        raise T2IError(f"the model's {name} is missing", f"give its file: --part {name}=FILE")
    target = folder / name
    if len(files) == 1 and (files[0] / models.CARD).is_file():
        models.copy(models.open_model(files[0]), target)
        return
    into = discovery.find(kind, backend).convert
    if into is None:
        raise T2IError(f"{kind} {backend!r} cannot import files", f"give a model folder: --part {name}=FOLDER")
    target.mkdir(parents=True)
    into(Upstream(files, {}), target)


def check_embedder(kind: str, folder: Path, width: int) -> None:
    """Refuse a model folder just made of imported files whose embedder's vectors are not as long as it reads."""
    _, chosen = configure.configure(kind, str(folder))
    actual = chosen.embedder.load().width
    if actual != width:
        raise T2IError(
            f"the {kind} reads embeddings of {width} numbers, but the embedder given with it makes {actual}",
            "give the one it was trained with: --part embedder=FILE",
        )


def embedder_hint(model: Model, chosen: Part[Any]) -> str:
    """What to do where `model` and the embedder it is to work with do not fit together."""
    used = chosen.model
    is_own = used is not None and "embedder" in model.card.parts and used.sha256 == model.part("embedder").sha256
    if is_own:
        return "it was imported with another embedder's files: import it again with --part embedder=FILE"
    return "omit the embedder to use the model's own"
