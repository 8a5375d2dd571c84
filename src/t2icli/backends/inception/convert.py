"""The published file of Inception's weights as a model folder."""

from __future__ import annotations

from pathlib import Path

from t2icli.backends.inception.model import Network
from t2icli.contract.entries import Upstream
from t2icli.ground.errors import T2IError
from t2icli.nn import weights
from t2icli.store import models, upstream
from t2icli.store.models import Card

CLASSES = "fc."
"""The layer of ImageNet's classes, which lies behind the features."""


def convert(files: Upstream, folder: Path) -> None:
    """Keep what the features need."""
    if len(files.files) != 1:
        raise T2IError(f"Inception is one file, not {len(files.files)}", "name the .pth file alone")
    path = files.files[0]
    tensors = upstream.read(path).tensors()
    network = Network()
    weights.fill(network, {name: value for name, value in tensors.items() if not name.startswith(CLASSES)}, path.name)
    weights.save(network, folder)
    models.seal(folder, Card(kind="metric", backend="inception", about="Inception v3 of 2015", source=path.name))
