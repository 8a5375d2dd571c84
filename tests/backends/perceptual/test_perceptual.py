"""Pictures are compared as LPIPS does, or by a stand-in that is named."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from t2icli import load
from t2icli.backends.perceptual.convert import convert
from t2icli.contract.entries import Upstream
from t2icli.ground.errors import T2IError
from t2icli.nn.perceptual import Lpips
from t2icli.registry import discovery
from t2icli.store import models
from t2icli.testing import Runner, check_metric


def recipe(name: str, like: Tensor) -> Tensor:
    """The weights the golden data was made with, a function of each parameter's name."""
    if name.startswith("scaling_layer"):
        return like
    normal = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(tuple(like.shape))
    scaled = normal / np.sqrt(np.prod(like.shape[1:])) if like.ndim > 1 else 0.02 * normal
    return torch.from_numpy(np.abs(scaled) if name.startswith("lin") else scaled).float()


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return {name: recipe(name, value) for name, value in Lpips().state_dict().items()}


def test_it_computes_what_upstream_computes(golden: Callable[[str], Path], state: dict[str, Tensor]) -> None:
    io = load_file(golden("clipgen/lpips") / "io.safetensors")
    network = Lpips()
    network.load_state_dict(state)
    with torch.no_grad():
        assert torch.allclose(network(io["a"], io["b"]), io["lpips"], atol=1e-5, rtol=1e-4)
        assert torch.equal(network(io["a"], io["a"]), io["lpips_same"])


def test_it_has_upstreams_parameters(golden: Callable[[str], Path], state: dict[str, Tensor]) -> None:
    listed = json.loads(golden("clipgen/keys_vgg16_lpips.json").read_text())
    assert {name: list(value.shape) for name, value in state.items()} == {n: v["shape"] for n, v in listed.items()}


@pytest.mark.slow
def test_whole_and_in_two_files_it_imports_the_same(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save(state, tmp_path / "vgg16_lpips.pt")
    vgg = {f"features.{name.split('.', 2)[2]}": value for name, value in state.items() if name.startswith("net.")}
    torch.save({**vgg, "classifier.0.weight": torch.ones(2)}, tmp_path / "vgg16.pth")
    torch.save({name: value for name, value in state.items() if name.startswith("lin")}, tmp_path / "vgg.pth")
    for files in (("vgg16_lpips.pt",), ("vgg16.pth", "vgg.pth")):
        (folder := tmp_path / str(len(files))).mkdir()
        convert(Upstream(tuple(tmp_path / name for name in files), {}), folder)
    one, two = (models.open_model(tmp_path / str(n)) for n in (1, 2))
    assert one.card.files == two.card.files
    check_metric(discovery.find("metric", "lpips"), model=one)


def test_weights_that_lack_a_layer_are_refused(tmp_path: Path) -> None:
    torch.save({"lin0.model.1.weight": torch.ones(1, 64, 1, 1)}, tmp_path / "vgg.pth")
    with pytest.raises(T2IError, match="do not fit") as caught:
        convert(Upstream((tmp_path / "vgg.pth",), {}), tmp_path / "out")
    assert "missing: net.slice1.0.weight" in str(caught.value.hint)


def test_without_its_weights_the_laplacian_takes_its_place_and_says_so(t2i: Runner) -> None:
    with pytest.warns(UserWarning, match="lpips/vgg16 is not installed"):
        metric = load("metric", "lpips")
    assert metric.name == "laplacian"


def test_the_laplacian_keeps_its_promises() -> None:
    check_metric(discovery.find("metric", "laplacian"))


def test_the_laplacian_works_on_pictures_of_any_size() -> None:
    metric = load("metric", "laplacian", levels=8)
    for size in ((1, 1), (5, 7), (33, 64)):
        assert metric.distance(torch.zeros(1, 3, *size), torch.ones(1, 3, *size)).isfinite().all()


def test_the_laplacian_sees_a_blur_that_keeps_the_mean() -> None:
    metric = load("metric", "laplacian")
    sharp = torch.tensor([[0.0, 1.0] * 8, [1.0, 0.0] * 8] * 8).expand(1, 3, 16, 16)
    assert metric.distance(sharp, torch.full_like(sharp, 0.5)) > 0.3
