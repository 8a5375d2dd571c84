"""DALLE-pytorch's `vae.pt`, a dictionary of `hparams` and `weights`, as a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from t2icli.backends.dvae import DvaeShape
from t2icli.backends.dvae.model import DiscreteVAE
from t2icli.contract.entries import Upstream
from t2icli.ground.errors import T2IError
from t2icli.nn import weights
from t2icli.store import models, upstream
from t2icli.store.models import Card

ONLY_TRAINING = ("smooth_l1_loss", "temperature", "straight_through", "reinmax", "kl_div_loss_weight")


def convert(files: Upstream, folder: Path) -> None:
    if len(files.files) != 1:
        raise T2IError(f"a discrete VAE is imported from one file, not {len(files.files)}", "name vae.pt alone")
    path = files.files[0]
    contents = upstream.read(path)
    shape = read_shape(contents.get("hparams"), path)
    network = DiscreteVAE(shape)
    weights.fill(network, contents.tensors("weights"), f"'{path.name}'")
    weights.save(network, folder)
    about = f"f{2**shape.num_layers}, {shape.num_tokens} codes"
    config = dict(msgspec.to_builtins(shape))
    models.seal(folder, Card(kind="codec", backend="dvae", about=about, source=path.name, config=config))


def read_shape(hparams: Any, path: Path) -> DvaeShape:
    """The shape that upstream's keywords describe; those that only matter in training are left out."""
    if not isinstance(hparams, dict):
        raise T2IError(f"'{path}' does not say its shape", "its hparams must be a dictionary")
    known = {key: value for key, value in hparams.items() if key not in (*ONLY_TRAINING, "normalization")}
    if "normalization" in hparams:
        known |= _normalization(hparams["normalization"])
    try:
        return msgspec.convert(known, DvaeShape)
    except msgspec.ValidationError as error:
        raise T2IError(f"'{path}' does not describe a discrete VAE: {error}") from error


def _normalization(pair: Any) -> dict[str, list[float]]:
    if pair is None:
        return {"mean": [0.0] * 4, "std": [1.0] * 4}
    mean, std = ([float(value) for value in values] for values in pair)
    return {"mean": mean, "std": std}
