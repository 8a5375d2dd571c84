"""LPIPS' weights, whole or as torchvision's VGG16 and LPIPS' own `vgg.pth`, as a model folder."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from t2icli.contract.entries import Upstream
from t2icli.nn import weights
from t2icli.nn.perceptual import SLICES, Lpips
from t2icli.store import models, upstream
from t2icli.store.models import Card

TORCHVISION = {
    f"features.{i}.{end}": f"net.slice{number}.{i}.{end}"
    for number, (_, convolutions) in SLICES.items()
    for i in convolutions
    for end in ("weight", "bias")
}
"""torchvision's names of VGG16's features to LPIPS'; its classifier is not needed."""


def convert(files: Upstream, folder: Path) -> None:
    network = Lpips()
    constant = {f"scaling_layer.{name}": value for name, value in network.scaling_layer.state_dict().items()}
    tensors: dict[str, Tensor] = {**constant}
    for path in files.files:
        tensors |= _renamed(upstream.read(path).tensors("state_dict"))
    named = " and ".join(path.name for path in files.files)
    weights.fill(network, tensors, f"'{named}'")
    weights.save(network, folder)
    models.seal(folder, Card(kind="metric", backend="lpips", about="LPIPS over VGG16", source=named))


def _renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    features = {name: value for name, value in state.items() if not name.startswith("classifier.")}
    return {TORCHVISION.get(name, name): value for name, value in features.items()}
